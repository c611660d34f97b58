"""From files to a run: what `npbert train` does for each of its tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from npbert import checks
from npbert.errors import InputError
from npbert.models import heads
from npbert.tasks.answering import span_lengths
from npbert.tasks.rows import longest_row
from npbert.text.tokenizer import BertTokenizer
from npbert.training import answering, classification, tagging
from npbert.training.beginnings import Beginning, NewModel, loaded, new_model
from npbert.training.documents import Document, encode_documents, read_documents
from npbert.training.language import masked_language_lessons, pretraining_lessons
from npbert.training.lessons import Lessons
from npbert.training.loop import Run, Settings, steps_of_epochs
from npbert.training.reading import sha256_of

DEFAULT_LENGTH = 128  # tokens, where the model takes as many
DEFAULT_EPOCHS = 3
WARMUP_SHARE = 10  # by default the learning rate rises in the first of so many parts of the run


@dataclass(frozen=True)
class Order:
    """What a run is asked to do."""

    task: str
    data: str
    model: str | NewModel  # a checkpoint, or the sizes of a new one
    eval: str | None = None
    epochs: int | None = None
    steps: int | None = None
    lr: float = 5e-5
    schedule: str = "linear"
    warmup: int | None = None
    weight_decay: float = 0.01
    batch_size: int = 16
    accumulate: int = 1
    max_length: int | None = None
    freeze: tuple[str, ...] = ()
    seed: int = 0

    def described(self) -> dict[str, Any]:
        """As JSON has it, each file by its name and its content."""
        fields = asdict(self)
        model = fields.pop("model")
        fields = {**fields, **model} if isinstance(model, dict) else {**fields, "model": model}
        for name in ("data", "eval", "vocab"):
            if fields.get(name) is not None:
                fields[name] = f"{Path(fields[name]).name}, SHA-256 {sha256_of(fields[name])[:16]}"
        return {**fields, "freeze": list(self.freeze)}


class Prepared(NamedTuple):
    """A run that can begin."""

    run: Run
    tokenizer: BertTokenizer
    fresh: list[str]  # the weights that the checkpoint did not have
    examples: dict[str, int]  # how much there is to learn from, and to evaluate with

    def save_model(self, directory: Path) -> None:
        """The model and its tokenizer, as `from_pretrained` reads them."""
        self.run.model.save_pretrained(directory)
        self.tokenizer.save_pretrained(directory)


class _Lesson(NamedTuple):
    begun: Beginning
    lessons: Lessons
    examples: dict[str, int]


def prepare(order: Order) -> Prepared:
    """Read the data, load or make the model, and set up the run."""
    recipe = RECIPES[checks.choice("task", order.task, list(RECIPES))]
    for name in ("batch_size", "accumulate"):
        checks.whole_number(name, getattr(order, name), least=1)
    checks.whole_number("seed", order.seed, least=0)
    if order.epochs is not None and order.steps is not None:
        raise InputError("steps: takes either epochs or steps, got both")
    done = recipe(order)
    model, tokenizer, fresh = done.begun
    if order.freeze:
        model.requires_grad_(False, only=order.freeze)
        if not model.trainable_names():
            raise InputError("freeze: leaves no weight to train")
    steps = order.steps
    if steps is None:
        epochs = DEFAULT_EPOCHS if order.epochs is None else order.epochs
        steps = steps_of_epochs(done.lessons, epochs, accumulate=order.accumulate, seed=order.seed)
    settings = Settings(
        steps=steps,
        lr=order.lr,
        schedule=order.schedule,
        warmup=steps // WARMUP_SHARE if order.warmup is None else order.warmup,
        accumulate=order.accumulate,
        weight_decay=order.weight_decay,
        seed=order.seed,
    )
    return Prepared(Run(model, done.lessons, settings), tokenizer, fresh, done.examples)


# --- the tasks --------------------------------------------------------------------------------------------------------


def _pretrain(order: Order) -> _Lesson:
    texts = read_documents(order.data)
    if isinstance(order.model, NewModel):
        length = DEFAULT_LENGTH if order.max_length is None else checks.whole_number("max_length", order.max_length, least=5)
        begun = new_model(order.model, [line for document in texts for line in document], length, order.seed)
    else:
        begun = loaded(order.model, heads.BertForPreTraining, order.seed)
    return _language(order, texts, begun, pretraining_lessons)


def _mlm(order: Order) -> _Lesson:
    begun = loaded(_checkpoint(order), heads.BertForMaskedLM, order.seed)
    return _language(order, read_documents(order.data), begun, masked_language_lessons)


def _language(order: Order, texts: Sequence[Sequence[str]], begun: Beginning, lessons_of: Callable[..., Lessons]) -> _Lesson:
    held_out_texts = [] if order.eval is None else read_documents(order.eval)
    documents, held_out = (_encoded(part, begun.tokenizer) for part in (texts, held_out_texts))
    for name, path, part in (("data", order.data, documents), ("eval", order.eval, held_out)):
        if path is not None and not part:
            raise InputError(f"{name}: {path} holds no token that the model knows")
    length = _length(order, begun)
    lessons = lessons_of(begun.tokenizer, documents, held_out, batch_size=order.batch_size, max_length=length)
    return _Lesson(begun, lessons, {"documents": len(documents), "held_out": len(held_out)})


def _encoded(texts: Sequence[Sequence[str]], tokenizer: BertTokenizer) -> list[Document]:
    return encode_documents(texts, lambda lines: tokenizer(lines, add_special_tokens=False, verbose=False)["input_ids"])


def _classify(order: Order) -> _Lesson:
    examples = classification.read_examples(order.data)
    held_out = [] if order.eval is None else classification.read_examples(order.eval)
    labels = classification.labels_of(examples)
    begun = loaded(
        _checkpoint(order),
        heads.BertForSequenceClassification,
        order.seed,
        labels=labels,
        problem_type="single_label_classification",
    )
    lessons = classification.classification_lessons(
        begun.tokenizer,
        examples,
        held_out,
        labels=begun.labels,
        batch_size=order.batch_size,
        max_length=_length(order, begun),
    )
    return _Lesson(begun, lessons, {"rows": len(examples), "labels": len(labels), "held_out": len(held_out)})


def _tokens(order: Order) -> _Lesson:
    sentences = tagging.read_sentences(order.data)
    held_out = [] if order.eval is None else tagging.read_sentences(order.eval)
    labels = tagging.labels_of(sentences)
    begun = loaded(_checkpoint(order), heads.BertForTokenClassification, order.seed, labels=labels)
    lessons = tagging.tagging_lessons(
        begun.tokenizer,
        sentences,
        held_out,
        labels=begun.labels,
        batch_size=order.batch_size,
        max_length=_length(order, begun),
    )
    return _Lesson(begun, lessons, {"sentences": len(sentences), "labels": len(labels), "held_out": len(held_out)})


def _qa(order: Order) -> _Lesson:
    questions = answering.read_questions(order.data)
    held_out = [] if order.eval is None else answering.read_questions(order.eval)
    begun = loaded(_checkpoint(order), heads.BertForQuestionAnswering, order.seed, num_labels=2)
    length, stride = span_lengths(begun.model, begun.tokenizer, order.max_length, None)
    lessons = answering.answering_lessons(
        begun.tokenizer, questions, held_out, batch_size=order.batch_size, max_length=length, stride=stride
    )
    return _Lesson(begun, lessons, {"questions": len(questions), "held_out": len(held_out)})


RECIPES: dict[str, Callable[[Order], _Lesson]] = {
    "pretrain": _pretrain,
    "mlm": _mlm,
    "classify": _classify,
    "tokens": _tokens,
    "qa": _qa,
}
"""What each task reads and makes."""


def _checkpoint(order: Order) -> str:
    if isinstance(order.model, NewModel):
        raise InputError(f"model: {order.task} takes a checkpoint to begin with; only pretrain makes a new model")
    return order.model


def _length(order: Order, begun: Beginning) -> int:
    """How many tokens a text has at most."""
    longest = longest_row(begun.model, begun.tokenizer)
    if order.max_length is None:
        return min(DEFAULT_LENGTH, longest)
    return checks.whole_number("max_length", order.max_length, least=5, most=longest)
