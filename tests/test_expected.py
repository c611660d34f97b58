"""The committed results of the live reference (tools/make_expected_forward.py), call by call and module by module."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import npbert
from npbert import BertConfig

from .builders import EXPECTED, arrays_of, assert_close, expected_names, read_expected

TOLERANCE = {"float32": 3e-5, "float64": 1e-12}
MODELS = [name for name in expected_names() if name != "activations"]


def arguments_of(tensors: dict[str, np.ndarray], case: dict[str, Any], call: str, dtype: str) -> dict[str, Any]:
    """A call's arguments, the cache put back into its tuples."""
    start = f"calls/{call}/inputs/"
    given = {name.removeprefix(start): x for name, x in tensors.items() if name.startswith(start)}
    given = {name: x.astype(dtype) if x.dtype.kind == "f" else x for name, x in given.items()}
    cached = {tuple(map(int, name.split(".")[1:])): x for name, x in given.items() if name.startswith("past_key_values")}
    arguments: dict[str, Any] = {name: x for name, x in given.items() if not name.startswith("past_key_values")}
    if cached:
        layers, parts = max(cached)
        arguments["past_key_values"] = tuple(tuple(cached[i, j] for j in range(parts + 1)) for i in range(layers + 1))
    return arguments | case["calls"][call]


def model_of(tensors: dict[str, np.ndarray], case: dict[str, Any], dtype: str, **overrides: Any) -> Any:
    weights = {name.removeprefix("weights/"): x.astype(dtype) for name, x in tensors.items() if name.startswith("weights/")}
    return getattr(npbert, case["class"])(BertConfig(**{**case["config"], **overrides}), weights)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", MODELS)
def test_results(name: str, dtype: str) -> None:
    tensors, case = read_expected(name)
    model = model_of(tensors, case, dtype)
    assert case["calls"]
    for call in case["calls"]:
        actual = arrays_of(model(**arguments_of(tensors, case, call, dtype)))
        start = f"calls/{call}/{dtype}/"
        expected = {key.removeprefix(start): x for key, x in tensors.items() if key.startswith(start)}
        assert set(actual) == set(expected), call
        for key, x in expected.items():
            assert actual[key].dtype == dtype
            assert_close(actual[key], x, TOLERANCE[dtype], f"{name}, {call}, {key}")


@pytest.mark.parametrize("name", MODELS)
def test_what_every_module_puts_out(name: str) -> None:
    tensors, case = read_expected(name)
    call = case["modules_of"]
    start = f"calls/{call}/modules/"
    modules = {key.removeprefix(start): x for key, x in tensors.items() if key.startswith(start)}
    modules |= {key: modules[other] for key, other in case["same_as"].items()}
    with npbert.trace() as kept:
        model_of(tensors, case, "float64", chunk_size_feed_forward=0)(**arguments_of(tensors, case, call, "float64"))
    if case["config"].get("chunk_size_feed_forward"):  # there a hook sees one chunk after the other
        modules = {key: x for key, x in modules.items() if kept[key].shape == x.shape}
    assert len(modules) > 15
    for key, x in modules.items():
        assert_close(kept[key], x, 1e-12, f"{name}, {key}")


@pytest.mark.parametrize("name", MODELS)
def test_the_original_mask_value_gives_the_same_wherever_there_is_something_to_attend_to(name: str) -> None:
    """-10000 and the smallest float differ in rows with nothing to attend to, and nowhere else."""
    tensors, case = read_expected(name)
    model = model_of(tensors, case, "float64", mask_value=npbert.masks.MASKED)
    for call in case["calls"]:
        arguments = arguments_of(tensors, case, call, "float64")
        masks = [np.asarray(arguments[key]) for key in ("attention_mask", "encoder_attention_mask") if key in arguments]
        actual = arrays_of(model(**arguments))
        if all(mask.any(axis=-1).all() for mask in masks) and not (case["config"].get("is_decoder") and masks):
            for key, x in actual.items():
                assert_close(x, tensors[f"calls/{call}/float64/{key}"], 1e-12, f"{name}, {call}, {key}")
        else:
            assert all(np.isfinite(x).all() for x in actual.values())


def test_activations() -> None:
    tensors, _ = read_expected("activations")
    names = [key.removeprefix("float64/") for key in tensors if key.startswith("float64/")]
    assert sorted(names) == sorted(npbert.ops.ACTIVATIONS)
    for name in names:
        expected = tensors[f"float64/{name}"]
        scale = np.maximum(1, np.abs(expected))
        for dtype, tolerance in (("float64", 2e-15), ("float32", 1e-6)):
            with np.errstate(over="ignore"):
                actual = npbert.ops.ACTIVATIONS[name](tensors["x"].astype(dtype))
            assert actual.dtype == dtype
            finite = np.abs(expected) < 1e38
            rounding = 0 if dtype == "float64" else np.abs(tensors["x"]) * 3e-7  # of x itself
            error = np.abs(actual - expected)[finite]
            assert (error <= (tolerance * scale + rounding)[finite]).all(), name


def test_goldens_say_how_they_were_made_and_stay_small() -> None:
    files = list(EXPECTED.glob("*.safetensors"))
    assert len(files) > 20
    assert sum(file.stat().st_size for file in files) < 2_500_000
    for name in expected_names():
        _, case = read_expected(name)
        assert case["versions"]["transformers"] == "4.57.6"
        assert {"torch", "numpy"} <= set(case["versions"])
        assert name == "activations" or isinstance(case["seed"], int)
