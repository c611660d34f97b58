"""Ports whose linear maps round are called what they are, and nothing else: bounds of one precision hold ports of another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

import npbert
from npbert import golden, ops
from npbert.golden.precision import cut_to_bfloat16, cut_to_tf32, to_bfloat16, to_tf32

from ..builders import build, ids
from .test_whole_numbers import rounded_input, rounded_weight

Array = Any
Round = Callable[[Array], Array]


def as_it_is(x: Array) -> Array:
    return x


def of_bits(bits: int, precision: str) -> Round:
    return lambda weight: rounded_weight(weight, bits, precision)


PORTS: dict[str, tuple[Round, Round, str | None]] = {  # how inputs and weights are rounded, and what that is
    "tf32": (to_tf32, to_tf32, "tf32"),
    "tf32, cut off": (cut_to_tf32, cut_to_tf32, "tf32"),
    "bfloat16": (to_bfloat16, to_bfloat16, "bfloat16-products"),
    "bfloat16, cut off": (cut_to_bfloat16, cut_to_bfloat16, "bfloat16-products"),
    "int8": (lambda x: rounded_input(x, 8), of_bits(8, "int8"), "int8"),
    "int8 by rows": (lambda x: rounded_input(x, 8), of_bits(8, "int8-per-row"), "int8-per-row"),
    "weights of 8 bits": (as_it_is, of_bits(8, "int8"), "int8"),
    "weights of 8 bits by rows": (as_it_is, of_bits(8, "int8-per-row"), "int8-per-row"),
    "weights of 9 bits": (as_it_is, of_bits(9, "int8-per-row"), None),
    "weights of bfloat16": (as_it_is, to_bfloat16, None),
}


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path, dict[str, Array]]:
    config = npbert.BertConfig(
        vocab_size=60,
        hidden_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=20,
    )
    model = build("BertModel", config, dtype=np.float32, scale=0.1)
    inputs = {"input_ids": ids(config, 3, 12), "attention_mask": np.array([[1] * 12, [1] * 12, [1] * 7 + [0] * 5])}
    path = tmp_path_factory.mktemp("packs") / "pack"
    golden.export(model, inputs, path, weights=True)
    return model, path, inputs


def dump_of(model: Any, inputs: dict[str, Array], of_inputs: Round, of_weights: Round) -> dict[str, Array]:
    right = ops.linear

    def linear(x: Array, weight: Array, bias: Array | None = None, **options: Any) -> Array:
        return right(of_inputs(np.asarray(x)), of_weights(np.asarray(weight)), bias, **options)

    with mock.patch.object(ops, "linear", linear), npbert.trace() as seen:
        model(**inputs)
    return dict(seen)


@pytest.mark.parametrize("port", PORTS)
def test_each_is_called_what_it_is(subject: Any, port: str) -> None:
    model, path, inputs = subject
    of_inputs, of_weights, name = PORTS[port]
    dump = dump_of(model, inputs, of_inputs, of_weights)
    report = golden.compare(path, dump)
    if name is None:
        assert not report.shows_precision
        assert str(report).startswith("wrong as float32, but no further off than ")
    else:
        assert (report.other_precision, report.shows_precision) == (name, True)
        assert str(report).startswith(f"right as {name}, not as float32")
        assert golden.compare(path, dump, precision=name).ok


def test_tables_of_8_bits_are_called_so(subject: Any) -> None:
    """As onnxruntime quantizes a model: the tables of the embeddings, each with one step, and the linear maps."""
    model, path, inputs = subject
    weights = dict(model.state_dict())
    for name in weights:
        if name.endswith("_embeddings.weight"):
            weights[name] = rounded_weight(weights[name], 8, "int8")
    of_inputs, of_weights, _ = PORTS["int8"]
    dump = dump_of(npbert.BertModel(model.config, weights), inputs, of_inputs, of_weights)
    report = golden.compare(path, dump)
    assert (report.other_precision, report.shows_precision) == ("int8-tables", True)
    assert golden.compare(path, dump, precision="int8-tables").ok
    assert golden.compare(path, dump, precision="int8").first_divergence == "embeddings.word_embeddings"


def test_without_linear_maps_nothing_is_shown(subject: Any) -> None:
    model, path, inputs = subject
    dump = dump_of(model, inputs, *PORTS["bfloat16"][:2])
    states = {name: x for name, x in dump.items() if name.count(".") == 2}
    assert not golden.compare(path, states).shows_precision
    golden.export(model, inputs, path.with_name("bare"))
    report = golden.compare(path.with_name("bare"), dump)
    assert (report.other_precision is not None, report.shows_precision) == (True, False)
    (suspect,) = golden.diagnose(path.with_name("bare"), dump, model=model)
    assert suspect.headline == "right as bfloat16-products, not as float32: compare with precision='bfloat16-products'"
