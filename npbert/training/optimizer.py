"""AdamW (Loshchilov and Hutter 2019): what a model does with its gradients."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from npbert import checks, tracing
from npbert.errors import InputError, listed
from npbert.models.base import PreTrainedModel
from npbert.ops.blocks import for_each_block
from npbert.types import Array


class AdamW:
    """Adam with decoupled weight decay, for all weights of the model that are not frozen.

        optimizer = AdamW(model, lr=5e-5)
        out, grads = model.gradients(**inputs, labels=labels)
        optimizer.step(grads)

    Adam walks a distance that hardly depends on how large the gradients are: `lr` times their running mean, divided by the root
    of the running mean of their squares. Weight decay pulls each weight towards 0 beside that, and not through the gradient,
    where Adam's division would undo it.

    - `lr` may be assigned between two steps; that is all a schedule does.
    - `no_decay`: patterns of the weights that do not decay. By default those with a single axis, the biases and LayerNorms:
      pulling them to 0 would not make the model any simpler. `()` lets all decay.
    - `bias_correction`: the running means begin at 0 and are therefore too small at first; the correction makes up for that.
      BERT's authors left it out and set `eps` to 1e-6.

    The model gets weights of its own, since they change in place from now on.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        lr: float = 5e-5,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        no_decay: str | Sequence[str] | None = None,
        bias_correction: bool = True,
    ) -> None:
        for name, value in {"lr": lr, "eps": eps, "weight_decay": weight_decay}.items():
            checks.number(name, value, least=0)
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise InputError(f"betas: takes two numbers from 0 to below 1, got {betas}")
        self.model = model
        self.lr = lr
        self.betas = betas
        self.eps = eps
        self.weight_decay = weight_decay
        self.bias_correction = bias_correction
        self.steps = 0  # how many were done
        names = model.trainable_names()
        model.weights.replace({name: model.weights[name].copy(order="C") for name in names})
        self.means = {name: np.zeros_like(model.weights[name]) for name in names}
        self.squares = {name: np.zeros_like(model.weights[name]) for name in names}
        spared = None if no_decay is None else tracing.selection(no_decay)
        self.decaying = {name for name in names if (model.weights[name].ndim > 1 if spared is None else not spared(name))}

    def step(self, grads: Mapping[str, Array]) -> None:
        """Change every weight that has a gradient here. The first step counts as step 1."""
        unknown = [name for name in grads if name not in self.means]
        if unknown:
            raise InputError(f"grads: the optimizer was made without the weights {listed(unknown)}")
        for name, gradient in grads.items():
            checks.with_shape(f"grads[{name!r}]", gradient, self.means[name].shape)
        self.steps += 1
        beta1, beta2 = self.betas
        corrections = (1 - beta1**self.steps, 1 - beta2**self.steps) if self.bias_correction else (1.0, 1.0)
        for name, gradient in grads.items():
            adamw_step(
                self.model.weights[name],
                gradient,
                self.means[name],
                self.squares[name],
                lr=self.lr,
                betas=self.betas,
                eps=self.eps,
                weight_decay=self.weight_decay if name in self.decaying else 0.0,
                corrections=corrections,
            )


def adamw_step(
    weight: Array,
    gradient: Array,
    mean: Array,
    square: Array,
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    corrections: tuple[float, float],
) -> None:
    """One step of one weight w with gradient g, running mean m and running square v, all changed in place:

        m = b1 m + (1 - b1) g
        v = b2 v + (1 - b2) g^2
        w = w - lr * decay * w - lr * (m / c1) / (sqrt(v / c2) + eps)

    c1 and c2 are the `corrections`, 1 - b1^t and 1 - b2^t after t steps: the sums of the weights that the means so far consist
    of. It goes block by block, so that nothing of the weight's size is made on the way.
    """
    beta1, beta2 = betas
    step_size, root = lr / corrections[0], math.sqrt(corrections[1])

    def one_block(w: Array, g: Array, m: Array, v: Array) -> None:
        w *= 1 - lr * weight_decay
        m += (1 - beta1) * (g - m)
        v *= beta2
        v += (1 - beta2) * g * g
        w -= step_size * m / (np.sqrt(v) / root + eps)

    for_each_block(one_block, weight, gradient, mean, square)


def clip_gradients(grads: Mapping[str, Array], max_norm: float) -> float:
    """Scale all gradients down together, in place, so that their norm is at most `max_norm`. Returns the norm that they had.

    The norm is that of all gradients as one long vector, `sqrt(sum of all squares)`, so the direction stays as it is.
    """
    checks.number("max_norm", max_norm, above=0)
    norm = math.hypot(*(float(np.linalg.norm(gradient)) for gradient in grads.values()))
    scale = max_norm / (norm + 1e-6)
    if scale < 1:
        for gradient in grads.values():
            gradient *= gradient.dtype.type(scale)
    return norm
