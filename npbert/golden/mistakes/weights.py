"""Wrong weights: transposed, without a bias, of another layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from npbert.bert.config import BertConfig
from npbert.golden.mistakes.hypothesis import LAYER_MODULES, SELF_MODULES, Hypothesis, ReplaceWeights
from npbert.types import Array

GROUPS = (rf"{SELF_MODULES}\..+", rf"(?!{SELF_MODULES}\.).+", rf"{LAYER_MODULES}\.(?:intermediate|output)\..+")


def hypotheses(config: BertConfig) -> Iterator[Hypothesis]:
    """Every way to get weights wrong."""
    yield from _transposed_weights()
    yield from _missing_biases()
    yield from _layers(config.num_hidden_layers)


def _transposed_weights() -> Iterator[Hypothesis]:
    explanation = "A weight is transposed: weights are stored as [out, in] and applied as x @ weight.T."
    for read, works_on_squares in ((_out_in_as_in_out, True), (_in_out_as_out_in, False)):
        weights = _transposed(read, works_on_squares)
        yield Hypothesis("weight-transposed", explanation, r".+", weights=weights, shows_in=("",), groups=GROUPS)


def _out_in_as_in_out(weight: Array) -> Array:
    """The numbers of [out, in], read as those of [in, out]."""
    return weight.reshape(weight.shape[::-1]).T


def _in_out_as_out_in(weight: Array) -> Array:
    """The numbers of [in, out], read as those of [out, in]."""
    return np.ascontiguousarray(weight.T).reshape(weight.shape)


def _transposed(read: Callable[[Array], Array], works_on_squares: bool) -> ReplaceWeights:
    """A linear map's weight, read the wrong way. On a square weight both ways are the same, so one of them is enough."""

    def weights(module: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
        weight = arrays.get(f"{module}.weight")
        if weight is None or weight.ndim != 2 or f"{module}.bias" not in arrays:
            return {}
        is_square = weight.shape[0] == weight.shape[1]
        return {f"{module}.weight": read(weight)} if works_on_squares or not is_square else {}

    return weights


def _missing_biases() -> Iterator[Hypothesis]:
    explanation = "A bias is not added: every linear map and every LayerNorm of BERT has one."
    yield Hypothesis("bias-missing", explanation, r".+", weights=_without_bias(rank=2), shows_in=("",), groups=GROUPS)
    yield Hypothesis("bias-missing", explanation, r".+", weights=_without_bias(rank=1), shows_in=("",))
    yield Hypothesis(
        "bias-missing",
        "The bias over the vocabulary is not added: the decoder has cls.predictions.bias.",
        r"cls\.predictions",
        weights=lambda module, arrays: {f"{module}.bias": np.zeros_like(arrays[f"{module}.bias"])},
        shows_in=(".decoder",),
    )


def _without_bias(rank: int) -> ReplaceWeights:
    """Of modules whose weight has this rank: 2 for linear maps, 1 for LayerNorm."""

    def weights(module: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
        weight, bias = arrays.get(f"{module}.weight"), arrays.get(f"{module}.bias")
        return {} if weight is None or bias is None or weight.ndim != rank else {f"{module}.bias": np.zeros_like(bias)}

    return weights


def _layers(depth: int) -> Iterator[Hypothesis]:
    choices: list[tuple[str, Callable[[int], int]]] = [
        ("of the next layer", lambda index: index + 1),
        ("of the layer before", lambda index: index - 1),
        ("of the layers in reverse order", lambda index: depth - 1 - index),
    ]
    choices += [(f"of layer {source}", lambda index, source=source: source) for source in range(depth)]  # type: ignore[misc]
    for what, source_of in choices:
        yield Hypothesis(
            "wrong-layer-weights",
            f"The weights {what} are used here: layer i reads encoder.layer.i.",
            LAYER_MODULES,
            weights=_of_layer(source_of, depth),
            shows_in=(".attention.self.query",),
            only_together=not what.startswith("of layer "),
        )


def _of_layer(source_of: Callable[[int], int], depth: int) -> ReplaceWeights:
    """All weights of another layer, where there is one and its shapes are the same."""

    def weights(module: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
        start, _, index = module.rpartition(".")
        source = source_of(int(index))
        if not 0 <= source < depth or source == int(index):
            return {}
        inside = [name for name in arrays if name.startswith(f"{module}.")]
        replaced = {name: arrays[f"{start}.{source}{name[len(module) :]}"] for name in inside}
        return replaced if all(array.shape == arrays[name].shape for name, array in replaced.items()) else {}

    return weights
