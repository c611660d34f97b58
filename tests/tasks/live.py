"""The reference's pipelines over the models of `cases`.

Imports torch and transformers, so only tests marked `parity` and tools/make_expected_tasks.py may import it.
"""

from __future__ import annotations

import functools
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import transformers

from .. import reference
from . import cases


@functools.cache
def model(name: str, seed: int = cases.SEED) -> Any:
    """The reference's twin of `cases.model(name, seed)`."""
    kind, fields = cases.MODELS[name]
    return reference.build(kind, {**cases.FIELDS, **fields}, cases.model(name, seed).state_dict())


@functools.cache
def tokenizer() -> Any:
    """The reference's twin of `cases.tokenizer()`."""
    return transformers.BertTokenizerFast.from_pretrained(cases.vocabulary(), model_max_length=128)


def pipeline(task: str, name: str, seed: int = cases.SEED, **options: Any) -> Any:
    """A pipeline of the reference."""
    return transformers.pipeline(task, model=model(name, seed), tokenizer=tokenizer(), device="cpu", **options)


def answer(case: cases.Case, seed: int = cases.SEED) -> Any:
    """What the reference answers. Its own warnings (it reads tensors in ways that NumPy is about to refuse) are not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _answer(case, seed)


def _answer(case: cases.Case, seed: int) -> Any:
    ask = pipeline(case.task, case.model, seed, **case.made_with)
    if case.task != "question-answering":
        answer = ask(case.inputs, **case.options)
        # One list of words is wrapped into a batch of one there, and its answer stays wrapped.
        is_wrapped = case.options.get("is_split_into_words") and not isinstance(case.inputs[0], list)
        return answer[0] if is_wrapped else answer
    if isinstance(case.inputs, dict):
        return ask(**case.inputs, **case.options)
    questions, contexts = ([example[part] for example in case.inputs] for part in ("question", "context"))
    return ask(question=questions, context=contexts, **case.options)


def sentence_transformer(directory: Path, pooling: Any) -> Any:
    """A sentence-transformers model over `cases.model("base")` with the given pooling, saved in a directory first."""
    from sentence_transformers import SentenceTransformer

    cases.model("base").save_pretrained(directory)
    tokenizer().save_pretrained(directory)
    cases.write_pooling_files(directory, pooling)
    return SentenceTransformer(str(directory), device="cpu")


def minilm_similarity(texts: list[str]) -> np.ndarray:
    """The cosines between texts by the real all-MiniLM-L6-v2."""
    from sentence_transformers import SentenceTransformer

    encoder = SentenceTransformer(str(cases.vocabulary()), device="cpu")
    vectors = encoder.encode(texts)
    return encoder.similarity(vectors, vectors).numpy()
