"""The mistakes that porters of BERT make, each as what it does to the one forward pass.

A mistake is planted in npbert's own pass in one of two ways, or both: other weights are handed to it (a port with wrong weights
is npbert with wrong weights), or a named value is replaced, as soon as it is computed, by what the mistake would have made of
the values before it. So there is no second model here, only lines such as: `:residual` is `.dropout`, without what came in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from npbert import masks, ops
from npbert.bert.config import BertConfig
from npbert.golden.positions import Positions
from npbert.golden.precision import round_to
from npbert.types import Array

MISTAKES = (
    "gelu-tanh",
    "gelu-sigmoid",
    "activation-relu",
    "layernorm-eps",
    "layernorm-unbiased",
    "layernorm-missing",
    "weight-transposed",
    "bias-missing",
    "token-types-missing",
    "positions-shifted",
    "embeddings-layernorm-missing",
    "scores-not-scaled",
    "scaled-by-hidden-size",
    "heads-not-transposed",
    "heads-not-merged",
    "key-value-swapped",
    "query-key-swapped",
    "mask-ignored",
    "mask-inverted",
    "mask-wrong-axis",
    "causal-missing",
    "softmax-wrong-axis",
    "residual-missing",
    "residual-after-layernorm",
    "pooler-wrong-token",
    "pooler-tanh-missing",
    "dropout-left-on",
    "wrong-layer-weights",
    "low-precision",
    "unknown",
)
"""Every name that a diagnosis may give."""


class Call:
    """What the arguments of the pack's call say about the masks and positions of a model, or of one of its parts."""

    def __init__(self, config: BertConfig, visible: Positions, position_ids: Array | None) -> None:
        self.config = config
        keys = visible.visible.shape[2]  # T
        triangle = masks.causal(visible.query.shape[1], keys) != 0  # [S, T]
        padding = visible.visible[:, -1:]  # [B, 1, T]: the last query sees all keys that are real
        is_causal = config.is_decoder and np.array_equal(visible.visible, padding & triangle)
        is_plain = is_causal or np.array_equal(visible.visible, np.broadcast_to(padding, visible.visible.shape))
        self._padding = (padding if is_plain else visible.visible)[:, None]  # [B, 1, 1 or S, T]
        self._causal = triangle if is_causal else np.ones((1, 1), np.bool_)
        self._cross = visible.cross_visible[:, None]  # [B, 1, S, E]
        if position_ids is None:
            position_ids = np.arange(keys - visible.query.shape[1], keys)[None]
        self.position_ids = position_ids.reshape(-1, position_ids.shape[-1])  # [1 or B, S]

    def padding(self, module: str) -> Array:
        """Which keys are real for the attention in `module`: truth values `[B, 1, 1 or S, T]`."""
        return self._cross if "crossattention" in module else self._padding

    def causal(self, module: str) -> Array:
        """Which keys do not lie after the query: truth values `[S, T]`, or `[1, 1]` where that does not matter."""
        return np.ones((1, 1), np.bool_) if "crossattention" in module else self._causal


@dataclass
class Step:
    """Where the pass stands: a module of it, one of whose values has just been computed."""

    module: str
    call: Call
    weights: Mapping[str, Array]
    seen: dict[str, Array]  # the values before, under their full names
    value: Array = field(default_factory=lambda: np.empty(0))  # the value as npbert computed it
    before: dict[str, Array] = field(default_factory=dict)  # what was replaced, as npbert had computed it
    port: Callable[[str], Array | None] = lambda name: None  # what the port dumped under a full name

    @property
    def config(self) -> BertConfig:
        return self.call.config

    def __getitem__(self, name: str) -> Array:
        return self.seen[self.module + name]

    def linear(self, name: str, x: Array) -> Array:
        """Apply the linear map `name` of the module."""
        return ops.linear(x, *(self.weights[f"{self.module}{name}.{part}"].astype(x.dtype) for part in ("weight", "bias")))

    def norm(self, x: Array, eps: float | None = None) -> Array:
        """Apply the module's LayerNorm."""
        weight, bias = (self.weights[f"{self.module}.LayerNorm.{part}"].astype(x.dtype) for part in ("weight", "bias"))
        return ops.layer_norm(x, weight, bias, eps=self.config.layer_norm_eps if eps is None else eps)


