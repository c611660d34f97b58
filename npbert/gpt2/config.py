"""GPT2Config: what has to be known about a GPT-2 checkpoint besides its weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from npbert.configuration import ModelConfiguration, same_field
from npbert.errors import InputError, shown, warn
from npbert.ops import ACTIVATIONS
from npbert.types import Array

OTHER_NAMES = {
    "hidden_size": "n_embd",
    "max_position_embeddings": "n_positions",
    "num_attention_heads": "n_head",
    "num_hidden_layers": "n_layer",
}
"""The words of other models for four of GPT-2's fields: as arguments and as attributes both do."""


def _in_own_words(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields under GPT-2's own names. Of a field under both names the other name's value counts, as in the reference."""
    own = {name: value for name, value in fields.items() if name not in OTHER_NAMES}
    for other, name in OTHER_NAMES.items():
        if other in fields:
            if name in own and own[name] != fields[other]:
                warn(f"config: {other} is {shown(fields[other])} and {name} is {shown(own[name])}; {other} counts")
            own[name] = fields[other]
    return own


class GPT2Config(ModelConfiguration):
    """The configuration of a GPT-2, with the reference's fields and defaults.

    Any other field is kept as well, as an attribute, and saved again: `GPT2Config(n_layer=2, note="mine").note`.
    """

    _model_types = ("gpt2",)
    model_type: str = "gpt2"

    # The size of everything.
    vocab_size: int = 50257
    n_positions: int = 1024
    n_embd: int = 768
    n_layer: int = 12
    n_head: int = 12
    n_inner: int | None = None  # None: 4 * n_embd

    # What is computed.
    activation_function: str | Callable[[Array], Array] = "gelu_new"
    layer_norm_epsilon: float = 1e-5
    scale_attn_weights: bool = True  # scores are divided by sqrt(H)
    scale_attn_by_inverse_layer_idx: bool = False  # and by the number of the layer, counted from 1
    reorder_and_upcast_attn: bool = False  # only the order of rounding in half precision, so here it changes nothing
    add_cross_attention: bool = False
    chunk_size_feed_forward: int = 0  # positions that go through the feed-forward at once; 0: all
    tie_word_embeddings: bool = True
    pruned_heads: dict[int, list[int]]
    gradient_checkpointing: bool = False  # keep only what lies between the layers, and compute the rest again for gradients

    # Dropout, where a call is handed a generator.
    resid_pdrop: float = 0.1
    embd_pdrop: float = 0.1
    attn_pdrop: float = 0.1
    initializer_range: float = 0.02

    # What a call puts out by default.
    use_cache: bool = True
    output_attentions: bool = False
    output_hidden_states: bool = False
    return_dict: bool = True

    # Tokens and labels.
    pad_token_id: int | None = None
    bos_token_id: int | None = 50256
    eos_token_id: int | list[int] | None = 50256
    decoder_start_token_id: int | None = None
    problem_type: str | None = None
    id2label: dict[int, str]
    label2id: dict[str, int]
    architectures: list[str] | None = None

    # What other architectures choose, in their words. No fields: GPT-2 has no choice.
    is_causal = True  # a token sees only those before it
    position_embedding_type = "absolute"

    hidden_size = same_field("n_embd")
    max_position_embeddings = same_field("n_positions")
    num_attention_heads = same_field("n_head")
    num_hidden_layers = same_field("n_layer")

    def __init__(self, **fields: Any) -> None:
        super().__init__(**_in_own_words(fields))

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any], **overrides: Any) -> GPT2Config:
        """A configuration from the contents of a `config.json`; overrides win, whichever name they use."""
        return super().from_dict(_in_own_words(fields), **_in_own_words(overrides))

    @property
    def intermediate_size(self) -> int:
        """F: the width between the two maps of the feed-forward."""
        return 4 * self.n_embd if self.n_inner is None else self.n_inner

    @property
    def type_vocab_size(self) -> int:
        """How many token types there are: they are looked up in the word table, so as many as words."""
        return self.vocab_size

    @property
    def layer_norm_eps(self) -> float:
        """The same as `layer_norm_epsilon`, in BERT's words."""
        return self.layer_norm_epsilon

    @property
    def activation(self) -> Callable[[Array], Array]:
        """The function behind `activation_function`."""
        named = self.activation_function
        return ACTIVATIONS[named] if isinstance(named, str) else named

    def validate(self) -> None:
        """Refuse what no model can be built from. Models call this too, since fields may be set at any time."""
        super().validate()
        self._check_least(1, "vocab_size", "n_positions", "n_embd", "n_head", "intermediate_size")
        self._check_least(0, "n_layer", "chunk_size_feed_forward", "layer_norm_epsilon", "initializer_range")
        self._check_probabilities("resid_pdrop", "embd_pdrop", "attn_pdrop")
        self._check_heads("n_embd", "n_head")
        activation = self.activation_function
        if not callable(activation) and not (isinstance(activation, str) and activation in ACTIVATIONS):
            known = ", ".join(ACTIVATIONS)
            raise InputError(f"config: unknown activation_function {activation!r}; known are {known}, or a callable")
        self._check_pad_token()
