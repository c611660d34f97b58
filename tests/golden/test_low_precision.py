"""Ports in a shorter precision than they are compared in."""

from __future__ import annotations

from pathlib import Path

import pytest

from npbert import golden
from npbert.golden.precision import to_bfloat16, to_float16

from .. import port
from .subjects import (
    SELF,
    Subject,
    part_of,
)

PACKS = Path(__file__).parent / "packs"


ROUNDINGS = {"bfloat16": to_bfloat16, "float16": to_float16}


@pytest.mark.parametrize("precision", ROUNDINGS)
@pytest.mark.parametrize("name", ["encoder", "decoder"])
def test_the_reference_in_low_precision(name: str, precision: str) -> None:
    """Dumps of the reference itself."""
    pack, path = PACKS / f"{name}.safetensors", PACKS / f"{name}.{precision}.safetensors"
    suspects = golden.diagnose(pack, path)
    assert [suspect.mistake for suspect in suspects] == ["low-precision"]
    assert precision in suspects[0].explanation
    assert golden.diagnose(pack, path, precision=precision) == []


@pytest.mark.parametrize("precision", ROUNDINGS)
@pytest.mark.parametrize("which", ["everything", "blocks", "layers", "outputs"])
def test_low_precision(subjects: dict[str, Subject], precision: str, which: str) -> None:
    for kind in ("encoder", "lm") if which == "everything" else ("encoder",):
        dump = part_of(subjects[kind].dump(rounded=ROUNDINGS[precision]), which)
        suspects = golden.diagnose(subjects[kind].pack, dump)
        assert [suspect.mistake for suspect in suspects] == ["low-precision"]
        assert f"precision={precision!r}" in suspects[0].explanation
        assert golden.diagnose(subjects[kind].pack, dump, precision=precision) == []


@pytest.mark.parametrize("precision", ROUNDINGS)
@pytest.mark.parametrize("which", ["everything", "layers"])
def test_short_weights(subjects: dict[str, Subject], precision: str, which: str) -> None:
    """Stored in 16 bits, computed in 32."""
    subject = subjects["encoder"]
    weights = {name: ROUNDINGS[precision](x) for name, x in subject.model.state_dict().items()}
    dump = port.run(subject.model.config.to_dict(), weights, subject.inputs)
    suspects = golden.diagnose(subject.pack, part_of(dump, which))
    assert [suspect.mistake for suspect in suspects] == ["low-precision"]
    assert suspects[0].evidence.error_of_mistake < suspects[0].evidence.tolerance
    assert f"precision={precision!r}" in suspects[0].explanation


@pytest.mark.parametrize("precision", ROUNDINGS)
def test_operands_in_low_precision(subjects: dict[str, Subject], precision: str) -> None:
    """Matrix products of rounded operands, summed and kept in float32."""
    subject = subjects["encoder"]
    rounded = ROUNDINGS[precision]
    dump = subject.dump()
    weight, bias = (subject.model.state_dict()[f"{SELF}.query.{part}"] for part in ("weight", "bias"))
    dump[SELF + ".query"] = rounded(dump["embeddings"]) @ rounded(weight).T + rounded(bias)
    suspects = golden.diagnose(subject.pack, dump)
    assert [(suspect.mistake, suspect.where) for suspect in suspects] == [("low-precision", SELF + ".query")]


@pytest.mark.parametrize("precision", ROUNDINGS)
@pytest.mark.parametrize("mistake", ["activation-relu", "scores-not-scaled", "residual-missing", "wrong-layer-weights next"])
def test_a_mistake_in_low_precision(subjects: dict[str, Subject], mistake: str, precision: str) -> None:
    subject = subjects["encoder"]
    dump = subject.dump(mistake, rounded=ROUNDINGS[precision])
    name = mistake.partition(" ")[0]
    *named, low = golden.diagnose(subject.pack, dump)
    assert low.mistake == "low-precision"
    # In bfloat16 ReLU and its leaky sibling are closer than the rounding that is allowed; then the suspects say so.
    for suspects in (named, golden.diagnose(subject.pack, dump, precision=precision)):
        assert suspects[0].mistake == name
        assert len(suspects) == 1 or (precision == "bfloat16" and len(suspects) == 2 and suspects[1].evidence.tie)