Value: TypeAlias = Callable[[Step], "Array | None"]
WeightsOf: TypeAlias = Callable[[str, Mapping[str, Array]], dict[str, Array]]


@dataclass(frozen=True)
class Form:
    """One way to make a mistake. Of the values that it names, those are replaced that the module has."""

    mistake: str
    explanation: str
    module: str  # a regular expression for the modules that it can be made in
    values: Mapping[str, Value] = field(default_factory=dict)  # what replaces values, by name relative to the module
    weights: WeightsOf | None = None  # what replaces weights, by full name
    shows_in: tuple[str, ...] = ()  # the values that wrong weights go into first, relative to the module
    precision: str | None = None  # what is rounded, is rounded to this
    rounds_values: bool = False  # every value is rounded before it is used further
    groups: tuple[str, ...] = ()  # regular expressions for modules in which it is often made at once
    only_together: bool = False  # it makes no sense in a single module of several

    @property
    def names(self) -> tuple[str, ...]:
        """The values that are wrong first, relative to the module."""
        return (*self.values, *self.shows_in)


SELF = r".*attention\.self"
OUTPUT = r".*\.output"
EMBEDDINGS = r"(?:.*\.)?embeddings"
LAYER = r"(?:.*\.)?encoder\.layer\.\d+"


def known(config: BertConfig) -> list[Form]:
    """Every form of every mistake that a port of a model with this configuration can make, the usual ones first."""
    parts = (_embeddings, _activations, _norms, _masks, _scores, _softmax, _heads, _residuals, _pooler, _linears, _layers)
    return [form for part in (*parts, _dropouts, _roundings) for form in part(config)]


# ----------------------------------------------------------------------------------------------------------- embeddings


def _embeddings(config: BertConfig) -> Iterator[Form]:
    def first_row(step: Step) -> Array:
        table = step.weights[f"{step.module}.token_type_embeddings.weight"]
        return np.broadcast_to(table[0].astype(step.value.dtype), step.value.shape)

    types = "token-types-missing"
    yield Form(
        types,
        "The token type embeddings are not added: add the row of token_type_embeddings that token_type_ids names "
        "(row 0 where none are given).",
        EMBEDDINGS,
        {".token_type_embeddings": lambda step: np.zeros_like(step.value)},
    )
    yield Form(
        types,
        "Every token is taken to be of type 0: look token_type_ids up instead.",
        EMBEDDINGS,
        {".token_type_embeddings": first_row},
    )

    def at(places: Callable[[Array], Array]) -> dict[str, Value]:
        def look_up(step: Step) -> Array | None:
            table = step.weights[f"{step.module}.position_embeddings.weight"]
            rows = places(step.call.position_ids)
            if rows.min(initial=0) < 0 or rows.max(initial=0) >= len(table):
                return None
            return table[rows].astype(step.value.dtype)

        return {".position_embeddings": look_up}

    for shift in (1, 2, -1):
        yield Form(
            "positions-shifted",
            f"The positions are off by {shift}: BERT counts from 0 and knows no offset for padding.",
            EMBEDDINGS,
            at(lambda ids, shift=shift: ids + shift),  # type: ignore[misc]
        )
    yield Form(
        "positions-shifted",
        "Every token is given position 0: count 0, 1, 2, ... along the sequence.",
        EMBEDDINGS,
        at(np.zeros_like),
    )
    yield Form(
        "positions-shifted",
        "The position embeddings are not added: add row 0, 1, 2, ... of position_embeddings along the sequence.",
        EMBEDDINGS,
        {".position_embeddings": lambda step: np.zeros_like(step.value)},
    )
    yield Form(
        "embeddings-layernorm-missing",
        "The sum of the embeddings goes on as it is: apply embeddings.LayerNorm to it.",
        EMBEDDINGS,
        {".LayerNorm": lambda step: step[":sum"]},
    )


# ---------------------------------------------------------------------------------------------------------- feed-forward


