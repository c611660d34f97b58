"""Methods that code written for the reference calls on a model: those that make sense for arrays work, the others say in one
line what to use here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from npbert import checks
from npbert.errors import InputError, InputTypeError, MissingAttributeError
from npbert.models import fitting
from npbert.ops import masks
from npbert.types import Array

INSTEAD = {
    "cuda": "npbert computes on the processor, with NumPy",
    "half": "npbert computes in float32 or float64; golden packs say how far float16 and bfloat16 would be off",
    "bfloat16": "npbert computes in float32 or float64; golden packs say how far float16 and bfloat16 would be off",
    "register_forward_hook": "see every value with npbert.trace(), or change it with npbert.tracing.observe(...)",
    "register_forward_pre_hook": "see every value with npbert.trace(), or change it with npbert.tracing.observe(...)",
    "register_backward_hook": "see every gradient with npbert.trace() around model.gradients(...)",
    "register_full_backward_hook": "see every gradient with npbert.trace() around model.gradients(...)",
    "backward": "out, grads = model.gradients(**inputs, labels=labels)",
    "zero_grad": "model.gradients(...) returns new gradients every time",
    "apply": "model.weights.replace({name: array}) sets weights",
    "enable_input_require_grads": "model.gradients(..., inputs_gradients=True) gives the gradient by the looked up words",
    "init_weights": "a model that is made of a configuration alone has random weights",
    "post_init": "a model that is made of a configuration alone has random weights",
    "modules": "model.named_modules() walks through all of them",
    "named_children": "model.named_modules() walks through all of them",
    "push_to_hub": "save_pretrained writes the files; the hub's own command uploads them",
    "compile": "there is nothing to compile",
}
"""What to use in place of a method of the reference's models."""


class FamiliarMethods:
    """What `PreTrainedModel` has for the sake of those who know the reference's models."""

    config: Any
    dtype: Any
    weights: Any

    forward: Callable[..., Any]

    def __init_subclass__(cls, **options: Any) -> None:
        """`forward` is the reference's name for a call, and takes the same arguments."""
        super().__init_subclass__(**options)
        if "__call__" in vars(cls):
            cls.forward = vars(cls)["__call__"]

    def eval(self) -> Any:
        """The model as it is: dropout happens exactly when a call is handed a generator, `rng=`."""
        return self

    def train(self, mode: bool = True) -> Any:
        """There is no such mode: hand a generator to the call instead. `train(False)` is `eval()`."""
        if mode:
            raise InputError("train: there is no training mode; dropout happens when a call is handed rng=, a numpy generator")
        return self

    def to(self, *places: Any, device: Any = None, dtype: Any = None) -> Any:
        """The model on the processor, where it is; with a `dtype`, as `astype`."""
        for place in (*places, device):
            if place is None or str(place).partition(":")[0] == "cpu":
                continue
            try:
                dtype = fitting.float_type(place)
            except InputTypeError:
                remedy = "npbert computes on the processor, with NumPy: it takes 'cpu', float32 or float64"
                raise InputError(f"to: {remedy}, got {place!r}") from None
        return self if dtype is None else self.astype(dtype)  # type: ignore[attr-defined]

    def cpu(self) -> Any:
        """The model where it is."""
        return self

    def float(self) -> Any:
        """The model in float32."""
        return self.astype(np.float32)  # type: ignore[attr-defined]

    def double(self) -> Any:
        """The model in float64."""
        return self.astype(np.float64)  # type: ignore[attr-defined]

    def tie_weights(self) -> None:
        """Nothing to do: a table that two names share is one array, and stays one."""

    @property
    def device(self) -> str:
        """Always "cpu"."""
        return "cpu"

    @property
    def training(self) -> bool:
        """Always False: see `train`."""
        return False

    def get_extended_attention_mask(self, attention_mask: Any, input_shape: Any = None, dtype: Any = None) -> Array:
        """A 0/1 mask `[B, T]` or `[B, S, T]` as what is added to the scores, `[B, 1, S or 1, T]`: 0, or the smallest number.

        The models here add `config.mask_value` instead, as the original BERT does.
        """
        mask = checks.as_array("attention_mask", attention_mask)
        if mask.ndim not in (2, 3):
            raise InputError(f"attention_mask: takes shape [batch, length] or [batch, length, length], got {list(mask.shape)}")
        length = mask.shape[-1] if input_shape is None else input_shape[-1]
        visible = masks.self_attention(mask, length, is_decoder=getattr(self.config, "is_decoder", False))
        return self._additive(visible, dtype)

    def invert_attention_mask(self, encoder_attention_mask: Any) -> Array:
        """The same for the mask of an encoder's output, `[B, E]` or `[B, S, E]`."""
        return self._additive(masks.cross_attention(checks.as_array("encoder_attention_mask", encoder_attention_mask)), None)

    def _additive(self, visible: Array, dtype: Any) -> Array:
        kind = np.dtype(self.dtype if dtype is None else dtype)
        return masks.additive(visible, kind, value=np.finfo(kind).min)

    def compute_transition_scores(
        self, sequences: Any, scores: Any, beam_indices: Any = None, normalize_logits: bool = False
    ) -> Array:
        """The score that each new token of `generate` was chosen with: see `npbert.generation.transition_scores`."""
        from npbert.generation import transition_scores  # here, so that a program which writes nothing does not import it

        return transition_scores(sequences, scores, beam_indices, normalize=normalize_logits)

    def get_head_mask(self, head_mask: Any, num_hidden_layers: int, is_attention_chunked: bool = False) -> Any:
        """A head mask `[N]` or `[L, N]` as the layers take it, `[L, 1, N, 1, 1]`; None is a list of None, one a layer."""
        if head_mask is None:
            return [None] * num_hidden_layers
        mask = checks.numbers("head_mask", head_mask, self.dtype)
        expanded = masks.heads(mask, num_hidden_layers, self.dtype)[:, None]  # [L, 1, N, 1, 1]
        return expanded[..., None] if is_attention_chunked else expanded


def missing(model: str, name: str) -> None:
    """Raise the error that says what to use in place of a method of the reference's; nothing where the name is unknown."""
    if name in INSTEAD:
        raise MissingAttributeError(f"{model} has no {name!r}: {INSTEAD[name]}")
