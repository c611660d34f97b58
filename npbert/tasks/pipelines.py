"""Tasks by their names: `npbert.pipeline("fill-mask", model="bert-base-uncased")`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from npbert.checkpoints import LOCATION_OPTIONS
from npbert.checks import choice
from npbert.errors import InputError, InputTypeError, shown
from npbert.tasks.loading import load_both, task_of
from npbert.tasks.objects import CLASSES, Pipeline, without_effect
from npbert.tasks.table import TASKS
from npbert.types import StrPath

if TYPE_CHECKING:
    from npbert.models.base import PreTrainedModel
    from npbert.text.byte_pairs import GPT2Tokenizer
    from npbert.text.tokenizer import BertTokenizer


def pipeline(
    task: str | None = None,
    model: PreTrainedModel | StrPath | None = None,
    tokenizer: BertTokenizer | GPT2Tokenizer | StrPath | None = None,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    config: Any = None,
    device: Any = None,
    dtype: Any = None,
    torch_dtype: Any = None,
    model_kwargs: Mapping[str, Any] | None = None,
    pipeline_class: type[Pipeline] | None = None,
    **options: Any,
) -> Pipeline:
    """A task by its name, with a model (or the path or hub id of one) and its tokenizer (None: the model's).

        classify = npbert.pipeline("text-classification", model="my/checkpoint", top_k=None)
        classify(["one text", "another"])

    Without a task the model says what it is for. Without a model, embeddings come from all-MiniLM-L6-v2 and words for masks
    from npbert-small. `options` are arguments of the task's function. `revision`, `token`, `config`, `dtype` (also called
    `torch_dtype`) and `model_kwargs` go to `from_pretrained`. `device` may be "cpu" or -1: there is no other.
    `pipeline_class` is what the task becomes, instead of the class of its kind.
    """
    if device is not None and str(device).partition(":")[0] not in ("cpu", "-1"):
        raise InputError(f"device: npbert computes on the processor, with NumPy: it takes 'cpu' or -1, got {shown(device)}")
    where: dict[str, Any] = {name: value for name, value in (("revision", revision), ("token", token)) if value is not None}
    named = choice("task", task_of(model, where) if task is None else task, tuple(TASKS))
    loading = {"config": config, "dtype": dtype, "torch_dtype": torch_dtype}
    loading = {name: value for name, value in loading.items() if value is not None} | dict(model_kwargs or {})
    loaded = load_both(named, model, tokenizer, where, loading)
    where |= {name: loading[name] for name in LOCATION_OPTIONS if name in loading}
    cls = CLASSES.get(TASKS[named].function, Pipeline) if pipeline_class is None else pipeline_class
    if not (isinstance(cls, type) and issubclass(cls, Pipeline)):
        raise InputTypeError(f"pipeline_class: takes a class of npbert's pipelines, got {shown(cls)}")
    made = cls.__new__(cls)
    Pipeline.__init__(made, named, *loaded, without_effect(options), where)
    return made
