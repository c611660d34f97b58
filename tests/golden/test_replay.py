"""How the evidence is gathered: each step is computed from the port's own values, up to the end of the dump."""

from __future__ import annotations

import numpy as np

from npbert import golden

from .. import port
from .subjects import (
    ACTIVATION,
    LAYER,
    Subject,
    part_of,
)


def test_each_step_is_computed_from_the_ports_own_values(subjects: dict[str, Subject]) -> None:
    """A step is not blamed for what is off before it within its tolerance."""
    subject = subjects["encoder"]
    dump = subject.dump()
    before = LAYER + "intermediate.dense"
    bound = subject.pack.tolerances[before]["float32"]
    dump[before] = dump[before] + np.float32(bound.rms * 0.8)
    x = dump[before].astype(np.float64)
    names = list(dump)
    dump = {name: dump[name] for name in names[: names.index(ACTIVATION)]}  # later tensors would show that it is not used
    dump[ACTIVATION] = (x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))).astype(np.float32)
    suspect = golden.diagnose(subject.pack, dump)[0]
    assert (suspect.mistake, suspect.where) == ("gelu-tanh", ACTIVATION)
    assert suspect.evidence.error_of_mistake < bound.rms / 10


def test_padding_may_hold_anything(subjects: dict[str, Subject]) -> None:
    subject = subjects["encoder"]
    dump = subject.dump("scores-not-scaled", layers=[1])
    padding = subject.inputs["attention_mask"] == 0
    for name in ("embeddings", "encoder.layer.0.attention.output", "encoder.layer.0"):
        dump[name] = np.where(padding[:, :, None], np.float32(np.nan), dump[name])
    for which in ("everything", "blocks", "layers"):
        suspect = golden.diagnose(subject.pack, part_of(dump, which))[0]
        assert (suspect.mistake, suspect.where) == ("scores-not-scaled", "encoder.layer.1.attention.self:masked_scores")


def test_a_suspect_that_later_tensors_refute_is_dropped(subjects: dict[str, Subject]) -> None:
    """Up to LayerNorm, a port without the residual looks like one that adds it after LayerNorm."""
    subject = subjects["encoder"]
    name = LAYER + "attention.output:residual"
    dump = {name: subject.dump("residual-missing")[name]}
    both = golden.diagnose(subject.pack, dump)
    assert [suspect.mistake for suspect in both] == ["residual-missing", "residual-after-layernorm", "dump-not-computation"]
    assert "tell these mistakes apart" in both[0].evidence.tie
    padding = subject.inputs["attention_mask"] == 0
    for mistake in ("residual-missing", "residual-after-layernorm"):
        dump = subject.dump(mistake)
        assert [suspect.mistake for suspect in golden.diagnose(subject.pack, dump)] == [mistake]
        garbage = {name: np.where(padding[:, :, None], np.float32(7), x) for name, x in dump.items() if x.shape[:2] == (3, 7)}
        assert [suspect.mistake for suspect in golden.diagnose(subject.pack, dump | garbage)] == [mistake]


def test_only_the_first_mistake_is_reported(subjects: dict[str, Subject]) -> None:
    subject = subjects["encoder"]
    weights = {name: x.copy() for name, x in subject.model.state_dict().items()}
    weights["encoder.layer.1.output.dense.bias"][:] = 0
    dump = port.run(subject.model.config.to_dict(), weights, subject.inputs, "token-types-missing")
    suspects = golden.diagnose(subject.pack, dump)
    assert [(suspect.mistake, suspect.where) for suspect in suspects] == [
        ("token-types-missing", "embeddings.token_type_embeddings")
    ]


def test_two_mistakes_that_cannot_be_told_apart_are_not_named(subjects: dict[str, Subject]) -> None:
    subject = subjects["encoder"]
    weights = {name: x.copy() for name, x in subject.model.state_dict().items()}
    weights["encoder.layer.0.output.dense.bias"][:] = 0
    dump = port.run(subject.model.config.to_dict(), weights, subject.inputs, "scores-not-scaled")
    suspects = golden.diagnose(subject.pack, part_of(dump, "layers"))
    assert [(suspect.mistake, suspect.where) for suspect in suspects] == [("unknown", "encoder.layer.0")]


def test_an_output_that_a_port_copies_wrongly_is_not_blamed_on_the_value_it_is(subjects: dict[str, Subject]) -> None:
    """The pack holds the two as one array; a port may dump both, and only one of them may be wrong."""
    subject = subjects["encoder"]
    output, inside = "output:last_hidden_state", "encoder.layer.1.output.LayerNorm"
    assert subject.pack.aliases[output] == inside
    dump = subject.dump()
    negated = {**dump, output: -dump[output]}
    assert [suspect.where for suspect in golden.diagnose(subject.pack, negated)] == [output]
    without = {name: x for name, x in negated.items() if subject.pack.aliases.get(name, name) != inside or name == output}
    assert output not in [suspect.where for suspect in golden.diagnose(subject.pack, without)]  # where it is computed, then
