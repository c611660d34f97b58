"""DistilBERT's configuration under its own names."""

from __future__ import annotations

from typing import Any

from npbert.bert.config import BertConfig
from npbert.checkpoints import names


class DistilBertConfig:
    """`DistilBertConfig(dim=768, n_layers=6, ...)` makes a `BertConfig` of the kind that computes a DistilBERT."""

    def __new__(cls, **fields: Any) -> Any:
        """The configuration; its fields can be read under both models' names."""
        return BertConfig(**names.fields_from_distilbert({"model_type": "distilbert", **fields}))

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, **options: Any) -> Any:
        """The configuration of a checkpoint."""
        return BertConfig.from_pretrained(pretrained_model_name_or_path, **options)
