"""The diagnosis of the reference itself, with modules exchanged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from npbert import golden

from .subjects import (
    ACTIVATION,
    LAYER,
    NORM,
    SELF,
    Subject,
)


def _transposed(model: Any) -> None:
    dense = model.encoder.layer[1].attention.output.dense
    dense.weight.data = dense.weight.data.T.contiguous()


def _swapped(model: Any) -> None:
    attention = model.encoder.layer[0].attention.self
    attention.key, attention.value = attention.value, attention.key


def _unmodule(place: str) -> Callable[[Any], None]:
    def replace(model: Any) -> None:
        import torch

        parent, _, name = place.rpartition(".")
        setattr(model.get_submodule(parent), name, torch.nn.Identity())

    return replace


def _same_layer(model: Any) -> None:
    model.encoder.layer[1].load_state_dict(model.encoder.layer[0].state_dict())


REFERENCES: list[tuple[str, str, dict[str, Any], Callable[[Any], None] | None, dict[str, Any]]] = [
    ("gelu-tanh", ACTIVATION, {"hidden_act": "gelu_new"}, None, {}),
    ("gelu-sigmoid", ACTIVATION, {"hidden_act": "quick_gelu"}, None, {}),
    ("activation-relu", ACTIVATION, {"hidden_act": "relu"}, None, {}),
    ("layernorm-eps", NORM, {"layer_norm_eps": 1e-5}, None, {}),
    ("weight-transposed", "encoder.layer.1.attention.output.dense", {}, _transposed, {}),
    ("key-value-swapped", SELF + ".key", {}, _swapped, {}),
    ("embeddings-layernorm-missing", NORM, {}, _unmodule("embeddings.LayerNorm"), {}),
    ("layernorm-missing", LAYER + "output.LayerNorm", {}, _unmodule("encoder.layer.0.output.LayerNorm"), {}),
    ("pooler-tanh-missing", "pooler.activation", {}, _unmodule("pooler.activation"), {}),
    ("wrong-layer-weights", "encoder.layer.1.attention.self.query", {}, _same_layer, {}),
    ("dropout-left-on", "embeddings.dropout", {}, lambda model: model.train(), {}),
    ("mask-ignored", SELF + ":masked_scores", {}, None, {"attention_mask": None}),
    ("token-types-missing", "embeddings.token_type_embeddings", {}, None, {"token_type_ids": None}),
    ("positions-shifted", "embeddings.position_embeddings", {}, None, {"position_ids": np.arange(1, 8)[None]}),
]


@pytest.mark.parity
@pytest.mark.parametrize(
    ("mistake", "where", "fields", "patch", "arguments"), REFERENCES, ids=lambda x: x if isinstance(x, str) else ""
)
def test_the_reference_with_patched_modules(
    subjects: dict[str, Subject],
    mistake: str,
    where: str,
    fields: dict[str, Any],
    patch: Callable[[Any], None] | None,
    arguments: dict[str, Any],
) -> None:
    import torch

    from .. import reference

    subject = subjects["encoder"]
    model = reference.build("BertModel", subject.model.config.to_dict() | fields, subject.model.state_dict())
    torch.manual_seed(0)
    if patch is not None:
        patch(model)
    with reference.hooked(model) as dump:
        reference.run(model, {name: x for name, x in (subject.inputs | arguments).items() if x is not None})
    suspects = golden.diagnose(subject.pack, dump)
    assert (suspects[0].mistake, suspects[0].where) == (mistake, where)
