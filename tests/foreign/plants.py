"""The mistakes that the BERT in `bert.c` can make on purpose: each one edit of one step, as porters make them.

A mistake of arithmetic is a switch in bert.c. A mistake of loading is a change of the weights, one of calling a change of the
inputs or of the configuration, one of dumping a change of what was dumped.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = Any
Arrays = Mapping[str, Array]
Change = Callable[[Arrays], dict[str, Any]]  # the arrays that change; None for one that is lost


@dataclass(frozen=True)
class Plant:
    """One mistake."""

    name: str
    first: str  # the tensor where it first shows when everything was dumped
    mistake: str | None = None  # what a diagnosis calls it; None where it can only say where it is
    switch: str = ""  # in bert.c
    layer: int | None = None  # of the switch; None: in every layer
    block: str = ""  # of the switch: "embeddings", "attention", "feed-forward"; "": in all of them
    config: Arrays = field(default_factory=dict)
    weights: Change | None = None
    inputs: Change | None = None
    dump: Change | None = None


HONEST = Plant("honest", "")

THE_DUMP = "the dump, not the computation"
"""The mistake of a plant whose computation is right."""

LAYER = "encoder.layer.0"
SELF = f"{LAYER}.attention.self"
ATTENDED = f"{LAYER}.attention.output"
INNER = f"{LAYER}.intermediate"
OUTPUT = f"{LAYER}.output"


# ------------------------------------------------------------------------------------------------------ edits of the weights


def exchanged(pattern: str, **places: str) -> Change:
    """Modules that match `pattern`, {} being a place in it: the one at each key reads what is for the one at its value."""

    def change(weights: Arrays) -> dict[str, Array]:
        changed = {}
        for own, other in places.items():
            own, other = own.replace("__", "."), other.replace("__", ".")
            for name in weights:
                if re.fullmatch(pattern.format(re.escape(own)) + r"\.(weight|bias)", name):
                    changed[name] = weights[name.replace(own, other)]
        return changed

    return change


def edited(pattern: str, edit: Callable[[Array], Array]) -> Change:
    """The weights whose names match."""
    return lambda weights: {name: edit(x) for name, x in weights.items() if re.fullmatch(pattern, name)}


def copied(**sources: str) -> Change:
    """Weights under the name of others; two underscores stand for a dot."""
    return lambda weights: {own.replace("__", "."): weights[other] for own, other in sources.items()}


def of_layer(source: Callable[[int, int], int], inside: str = "") -> Change:
    """The weights of other layers: layer i of n reads those of layer source(i, n)."""

    def change(weights: Arrays) -> dict[str, Array]:
        found = {name: re.fullmatch(r"(encoder\.layer\.)(\d+)(\..+)", name) for name in weights}
        depth = 1 + max(int(match[2]) for match in found.values() if match)
        return {
            name: weights[f"{match[1]}{source(int(match[2]), depth)}{match[3]}"]
            for name, match in found.items()
            if match and match[3].startswith(f".{inside}")
        }

    return change


def transposed(x: Array) -> Array:
    """As a matrix is read where rows and columns are taken for each other; one that is not square keeps its shape."""
    return x.reshape(x.shape[::-1]).T


def gamma_and_beta(weights: Arrays) -> dict[str, Array]:
    """Every LayerNorm's two vectors, exchanged."""
    parts = {"weight": "bias", "bias": "weight"}
    names = [name for name in weights if "LayerNorm" in name]
    return {name: weights[f"{name.rpartition('.')[0]}.{parts[name.rpartition('.')[2]]}"] for name in names}


def without_row(x: Array) -> Array:
    """One row, or one number, is lost."""
    x = x.copy()
    x[3] = 0
    return x


