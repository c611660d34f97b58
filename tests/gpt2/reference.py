"""The live reference's GPT-2, built from one of our models. Imports torch and transformers, so only tests marked `parity` and
tools/make_expected_gpt2.py may import it."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
import transformers

from ..reference import converted as converted
from ..reference import hooked as hooked
from ..reference import run as run


def build(model_class: str, fields: dict[str, Any], weights: dict[str, np.ndarray] | None = None) -> Any:
    """The reference's model with eager attention, in eval mode and in the weights' own type."""
    fields = {name: value for name, value in fields.items() if name != "architectures"}
    config = transformers.GPT2Config(**fields, attn_implementation="eager")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = getattr(transformers, model_class)(config).eval()
    if weights is not None:
        tensors = {name: torch.from_numpy(np.array(array)) for name, array in weights.items()}
        model = model.to(next(iter(tensors.values())).dtype)
        missing, unexpected = model.load_state_dict(tensors, strict=False)
        assert not unexpected, unexpected
        assert set(missing) <= {"lm_head.weight"}, missing
        model.tie_weights()
    return model
