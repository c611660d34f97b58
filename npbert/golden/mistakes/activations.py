"""Other activations in the feed-forward and in the head of a language model."""

from __future__ import annotations

from collections.abc import Iterator

from npbert import ops
from npbert.bert.config import BertConfig
from npbert.golden.mistakes.hypothesis import Hypothesis, ReplaceValue


def hypotheses(config: BertConfig) -> Iterator[Hypothesis]:
    """Every activation that is often mixed up with the configuration's."""
    wanted = config.hidden_act if isinstance(config.hidden_act, str) else "the configuration's own activation"
    formula = "x * (1 + erf(x / sqrt(2))) / 2" if config.activation is ops.gelu else "its own formula"
    others = [
        ("gelu-tanh", ops.gelu_new, "GELU is computed by its approximation with tanh"),
        ("gelu-sigmoid", ops.quick_gelu, "GELU is computed as x * sigmoid(1.702 x)"),
        ("activation-relu", ops.relu, "The activation is ReLU"),
    ]
    if config.activation in (ops.gelu_new, ops.gelu_fast):
        others[0] = ("gelu-tanh", ops.gelu, "GELU is computed with erf")
    for mistake, function, what in others:
        if function is not config.activation:
            value: ReplaceValue = lambda site, function=function: function(site[".dense"])  # type: ignore[misc]  # noqa: E731
            yield Hypothesis(
                mistake,
                f"{what}: the configuration's hidden_act is {wanted!r}, {formula}.",
                r".*\.(?:intermediate|transform)",
                {".intermediate_act_fn": value, ".transform_act_fn": value},
            )
