"""Mistakes in how layers and their parts follow each other: one left out or run twice, LayerNorm before a block."""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import Context

from npbert.bert.config import BertConfig
from npbert.bert.layer import feed_forward, layer
from npbert.bert.model import FUNCTIONS
from npbert.golden.mistakes import steps
from npbert.golden.mistakes.hypothesis import LAYER_MODULES, Hypothesis, ReplaceValue
from npbert.golden.mistakes.operands import NEARBY, reading
from npbert.golden.mistakes.site import Site
from npbert.golden.mistakes.steps import BEFORE_FEED_FORWARD, Step
from npbert.module import Module
from npbert.ops import masks
from npbert.types import Array
from npbert.weights import Weights


def hypotheses(config: BertConfig) -> Iterator[Hypothesis]:
    """Every way to get the order of the layers wrong."""
    for mistake, explanation, old, new in ROUTES:
        yield Hypothesis(mistake, f"{explanation}.", LAYER_MODULES, _rerouted(old, new))
    for source in NEARBY:
        if source != "<hidden>" and not source.startswith("<layer>"):
            explanation = f"<layer> reads {source}: it reads <hidden>."
            rerouted = _rerouted("<hidden>", source)
            yield Hypothesis("input-from-elsewhere", explanation, LAYER_MODULES, rerouted, is_rare=True)
            keys = {name: value for name, value in rerouted.items() if name.endswith((".key", ".value"))}
            explanation = f"Keys and values of <layer> are made of {source}: they are made of <hidden>."
            yield Hypothesis("input-from-elsewhere", explanation, LAYER_MODULES, keys, is_rare=True)
    for mistake, explanation, place in OUTPUTS:
        yield Hypothesis(mistake, f"{explanation}.", LAYER_MODULES, {"": reading(None, (place,))})
    yield Hypothesis("layer-repeated", "<layer-1> runs twice: each layer runs once.", LAYER_MODULES, {"": _of_repeated(-1)})
    yield Hypothesis("layer-repeated", "<layer> runs twice: each layer runs once.", LAYER_MODULES, {"": _of_repeated(0)})
    yield Hypothesis(
        "layer-repeated",
        "<layer> runs twice: each layer runs once. The dump holds the second run.",
        LAYER_MODULES,
        _reading_made(_of_second_run),
    )
    explanation = "The feed-forward of <layer> comes before its attention: it comes after it."
    attention_last = {"": reading(None, (BEFORE_FEED_FORWARD,))}
    exchanged = _reading_made(_of_feed_forward) | _rerouted(BEFORE_FEED_FORWARD, "<hidden>") | attention_last
    yield Hypothesis("blocks-exchanged", explanation, LAYER_MODULES, exchanged)
    explanation = "LayerNorm is taken of what a block reads (pre-norm): BERT normalises what a block hands on."
    normed = {f".{name}": _of_normed(step) for name, step in [*_consumers("<hidden>"), *_consumers(BEFORE_FEED_FORWARD)]
              if step.kind == "linear"}  # fmt: skip
    handed = {f"{inside}.LayerNorm": _without_norm for inside in (".attention.output", ".output")}
    yield Hypothesis("pre-norm", explanation, LAYER_MODULES, normed | handed)
    yield Hypothesis("pre-norm", explanation, LAYER_MODULES, normed)


ROUTES = [
    ("layer-missing", "<layer-1> is left out: <layer> reads what came into it", "<hidden>", "<hidden-1>"),
    ("layer-missing", "<layer-1> and the one before are left out: <layer> reads what came in there", "<hidden>", "<hidden-2>"),
    ("attention-missing", "The attention of the layer is left out: the feed-forward reads what came into the layer",
     BEFORE_FEED_FORWARD, "<hidden>"),
]  # fmt: skip
"""From the place that steps of a layer read to the one that the port reads."""

OUTPUTS = [
    ("layer-missing", "<layer> is left out: it hands on what came in", "<hidden>"),
    ("feed-forward-missing", "The feed-forward of <layer> is left out: it hands on its attention", BEFORE_FEED_FORWARD),
]  # fmt: skip


def _consumers(place: str) -> list[tuple[str, Step]]:
    """The steps of a layer that read a place, each with its name inside the layer."""
    inside = {
        r".*\.attention\.self": "attention.self",
        steps.ATTENTION_OUTPUT: "attention.output",
        steps.INTERMEDIATE: "intermediate",
        steps.FEED_FORWARD_OUTPUT: "output",
    }
    return [
        (f"{inside[step.modules]}{step.value}", step)
        for step in steps.STEPS
        if step.modules in inside and place in step.operands
    ]


def _rerouted(old: str, new: str) -> dict[str, ReplaceValue]:
    """All steps of a layer that read one place, reading another."""
    return {f".{name}": reading(step, tuple(new if x == old else x for x in step.operands)) for name, step in _consumers(old)}


def _of_feed_forward(site: Site) -> Array | None:
    """What the feed-forward makes of the layer's input."""
    hidden = site.at("<hidden>")
    return None if hidden is None else Context().run(feed_forward, _module(site, _index(site)), hidden)


def _reading_made(make: ReplaceValue) -> dict[str, ReplaceValue]:
    """The steps that read what came into the layer, reading what `make` makes of it."""

    def reader(step: Step) -> ReplaceValue:
        def value(site: Site) -> Array | None:
            made = make(site)
            read = [made if place == "<hidden>" else step.home(site).at(place) for place in step.operands]
            return None if any(x is None for x in read) else step.compute(site, *[x for x in read if x is not None])

        return value

    return {f".{name}": reader(step) for name, step in _consumers("<hidden>")}


def _without_norm(site: Site) -> Array:
    return site.values[site.name.removesuffix(".LayerNorm") + ":residual"]


def _of_normed(step: Step) -> ReplaceValue:
    def value(site: Site) -> Array | None:
        x = site.at(step.operands[0])
        norm = ".attention.output" if "attention.self" in site.name else ".output"
        return None if x is None else step.compute(site, site.inside(site.module + norm).norm(x))

    return value


# ------------------------------------------------------------------------------------------------------------- repeated layers


def _of_repeated(shift: int) -> ReplaceValue:
    """The output of a layer, where it (0) or the layer before it (-1) runs once more before it."""

    def value(site: Site) -> Array | None:
        hidden = site.at("<hidden>")
        index = _index(site)
        if hidden is None or index + shift < 0 or site.padding.shape[-1] != hidden.shape[1]:
            return None
        return _run(site, index, _run(site, index + shift, hidden))

    return value


def _of_second_run(site: Site) -> Array | None:
    """What the layer makes of its input in a first run."""
    hidden = site.at("<hidden>")
    if hidden is None or site.padding.shape[-1] != hidden.shape[1]:
        return None
    return _run(site, _index(site), hidden)


def _index(site: Site) -> int:
    return int(site.module.rpartition(".")[2])


def _run(site: Site, index: int, hidden: Array) -> Array:
    """What a layer makes of hidden states. Nobody observes it."""
    mask = masks.additive(site.padding & site.causal, hidden.dtype, value=site.config.mask_value)
    return Context().run(lambda: layer(_module(site, index), hidden, mask=mask).hidden)


def _module(site: Site, index: int) -> Module:
    path = site.module[: site.module.index("encoder.layer.")] + f"encoder.layer.{index}"
    own = {name: site.weights[name] for name in site.weights if name.startswith(f"{path}.") and "crossattention" not in name}
    return Module(Weights(own), site.config, FUNCTIONS, path=path)
