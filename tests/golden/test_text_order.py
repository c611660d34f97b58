"""Texts in another order than the pack's are no mistake of the computation, but a dump that is in order only in part is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from npbert import golden
from npbert.cli import main

from .subjects import DUMPS, Dump, Subject, part_of

TEXTS = 3


def reordered(dump: Dump, order: list[int]) -> Dump:
    return {name: x[order] if x.ndim and len(x) == TEXTS else x for name, x in dump.items()}


@pytest.mark.parametrize("order", [[2, 1, 0], [1, 2, 0]])
@pytest.mark.parametrize("which", DUMPS)
def test_every_tensor_is_right_in_another_order(subjects: dict[str, Subject], order: list[int], which: str) -> None:
    subject = subjects["encoder"]
    dump = part_of(subject.dump(), which)
    (suspect,) = golden.diagnose(subject.pack, reordered(dump, order))
    assert suspect.mistake == "dump-not-computation"
    assert suspect.headline.startswith("the dump, not the computation: every tensor is right")
    assert f"its text 0 is text {order[0]} of the pack, its text 1 is text {order[1]}" in suspect.explanation


def test_inputs_that_were_dumped_are_put_in_order_too(subjects: dict[str, Subject]) -> None:
    subject = subjects["encoder"]
    dump = reordered(subject.dump() | {"input_ids": subject.inputs["input_ids"]}, [2, 0, 1])
    (suspect,) = golden.diagnose(subject.pack, dump)
    assert suspect.mistake == "dump-not-computation"


def test_one_tensor_that_stays_in_the_packs_order_speaks_against_it(subjects: dict[str, Subject]) -> None:
    subject = subjects["encoder"]
    dump = subject.dump()
    moved = reordered(dump, [2, 1, 0]) | {"encoder.layer.0": dump["encoder.layer.0"]}
    assert not any("every tensor" in suspect.headline for suspect in golden.diagnose(subject.pack, moved))


def test_a_mistake_besides_is_not_overlooked(subjects: dict[str, Subject]) -> None:
    subject = subjects["encoder"]
    moved = reordered(subject.dump("gelu-tanh"), [2, 1, 0])
    assert not any("every tensor" in suspect.headline for suspect in golden.diagnose(subject.pack, moved))


def test_the_command_says_it(subjects: dict[str, Subject], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    subject = subjects["encoder"]
    np.savez(tmp_path / "port.npz", **reordered(part_of(subject.dump(), "layers"), [1, 0, 2]))
    assert main(["golden", "diagnose", str(subject.pack.path), str(tmp_path / "port.npz")]) == 1
    assert capsys.readouterr().out.startswith("the dump, not the computation: every tensor is right")