def to_bfloat16(x: Array) -> Array:
    """Cut off."""
    return (x.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


# ------------------------------------------------------------------------------------------------------- edits of the inputs


def input_ids(edit: Callable[[Array], Array]) -> Change:
    """Other token ids."""
    return lambda inputs: {"input_ids": edit(inputs["input_ids"])}


def positions(edit: Callable[[Array], Array]) -> Change:
    """Other positions."""
    return lambda inputs: {"positions": edit(inputs["positions"])}


def types(edit: Callable[[Array], Array]) -> Change:
    """Other token types."""
    return lambda inputs: {"token_type_ids": edit(inputs["token_type_ids"])}


def with_other(ids: Array) -> Array:
    """One token of the first text is another, as when a word is not known."""
    ids = ids.copy()
    ids[0, 2] = 1
    return ids


# --------------------------------------------------------------------------------------------------------- edits of the dump


def without_heads(dump: Arrays) -> dict[str, Array | None]:
    """A port whose heads are of another size has nothing that fits the pack's tensors of heads."""
    return {name: None for name, x in dump.items() if x.ndim == 4}


def shifted_names(dump: Arrays) -> dict[str, Array]:
    """hidden_states[i] of the reference is what layer i reads, not what it puts out."""
    layers = [name for name in dump if re.fullmatch(r"encoder\.layer\.\d+", name)]
    return dict(zip(layers, (dump[name] for name in ["embeddings", *layers]), strict=False))


# ----------------------------------------------------------------------------------------------------------------- the table

ACTIVATED = f"{INNER}.intermediate_act_fn"


def _wrong_activation(kind: str, mistake: str | None = "wrong-activation") -> Plant:
    return Plant(f"activation {kind}", ACTIVATED, mistake, config={"hidden_act": kind})


ACTIVATIONS = [
    _wrong_activation("gelu_new", "gelu-tanh"),
    _wrong_activation("quick_gelu", "gelu-sigmoid"),
    _wrong_activation("relu", "activation-relu"),
    *map(_wrong_activation, ("relu2", "leaky_relu", "silu", "mish", "sigmoid", "tanh", "linear", "elu", "softplus")),
    *map(_wrong_activation, ("gelu without its half", "gelu without its root", "gelu without its x", "gelu without its one")),
    *map(_wrong_activation, ("gelu_new without its cube", "gelu_new without its root")),
    Plant("activation-before-bias", ACTIVATED, "activation-before-bias", "activation-before-bias"),
    Plant("activation-twice", ACTIVATED, "activation-twice", "activation-twice"),
    Plant("activation-in-bfloat16", ACTIVATED, "low-precision", "activation-in-bfloat16"),
]

NORM = f"{ATTENDED}.LayerNorm"
NORMS = [
    Plant("eps 1e-3", "embeddings.LayerNorm", "layernorm-eps", config={"layer_norm_eps": 1e-3}),
    Plant("eps 1e-5", "embeddings.LayerNorm", "layernorm-eps", config={"layer_norm_eps": 1e-5}),
    Plant("eps-outside", "embeddings.LayerNorm", "layernorm-eps", "norm-eps-outside"),
    Plant("norm-unbiased", "embeddings.LayerNorm", "layernorm-unbiased", "norm-unbiased"),
    Plant("norm-rms", NORM, "layernorm-rms", "norm-rms", block="attention"),
    Plant("norm-rms everywhere", "embeddings.LayerNorm", "layernorm-rms", "norm-rms"),
    Plant("norm-root-missing", "embeddings.LayerNorm", "layernorm-root-missing", "norm-root-missing"),
    Plant("norm-mean-kept", "embeddings.LayerNorm", "layernorm-mean-kept", "norm-mean-kept"),
    Plant("norm-only-centred", NORM, "layernorm-not-divided", "norm-only-centred", block="attention"),
    Plant("norm-mean-absolute", NORM, "layernorm-mean-deviation", "norm-mean-absolute", block="attention"),
    Plant("norm-over-positions", NORM, "layernorm-wrong-axis", "norm-over-positions", block="attention"),
    Plant("norm-over-everything", NORM, "layernorm-wrong-axis", "norm-over-everything", block="attention"),
    Plant("norm-by-head", NORM, "layernorm-wrong-axis", "norm-by-head", block="attention"),
    Plant("norm-twice", NORM, "layernorm-twice", "norm-twice", block="attention"),
    Plant("beta-before-gamma", NORM, "gamma-after-bias", "beta-before-gamma", block="attention"),
    Plant("gamma-plus-one", "embeddings.LayerNorm", "gamma-plus-one", "gamma-plus-one"),
    Plant("gamma-missing", NORM, "gamma-missing", weights=edited(r".+\.attention\.output\.LayerNorm\.weight", np.ones_like)),
    Plant("beta-missing", NORM, "bias-missing", weights=edited(r".+\.attention\.output\.LayerNorm\.bias", np.zeros_like)),
    Plant("beta negated", NORM, "beta-subtracted", weights=edited(r".+\.attention\.output\.LayerNorm\.bias", np.negative)),
    Plant("gamma-beta-swapped", "embeddings.LayerNorm", "gamma-beta-swapped", weights=gamma_and_beta),
    Plant("norm-missing attention", NORM, "layernorm-missing", "norm-missing", block="attention"),
    Plant(
        "norm-missing feed-forward, layer 2",
        "encoder.layer.2.output.LayerNorm",
        "layernorm-missing",
        "norm-missing",
        layer=2,
        block="feed-forward",
    ),
    Plant(
        "norm-missing embeddings", "embeddings.LayerNorm", "embeddings-layernorm-missing", "norm-missing", block="embeddings"
    ),
    Plant(
        "norms-swapped",
        NORM,
        "norms-swapped",
        weights=lambda w: (
            exchanged(r"encoder\.layer\.\d+\.{}\.LayerNorm", attention__output="output")(w)
            | {
                name: w[name.replace(".output.", ".attention.output.")]
                for name in w
                if re.fullmatch(r"encoder\.layer\.\d+\.output\.LayerNorm\..+", name)
            }
        ),
    ),
    Plant(
        "norm of the embeddings in layer 1",
        "encoder.layer.1.output.LayerNorm",
        "norms-swapped",
        weights=copied(
            encoder__layer__1__output__LayerNorm__weight="embeddings.LayerNorm.weight",
            encoder__layer__1__output__LayerNorm__bias="embeddings.LayerNorm.bias",
        ),
    ),
    Plant("pre-norm", f"{SELF}.query", "pre-norm", "pre-norm"),
]

ATTENDED_SUM, OUTPUT_SUM = f"{ATTENDED}:residual", f"{OUTPUT}:residual"
RESIDUALS = [
    Plant("residual-missing attention", ATTENDED_SUM, "residual-missing", "residual-left-out", block="attention"),
    Plant("residual-missing feed-forward", OUTPUT_SUM, "residual-missing", "residual-left-out", block="feed-forward"),
    Plant(
        "residual-missing layer 2",
        "encoder.layer.2.attention.output:residual",
        "residual-missing",
        "residual-left-out",
        layer=2,
        block="attention",
    ),
    Plant("residual-doubled attention", ATTENDED_SUM, "residual-doubled", "residual-doubled", block="attention"),
    Plant("residual-doubled feed-forward", OUTPUT_SUM, "residual-doubled", "residual-doubled", block="feed-forward"),
    Plant("residual-halved", OUTPUT_SUM, "residual-halved", "residual-halved", block="feed-forward"),
    Plant("residual-negated", ATTENDED_SUM, "residual-subtracted", "residual-negated", block="attention"),
    Plant("dense-doubled", OUTPUT_SUM, "dense-doubled", "dense-doubled", block="feed-forward"),
    Plant("dense-halved", OUTPUT_SUM, "dense-halved", "dense-halved", block="feed-forward"),
    Plant("dense-negated", ATTENDED_SUM, "dense-subtracted", "dense-negated", block="attention"),
    Plant("dense-left-out", OUTPUT_SUM, "dense-missing", "dense-left-out", block="feed-forward"),
    Plant("sum-scaled", ATTENDED_SUM, "sum-scaled", "sum-scaled"),
    Plant("sum-added-again", f"{OUTPUT}.LayerNorm", "wrong-terms", "sum-added-again", block="feed-forward"),
    Plant("norm-before-sum", ATTENDED_SUM, "residual-after-layernorm", "norm-before-sum"),
    Plant("residual-from-layer-input", OUTPUT_SUM, "residual-from-elsewhere", "residual-from-layer-input"),
    Plant(
        "residual-from-embeddings attention",
        "encoder.layer.1.attention.output:residual",
        "residual-from-elsewhere",
        "residual-from-embeddings",
        block="attention",
    ),
    Plant(
        "residual-from-embeddings feed-forward",
        OUTPUT_SUM,
        "residual-from-elsewhere",
        "residual-from-embeddings",
        block="feed-forward",
    ),
    Plant("residual-from-context", ATTENDED_SUM, "residual-from-elsewhere", "residual-from-context"),
    Plant("residual-from-norm", ATTENDED_SUM, "residual-from-elsewhere", "residual-from-norm"),
    Plant("reads-layer-input", f"{INNER}.dense", "input-from-elsewhere", "reads-layer-input"),
]

LAYERS = [
    Plant("layer-missing 1", "encoder.layer.2.attention.self.query", "layer-missing", "layer-missing", layer=1),
    Plant("layer-missing 2", "encoder.layer.3.attention.self.query", "layer-missing", "layer-missing", layer=2),
    Plant("layer-twice", "encoder.layer.1.attention.self.query", "layer-repeated", "layer-twice", layer=1),
    Plant("layer-adds-input", LAYER, "wrong-terms", "layer-adds-input"),
    Plant("attention-missing", f"{INNER}.dense", "attention-missing", "attention-missing"),
    Plant("feed-forward-missing", LAYER, "feed-forward-missing", "feed-forward-missing"),
    Plant("feed-forward-first", f"{SELF}.query", "blocks-exchanged", "feed-forward-first"),
]

POOLER = [
    Plant("pooler-reads-layer-before", "pooler.dense", "pooler-wrong-layer", "pooler-reads-layer-before"),
    Plant("pooler-reads-embeddings", "pooler.dense", "pooler-wrong-layer", "pooler-reads-embeddings"),
    Plant("pooler-second-token", "pooler.dense", "pooler-wrong-token", "pooler-second-token"),
    Plant("pooler-last-token", "pooler.dense", "pooler-wrong-token", "pooler-last-token"),
    Plant("pooler-last-real-token", "pooler.dense", "pooler-wrong-token", "pooler-last-real-token"),
    Plant("pooler-mean", "pooler.dense", "pooler-wrong-token", "pooler-mean"),
    Plant("pooler-max", "pooler.dense", "pooler-wrong-token", "pooler-max"),
    Plant("pooler-first-text", "pooler.dense", "pooler-wrong-token", "pooler-first-text"),
    Plant("pooler-missing", "pooler.activation", "pooler-missing", "pooler-missing"),
    Plant("pooler-tanh-missing", "pooler.activation", "pooler-tanh-missing", "pooler-tanh-missing"),
    Plant("pooler-sigmoid", "pooler.activation", "wrong-activation", "pooler-sigmoid"),
    Plant("pooler-relu", "pooler.activation", "wrong-activation", "pooler-relu"),
    Plant("pooler-gelu", "pooler.activation", "wrong-activation", "pooler-gelu"),
    Plant("pooler bias", "pooler.dense", "bias-missing", weights=edited(r"pooler\.dense\.bias", np.zeros_like)),
    Plant("pooler transposed", "pooler.dense", "weight-transposed", weights=edited(r"pooler\.dense\.weight", transposed)),
]

MASKED, PROBS = f"{SELF}:masked_scores", f"{SELF}:probs"


def _in_scores(switch: str, mistake: str | None) -> Plant:
    return Plant(switch, MASKED, mistake, switch)


def _in_probs(switch: str, mistake: str | None) -> Plant:
    return Plant(switch, f"{SELF}.dropout", mistake, switch)


SCORES = [
    _in_scores("scale-missing", "scores-not-scaled"),
    _in_scores("scale-by-width", "scaled-by-hidden-size"),
    _in_scores("scale-root-missing", "wrong-scale"),
    _in_scores("scale-by-heads", "wrong-scale"),
    _in_scores("scale-twice", "wrong-scale"),
    _in_scores("scale-multiplied", "wrong-scale"),
    _in_scores("mask-ignored", "mask-ignored"),
    _in_scores("mask-inverted", "mask-inverted"),
    _in_scores("mask-wrong-axis", "mask-wrong-axis"),
    _in_scores("mask-first-row", "mask-of-first-row"),
    _in_scores("mask-last-row", "mask-of-last-row"),
    _in_scores("mask-batch-reversed", "mask-of-other-row"),
    _in_scores("mask-one-more", "mask-off-by-one"),
    _in_scores("mask-one-fewer", "mask-off-by-one"),
    _in_scores("mask-first-token", "mask-off-by-one"),
    _in_scores("mask-diagonal", "mask-of-itself"),
    _in_scores("mask-of-minus-1", "mask-too-weak"),
    _in_scores("mask-of-minus-10", "mask-too-weak"),
    _in_scores("mask-of-1e-9", "mask-ignored"),
    _in_scores("mask-positive", "mask-inverted"),
    _in_scores("mask-multiplied", "mask-multiplied"),
    _in_scores("mask-one-head", "mask-of-one-head"),
    _in_scores("mask-weak-before-scale", "mask-too-weak"),
    _in_scores("causal-added", "causal-added"),
    _in_scores("causal-upside-down", "causal-added"),
    _in_scores("causal-off-by-one", "causal-added"),
    _in_scores("window-added", "window-added"),
    _in_scores("alibi", None),
    _in_scores("mask-after-softmax", "mask-after-softmax"),
]

SOFTMAX = [
    _in_probs("softmax-missing", "softmax-missing"),
    _in_probs("softmax-over-queries", "softmax-wrong-axis"),
    _in_probs("softmax-over-heads", "softmax-wrong-axis"),
    _in_probs("softmax-sigmoid", "softmax-replaced"),
    _in_probs("softmax-base-2", "softmax-wrong-base"),
    _in_probs("softmax-temperature", "wrong-scale"),
    _in_probs("softmax-plus-one", "softmax-plus-one"),
    _in_probs("softmax-not-divided", "softmax-not-divided"),
    Plant("probs-in-bfloat16", f"{SELF}.dropout", "low-precision", "probs-in-bfloat16"),
]

ATTENTION = [
    Plant("query-from-key", f"{SELF}.query", "input-from-elsewhere", "query-from-key"),
    Plant("query-activated", f"{SELF}.query", "activation-added", "query-activated"),
    Plant("value-activated", f"{SELF}.value", "activation-added", "value-activated"),
    Plant("value-plus-input", f"{SELF}.value", "wrong-terms", "value-plus-input"),
    Plant("keys-from-embeddings", "encoder.layer.1.attention.self.key", "input-from-elsewhere", "keys-from-embeddings"),
    Plant("rotary", f"{SELF}:query", None, "rotary"),
    Plant("first-head-exchanged", f"{SELF}:query", "query-key-swapped", "first-head-exchanged"),
    Plant("scores-from-keys", f"{SELF}:scores", "scores-from-elsewhere", "scores-from-keys"),
    Plant("scores-from-queries", f"{SELF}:scores", "scores-from-elsewhere", "scores-from-queries"),
    Plant("scores-exchanged", f"{SELF}:scores", "query-key-swapped", "scores-exchanged"),
    Plant("context-from-keys", SELF, "context-from-elsewhere", "context-from-keys"),
    Plant("context-from-queries", SELF, "context-from-elsewhere", "context-from-queries"),
    Plant("context-is-value", SELF, "context-from-elsewhere", "context-is-value"),
    Plant("context-plus-value", SELF, "context-from-elsewhere", "context-plus-value"),
    Plant("probs-transposed", SELF, "probs-transposed", "probs-transposed"),
    Plant("dense-twice", f"{ATTENDED}.dense", "dense-twice", "dense-twice", block="attention"),
    Plant("dense-missing", f"{ATTENDED}.dense", "dense-missing", "dense-missing", block="attention"),
    Plant("dense-activated", f"{OUTPUT}.dense", "activation-added", "dense-activated", block="feed-forward"),
    Plant("heads-not-split", f"{SELF}:query", "heads-not-transposed", "heads-not-split"),
    Plant("heads-not-merged", SELF, "heads-not-merged", "heads-not-merged"),
    Plant("heads-interleaved", f"{SELF}:query", "heads-interleaved", "heads-interleaved"),
    Plant("heads-merged-interleaved", SELF, "heads-interleaved", "heads-merged-interleaved"),
    Plant("heads-merged-reversed", SELF, "heads-reversed", "heads-merged-reversed"),
    Plant("head-dropped", SELF, "head-dropped", "head-dropped"),
    Plant("head-dropped layer 2", "encoder.layer.2.attention.self", "head-dropped", "head-dropped", layer=2),
    Plant("head-repeated", SELF, "head-repeated", "head-repeated"),
]

PROJECTIONS = r".+\.self\.{}"
WEIGHTS = [
    Plant("query and key", f"{SELF}.query", "query-key-swapped", weights=exchanged(PROJECTIONS, query="key", key="query")),
    Plant("key and value", f"{SELF}.key", "key-value-swapped", weights=exchanged(PROJECTIONS, key="value", value="key")),
    Plant(
        "query and value", f"{SELF}.query", "query-value-swapped", weights=exchanged(PROJECTIONS, query="value", value="query")
    ),
    Plant("rotated", f"{SELF}.query", "qkv-rotated", weights=exchanged(PROJECTIONS, query="key", key="value", value="query")),
    Plant(
        "rotated back", f"{SELF}.query", "qkv-rotated", weights=exchanged(PROJECTIONS, query="value", key="query", value="key")
    ),
    Plant(
        "value and dense",
        f"{SELF}.value",
        "weights-swapped",
        weights=lambda w: {
            name: w[name.replace(*pair)]
            for pair in (("self.value", "output.dense"), ("output.dense", "self.value"))
            for name in w
            if f".attention.{pair[0]}." in name
        },
    ),
    Plant("key also for the value", f"{SELF}.value", "weight-from-elsewhere", weights=exchanged(PROJECTIONS, value="key")),
    Plant(
        "query also for the dense of layer 1",
        "encoder.layer.1.attention.output.dense",
        "weight-from-elsewhere",
        weights=copied(encoder__layer__1__attention__output__dense__weight="encoder.layer.1.attention.self.query.weight"),
    ),
    Plant(
        "four transposed",
        f"{SELF}.query",
        "weight-transposed",
        weights=edited(r".+\.attention\.(self\.\w+|output\.dense)\.weight", transposed),
    ),
    Plant("query transposed", f"{SELF}.query", "weight-transposed", weights=edited(r".+\.query\.weight", transposed)),
    Plant(
        "dense transposed, layer 1",
        "encoder.layer.1.attention.output.dense",
        "weight-transposed",
        weights=edited(r".+\.1\.attention\.output\.dense\.weight", transposed),
    ),
    Plant(
        "intermediate transposed",
        f"{INNER}.dense",
        "weight-transposed",
        weights=edited(r".+\.intermediate\.dense\.weight", transposed),
    ),
    Plant(
        "all transposed",
        f"{SELF}.query",
        "weight-transposed",
        weights=edited(r"encoder.+(query|key|value|dense)\.weight", transposed),
    ),
    Plant("query bias", f"{SELF}.query", "bias-missing", weights=edited(r".+\.query\.bias", np.zeros_like)),
    Plant("value bias", f"{SELF}.value", "bias-missing", weights=edited(r".+\.value\.bias", np.zeros_like)),
    Plant(
        "output bias, layer 3",
        "encoder.layer.3.output.dense",
        "bias-missing",
        weights=edited(r".+\.3\.output\.dense\.bias", np.zeros_like),
    ),
    Plant("all biases", f"{SELF}.query", "bias-missing", weights=edited(r".+(query|key|value|dense)\.bias", np.zeros_like)),
    Plant(
        "bias of the attention's dense after the feed-forward",
        f"{OUTPUT}.dense",
        "weight-from-elsewhere",
        weights=lambda w: {
            name: w[name.replace(".output.", ".attention.output.")]
            for name in w
            if re.fullmatch(r"encoder\.layer\.\d+\.output\.dense\.bias", name)
        },
    ),
    Plant("bias doubled", f"{INNER}.dense", "bias-doubled", weights=edited(r".+\.intermediate\.dense\.bias", lambda b: 2 * b)),
    Plant("bias subtracted", f"{SELF}.value", "bias-subtracted", weights=edited(r".+\.value\.bias", np.negative)),
    Plant("weight negated", f"{OUTPUT}.dense", "wrong-terms", weights=edited(r".+\d\.output\.dense\.weight", np.negative)),
    Plant("a row lost", f"{INNER}.dense", None, weights=edited(r".+\.intermediate\.dense\.weight", without_row)),
    Plant("a bias lost", f"{SELF}.value", None, weights=edited(r".+\.0\..+\.value\.bias", without_row)),
    Plant("rows rolled", f"{SELF}.value", None, weights=edited(r".+\.value\.weight", lambda w: np.roll(w, 1, axis=0))),
    Plant("weights in bfloat16", "embeddings.word_embeddings", "low-precision", weights=edited(r".+", to_bfloat16)),
    Plant("intermediate in bfloat16", f"{INNER}.dense", "low-precision", weights=edited(r".+\.intermediate\..+", to_bfloat16)),
    Plant("layers reversed", f"{SELF}.query", "wrong-layer-weights", weights=of_layer(lambda i, n: n - 1 - i)),
    Plant("the next layer's", f"{SELF}.query", "wrong-layer-weights", weights=of_layer(lambda i, n: min(i + 1, n - 1))),
    Plant("the first layer's", "encoder.layer.1.attention.self.query", "wrong-layer-weights", weights=of_layer(lambda i, n: 0)),
    Plant(
        "the layer's before, feed-forward",
        "encoder.layer.1.intermediate.dense",
        "wrong-layer-weights",
        weights=of_layer(lambda i, n: max(i - 1, 0), "intermediate"),
    ),
    Plant(
        "the next layer's values",
        f"{SELF}.value",
        "wrong-layer-weights",
        weights=of_layer(lambda i, n: min(i + 1, n - 1), "attention.self.value"),
    ),
    Plant("half as many heads", SELF, "wrong-head-count", config={"num_attention_heads": 6}, dump=without_heads),
]

TYPES, PLACES, WORDS = (f"embeddings.{kind}_embeddings" for kind in ("token_type", "position", "word"))
FACTORS = {"left-out": "missing", "doubled": "doubled", "halved": "halved", "negated": "subtracted"}
"""What bert.c calls the factors of a term, and what a diagnosis calls them."""


def _in_sum(term: str, mistake: str) -> list[Plant]:
    """A term of the embeddings with every other factor."""
    return [
        Plant(f"{term}-{factor}", "embeddings:sum", f"{mistake}-{edit}", f"{term}-{factor}") for factor, edit in FACTORS.items()
    ]


EMBEDDINGS = [
    *_in_sum("words", "words"),
    *_in_sum("types", "token-types"),
    *_in_sum("positions", "positions"),
    Plant("types-zero", TYPES, "token-types-missing", inputs=types(np.zeros_like)),
    Plant("types-one", TYPES, "token-types-missing", inputs=types(np.ones_like)),
    Plant("types-swapped", TYPES, "token-types-swapped", inputs=types(lambda x: 1 - x)),
    Plant("positions from 1", PLACES, "positions-shifted", inputs=positions(lambda x: x + 1)),
    Plant("positions from 2", PLACES, "positions-shifted", inputs=positions(lambda x: x + 2)),
    Plant("positions all 0", PLACES, "positions-shifted", inputs=positions(np.zeros_like)),
    Plant("positions reversed", PLACES, "positions-reversed", inputs=positions(lambda x: x[::-1])),
    Plant("positions-multiplied", "embeddings:sum", "positions-multiplied", "positions-multiplied"),
    Plant("positions-sinusoidal", PLACES, "positions-sinusoidal", "positions-sinusoidal"),
    Plant("words-scaled", WORDS, "embeddings-scaled", "words-scaled"),
    Plant("embeddings-scaled", "embeddings:sum", "embeddings-scaled", "embeddings-scaled"),
    Plant("embeddings-averaged", "embeddings:sum", "embeddings-scaled", "embeddings-averaged"),
    Plant("norm-before-positions", "embeddings.LayerNorm", "norm-before-positions", "norm-before-positions"),
    Plant("ids with an unknown word", WORDS, "ids-differ", inputs=input_ids(with_other)),
    Plant("ids shifted", WORDS, "ids-differ", inputs=input_ids(lambda x: np.roll(x, 1, axis=1))),
    Plant("ids one too small", WORDS, "ids-differ", inputs=input_ids(lambda x: np.maximum(x - 1, 0))),
    Plant("ids reversed", WORDS, "ids-differ", inputs=input_ids(lambda x: x[:, ::-1])),
    Plant("texts exchanged", WORDS, "ids-differ", inputs=input_ids(lambda x: x[::-1])),
    Plant("no mask given", MASKED, "mask-ignored", inputs=lambda i: {"attention_mask": np.ones_like(i["attention_mask"])}),
]

DROPOUT = [
    Plant("dropout in the embeddings", "embeddings.dropout", "dropout-left-on", "dropout", block="embeddings"),
    Plant("dropout in the attention", f"{SELF}.dropout", "dropout-left-on", "dropout", block="attention"),
    Plant("dropout in the feed-forward", f"{OUTPUT}.dropout", "dropout-left-on", "dropout", block="feed-forward"),
    Plant("dropout everywhere", "embeddings.dropout", "dropout-left-on", "dropout"),
]

DUMPS = [
    Plant("dump: names shifted", LAYER, THE_DUMP, dump=shifted_names),
    Plant("dump: += behind a hook", f"{ATTENDED}.dense", THE_DUMP, dump=lambda d: {f"{ATTENDED}.dense": d[ATTENDED_SUM]}),
    Plant("dump: scores after the scale", f"{SELF}:scores", THE_DUMP, dump=lambda d: {f"{SELF}:scores": d[MASKED]}),
    Plant("dump: query scaled", f"{SELF}:query", THE_DUMP, dump=lambda d: {f"{SELF}:query": d[f"{SELF}:query"] / 4}),
    Plant("dump: batch reversed", SELF, THE_DUMP, dump=lambda d: {SELF: d[SELF][::-1]}),
    Plant("dump: norm before its norm", NORM, THE_DUMP, dump=lambda d: {NORM: d[ATTENDED_SUM]}),
    Plant("dump: activation before it", ACTIVATED, THE_DUMP, dump=lambda d: {ACTIVATED: d[f"{INNER}.dense"]}),
    Plant(
        "dump: key of the next layer",
        f"{SELF}.key",
        THE_DUMP,
        dump=lambda d: {f"{SELF}.key": d["encoder.layer.1.attention.self.key"]},
    ),
    Plant(
        "dump: heads in another order", f"{SELF}:value", THE_DUMP, dump=lambda d: {f"{SELF}:value": d[f"{SELF}:value"][:, ::-1]}
    ),
    Plant(
        "dump: probabilities transposed",
        PROBS,
        THE_DUMP,
        dump=lambda d: {PROBS: d[PROBS].swapaxes(2, 3)},
    ),
]

PLANTS = [
    *EMBEDDINGS,
    *NORMS,
    *SCORES,
    *SOFTMAX,
    *ATTENTION,
    *ACTIVATIONS,
    *RESIDUALS,
    *LAYERS,
    *POOLER,
    *WEIGHTS,
    *DROPOUT,
    *DUMPS,
]
"""Every mistake, in about the order of execution. They show on three texts of different lengths that are pairs of sentences,
the first and the last of them padded, in a model of at least four layers whose number of heads can be halved to 6.
(all-MiniLM-L6-v2 is one; only that its pooler's bias is 0, so that nobody can tell where it is missing.)"""
