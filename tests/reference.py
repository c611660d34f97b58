"""The live reference, built from one of our models: the same configuration, the same weights.

Imports torch and transformers, so only tests marked `parity` and tools/make_expected_forward.py may import it.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import transformers
from transformers.cache_utils import EncoderDecoderCache

transformers.logging.set_verbosity_error()
torch.set_num_threads(1)


def build(model_class: str, fields: dict[str, Any], weights: dict[str, np.ndarray] | None = None) -> Any:
    """The reference's model with eager attention, in eval mode and in the weights' own type."""
    fields = {name: value for name, value in fields.items() if name not in ("mask_value", "pooler_act", "architectures")}
    config = transformers.BertConfig(**fields, attn_implementation="eager")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = getattr(transformers, model_class)(config).eval()
    if weights is not None:
        tensors = {name: torch.from_numpy(np.array(array)) for name, array in weights.items()}
        model = model.to(next(iter(tensors.values())).dtype)
        missing, unexpected = model.load_state_dict(tensors, strict=False)
        assert not unexpected, unexpected
        tied = {"cls.predictions.decoder.weight", "cls.predictions.decoder.bias"}
        assert set(missing) <= tied, missing
        model.tie_weights()
    return model


def tensor(value: Any) -> Any:
    """A torch tensor from anything array-like."""
    return torch.from_numpy(np.ascontiguousarray(value))


def cache(value: Any) -> Any:
    """A legacy cache as the reference wants it."""
    return EncoderDecoderCache.from_legacy_cache(tuple(tuple(tensor(x) for x in layer) for layer in value))


def run(model: Any, arguments: dict[str, Any]) -> dict[str, np.ndarray]:
    """Call the reference; its arrays come back flat, named as `builders.arrays_of` names ours."""
    flat: dict[str, np.ndarray] = {}

    def walk(name: str, value: Any) -> None:
        if hasattr(value, "to_legacy_cache"):
            value = value.to_legacy_cache()
        if isinstance(value, tuple | list):
            for index, item in enumerate(value):
                walk(f"{name}.{index}", item)
        elif value is not None:
            flat[name] = value.detach().numpy().copy()

    with torch.no_grad():
        output = model(**converted(model, arguments))
    for name, value in output.items():
        walk(name, value)
    return flat


def converted(model: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """Arrays as tensors, floats in the model's type."""
    result: dict[str, Any] = {}
    for name, value in arguments.items():
        if name == "past_key_values":
            result[name] = cache(value)
        elif isinstance(value, np.ndarray):
            x = tensor(value)
            result[name] = x.to(model.dtype) if x.is_floating_point() else x
        else:
            result[name] = value
    return result


@contextlib.contextmanager
def hooked(model: Any) -> Iterator[dict[str, np.ndarray]]:
    """What every module puts out during the block: its first element, where it puts out several."""
    seen: dict[str, np.ndarray] = {}

    def hook(name: str) -> Any:
        def keep(module: Any, arguments: Any, output: Any) -> None:
            while not isinstance(output, torch.Tensor):
                output = output[0]
            seen[name] = output.detach().numpy().copy()

        return keep

    handles = [module.register_forward_hook(hook(name)) for name, module in model.named_modules() if name]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
