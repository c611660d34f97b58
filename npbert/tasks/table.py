"""The tasks by their names: what computes each, and which model it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from npbert.checkpoints import NPBERT_SMALL
from npbert.checks import text_list, unicode_text
from npbert.tasks.answering import question_answering
from npbert.tasks.classification import next_sentence, text_classification
from npbert.tasks.embedding import embed, feature_extraction, similarity
from npbert.tasks.entities import token_classification
from npbert.tasks.generating import text_generation
from npbert.tasks.inputs import Item, answer_in_kind, entries
from npbert.tasks.masking import fill_mask
from npbert.tasks.zero_shot import zero_shot_classification

if TYPE_CHECKING:
    from npbert.models.base import PreTrainedModel
    from npbert.text.tokenizer import BertTokenizer

MINILM = "all-MiniLM-L6-v2"


class Task(NamedTuple):
    """What a task's name stands for."""

    function: Callable[..., Any]
    model_class: str  # what a checkpoint is loaded as
    of_gpt2: str | None = None  # what a checkpoint of GPT-2 is loaded as
    default: str | None = None  # the checkpoint where none is given
    columns: tuple[str, ...] = ("text",)  # which columns of a table it reads; a second one may be missing


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


_CLASSIFIER = ("BertForSequenceClassification", "GPT2ForSequenceClassification")
_PAIR = ("text", "text_pair")
TASKS = {
    "feature-extraction": Task(feature_extraction, "BertModel", default=MINILM),
    "embed": Task(embed, "BertModel", default=MINILM),
    "sentence-similarity": Task(sentence_similarity, "BertModel", default=MINILM, columns=("source_sentence", "sentences")),
    "fill-mask": Task(fill_mask, "BertForMaskedLM", default=NPBERT_SMALL),
    "text-classification": Task(text_classification, *_CLASSIFIER, columns=_PAIR),
    "sentiment-analysis": Task(text_classification, *_CLASSIFIER, columns=_PAIR),
    "zero-shot-classification": Task(zero_shot_classification, *_CLASSIFIER),
    "token-classification": Task(token_classification, "BertForTokenClassification"),
    "ner": Task(token_classification, "BertForTokenClassification"),
    "question-answering": Task(question_answering, "BertForQuestionAnswering", columns=("question", "context")),
    "next-sentence": Task(next_sentence, "BertForNextSentencePrediction", columns=_PAIR),
    "text-generation": Task(text_generation, "BertLMHeadModel", "GPT2LMHeadModel"),
}

OF_CLASSES = {
    "BertForPreTraining": "fill-mask",
    "EncoderDecoderModel": "text-generation",
    **{
        model_class: name
        for name, task in reversed(TASKS.items())
        for model_class in (task.model_class, task.of_gpt2)
        if model_class is not None
    },
}
"""What a model of each class is for, where nobody names a task: the first of its tasks."""
