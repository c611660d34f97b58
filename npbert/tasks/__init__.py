"""Text in, answers out: one function for each task, over a model and its tokenizer.

    embed(model, tokenizer, ["a text", "another"])                       # [2, D]
    fill_mask(model, tokenizer, "Paris is the [MASK] of France.")        # [{"score", "token", "token_str", "sequence"}, ...]
    pipeline("fill-mask", model="bert-base-uncased")("Paris is the [MASK] of France.")

Arguments and answers are those of the reference's pipelines. Every function takes one text, a list of texts (the answer is a
list) or an iterator of texts (the answer is an iterator, and a million texts run in constant memory). An error names its text:
"inputs[17]: ...".
"""

from npbert.tasks.answering import question_answering
from npbert.tasks.classification import next_sentence, text_classification
from npbert.tasks.embedding import embed, feature_extraction, similarity
from npbert.tasks.entities import token_classification
from npbert.tasks.generating import text_generation
from npbert.tasks.masking import fill_mask, mask_tokens
from npbert.tasks.objects import Embedder, Pipeline
from npbert.tasks.pipelines import pipeline
from npbert.tasks.pooling import Pooling, pool, pooling_of, read_pooling
from npbert.tasks.table import TASKS, sentence_similarity
from npbert.tasks.zero_shot import zero_shot_classification

__all__ = [
    "TASKS",
    "Embedder",
    "Pipeline",
    "Pooling",
    "embed",
    "feature_extraction",
    "fill_mask",
    "mask_tokens",
    "next_sentence",
    "pipeline",
    "pool",
    "pooling_of",
    "question_answering",
    "read_pooling",
    "sentence_similarity",
    "similarity",
    "text_classification",
    "text_generation",
    "token_classification",
    "zero_shot_classification",
]
