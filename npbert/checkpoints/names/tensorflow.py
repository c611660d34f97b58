"""The variables of google-research/bert under Hugging Face's names."""

import re
from collections.abc import Mapping

from npbert.errors import InputError, listed
from npbert.types import Array

# google-research/bert's own optimizer, TensorFlow's Adam, and the LAMB of later trainings; their counters.
_OPTIMIZER = re.compile(
    r"(?:adam|lamb)_[mv]|(?:AdamWeightDecay|LAMB|Adam)(?:Optimizer)?(?:_\d+)?|beta[12]_power|global_step", re.ASCII
)
_NUMBERED = re.compile(r"([A-Za-z]+)_(\d+)", re.ASCII)
_ENDINGS = {
    "kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "output_weights": "weight",
    "output_bias": "bias",
}


def arrays_from_tensorflow(variables: Mapping[str, Array]) -> dict[str, Array]:
    """The variables of a TensorFlow checkpoint of BERT under Hugging Face's names, without what only training needs.

    A dense layer computes `x @ kernel` in TensorFlow and `x @ weight.T` here, so kernels are transposed (as views).
    """
    if any(variable.endswith("/.ATTRIBUTES/VARIABLE_VALUE") for variable in variables):
        raise InputError(
            "weights: this is a TensorFlow 2 object checkpoint; npbert reads those with google-research/bert's names"
        )
    found: dict[str, Array] = {}
    for variable, array in variables.items():
        parts = variable.split("/")
        if any(_OPTIMIZER.fullmatch(part) for part in parts):
            continue
        name = _name_from_parts(parts)
        if name in found:
            raise InputError(f"weights: two TensorFlow variables are both {listed([name])}; the second is {listed([variable])}")
        found[name] = array.T if parts[-1] == "kernel" else array
    return found


def _name_from_parts(parts: list[str]) -> str:
    if len(parts) == 1 and parts[0] in ("output_weights", "output_bias"):
        parts = ["classifier", *parts]
    *modules, last = parts
    words = [word for module in modules for word in _split_number(module)]
    if last.endswith("_embeddings"):
        return ".".join([*words, last, "weight"])
    return ".".join([*words, _ENDINGS.get(last, last)])


def _split_number(module: str) -> tuple[str, ...]:
    """`layer_0` is number 0 in the list `layer`."""
    match = _NUMBERED.fullmatch(module)
    return match.groups() if match else (module,)