def _activations(config: BertConfig) -> Iterator[Form]:
    wanted = config.hidden_act if isinstance(config.hidden_act, str) else "the configuration's own activation"
    computed = [
        ("gelu-tanh", ops.gelu_new, "GELU is computed by its approximation with tanh"),
        ("gelu-sigmoid", ops.quick_gelu, "GELU is computed as x * sigmoid(1.702 x)"),
        ("activation-relu", ops.relu, "The activation is ReLU"),
    ]
    if config.activation in (ops.gelu_new, ops.gelu_fast):
        computed[0] = ("gelu-tanh", ops.gelu, "GELU is computed with erf")
    for mistake, function, what in computed:
        if function is not config.activation:
            formula = "x * (1 + erf(x / sqrt(2))) / 2" if config.activation is ops.gelu else "its own formula"
            value: Value = lambda step, function=function: function(step[".dense"])  # type: ignore[misc]  # noqa: E731
            yield Form(
                mistake,
                f"{what}: the configuration's hidden_act is {wanted!r}, {formula}.",
                r".*\.(?:intermediate|transform)",
                {".intermediate_act_fn": value, ".transform_act_fn": value},
            )


# ------------------------------------------------------------------------------------------------------------- LayerNorm


def _norms(config: BertConfig) -> Iterator[Form]:
    everywhere = rf"{EMBEDDINGS}|{OUTPUT}|.*\.transform"

    def entering(step: Step) -> Array:
        return next(step[name] for name in (":sum", ":residual", ".transform_act_fn") if step.module + name in step.seen)

    def unbiased(step: Step) -> Array | None:
        x = entering(step)
        size = x.shape[-1]  # D
        if size == 1:
            return None
        # (x - mean) / sqrt(v D / (D - 1) + eps) is LayerNorm with a smaller eps, scaled
        factor = size / (size - 1)
        bias = step.weights[f"{step.module}.LayerNorm.bias"].astype(x.dtype)
        return (step.norm(x, step.config.layer_norm_eps / factor) - bias) / math.sqrt(factor) + bias

    yield Form(
        "layernorm-missing",
        "LayerNorm is left out: normalise, scale and shift the sum with the residual.",
        everywhere,
        {".LayerNorm": entering},
        groups=(OUTPUT,),
    )
    yield Form(
        "layernorm-unbiased",
        "LayerNorm divides the squares by D - 1: its variance is the biased one, divided by D.",
        everywhere,
        {".LayerNorm": unbiased},
        groups=(OUTPUT,),
    )
    for eps in (1e-5, 1e-12, 1e-6, 1e-3, 1e-8):
        if not math.isclose(eps, config.layer_norm_eps):
            yield Form(
                "layernorm-eps",
                f"LayerNorm's eps is {eps:g}: the configuration's layer_norm_eps is {config.layer_norm_eps:g}.",
                everywhere,
                {".LayerNorm": lambda step, eps=eps: step.norm(entering(step), eps)},  # type: ignore[misc]
                groups=(OUTPUT,),
            )


# ------------------------------------------------------------------------------------------------------------- attention


def _unmasked(step: Step, divisor: float | None = None) -> Array:
    """The scores, scaled, without a mask."""
    scores = step[":scores"]
    if step.module + ":relative_scores" in step.seen:
        scores = scores + step[":relative_scores"]
    return scores / (math.sqrt(step.config.head_size) if divisor is None else divisor)


def _fills(config: BertConfig) -> tuple[float, ...]:
    """What ports add where attention is not allowed: the configuration's value, one that swallows the score, infinity."""
    return (config.mask_value, -1e30, -math.inf)


