"""Task objects: a model, its tokenizer and options, ready to be called with texts, and to be sent to other processes."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from npbert.checkpoints import LOCATION_OPTIONS
from npbert.checks import choice, known
from npbert.errors import InputTypeError
from npbert.tasks import places
from npbert.tasks.answering import question_answering
from npbert.tasks.classification import text_classification
from npbert.tasks.columns import is_table, rows_of, with_answers
from npbert.tasks.embedding import embed
from npbert.tasks.generating import GENERATE_OPTIONS, text_generation
from npbert.tasks.inputs import check_tokenizer
from npbert.tasks.loading import load_both
from npbert.tasks.pooling import pooling_of
from npbert.tasks.table import TASKS
from npbert.tasks.zero_shot import entailment_label, zero_shot_classification

if TYPE_CHECKING:
    from npbert.models.base import PreTrainedModel
    from npbert.text.byte_pairs import GPT2Tokenizer
    from npbert.text.tokenizer import BertTokenizer
    from npbert.types import StrPath


WITHOUT_EFFECT = {
    "framework": ("pt", "np", None),
    "device": ("cpu", -1, None),
    "num_workers": None,
    "use_fast": (True, False),
    "trust_remote_code": (True, False, None),
}
"""Options of the reference's pipelines that change nothing here, with the values that they may have; None is any."""


