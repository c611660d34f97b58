"""What a port is allowed: compared with two passes made here, and never too little where few numbers were measured."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

import npbert
from npbert import golden
from npbert.golden.passes import run_spread
from npbert.golden.precision import EPSILON
from npbert.golden.tolerance import FLOOR, MULTIPLES, PEAK, PRIOR_COUNT, STANDARD_DEVIATIONS, Allowance, MeasuredError, measure
from npbert.golden.verdicts import tolerance_of

from ..builders import build, ids, tiny
from ..port import run as run_port


def test_errors_of_what_counts() -> None:
    truth = np.array([[3.0, -4.0], [100.0, 7.0]])
    value = np.array([[3.5, -4.0], [0.0, 7.0]])
    found = measure(truth, value, np.array([[True], [False]]))
    assert found == MeasuredError(2, 1, 0.5, math.sqrt(0.125), 4.0, math.sqrt(12.5))


def test_what_overflowed_is_not_measured() -> None:
    truth = np.array([1.0, 2.0, 3.0])
    assert measure(truth, np.array([1.0, np.inf, np.nan]), np.array([True])) == MeasuredError(1, 1, 0.0, 0.0, 1.0, 1.0)
    assert measure(truth, truth, np.array([False])).number == 0


@pytest.mark.parametrize(("errors", "effective"), [([2.0] * 8, 8), ([5.0] + [0.0] * 7, 1), ([1.0, -1.0] + [0.0] * 6, 2)])
def test_effective_elements(errors: list[float], effective: float) -> None:
    found = measure(np.zeros(8), np.array(errors), np.array([True]))
    assert (found.number, found.effective) == (8, pytest.approx(effective))


def test_errors_that_cancelled_count_as_the_spread() -> None:
    truth = np.zeros(3)
    found = measure(truth, np.array([0.0, -2.0, 9.0]), np.array([True, True, False]), np.array([1.0, 1.0, 1.0]))
    assert (found.max_abs, found.rms) == (2.0, math.sqrt(2.5))


def test_a_large_tensor_gets_its_own_error() -> None:
    allowance = Allowance("float32")
    many = 10**9
    bounds = allowance.next("x", MeasuredError(many, many, 2e-5, 3e-6, 5.0, 1.0))
    assert bounds.max_abs == pytest.approx(MULTIPLES["float32"].max_abs * 2e-5, rel=0.01)
    assert bounds.rms == pytest.approx(MULTIPLES["float32"].rms * 3e-6, rel=0.01)


@pytest.mark.parametrize("precision", MULTIPLES)
def test_an_exact_tensor_may_still_be_rounded(precision: str) -> None:
    bounds = Allowance(precision).next("x", MeasuredError(10**9, 10**9, 0.0, 0.0, 8.0, 2.0))
    assert bounds.max_abs >= MULTIPLES[precision].max_abs * FLOOR * EPSILON[precision] * 8 * 0.99
    assert bounds.rms >= MULTIPLES[precision].rms * FLOOR * EPSILON[precision] * 2 * 0.99


def test_a_small_tensor_is_expected_to_err_like_the_one_before() -> None:
    allowance = Allowance("float32")
    allowance.next("x", MeasuredError(10**9, 10**9, 1e-3, 1e-4, 1.0, 1.0))  # one part in ten thousand
    bounds = allowance.next("x", MeasuredError(1, 1, 0.0, 0.0, 7.0, 7.0))
    rms = 7e-4 * math.sqrt(PRIOR_COUNT / (PRIOR_COUNT + 1))
    assert bounds.rms == pytest.approx(MULTIPLES["float32"].rms * rms * (1 + STANDARD_DEVIATIONS / math.sqrt(2)), rel=0.01)
    assert bounds.max_abs == pytest.approx(MULTIPLES["float32"].max_abs * rms * PEAK, rel=0.01)


def test_nothing_to_measure() -> None:
    allowance = Allowance("float16")
    assert allowance.next("x", MeasuredError(0, 0, 0.0, 0.0, 0.0, 0.0)) == (0.0, 0.0)
    assert allowance.next("x", MeasuredError(5, 5, 0.0, 0.0, 1.0, 1.0)).rms > 0


def test_one_large_error_gives_room_for_chance() -> None:
    """Nothing is known of how a single error varies, however many elements are right."""
    even = Allowance("float32").next("x", MeasuredError(10**6, 10**6, 1e-5, 1e-6, 1.0, 1e-3))
    single = Allowance("float32").next("x", MeasuredError(10**6, 1, 1e-5, 1e-6, 1.0, 1e-3))
    assert single.rms == pytest.approx(even.rms * (1 + STANDARD_DEVIATIONS / math.sqrt(2)), rel=0.02)


def test_a_sum_is_allowed_what_its_addends_are() -> None:
    allowance = Allowance("float32")
    normed = allowance.next("embeddings.LayerNorm", MeasuredError(100, 100, 1e-3, 1e-4, 1.0, 1.0))
    dense = allowance.next("encoder.layer.0.attention.output.dense", MeasuredError(100, 100, 1e-4, 5e-4, 1.0, 1.0))
    lucky = allowance.next("encoder.layer.0.attention.output:residual", MeasuredError(100, 100, 1e-6, 1e-6, 1.0, 1.0))
    assert lucky.max_abs >= max(normed.max_abs, dense.max_abs)
    assert lucky.rms >= max(normed.rms, dense.rms)
    other = allowance.next("encoder.layer.0.attention.output.LayerNorm", MeasuredError(10**9, 10**9, 1e-6, 1e-6, 1.0, 1.0))
    assert other.rms < normed.rms


def test_a_pack_measures_passes_whose_sums_are_off(tmp_path) -> None:
    """The bounds of a tensor of many elements, from two passes made here."""
    config = tiny(hidden_size=48, intermediate_size=64)
    model = build("BertModel", config, dtype=np.float32)
    inputs = {"input_ids": ids(config, 3, 16), "attention_mask": np.ones((3, 16), np.int64)}
    inputs["attention_mask"][2, 9:] = 0
    golden.export(model, inputs, tmp_path / "pack.safetensors")
    pack = golden.read_pack(tmp_path / "pack.safetensors")
    short, spreads = {}, {}
    run_spread(model, inputs, "float32", lambda name, x, spread: (short.update({name: x}), spreads.update({name: spread})))
    with npbert.trace() as long:
        model.astype(np.float64)(**inputs)
    for name in ("encoder.layer.0.output.dense", "encoder.layer.1.intermediate"):
        counted = inputs["attention_mask"].astype(bool)
        wrong = np.abs(short[name] - long[name].astype(np.float32))
        wrong = np.maximum(wrong, 0 if spreads[name] is None else spreads[name])[counted]
        bounds = pack.tolerances[name]["float32"]
        rms = math.sqrt(np.square(wrong, dtype=np.float64).mean())
        assert bounds.max_abs == pytest.approx(MULTIPLES["float32"].max_abs * wrong.max(), rel=0.02)
        assert bounds.rms == pytest.approx(MULTIPLES["float32"].rms * rms, rel=0.2)


@pytest.mark.parametrize("scale", [0.05, 0.3, 0.6])
@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
def test_an_honest_port_passes_in_its_precision_alone(tmp_path, precision: str, scale: float) -> None:
    """An independent port whose every value is rounded to the precision."""
    model_class = "BertForSequenceClassification"
    model = build(model_class, tiny(), dtype=np.float32, scale=scale)
    inputs = {"input_ids": ids(model.config, 2, 6), "attention_mask": np.array([[1] * 6, [1] * 4 + [0] * 2])}
    golden.export(model, inputs, tmp_path / "pack.safetensors")
    rounded = {"float32": lambda x: x, "float16": halves, "bfloat16": upper_halves}[precision]
    port = run_port(model.config.to_dict(), model.state_dict(), inputs, prefix="bert.", rounded=rounded)
    for asked in ("float32", "float16", "bfloat16"):
        report = golden.compare(tmp_path / "pack.safetensors", port, precision=asked)
        if asked == precision:
            assert report.ok, report
        elif EPSILON[asked] < EPSILON[precision]:
            assert not report.ok


def halves(x: np.ndarray) -> np.ndarray:
    return np.asarray(x).astype(np.float16).astype(np.float32)


def upper_halves(x: np.ndarray) -> np.ndarray:
    """bfloat16 by another way than the package's: 8 bits of the fraction that frexp finds."""
    fraction, exponent = np.frexp(np.asarray(x, np.float64))
    return np.ldexp(np.rint(fraction * 256) / 256, exponent).astype(np.float32)


def test_of_the_inputs_whole_numbers_cannot_differ() -> None:
    pack = golden.read_pack(Path(__file__).parent / "packs" / "decoder.safetensors")
    kinds = {name: x.dtype.kind for name, x in pack.input_arrays.items()}
    assert set(kinds.values()) == {"i", "f"}
    for name, kind in kinds.items():
        for precision in ("float32", "bfloat16"):
            bound = EPSILON[precision] * float(np.abs(pack.input_arrays[name]).max()) if kind == "f" else 0.0
            assert tolerance_of(pack, name, precision) == (bound, bound)
        off = pack.input_arrays[name] + (1 if kind == "i" else 0)
        assert golden.compare(pack, {name: off}).ok == (kind == "f")