def _masks(config: BertConfig) -> Iterator[Form]:
    def masked(visible: Callable[[Array, Array], Array | None], fill: float = config.mask_value) -> dict[str, Value]:
        """`:masked_scores` with another mask, made of padding `[B, 1, S or 1, T]` and causal `[S, T]`."""

        def masked_scores(step: Step) -> Array | None:
            padding, causal = step.call.padding(step.module), step.call.causal(step.module)
            shown = visible(padding, causal)
            scores = _unmasked(step)
            if shown is None or not _broadcasts(shown.shape, scores.shape):
                return None
            return np.where(shown, scores, scores + fill)

        return {":masked_scores": masked_scores}

    def only_if(condition: Callable[[Array, Array], bool], visible: Callable[[Array, Array], Array]) -> Any:
        return lambda padding, causal: visible(padding, causal) if condition(padding, causal) else None

    def is_padded(padding: Array, causal: Array) -> bool:
        return not padding.all()

    ignored = "The attention mask is ignored: keys that are padding must not be attended to; add a very negative number there."
    yield Form("mask-ignored", ignored, SELF, masked(only_if(is_padded, lambda padding, causal: causal)))
    if config.is_decoder:
        yield Form(
            "causal-missing",
            "Each position attends to those after it: a decoder hides keys that lie after the query.",
            SELF,
            masked(only_if(lambda padding, causal: not causal.all(), lambda padding, causal: padding)),
        )
        both = only_if(
            lambda padding, causal: not (padding.all() or causal.all()), lambda padding, causal: np.ones_like(causal)
        )
        yield Form(
            "mask-ignored",
            "No mask is applied, neither for padding nor the causal one: hide keys that are padding or lie after the query.",
            SELF,
            masked(both),
        )
    for fill in _fills(config):
        inverted = "The attention mask is inverted: 1 stands for a key that may be attended to, 0 for padding."
        yield Form("mask-inverted", inverted, SELF, masked(only_if(is_padded, lambda padding, causal: ~padding & causal), fill))
        if config.is_decoder:
            yield Form("mask-inverted", inverted, SELF, masked(lambda padding, causal: ~(padding & causal), fill))

    def of_queries(padding: Array, causal: Array) -> Array | None:
        rows = padding[:, :, -1:].swapaxes(2, 3)  # [B, 1, T, 1]
        return rows & causal if is_padded(padding, causal) and _broadcasts(causal.shape, (rows.shape[2],) * 2) else None

    for fill in _fills(config):
        yield Form(
            "mask-wrong-axis",
            "The attention mask hides queries: it belongs to the keys, the last axis of the scores [B, N, S, T].",
            SELF,
            masked(of_queries, fill),
        )


