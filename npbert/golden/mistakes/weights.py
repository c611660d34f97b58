"""Wrong weights: transposed, left out, another of the same shape, of another layer, cut into heads another way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import combinations, permutations

import numpy as np

from npbert.bert.config import BertConfig
from npbert.golden.mistakes.hypothesis import LAYER_MODULES, SELF_MODULES, Hypothesis, ReplaceWeights
from npbert.types import Array

GROUPS = (
    r".*encoder\.layer\..+",
    rf"{SELF_MODULES}\..+",
    rf"(?!{SELF_MODULES}\.).+",
    rf"{LAYER_MODULES}\.(?:intermediate|output)\..+",
)
ATTENTION_MODULES = rf"{LAYER_MODULES}\.(?:cross)?attention"

SQUARE = ("self.query", "self.key", "self.value", "output.dense")
"""The linear maps from D to D in an attention, in the order in which they are computed."""

USED = "the queries are compared with the keys, the probabilities weigh the values"

SWAPPED = {
    ("self.query", "self.key"): (
        "query-key-swapped",
        "Queries and keys are swapped: scores are query @ key.T, with a row for each query",
    ),
    ("self.key", "self.value"): ("key-value-swapped", f"Keys and values are swapped: {USED}"),
    ("self.query", "self.value"): ("query-value-swapped", f"Queries and values are swapped: {USED}"),
}

PARTS = {("weight", "bias"): "weight and bias", ("weight",): "weight", ("bias",): "bias"}


def hypotheses(config: BertConfig) -> Iterator[Hypothesis]:
    """Every way to get weights wrong."""
    yield from _exchanges()
    yield from _norms()
    yield from _transposed_weights()
    yield from _missing_biases()
    yield from _layers(config.num_hidden_layers)
    yield from _single_weights(config.num_hidden_layers)


def _reading(
    mistake: str,
    explanation: str,
    modules: str,
    sources: Mapping[str, str],
    parts: tuple[str, ...] = ("weight", "bias"),
    is_rare: bool = False,
) -> Hypothesis:
    """The parts of a module (keys) have the weights of others (values)."""

    def weights(module: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
        pairs = {f"{module}.{own}.{part}": f"{module}.{source}.{part}" for own, source in sources.items() for part in parts}
        return _taken(arrays, pairs)

    shows_in = tuple(f".{own}" for own in sources)
    return Hypothesis(mistake, explanation, modules, weights=weights, shows_in=shows_in, is_rare=is_rare)


def _taken(arrays: Mapping[str, Array], pairs: Mapping[str, str]) -> dict[str, Array]:
    """Weights under the names of others, if all are there and of the same shape."""
    if any(name not in arrays for pair in pairs.items() for name in pair):
        return {}
    if any(arrays[own].shape != arrays[source].shape for own, source in pairs.items()):
        return {}
    return {own: arrays[source] for own, source in pairs.items()}


def _exchanges() -> Iterator[Hypothesis]:
    """The square maps of an attention in another order, and one of them in the place of another."""
    for one, other in combinations(SQUARE, 2):
        mistake, told = SWAPPED.get((one, other), ("weights-swapped", f"The weights of {one} and {other} are exchanged"))
        for parts, what in PARTS.items():
            says = told if len(parts) == 2 else f"The {what} of {one} and the {what} of {other} are exchanged"
            yield _reading(mistake, f"{says}.", ATTENTION_MODULES, {one: other, other: one}, parts)
    query, key, value, _ = SQUARE
    for sources in ((key, value, query), (value, query, key)):
        rotated = dict(zip(SQUARE[:3], sources, strict=True))
        told = ", ".join(f"{own} has those of {source}" for own, source in rotated.items()).replace("self.", "")
        yield _reading("qkv-rotated", f"The weights of query, key and value are rotated: {told}.", ATTENTION_MODULES, rotated)
    for own, source in permutations(SQUARE, 2):
        for parts, what in PARTS.items():
            says = f"<module>.{own} has the {what} of <module>.{source}."
            yield _reading("weight-from-elsewhere", says, ATTENTION_MODULES, {own: source}, parts, is_rare=True)
    for source in SQUARE[:3]:
        says = f"Query, key and value all have the weights of {source}."
        yield _reading("weight-from-elsewhere", says, ATTENTION_MODULES, {own: source for own in SQUARE[:3] if own != source})
    attention, output = "attention.output.dense", "output.dense"
    for own, source in ((attention, output), (output, attention)):
        says = f"<module>.{own} has the bias of <module>.{source}."
        yield _reading("weight-from-elsewhere", says, LAYER_MODULES, {own: source}, ("bias",), is_rare=True)


def _norms() -> Iterator[Hypothesis]:
    one, other = "attention.output.LayerNorm", "output.LayerNorm"
    for parts, what in PARTS.items():
        says = f"The {what} of {one} and of {other} are exchanged."
        yield _reading("norms-swapped", says, LAYER_MODULES, {one: other, other: one}, parts)
        for own, source in ((one, other), (other, one)):
            says = f"<module>.{own} has the {what} of <module>.{source}."
            yield _reading("norms-swapped", says, LAYER_MODULES, {own: source}, parts)

    def of_embeddings(own: tuple[str, ...]) -> ReplaceWeights:
        def weights(module: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
            source = f"{module.partition('encoder.layer.')[0]}embeddings.LayerNorm"
            return _taken(
                arrays, {f"{module}.{name}.{part}": f"{source}.{part}" for name in own for part in ("weight", "bias")}
            )

        return weights

    for names in ((one,), (other,), (one, other)):
        yield Hypothesis(
            "norms-swapped",
            f"{' and '.join(names)} of a layer have the weights of <base>.embeddings.LayerNorm.",
            LAYER_MODULES,
            weights=of_embeddings(names),
            shows_in=tuple(f".{name}" for name in names),
        )


# ------------------------------------------------------------------------------------------------------ transposed, left out


def _transposed_weights() -> Iterator[Hypothesis]:
    explanation = "A weight is transposed: weights are stored as [out, in] and applied as x @ weight.T."
    for read, works_on_squares in ((_out_in_as_in_out, True), (_in_out_as_out_in, False)):
        weights = _transposed(read, works_on_squares)
        yield Hypothesis("weight-transposed", explanation, r".+", weights=weights, shows_in=("",), groups=GROUPS)

    def only_squares(module: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
        weight = arrays.get(f"{module}.weight")
        is_square = weight is not None and weight.ndim == 2 and weight.shape[0] == weight.shape[1]
        return {f"{module}.weight": weight.T} if weight is not None and is_square else {}

    says = "All square weights are transposed: weights are stored as [out, in] and applied as x @ weight.T."
    yield Hypothesis("weight-transposed", says, r".+", weights=only_squares, shows_in=("",), groups=(r".*encoder\.layer\..+",))


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
    yield Hypothesis("bias-missing", explanation, r".+", weights=_bias(2, 0), shows_in=("",), groups=GROUPS)
    yield Hypothesis("bias-missing", explanation, r".+", weights=_bias(1, 0), shows_in=("",))
    yield Hypothesis(
        "bias-missing",
        "The bias over the vocabulary is not added: the decoder has cls.predictions.bias.",
        r"cls\.predictions",
        weights=lambda module, arrays: {f"{module}.bias": np.zeros_like(arrays[f"{module}.bias"])},
        shows_in=(".decoder",),
    )
    for mistake, factor, what in (("bias-doubled", 2, "added twice"), ("bias-subtracted", -1, "subtracted")):
        explanation = f"The bias of <module> is {what}."
        yield Hypothesis(mistake, explanation, r".+", weights=_bias(2, factor), shows_in=("",), groups=GROUPS)
    explanation = "The bias of LayerNorm is added twice."
    yield Hypothesis("bias-doubled", explanation, r".+", weights=_bias(1, 2), shows_in=("",))


def _bias(rank: int, factor: float) -> ReplaceWeights:
    """The bias times a factor, of modules whose weight has this rank: 2 for linear maps, 1 for LayerNorm."""

    def weights(module: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
        weight, bias = arrays.get(f"{module}.weight"), arrays.get(f"{module}.bias")
        return {} if weight is None or bias is None or weight.ndim != rank else {f"{module}.bias": bias * factor}

    return weights


# ------------------------------------------------------------------------------------------------------------ other layers


def _layers(depth: int) -> Iterator[Hypothesis]:
    for what, source_of in _other_layers(depth):
        yield Hypothesis(
            "wrong-layer-weights",
            f"The weights {what} are used here: layer i reads encoder.layer.i.",
            LAYER_MODULES,
            weights=_of_layer(source_of, depth),
            shows_in=(".attention.self.query",),
            only_together=not what.startswith("of layer "),
        )


def _other_layers(depth: int) -> list[tuple[str, Callable[[int], int]]]:
    choices: list[tuple[str, Callable[[int], int]]] = [
        ("of the next layer", lambda index: index + 1),
        ("of the layer before", lambda index: index - 1),
        ("of the layers in reverse order", lambda index: depth - 1 - index),
    ]
    return choices + [(f"of layer {source}", lambda index, source=source: source) for source in range(depth)]


def _single_weights(depth: int) -> Iterator[Hypothesis]:
    """One module of a layer with the weights of the same module in another layer."""
    squares = (f"attention.{name}" for name in SQUARE)
    for inside in (*squares, "attention.output.LayerNorm", "intermediate.dense", "output.dense",
                   "output.LayerNorm"):  # fmt: skip
        for what, source_of in _other_layers(depth):
            yield Hypothesis(
                "wrong-layer-weights",
                f"<module>.{inside} has the weights {what}.",
                LAYER_MODULES,
                weights=_of_layer(source_of, depth, inside),
                shows_in=(f".{inside}",),
                is_rare=True,
            )


def _of_layer(source_of: Callable[[int], int], depth: int, inside: str = "") -> ReplaceWeights:
    """All weights of another layer, or those of one module in it, where there is one and its shapes are the same."""

    def weights(module: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
        start, _, index = module.rpartition(".")
        source = source_of(int(index))
        if not 0 <= source < depth or source == int(index):
            return {}
        own = f"{module}.{inside}." if inside else f"{module}."
        return _taken(arrays, {name: f"{start}.{source}{name[len(module) :]}" for name in arrays if name.startswith(own)})

    return weights
