"""What a model has for training: gradients, which weights get one, and how much is kept for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np

from npbert import checks, tracing
from npbert.backward import Gradients
from npbert.errors import InputError
from npbert.types import Array
from npbert.weights import Parameters, Weights

SomeTrainable = TypeVar("SomeTrainable", bound="Trainable")


class Trainable:
    """The part of `PreTrainedModel` that is about training."""

    config: Any
    weights: Weights
    supports_gradient_checkpointing: ClassVar[bool] = True
    frozen: frozenset[str] = frozenset()  # the names of the weights that are not trained

    def expected_parameters(self) -> Parameters:
        """The name, shape and first values of every parameter, each once: a tied one under its first name only."""
        raise NotImplementedError

    def gradients(self, *arguments: Any, **options: Any) -> tuple[Any, dict[str, Array]]:
        """What a call returns, and the gradients by the weights. Each class says what it takes."""
        raise NotImplementedError

    def requires_grad_(
        self: SomeTrainable, requires_grad: bool = True, *, only: str | Sequence[str] | None = None
    ) -> SomeTrainable:
        """Freeze weights (False), or let them be trained again (True): all, or those whose names match a shell-style pattern
        or one of several. Frozen weights get no gradient and cost no work."""
        is_meant = tracing.selection(only)
        names = {name for name in self.expected_parameters() if is_meant(name)}
        if not names:
            raise InputError(f"only: no weight of this model is called {only!r}")
        checks.flag("requires_grad", requires_grad, True)
        self.frozen = self.frozen - names if requires_grad else self.frozen | names
        return self

    def trainable_names(self) -> list[str]:
        """The names of the weights that are not frozen."""
        return [name for name in self.expected_parameters() if name not in self.frozen]

    def collect(self, gradients: Gradients, others: Mapping[str, str]) -> dict[str, Array]:
        """The gradient by every weight that is not frozen, in the model's order: 0 where the loss does not reach. `others` are
        gradients by something else, `{name in the result: name among the gradients}`."""
        found = {}
        for name in self.trainable_names():
            found[name] = gradients.sums[name] if name in gradients.sums else np.zeros_like(self.weights[name])
        return found | {ours: gradients.sums[name] for ours, name in others.items() if name in gradients.sums}

    @property
    def configs_with_layers(self) -> list[Any]:
        """The configurations of the parts that have layers: the model's own, or those of two models."""
        return [self.config]

    def gradient_checkpointing_enable(self, gradient_checkpointing_kwargs: Mapping[str, Any] | None = None) -> None:
        """Keep only what lies between the layers, and compute each layer again when its gradients are due.

        It takes much less memory and more time; the gradients are the same. How the reference has PyTorch do it, its
        `gradient_checkpointing_kwargs`, may be given and makes no difference.
        """
        for config in self.configs_with_layers:
            config.gradient_checkpointing = True

    def gradient_checkpointing_disable(self) -> None:
        """Keep what the gradients need, as usual."""
        for config in self.configs_with_layers:
            config.gradient_checkpointing = False

    @property
    def is_gradient_checkpointing(self) -> bool:
        """Whether layers are computed again for their gradients."""
        return all(config.gradient_checkpointing for config in self.configs_with_layers)
