"""Ports that round to whole numbers: those of 8 bits are right as int8, coarser ones are not, however wide the bounds are."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

import npbert
from npbert import golden, ops
from npbert.golden.linear_maps import LinearMap
from npbert.golden.whole_numbers import _bits_of, _chance, _fitted

from ..builders import build, ids

Array = Any


def rounded_weight(weight: Array, bits: int, precision: str) -> Array:
    largest = np.abs(weight).max(axis=1 if precision == "int8-per-row" else None, keepdims=True)
    step = largest / np.float32(2 ** (bits - 1) - 1)
    return np.rint(weight / step) * step


def rounded_input(x: Array, bits: int) -> Array:
    step = np.float32(max(x.max(), 0) - min(x.min(), 0)) / np.float32(2**bits - 1)
    return np.rint(x / step) * step


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path, dict[str, Array]]:
    """A model with one channel far larger than all others, which makes the bounds of int8 wide."""
    config = npbert.BertConfig(
        vocab_size=60,
        hidden_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=20,
    )
    model = build("BertModel", config, dtype=np.float32, scale=0.1)
    for layer in model.encoder.layer:
        layer.output.LayerNorm.weight[3] *= 30
    inputs = {"input_ids": ids(config, 3, 12), "attention_mask": np.array([[1] * 12, [1] * 12, [1] * 7 + [0] * 5])}
    path = tmp_path_factory.mktemp("packs") / "pack"
    golden.export(model, inputs, path, weights=True)
    return model, path, inputs


def port(subject: Any, bits_of_weights: int, bits_of_inputs: int, precision: str = "int8-per-row") -> dict[str, Array]:
    """What a port dumps whose linear maps compute so; 0 bits stand for float32."""
    model, _, inputs = subject
    right = ops.linear

    def linear(x: Array, weight: Array, bias: Array | None = None, **options: Any) -> Array:
        weight = rounded_weight(weight, bits_of_weights, precision) if bits_of_weights else weight
        return right(rounded_input(x, bits_of_inputs) if bits_of_inputs else x, weight, bias, **options)

    with mock.patch.object(ops, "linear", linear), npbert.trace() as seen:
        model(**inputs)
    return dict(seen)


@pytest.mark.parametrize("precision", ["int8", "int8-per-row"])
@pytest.mark.parametrize(("of_weights", "of_inputs"), [(8, 8), (8, 7), (8, 0), (0, 8)])
def test_8_bits_are_right(subject: Any, precision: str, of_weights: int, of_inputs: int) -> None:
    _, path, _ = subject
    dump = port(subject, of_weights, of_inputs, precision)
    report = golden.compare(path, dump, precision=precision)
    assert report.ok, report
    assert not report.coarser
    assert golden.diagnose(path, dump, precision=precision) == []
    assert str(golden.compare(path, dump)).startswith("right as int8")


COARSE = [(7, 8, "weights of about 7 bits"), (6, 8, "weights of about 6 bits"), (6, 0, "weights of about 6 bits"),
          (8, 6, "inputs of about 6 bits")]  # fmt: skip


@pytest.mark.parametrize("precision", ["int8", "int8-per-row"])
@pytest.mark.parametrize(("of_weights", "of_inputs", "told"), COARSE)
def test_fewer_bits_are_not(subject: Any, precision: str, of_weights: int, of_inputs: int, told: str) -> None:
    _, path, _ = subject
    dump = port(subject, of_weights, of_inputs, precision)
    report = golden.compare(path, dump, precision=precision)
    assert all(row.ok for row in report.rows), report
    assert not report.ok
    assert report.coarser == f"its linear maps are off by as much as {told} would make them, where {precision} has 8"
    assert f"not ok: no tensor is further off than {precision} allows, but its linear maps" in str(report)
    (suspect,) = golden.diagnose(path, dump, precision=precision)
    assert (suspect.mistake, suspect.where) == ("unknown", "encoder.layer.0.attention.self.query")
    assert told in suspect.explanation


def test_6_bits_are_not_called_int8(subject: Any) -> None:
    _, path, _ = subject
    dump = port(subject, 6, 0)
    report = golden.compare(path, dump)
    assert (report.other_precision, report.shows_precision) == ("int8", False)  # whose bounds happen to be the tighter ones
    assert "right as" not in str(report)
    assert str(report).startswith("no tensor is further off than int8 allows, but its linear maps are off by as much as")
    (suspect,) = golden.diagnose(path, dump)
    assert suspect.mistake == "unknown"
    assert report.coarser in suspect.explanation


def test_one_step_for_a_matrix_is_int8_and_not_int8_per_row(subject: Any) -> None:
    """Its weights are as coarse as fewer bits are with a step for each row."""
    model, path, inputs = subject
    weights = {name: x.copy() for name, x in model.state_dict().items()}
    for name, x in weights.items():
        if name.endswith("dense.weight"):
            x[5] *= 8  # a row much larger than the others
    wide = npbert.BertModel(model.config, weights)
    golden.export(wide, inputs, path.with_name("wide"), weights=True)
    dump = port((wide, path, inputs), 8, 8, "int8")
    report = golden.compare(path.with_name("wide"), dump)
    assert (report.other_precision, report.shows_precision) == ("int8", True)


def test_without_weights_nobody_knows(subject: Any) -> None:
    model, path, inputs = subject
    golden.export(model, inputs, path.with_name("bare"))
    dump = port(subject, 6, 8)
    assert golden.compare(path.with_name("bare"), dump, precision="int8-per-row").ok
    (suspect,) = golden.diagnose(path.with_name("bare"), dump, precision="int8-per-row", model=model)
    assert "weights of about 6 bits" in suspect.explanation
    states = {name: x for name, x in dump.items() if name.count(".") == 2}
    assert golden.compare(path, states, precision="int8-per-row").ok


@pytest.mark.parametrize("bits", [8, 7, 6, 5])
def test_the_bits_of_one_map(bits: int) -> None:
    rng = np.random.default_rng(bits)
    weight, bias, x = rng.normal(size=(200, 50)), rng.normal(size=200), rng.normal(size=(20, 50)) + 1
    x_step, w_step = (x.max() - x.min()) / 255, np.abs(weight).max(axis=1, keepdims=True) / 127

    def read(tokens: int, of_weights: int, of_inputs: int) -> Any:
        rough = rounded_weight(weight, of_weights, "int8-per-row")
        y = rounded_input(x, of_inputs) @ rough.T + bias
        return _bits_of(LinearMap(x[:tokens], y[:tokens], weight, bias, x_step), w_step)

    assert read(20, bits, 8) == pytest.approx((bits, 8), abs=0.2)
    assert read(20, 8, bits).of_inputs == pytest.approx(bits, abs=0.2)
    assert read(3, bits, 8) is None  # as many tokens do not tell
    assert np.isnan(read(20, 8, 4).of_weights)  # such inputs hide what the weights do
    broken = LinearMap(x, np.full((20, 200), np.nan), weight, bias, x_step)
    assert _bits_of(broken, w_step) is None


@pytest.mark.parametrize("of_inputs", [0.5, 1.0, 3.0])
def test_chance_moves_the_factor_of_the_weights_as_far_as_is_said(of_inputs: float) -> None:
    rng = np.random.default_rng(0)
    terms, outputs = rng.uniform(0.5, 4, (2, 15)), 40
    found = []
    for _ in range(300):
        wrong = (terms[0] + of_inputs * terms[1]) * rng.chisquare(outputs, 15) / outputs
        found.append(_fitted(terms, wrong)[0][0])
    assert np.mean(found) == pytest.approx(1, abs=0.05)
    assert np.std(found) == pytest.approx(_chance(terms, of_inputs, outputs), rel=0.15)
