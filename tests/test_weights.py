"""The mapping of weights and its scopes."""

from __future__ import annotations

import numpy as np
import pytest

from npbert import MissingNameError, NpbertError, Weights

ARRAYS = {
    "embeddings.word_embeddings.weight": np.zeros((2, 3)),
    "encoder.layer.1.output.dense.weight": np.ones((3, 4)),
    "encoder.layer.1.output.dense.bias": np.ones(3),
    "encoder.layer.10.output.dense.bias": np.zeros(3),
}


def test_scopes_are_views() -> None:
    w = Weights(ARRAYS)
    layer = w.scope("encoder.layer.1").scope("output")
    assert layer["dense.weight"] is ARRAYS["encoder.layer.1.output.dense.weight"]
    assert layer.path == "encoder.layer.1.output"
    assert set(layer) == {"dense.weight", "dense.bias"}
    assert len(layer) == 2
    assert set(w.scope("encoder.layer.1")) == {"output.dense.weight", "output.dense.bias"}  # and nothing of layer 10
    assert len(w) == 4
    assert dict(w) == ARRAYS
    assert "dense.bias" in layer
    assert "dense" not in layer
    assert w.scope("")["embeddings.word_embeddings.weight"] is ARRAYS["embeddings.word_embeddings.weight"]


def test_full_names() -> None:
    root, layer = Weights(ARRAYS), Weights(ARRAYS).scope("encoder.layer.1")
    assert [layer.full_name(name) for name in ("output", ":probs", "")] == [
        "encoder.layer.1.output",
        "encoder.layer.1:probs",
        "encoder.layer.1",
    ]
    assert [root.full_name(name) for name in ("pooler", ":probs", "")] == ["pooler", ":probs", ""]


def test_a_missing_name_is_named_in_full() -> None:
    with pytest.raises(MissingNameError, match=r"no 'encoder\.layer\.1\.output\.dense\.wait'") as caught:
        Weights(ARRAYS).scope("encoder.layer.1.output")["dense.wait"]
    assert isinstance(caught.value, KeyError)
    assert isinstance(caught.value, NpbertError)


def test_it_is_read_only() -> None:
    with pytest.raises(TypeError):
        Weights(ARRAYS)["x"] = np.zeros(1)  # type: ignore[index]


def test_repr() -> None:
    assert repr(Weights(ARRAYS)) == "Weights(4 arrays)"
    assert repr(Weights(ARRAYS).scope("embeddings")) == "Weights(1 arrays under embeddings)"
