"""The quick look: the same divergence in float32, of the first and the last text alone, if it shows there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from npbert import golden
from npbert.golden.compare import compare_matched
from npbert.golden.diagnose import model_of
from npbert.golden.divergence import Divergence
from npbert.golden.matching import match
from npbert.golden.quick import quick_look
from npbert.golden.replay import replay

from ..builders import build, tiny
from .subjects import ACTIVATION, Dump, Subject, encoder_inputs

POSITIONS = "embeddings.position_embeddings"


def divergence_of(pack: golden.Pack, dump: Dump) -> Divergence:
    matched = match(pack, dump)
    return Divergence(matched, model_of(pack), compare_matched(matched, "float32"))


def wrong_in(text: int, dump: Dump) -> Dump:
    x = dump[ACTIVATION].copy()
    x[text] += 1
    return dump | {ACTIVATION: x}


def test_two_texts_are_looked_at(subjects: dict[str, Subject]) -> None:
    subject = subjects["encoder"]
    whole = divergence_of(subject.pack, subject.dump("gelu-tanh"))
    quick = quick_look(whole)
    assert (quick.first, quick.last_right, quick.right) == (whole.first, whole.last_right, whole.right)
    assert (quick.dtype, whole.dtype) == (np.float32, np.float64)
    for name, x in subject.pack.items():
        ends = x if name == POSITIONS else x[[0, -1]]
        np.testing.assert_array_equal(quick.pack[name], ends, name)
        np.testing.assert_array_equal(quick.value(name), whole.value(name) if name == POSITIONS else whole.value(name)[[0, -1]])
    for name, x in subject.inputs.items():
        np.testing.assert_array_equal(quick.pack.inputs[name], x[[0, -1]])


def test_its_pass_is_the_whole_one_up_to_rounding(subjects: dict[str, Subject]) -> None:
    subject = subjects["encoder"]
    whole = divergence_of(subject.pack, subject.dump("gelu-tanh"))
    slow, quick = replay(whole), replay(quick_look(whole), quick=True)
    assert slow is not None
    assert quick is not None
    assert quick.order == slow.order[: slow.order.index(whole.first) + 1]  # it ends where the port goes wrong
    assert list(quick.deviations) == [whole.first]
    assert np.abs(quick.first - slow.first[[0, -1]]).max() < 1e-5


@pytest.mark.parametrize(("text", "looked_at"), [(0, 2), (1, 3), (2, 2)])
def test_what_only_a_text_between_shows_is_looked_at_whole(subjects: dict[str, Subject], text: int, looked_at: int) -> None:
    subject = subjects["encoder"]
    quick = quick_look(divergence_of(subject.pack, wrong_in(text, subject.dump())))
    assert quick.first == ACTIVATION
    value = quick.value(ACTIVATION)
    assert value is not None
    assert (len(value), quick.dtype) == (looked_at, np.float32)


@pytest.mark.parametrize("change", ["two texts", "a head mask", "positions"])
def test_other_calls_are_looked_at_whole(tmp_path: Path, change: str) -> None:
    """Of two texts nothing can be left out, and of other arguments nobody here knows which axis is that of the texts."""
    model = build("BertModel", tiny(), dtype=np.float32)
    inputs: dict[str, Any] = encoder_inputs(model.config)
    if change == "two texts":
        inputs = {name: x[:2] for name, x in inputs.items()}
    if change == "a head mask":
        inputs["head_mask"] = np.array([1.0, 0.0, 1.0])
    if change == "positions":
        inputs["position_ids"] = np.arange(7)[None]
    golden.export(model, inputs, tmp_path / "pack", weights=True)
    pack = golden.read_pack(tmp_path / "pack")
    whole = divergence_of(pack, wrong_in(0, dict(pack)))
    quick = quick_look(whole)
    assert quick.dump is whole.dump
    assert (quick.first, quick.dtype) == (whole.first, np.float32)


def test_it_lets_through_what_a_text_between_decides(subjects: dict[str, Subject]) -> None:
    """The first and the last text agree with a mistake, the one between them does not: that decides."""
    subject = subjects["encoder"]
    right, wrong = subject.dump(), subject.dump("gelu-tanh")
    mixed = wrong[ACTIVATION].copy()
    mixed[1] = right[ACTIVATION][1]
    names = list(right)
    dump = {name: right[name] for name in names[: names.index(ACTIVATION)]}
    (suspect,) = golden.diagnose(subject.pack, dump | {ACTIVATION: mixed})
    assert (suspect.mistake, suspect.where) == ("unknown", ACTIVATION)
    (suspect,) = golden.diagnose(subject.pack, dump | {ACTIVATION: wrong[ACTIVATION]})
    assert suspect.mistake == "gelu-tanh"