def without_effect(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options without those of the reference that change nothing here; a value that would change something is refused."""
    for name, values in WITHOUT_EFFECT.items():
        if name in options and values is not None:
            choice(name, options[name], values)
    return {name: value for name, value in options.items() if name not in WITHOUT_EFFECT}


class Pipeline:
    """A task with its model, its tokenizer and its options. Call it with texts; see the task's function for what it takes.

    The options of a call win over those that the pipeline was made with. A dictionary of columns, such as `{"text": [...]}`
    (lists, arrays, columns of Arrow or pandas), comes back with the answers as further columns. A pickle holds where the
    checkpoint is, see `npbert.tasks.places`; `where` are the options that say so.
    """

    def __init__(
        self,
        task: str,
        model: PreTrainedModel,
        tokenizer: BertTokenizer | GPT2Tokenizer,
        options: Mapping[str, Any],
        where: Mapping[str, Any] | None = None,
    ) -> None:
        self.task, self.model, self.tokenizer = task, model, tokenizer
        self.options = dict(options)
        self.where = dict(where or {})
        self._function = TASKS[task].function
        check_tokenizer(tokenizer)
        self._check_names(self.options)

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """Answer one input, a list or column of inputs, a table, or an iterator of inputs, lazily."""
        inputs, options = self._arguments(inputs, without_effect(options))
        self._check_names(options)
        every = {**self.options, **options}
        if inputs and is_table(inputs[0]):
            return self._answer_table(inputs[0], every)
        answer = self._function(self.model, self.tokenizer, *inputs, **every)
        if self._function is text_classification and "top_k" in self.options and "top_k" not in options:
            # The reference looks at the call alone when it decides whether a text alone has its answer in a list.
            return [answer] if isinstance(inputs[0], str) and self.options["top_k"] != "best" else answer
        return answer

    def predict(self, inputs: Any) -> Any:
        """The same as a call, by the name that scikit-learn has for it."""
        return self(inputs)

    transform = predict

    def save_pretrained(self, directory: StrPath) -> None:
        """Write the model and the tokenizer."""
        self.model.save_pretrained(directory)
        self.tokenizer.save_pretrained(directory)

    @property
    def device(self) -> str:
        """Always "cpu"."""
        return "cpu"

    @property
    def framework(self) -> str:
        """Always "np"."""
        return "np"

    @property
    def dtype(self) -> np.dtype[Any]:
        """What the model computes in; `torch_dtype` is the reference's older name."""
        return self.model.dtype

    torch_dtype = dtype

    def _answer_table(self, table: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
        """The table with the answers. Its rows go in as an iterator, because a list of one may be answered like that one."""
        rows = rows_of(table, TASKS[self.task].columns)
        if self._function is embed:
            return with_answers(table, self._function(self.model, self.tokenizer, rows, **options), "embedding")
        return with_answers(table, list(self._function(self.model, self.tokenizer, iter(rows), **options)), "answer")

    def _arguments(self, inputs: tuple[Any, ...], options: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The inputs of a call as one, and its options, as the reference's pipelines take them too."""
        if self._function is question_answering:
            if not inputs:
                inputs = tuple(options.pop(name) for name in ("X", "data") if name in options)
            if len(inputs) == 2 and all(isinstance(text, str) for text in inputs):
                return (), {**options, "question": inputs[0], "context": inputs[1]}
            if len(inputs) > 1:
                return (list(inputs),), options
        if self._function is zero_shot_classification and len(inputs) == 2 and "candidate_labels" not in options:
            return inputs[:1], {**options, "candidate_labels": inputs[1]}
        if len(inputs) > 1:
            raise InputTypeError(f"{self.task}: takes one input or a list of them, got {len(inputs)}")
        return inputs, options

    def _check_names(self, options: Mapping[str, Any]) -> None:
        parameters = inspect.signature(self._function).parameters.values()
        names = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
        known(self.task, options, [*names, *GENERATE_OPTIONS] if self._function is text_generation else names)

    def __reduce__(self) -> tuple[Any, ...]:
        options = self.options
        if self._function is embed and options.get("pooling") is None:
            options = {**options, "pooling": pooling_of(self.model)}  # its files may not be where the task is unpickled
        where = {name: value for name, value in self.where.items() if name not in places.NOT_PICKLED}
        model, tokenizer = (places.place_of(thing, self.where) for thing in (self.model, self.tokenizer))
        return _unpickled, (type(self), self.task, model, tokenizer, options, where)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.task!r}, {type(self.model).__name__})"


def _unpickled(cls: type[Pipeline], task: str, model: Any, tokenizer: Any, options: Any, where: Any) -> Pipeline:
    made = cls.__new__(cls)
    Pipeline.__init__(made, task, places.resolved(model), places.resolved(tokenizer), options, where)
    return made


class _OfOneTask(Pipeline):
    """The pipelines of one task: `FillMaskPipeline(model=model, tokenizer=tokenizer)`."""

    task_name: str

    def __init__(
        self,
        model: PreTrainedModel | StrPath | None = None,
        tokenizer: BertTokenizer | GPT2Tokenizer | StrPath | None = None,
        **options: Any,
    ) -> None:
        options = without_effect(options)
        where = {name: options.pop(name) for name in LOCATION_OPTIONS if name in options}
        super().__init__(self.task_name, *load_both(self.task_name, model, tokenizer, where, {}), options, where)


class Embedder(_OfOneTask):
    """Texts to sentence embeddings: `npbert.Embedder("all-MiniLM-L6-v2")(["a text", "another"])` is an array `[texts, D]`.

    Takes a model, or the path or id of one, its tokenizer, and the options of `npbert.embed`.
    """

    task_name = "embed"


class FeatureExtractionPipeline(_OfOneTask):
    """`npbert.feature_extraction` with a model and its tokenizer."""

    task_name = "feature-extraction"


class FillMaskPipeline(_OfOneTask):
    """`npbert.fill_mask` with a model and its tokenizer."""

    task_name = "fill-mask"


class TextClassificationPipeline(_OfOneTask):
    """`npbert.text_classification` with a model and its tokenizer."""

    task_name = "text-classification"


class ZeroShotClassificationPipeline(_OfOneTask):
    """`npbert.zero_shot_classification` with a model and its tokenizer."""

    task_name = "zero-shot-classification"

    @property
    def entailment_id(self) -> int:
        """The number of the label that says that a text entails a sentence; -1, the last, where no label says so."""
        return entailment_label(self.model.config.label2id)


class TokenClassificationPipeline(_OfOneTask):
    """`npbert.token_classification` with a model and its tokenizer."""

    task_name = "token-classification"


NerPipeline = TokenClassificationPipeline
"""The reference's other name for it."""


class QuestionAnsweringPipeline(_OfOneTask):
    """`npbert.question_answering` with a model and its tokenizer."""

    task_name = "question-answering"


class TextGenerationPipeline(_OfOneTask):
    """`npbert.text_generation` with a model and its tokenizer."""

    task_name = "text-generation"


CLASSES = {TASKS[cls.task_name].function: cls for cls in _OfOneTask.__subclasses__()}
"""The class for each task's function; other tasks are a plain `Pipeline`."""
