"""Tasks by their names: a model, its tokenizer and options, ready to be called with texts."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from npbert.checks import choice, known, text_list, unicode_text
from npbert.errors import InputError, InputTypeError
from npbert.tasks.answering import question_answering
from npbert.tasks.classification import next_sentence, text_classification
from npbert.tasks.embedding import embed, feature_extraction, similarity
from npbert.tasks.entities import token_classification
from npbert.tasks.generating import GENERATE_OPTIONS, text_generation
from npbert.tasks.inputs import Item, answer_in_kind, check_tokenizer, entries
from npbert.tasks.masking import fill_mask
from npbert.tasks.pooling import pooling_of
from npbert.types import StrPath

if TYPE_CHECKING:
    from collections.abc import Iterator

    from npbert.models.base import PreTrainedModel
    from npbert.text.byte_pairs import GPT2Tokenizer
    from npbert.text.tokenizer import BertTokenizer


class Task(NamedTuple):
    """What a task's name stands for."""

    function: Callable[..., Any]
    model_class: str  # what a checkpoint is loaded as
    of_gpt2: str | None = None  # what a checkpoint of GPT-2 is loaded as


def sentence_similarity(model: PreTrainedModel, tokenizer: BertTokenizer, inputs: Any, *, batch_size: int | None = None) -> Any:
    """How alike a sentence and others are, `{"source_sentence": ..., "sentences": [...]}`: a cosine for each of the others."""

    def compare(item: Item) -> list[float]:
        source, sentences = entries(item.name, item.value, "source_sentence", "sentences")
        source = unicode_text(f"{item.name}['source_sentence']", source)
        sentences = text_list(f"{item.name}['sentences']", sentences)
        cosines: list[float] = similarity(model, tokenizer, source, sentences, batch_size=batch_size).tolist()
        return cosines

    def answer(items: Iterable[Item], total: int | None) -> Iterator[list[float]]:
        return map(compare, items)

    return answer_in_kind(answer, inputs, is_one=isinstance(inputs, Mapping))


TASKS = {
    "feature-extraction": Task(feature_extraction, "BertModel"),
    "embed": Task(embed, "BertModel"),
    "sentence-similarity": Task(sentence_similarity, "BertModel"),
    "fill-mask": Task(fill_mask, "BertForMaskedLM"),
    "text-classification": Task(text_classification, "BertForSequenceClassification"),
    "sentiment-analysis": Task(text_classification, "BertForSequenceClassification"),
    "token-classification": Task(token_classification, "BertForTokenClassification"),
    "ner": Task(token_classification, "BertForTokenClassification"),
    "question-answering": Task(question_answering, "BertForQuestionAnswering"),
    "next-sentence": Task(next_sentence, "BertForNextSentencePrediction"),
    "text-generation": Task(text_generation, "BertLMHeadModel", "GPT2LMHeadModel"),
}


class Pipeline:
    """A task with its model, its tokenizer and its options. Call it with texts; see the task's function for what it takes.

    The options of a call win over those that the pipeline was made with.
    """

    def __init__(
        self, task: str, model: PreTrainedModel, tokenizer: BertTokenizer | GPT2Tokenizer, options: Mapping[str, Any]
    ) -> None:
        self.task, self.model, self.tokenizer = task, model, tokenizer
        self.options = dict(options)
        self._function = TASKS[task].function
        check_tokenizer(tokenizer)
        self._check_names(self.options)

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """Answer one input, a list of inputs, or an iterator of inputs, lazily."""
        if len(inputs) > 1:
            raise InputTypeError(f"{self.task}: takes one input or a list of them, got {len(inputs)}")
        self._check_names(options)
        answer = self._function(self.model, self.tokenizer, *inputs, **{**self.options, **options})
        if self._function is text_classification and "top_k" in self.options and "top_k" not in options:
            # The reference looks at the call alone when it decides whether a text alone has its answer in a list.
            return [answer] if isinstance(inputs[0], str) and self.options["top_k"] != "best" else answer
        return answer

    def _check_names(self, options: Mapping[str, Any]) -> None:
        parameters = inspect.signature(self._function).parameters.values()
        names = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
        known(self.task, options, [*names, *GENERATE_OPTIONS] if self._function is text_generation else names)

    def __repr__(self) -> str:
        return f"Pipeline({self.task!r}, {type(self.model).__name__})"


def pipeline(
    task: str,
    model: PreTrainedModel | StrPath | None = None,
    tokenizer: BertTokenizer | GPT2Tokenizer | StrPath | None = None,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    model_kwargs: Mapping[str, Any] | None = None,
    **options: Any,
) -> Pipeline:
    """A task by its name, with a model (or the path or hub id of one) and its tokenizer (None: the model's).

        classify = npbert.pipeline("text-classification", model="my/checkpoint", top_k=None)
        classify(["one text", "another"])

    `options` are arguments of the task's function. `revision`, `token` and `model_kwargs` go to `from_pretrained`.
    """
    choice("task", task, tuple(TASKS))
    where: dict[str, Any] = {name: value for name, value in (("revision", revision), ("token", token)) if value is not None}
    if model is None:
        raise InputError(f"model: {task} needs a {TASKS[task].model_class}, or the path or hub id of a checkpoint for it")
    if tokenizer is None:
        tokenizer = os.fspath(model) if isinstance(model, str | os.PathLike) else str(getattr(model, "name_or_path", ""))
        if not tokenizer:
            raise InputError("tokenizer: the model was not loaded from a checkpoint that has one; pass a BertTokenizer")
    loaded = _load(task, model, {**where, **(model_kwargs or {})}) if isinstance(model, str | os.PathLike) else model
    if isinstance(tokenizer, str | os.PathLike):
        from npbert.text.auto import load_tokenizer

        tokenizer = load_tokenizer(tokenizer, **where)
    return Pipeline(task, loaded, tokenizer, options)


def _load(task: str, path_or_id: StrPath, options: Mapping[str, Any]) -> Any:
    from npbert import checkpoints
    from npbert.models.auto import MODELS

    where = {name: options[name] for name in checkpoints.LOCATION_OPTIONS if name in options}
    model_class, of_gpt2 = TASKS[task].model_class, TASKS[task].of_gpt2
    if of_gpt2 is not None:
        model_type = checkpoints.find(path_or_id, **where).fields.get("model_type")
        kinds = {"gpt2": of_gpt2, "encoder-decoder": "EncoderDecoderModel" if task == "text-generation" else model_class}
        model_class = kinds.get(str(model_type), model_class)
    model = MODELS[model_class].from_pretrained(path_or_id, **options)
    if task in ("embed", "sentence-similarity"):
        pooling_of(model, **where)  # read now, because `where` is not known later
    return model