def _broadcasts(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    padded = (1,) * (len(target) - len(shape)) + shape
    return all(mine in (1, theirs) for mine, theirs in zip(padded, target, strict=True))


def _scores(config: BertConfig) -> Iterator[Form]:
    def divided(divisor: float) -> dict[str, Value]:
        return {":masked_scores": lambda step: step.value - _unmasked(step) + _unmasked(step, divisor)}

    yield Form(
        "scores-not-scaled",
        f"The scores are not scaled: divide them by sqrt(head size) = sqrt({config.head_size}) before the mask and softmax.",
        SELF,
        divided(1),
    )
    yield Form(
        "scaled-by-hidden-size",
        f"The scores are divided by sqrt(hidden size): divide by the root of the size of one head, sqrt({config.head_size}).",
        SELF,
        divided(math.sqrt(config.hidden_size)),
    )

    def transposed_scores(step: Step) -> Array | None:
        query, key = step[":query"], step[":key"]
        return ops.attention_scores(key, query) if query.shape == key.shape else None

    swapped = "Queries and keys are swapped: scores are query @ key.T, with a row for each query."
    yield Form("query-key-swapped", swapped, SELF, weights=_exchanged(".query", ".key"), shows_in=(".query", ".key"))
    yield Form("query-key-swapped", swapped, SELF, {":query": _split_of(".key"), ":key": _split_of(".query")})
    yield Form("query-key-swapped", swapped, SELF, {":scores": transposed_scores})

    swapped = "Keys and values are swapped: the queries are compared with the keys, the probabilities weigh the values."
    yield Form("key-value-swapped", swapped, SELF, weights=_exchanged(".key", ".value"), shows_in=(".key", ".value"))
    yield Form("key-value-swapped", swapped, SELF, {":key": _split_of(".value"), ":value": _split_of(".key")})
    yield Form(
        "key-value-swapped",
        swapped,
        SELF,
        {
            ":scores": lambda step: ops.attention_scores(step[":query"], step[":value"]),
            "": lambda step: ops.merge_heads(step[":probs"] @ step[":key"]),
        },
    )


def _exchanged(one: str, other: str) -> WeightsOf:
    def weights(module: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
        pairs = [(one, other), (other, one)]
        return {f"{module}{a}.{part}": arrays[f"{module}{b}.{part}"] for a, b in pairs for part in ("weight", "bias")}

    return weights


def _split_of(name: str) -> Value:
    def split(step: Step) -> Array | None:
        x = ops.split_heads(step[name], step.config.head_size)
        return x if x.shape == step.value.shape else None

    return split


def _softmax(config: BertConfig) -> Iterator[Form]:
    def along(axis: int, fill: float) -> dict[str, Value]:
        def softmax(step: Step) -> Array:
            scores = step[":masked_scores"]
            visible = step.call.padding(step.module) & step.call.causal(step.module)
            if fill != step.config.mask_value:
                scores = np.where(visible, scores, fill)
            return np.moveaxis(ops.softmax(np.moveaxis(scores, axis, -1)), -1, axis)

        return {".dropout": softmax}

    for axis, what in ((2, "the queries"), (1, "the heads"), (0, "the batch")):
        for fill in _fills(config):
            yield Form(
                "softmax-wrong-axis",
                f"Softmax is taken over {what}: it belongs over the keys, the last axis of the scores [B, N, S, T].",
                SELF,
                along(axis, fill),
            )


def _heads(config: BertConfig) -> Iterator[Form]:
    def reshaped(name: str) -> Value:
        def split(step: Step) -> Array:
            x = step[name]
            batch, heads, length, size = step.value.shape
            new = x.reshape(batch, heads, x.shape[1], size)
            return np.concatenate([step.value[:, :, : length - x.shape[1]], new], axis=2)  # behind what was cached

        return split

    def unmerged(step: Step) -> Array:
        return (step[":probs"] @ step[":value"]).reshape(step.value.shape)

    heads = {f":{part}": reshaped(f".{part}") for part in ("query", "key", "value")}
    explanation = "The heads are split by a reshape alone: [B, S, D] becomes [B, S, N, H], then transpose to [B, N, S, H]."
    yield Form("heads-not-transposed", explanation, SELF, heads)
    yield Form("heads-not-transposed", explanation, SELF, {**heads, "": unmerged})
    for part, value in heads.items():
        yield Form("heads-not-transposed", explanation, SELF, {part: value})
    yield Form(
        "heads-not-merged",
        "The heads are merged by a reshape alone: transpose [B, N, S, H] to [B, S, N, H], then reshape to [B, S, D].",
        SELF,
        {"": unmerged},
    )


def _residuals(config: BertConfig) -> Iterator[Form]:
    yield Form(
        "residual-missing",
        "The residual is not added: LayerNorm is taken of dense(x) plus what came into the block.",
        OUTPUT,
        {":residual": lambda step: step[".dropout"]},
    )

    def added_late(step: Step) -> Array:
        residual = step.before[f"{step.module}:residual"] - step[".dropout"]
        return step.norm(step[".dropout"]) + residual

    explanation = "The residual is added after LayerNorm: BERT normalises the sum of both, LayerNorm(dense(x) + residual)."
    norm: dict[str, Value] = {".LayerNorm": lambda step: step.norm(step[".dropout"]), "": added_late}
    mistake = "residual-after-layernorm"
    yield Form(mistake, explanation, OUTPUT, {":residual": lambda step: step[".dropout"], **norm})

    def sum_after_norm(step: Step) -> Array:
        return step.norm(step[".dropout"]) + (step.value - step[".dropout"])

    late: Value = lambda step: step[":residual"]  # noqa: E731
    yield Form(mistake, explanation, OUTPUT, {":residual": sum_after_norm, ".LayerNorm": norm[".LayerNorm"], "": late})


# ---------------------------------------------------------------------------------------------------------------- pooler


def _pooler(config: BertConfig) -> Iterator[Form]:
    def reading(choose: Callable[[Step, Array], Array | None]) -> dict[str, Value]:
        def dense(step: Step) -> Array | None:
            hidden = step.seen[step.module.removesuffix("pooler") + "encoder"]  # [B, S, D]
            chosen = choose(step, hidden)
            return None if chosen is None else step.linear(".dense", chosen)

        return {".dense": dense}

    def real(step: Step, hidden: Array) -> Array | None:
        """Which tokens are no padding, `[B, S]`."""
        padding = step.call.padding("")[:, 0, -1]
        return padding if padding.shape == hidden.shape[:2] and padding.any(axis=1).all() else None

    def last_real(step: Step, hidden: Array) -> Array | None:
        tokens = real(step, hidden)
        if tokens is None:
            return None
        last = tokens.shape[1] - 1 - np.argmax(tokens[:, ::-1], axis=1)  # [B]
        return hidden[np.arange(len(hidden)), last]

    def mean_of_real(step: Step, hidden: Array) -> Array | None:
        tokens = real(step, hidden)
        if tokens is None:
            return None
        return np.where(tokens[:, :, None], hidden, 0).sum(axis=1) / tokens.sum(axis=1, keepdims=True)

    readings: list[tuple[str, Callable[[Step, Array], Array | None]]] = [
        ("the last position", lambda step, hidden: hidden[:, -1]),
        ("the last token that is no padding", last_real),
        ("the second token", lambda step, hidden: hidden[:, min(1, hidden.shape[1] - 1)]),
        ("the mean of all positions", lambda step, hidden: hidden.mean(axis=1)),
        ("the mean of the tokens that are no padding", mean_of_real),
    ]
    for what, choose in readings:
        yield Form(
            "pooler-wrong-token",
            f"The pooler reads {what}: it reads the first token, [CLS].",
            r"(?:.*\.)?pooler",
            reading(choose),
        )
    yield Form(
        "pooler-tanh-missing",
        f"The pooler's activation is left out: apply {config.pooler_act} to its linear map.",
        r"(?:.*\.)?pooler",
        {".activation": lambda step: step[".dense"]},
    )


# --------------------------------------------------------------------------------------------------------------- weights


def _linears(config: BertConfig) -> Iterator[Form]:
    def transposed(read: Callable[[Array], Array]) -> WeightsOf:
        def weights(module: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
            weight = arrays.get(f"{module}.weight")
            if weight is None or weight.ndim != 2 or f"{module}.bias" not in arrays:
                return {}
            return {f"{module}.weight": read(weight)} if weight.shape[0] != weight.shape[1] or read is reads[0] else {}

        return weights

    groups = (rf"{SELF}\..+", rf"(?!{SELF}\.).+", rf"{LAYER}\.(?:intermediate|output)\..+")
    explanation = "A weight is transposed: weights are stored as [out, in] and applied as x @ weight.T."
    reads: tuple[Callable[[Array], Array], ...] = (
        lambda weight: weight.reshape(weight.shape[::-1]).T,  # the numbers of [out, in] read as those of [in, out]
        lambda weight: np.ascontiguousarray(weight.T).reshape(weight.shape),  # and the other way round
    )
    for read in reads:
        yield Form("weight-transposed", explanation, r".+", weights=transposed(read), shows_in=("",), groups=groups)

    def without_bias(rank: int) -> WeightsOf:
        def weights(module: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
            weight, bias = arrays.get(f"{module}.weight"), arrays.get(f"{module}.bias")
            return {} if weight is None or bias is None or weight.ndim != rank else {f"{module}.bias": np.zeros_like(bias)}

        return weights

    explanation = "A bias is not added: every linear map and every LayerNorm of BERT has one."
    yield Form("bias-missing", explanation, r".+", weights=without_bias(2), shows_in=("",), groups=groups)
    yield Form("bias-missing", explanation, r".+", weights=without_bias(1), shows_in=("",))
    yield Form(
        "bias-missing",
        "The bias over the vocabulary is not added: the decoder has cls.predictions.bias.",
        r"cls\.predictions",
        weights=lambda module, arrays: {f"{module}.bias": np.zeros_like(arrays[f"{module}.bias"])},
        shows_in=(".decoder",),
    )


def _layers(config: BertConfig) -> Iterator[Form]:
    depth = config.num_hidden_layers

    def of_layer(other: Callable[[int], int]) -> WeightsOf:
        def weights(module: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
            start, _, index = module.rpartition(".")
            source = other(int(index))
            if not 0 <= source < depth or source == int(index):
                return {}
            inside = [name for name in arrays if name.startswith(f"{module}.")]
            replaced = {name: arrays[f"{start}.{source}{name[len(module) :]}"] for name in inside}
            return replaced if all(array.shape == arrays[name].shape for name, array in replaced.items()) else {}

        return weights

    choices: list[tuple[str, Callable[[int], int]]] = [
        ("of the next layer", lambda index: index + 1),
        ("of the layer before", lambda index: index - 1),
        ("of the layers in reverse order", lambda index: depth - 1 - index),
    ]
    choices += [(f"of layer {source}", lambda index, source=source: source) for source in range(depth)]  # type: ignore[misc]
    for what, other in choices:
        yield Form(
            "wrong-layer-weights",
            f"The weights {what} are used here: layer i reads encoder.layer.i.",
            LAYER,
            weights=of_layer(other),
            shows_in=(".attention.self.query",),
            only_together=not what.startswith("of layer "),
        )


# ------------------------------------------------------------------------------------------------- dropout and precision


def _dropouts(config: BertConfig) -> Iterator[Form]:
    def dropped(x: Array, seen: Array) -> Array | None:
        """x with the zeros of what the port dumped, if as many elements are zero as the scale of the others says."""
        if seen.shape != x.shape:
            return None
        with np.errstate(all="ignore"):
            kept = np.abs(seen) > 1e-6 * np.abs(x)
            scales = (seen / x)[kept & (np.abs(x) > 0)]
        lost = ~kept & (x != 0)
        number = int((x != 0).sum())
        if not lost.any() or not scales.size:
            return None
        probability = 1 - 1 / float(np.median(scales))
        share = int(lost.sum()) / number
        spread = math.sqrt(max(share * (1 - share), 1 / number) / number)
        if not 0 < probability < 1 or abs(share - probability) > 5 * spread:
            return None
        return np.where(kept, x / (1 - probability), 0)

    def from_port(*names: str) -> Value:
        def value(step: Step) -> Array | None:
            seen = next((x for name in names if (x := step.port(step.module + name)) is not None), None)
            return None if seen is None else dropped(step.value, seen)

        return value

    def in_residual(step: Step) -> Array | None:
        seen = step.port(f"{step.module}:residual")
        if seen is None:
            return None
        residual = step.value - step[".dropout"]
        rest = seen - residual
        found = dropped(step[".dropout"], np.where(np.abs(rest) < 1e-5 * np.abs(residual), 0, rest))
        return None if found is None else found + residual

    explanation = "Dropout is on: elements are zero at random and the others scaled up. Switch it off (eval mode)."
    yield Form("dropout-left-on", explanation, EMBEDDINGS, {".dropout": from_port(".dropout", "")})
    yield Form("dropout-left-on", explanation, SELF, {".dropout": from_port(".dropout", ":probs")})
    yield Form("dropout-left-on", explanation, OUTPUT, {".dropout": from_port(".dropout")})
    yield Form("dropout-left-on", explanation, OUTPUT, {":residual": in_residual})


def _roundings(config: BertConfig) -> Iterator[Form]:
    for precision in ("float16", "bfloat16"):

        def rounded(module: str, arrays: Mapping[str, Array], precision: str = precision) -> dict[str, Array]:
            names = [f"{module}.weight", f"{module}.bias"]
            return {name: round_to(arrays[name].astype(np.float32), precision) for name in names if name in arrays}

        explanation = f"No mistake: the weights are rounded to {precision}. Compare with precision={precision!r}."
        yield Form(
            "low-precision", explanation, r".+", weights=rounded, shows_in=("",), precision=precision, only_together=True
        )
        explanation = f"No mistake: weights and values are rounded to {precision}. Compare with precision={precision!r}."
        yield Form(
            "low-precision",
            explanation,
            r".+",
            weights=rounded,
            shows_in=("",),
            precision=precision,
            rounds_values=True,
            only_together=True,
        )
