"""Writing text token by token: the settings, the scores of the next token, and the searches that choose it.

This room knows no model. `token_columns` and `beam_search` are handed a function that gives the next token's logits;
`npbert.models.generating` makes it from a model.
"""

from npbert.generation.search import NextLogits, beam_search, token_columns
from npbert.generation.settings import (
    SETTING_NAMES,
    GenerationConfig,
    StoredSettings,
    as_fields,
    settings_from,
    settle_lengths,
)
from npbert.generation.transitions import transition_scores

__all__ = [
    "SETTING_NAMES",
    "GenerationConfig",
    "NextLogits",
    "StoredSettings",
    "as_fields",
    "beam_search",
    "settings_from",
    "settle_lengths",
    "token_columns",
    "transition_scores",
]
