"""The model and the tokenizer of a task, from a path or an id."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from npbert import checkpoints
from npbert.errors import InputError, InputTypeError
from npbert.models.auto import MODELS, model_class, read_config
from npbert.tasks.pooling import pooling_of
from npbert.tasks.table import OF_CLASSES, TASKS
from npbert.text.auto import load_tokenizer
from npbert.types import StrPath


def task_of(model: Any, where: Mapping[str, Any]) -> str:
    """What a model, or the checkpoint at a path or id, is for."""
    if model is None:
        raise InputTypeError("pipeline: takes a task, or a model that says what it is for")
    if isinstance(model, str | os.PathLike):
        name = model_class(read_config(checkpoints.find(model, **where))).__name__
    else:
        name = next((kind.__name__ for kind in type(model).__mro__ if kind.__name__ in OF_CLASSES), type(model).__name__)
    if name not in OF_CLASSES:
        raise InputError(f"task: there is none for a {name}; takes {', '.join(TASKS)}")
    return OF_CLASSES[name]


def load_both(
    task: str, model: Any, tokenizer: Any, where: Mapping[str, Any], model_kwargs: Mapping[str, Any]
) -> tuple[Any, Any]:
    """The model and the tokenizer of a task, each given itself or as a path or id; None is the task's own model, and the
    model's own tokenizer."""
    if model is None:
        model = TASKS[task].default
    if model is None:
        raise InputError(f"model: {task} needs a {TASKS[task].model_class}, or the path or hub id of a checkpoint for it")
    if tokenizer is None:
        tokenizer = os.fspath(model) if isinstance(model, str | os.PathLike) else str(getattr(model, "name_or_path", ""))
        if not tokenizer:
            raise InputError("tokenizer: the model was not loaded from a checkpoint that has one; pass a BertTokenizer")
    loaded = _load_model(task, model, {**where, **model_kwargs}) if isinstance(model, str | os.PathLike) else model
    return loaded, load_tokenizer(tokenizer, **where) if isinstance(tokenizer, str | os.PathLike) else tokenizer


def _load_model(task: str, path_or_id: StrPath, options: Mapping[str, Any]) -> Any:
    where = {name: options[name] for name in checkpoints.LOCATION_OPTIONS if name in options}
    name, of_gpt2 = TASKS[task].model_class, TASKS[task].of_gpt2
    if of_gpt2 is not None:
        model_type = checkpoints.find(path_or_id, **where).fields.get("model_type")
        kinds = {"gpt2": of_gpt2, "encoder-decoder": "EncoderDecoderModel" if task == "text-generation" else name}
        name = kinds.get(str(model_type), name)
    model = MODELS[name].from_pretrained(path_or_id, **options)
    if task in ("embed", "sentence-similarity"):
        pooling_of(model, **where)  # read now, because `where` is not known later
    return model
