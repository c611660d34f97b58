"""Another operand in attention: every choice of what is compared with what, and of what the probabilities weigh."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest

from npbert import golden
from npbert.ops import ACTIVATIONS

from .subjects import LAYER, SELF, Dump, Subject

PARTS = ("query", "key", "value")


def up_to(subject: Subject, name: str, x: np.ndarray) -> Dump:
    """A dump that ends with another value under this name."""
    names = list(subject.pack)
    return {before: subject.pack[before] for before in names[: names.index(name)]} | {name: x}


def merged(x: np.ndarray) -> np.ndarray:
    """Heads side by side: [B, N, S, H] -> [B, S, N*H]."""
    batch, heads, length, size = x.shape
    return x.swapaxes(1, 2).reshape(batch, length, heads * size)


@pytest.mark.parametrize(("one", "other"), [*product(PARTS, repeat=2)])
def test_scores(subjects: dict[str, Subject], one: str, other: str) -> None:
    subject = subjects["encoder"]
    scores = subject.pack[f"{SELF}:{one}"] @ subject.pack[f"{SELF}:{other}"].swapaxes(2, 3)
    found = golden.diagnose(subject.pack, up_to(subject, f"{SELF}:scores", scores))
    if (one, other) == ("query", "key"):
        assert found == []
    elif (one, other) == ("key", "query"):
        assert [suspect.mistake for suspect in found] == ["query-key-swapped"]
    elif (one, other) == ("query", "value"):
        # Both give these scores, and what follows was not dumped.
        assert [suspect.mistake for suspect in found] == ["key-value-swapped", "scores-from-elsewhere"]
        assert all("tell these mistakes apart" in suspect.evidence.tie for suspect in found)
    else:
        assert [suspect.mistake for suspect in found] == ["scores-from-elsewhere"]
        assert f"The scores are {one} @ {other}.T" in found[0].explanation


@pytest.mark.parametrize(("part", "weighed"), [*product(PARTS, (True, False))])
def test_contexts(subjects: dict[str, Subject], part: str, weighed: bool) -> None:
    subject = subjects["encoder"]
    x = subject.pack[f"{SELF}:{part}"]
    x = subject.pack[f"{SELF}:probs"] @ x if weighed else x
    found = golden.diagnose(subject.pack, up_to(subject, SELF, merged(x)))
    if part == "value" and weighed:
        assert found == []
    else:
        assert found[0].mistake == "context-from-elsewhere", str(found[0])


def test_the_bias_of_every_layernorm_twice(subjects: dict[str, Subject]) -> None:
    subject = subjects["encoder"]
    weights = subject.model.state_dict()
    weights |= {name: 2 * x for name, x in weights.items() if name.endswith("LayerNorm.bias")}
    wrong = type(subject.model)(subject.model.config, weights)
    dump = {f"output:{name}": x for name, x in wrong(**subject.inputs).items()}
    (suspect,) = golden.diagnose(subject.pack, dump)
    assert suspect.mistake == "bias-doubled"


@pytest.mark.parametrize(("factor", "power"), [(-2, 0), (-0.5, 0), (1, 0.5), (1, -0.5), (-1, 0.5), (-1, -0.5)])
def test_a_residual_with_a_factor(subjects: dict[str, Subject], factor: float, power: float) -> None:
    subject = subjects["encoder"]
    factor *= subject.model.config.hidden_size**power
    wrong = subject.pack[f"{LAYER}output.dense"] + np.float32(factor) * subject.pack[f"{LAYER}attention"]
    (suspect,) = golden.diagnose(subject.pack, up_to(subject, f"{LAYER}output:residual", wrong))
    assert f"{factor:.4g} * {LAYER}attention" in suspect.explanation


def test_the_right_sum_is_told_for_each_block(subjects: dict[str, Subject]) -> None:
    subject = subjects["encoder"]
    wrong = subject.pack[f"{LAYER}output.dense"] + 0.5 * subject.pack[f"{LAYER}attention"]
    (suspect,) = golden.diagnose(subject.pack, up_to(subject, f"{LAYER}output:residual", wrong))
    right = f"{LAYER}output:residual is {LAYER}output.dropout + what came into the block"
    assert (suspect.mistake, suspect.explanation) == ("residual-halved", f"The residual is halved: {right}.")


@pytest.mark.parametrize("name", ["relu", "sigmoid", "gelu"])
def test_another_activation_of_the_pooler(subjects: dict[str, Subject], name: str) -> None:
    subject = subjects["encoder"]
    wrong = ACTIVATIONS[name](subject.pack["pooler.dense"])
    dump = up_to(subject, "pooler.activation", wrong) | {"pooler": wrong}
    suspects = golden.diagnose(subject.pack, dump)
    assert [suspect.mistake for suspect in suspects] == ["wrong-activation"]
    assert "the pooler's is tanh" in suspects[0].explanation


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda ids: np.roll(ids, 1, axis=1), "shifted by one to the right"),
        (lambda ids: np.roll(ids, -1, axis=1), "shifted by one to the left"),
        (lambda ids: ids[:, ::-1], "in reverse order"),
        (lambda ids: np.maximum(ids - 1, 0), "one too small"),
    ],
)
def test_other_ids(subjects: dict[str, Subject], change: Callable[[np.ndarray], np.ndarray], told: str) -> None:
    subject = subjects["encoder"]
    table = subject.model.state_dict()["embeddings.word_embeddings.weight"]
    name = "embeddings.word_embeddings"
    (suspect,) = golden.diagnose(subject.pack, {name: table[change(subject.inputs["input_ids"])]})
    assert suspect.mistake == "ids-differ"
    assert told in suspect.explanation
