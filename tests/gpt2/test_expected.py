"""GPT-2 held against what the reference computed and wrote once; needs no reference."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import npbert

from ..builders import assert_close
from .cases import DATA, FORWARD, GENERATE, forward_case, writer

ARRAYS = np.load(DATA / "forward.npz")
GENERATED = json.loads((DATA / "generated.json").read_text())


@pytest.mark.parametrize("name", FORWARD)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_and_gradients(name: str, dtype: Any) -> None:
    model, arguments = forward_case(name)
    model, tolerance = model.astype(dtype), 3e-6 if dtype is np.float64 else 3e-5
    expected = {key.removeprefix(f"{name}/"): ARRAYS[key] for key in ARRAYS if key.startswith(f"{name}/")}
    given = {} if "labels" in arguments else {"output_gradients": {"last_hidden_state": expected["out"]}}
    with npbert.trace() as kept:
        out, gradients = model.gradients(**arguments, **given)
    assert_close(out["logits" if "labels" in arguments else "last_hidden_state"], expected.pop("out"), tolerance)
    floor = max(float(np.abs(x).max()) for key, x in expected.items() if key.startswith("grad:")) / 10
    for key, x in expected.items():
        if not key.startswith("grad:"):
            assert_close(kept[key], x, tolerance, key)
        else:
            scale = max(float(np.abs(x).max()), floor)
            assert_close(gradients[key.removeprefix("grad:")] / scale, x / scale, tolerance, key)
    assert {f"grad:{weight}" for weight, x in gradients.items() if x.any()} <= set(expected)


@pytest.mark.parametrize("index", range(len(GENERATE)))
def test_writes_what_the_reference_writes(index: int) -> None:
    out = npbert.generate(npbert.load(DATA / "checkpoint"), return_dict_in_generate=True, **GENERATE[index])
    assert out.sequences.tolist() == GENERATED[index]["sequences"]
    if GENERATED[index]["scores"] is not None:
        np.testing.assert_allclose(out.sequences_scores, GENERATED[index]["scores"], rtol=1e-4)


def test_the_checkpoint_is_the_model_that_it_was_saved_from() -> None:
    model = npbert.load(DATA / "checkpoint")
    assert type(model) is npbert.GPT2LMHeadModel
    for name, x in writer().state_dict().items():
        np.testing.assert_array_equal(model.state_dict()[name], x, err_msg=name)
