"""The task of a masked language model: which word belongs where `[MASK]` is? And how texts are masked to train one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from npbert import checks, ops
from npbert.errors import InputError, InputTypeError, shown, warn
from npbert.tasks.batches import Batch, answer_all
from npbert.tasks.inputs import Item, check_model, check_tokenizer
from npbert.tasks.rows import TokenRow, encode_texts
from npbert.types import Array

if TYPE_CHECKING:
    from npbert.models.base import PreTrainedModel
    from npbert.text.tokenizer import BertTokenizer

TOKENS_PER_BATCH = 1024  # logits over the vocabulary: 30522 numbers for every token


class Guesses(NamedTuple):
    """The likeliest tokens for each mask of a row."""

    places: Array  # [masks]
    tokens: Array  # [masks, top_k]
    scores: Array  # [masks, top_k]


def fill_mask(
    model: PreTrainedModel,
    tokenizer: BertTokenizer,
    inputs: str | Sequence[str] | Iterable[str],
    *,
    top_k: int | None = None,
    targets: str | Sequence[str] | None = None,
    tokenizer_kwargs: Mapping[str, Any] | None = None,
    batch_size: int | None = None,
) -> Any:
    """The likeliest words for the mask of a text: `[{"score", "token", "token_str", "sequence"}, ...]`, best first.

    For a text with several masks there is one such list for each mask, and each is guessed while the others stay masked. Scores
    are probabilities over the whole vocabulary, also when `targets` lists the only words to consider. `top_k` None means 5.

    As in the reference, a list with a single text is answered like the text alone.
    """
    check_model("fill-mask", model, "BertForMaskedLM", "BertForPreTraining")
    check_tokenizer(tokenizer)
    mask_id = tokenizer.mask_token_id
    if mask_id is None:
        raise InputError("tokenizer: fill-mask needs a mask token, and the tokenizer has none")
    top_k = 5 if top_k is None else checks.whole_number("top_k", top_k, least=1)
    wanted = None if targets is None else _target_ids(tokenizer, targets)
    if wanted is None and top_k > model.config.vocab_size:
        raise InputError(f"top_k: takes 1 to {model.config.vocab_size}, the size of the vocabulary, got {top_k}")
    if wanted is not None and wanted.max() >= model.config.vocab_size:
        raise InputError(f"targets: the model has {model.config.vocab_size} tokens, the tokenizer's go up to {wanted.max()}")

    encode_any = encode_texts(model, tokenizer, tokenizer_kwargs)

    def encode(items: Sequence[Item]) -> list[list[TokenRow]]:
        for item in items:
            checks.unicode_text(*item)
        rows = encode_any(items)
        for item, (row,) in zip(items, rows, strict=True):
            if mask_id not in row.inputs["input_ids"]:
                raise InputError(f"{item.name}: there is no {tokenizer.mask_token} in {shown(item.value)}")
        return rows

    def read(out: Any, batch: Batch) -> list[Guesses]:
        logits = out.prediction_logits if "prediction_logits" in out else out.logits  # [B, S, V]
        is_mask = batch.arguments["input_ids"] == mask_id  # [B, S]
        return [_guess(*row, top_k, wanted) for row in zip(logits, is_mask, strict=True)]

    def finish(item: Item, rows: list[TokenRow], guesses: list[Guesses]) -> Any:
        return _guessed_words(tokenizer, np.array(rows[0].inputs["input_ids"]), guesses[0])

    answer = answer_all(
        model,
        tokenizer,
        inputs,
        is_one=isinstance(inputs, str),
        encode=encode,
        read=read,
        finish=finish,
        batch_size=batch_size,
        tokens_per_batch=TOKENS_PER_BATCH,
        hint="tokenizer_kwargs={'truncation': True} reads the beginning",
    )
    return answer[0] if isinstance(answer, list) and isinstance(inputs, list) and len(inputs) == 1 else answer


def _guess(logits: Array, is_mask: Array, top_k: int, wanted: Array | None) -> Guesses:
    places = np.flatnonzero(is_mask)  # [masks]
    scores = ops.softmax(logits[places])  # [masks, V]
    if wanted is not None:
        scores = scores[:, wanted]  # [masks, targets]
    best = ops.top_k(scores, min(top_k, scores.shape[1]))  # [masks, top_k]
    return Guesses(places, best if wanted is None else wanted[best], np.take_along_axis(scores, best, axis=1))


def _guessed_words(tokenizer: BertTokenizer, ids: Array, guesses: Guesses) -> Any:
    is_single = len(guesses.places) == 1
    answers = []
    for place, tokens, scores in zip(*guesses, strict=True):
        guessed = []
        for token, score in zip(tokens.tolist(), scores.tolist(), strict=True):
            filled = ids.copy()
            filled[place] = token
            guessed.append(
                {
                    "score": score,
                    "token": token,
                    "token_str": tokenizer.decode([token]),
                    # With several masks the special tokens stay, because the other masks are among them.
                    "sequence": tokenizer.decode(filled[filled != tokenizer.pad_token_id], skip_special_tokens=is_single),
                }
            )
        answers.append(guessed)
    return answers[0] if is_single else answers


def _target_ids(tokenizer: BertTokenizer, targets: str | Sequence[str]) -> Array:
    """The ids of the targets, each once. A word that the vocabulary lacks is replaced by its first piece, with a warning."""
    vocab = tokenizer.get_vocab()
    found: set[int] = set()
    for target in checks.one_or_more_texts("targets", targets):
        token = vocab.get(target)
        if token is None:
            pieces = tokenizer(target, add_special_tokens=False, truncation=True, max_length=1)["input_ids"]
            if not pieces:
                warn(f"targets: {shown(target)} holds no word, it is left out")
                continue
            token = pieces[0]
            piece = tokenizer.convert_ids_to_tokens(token)
            warn(f"targets: {shown(target)} is not in the vocabulary, {piece!r} takes its place")
        found.add(token)
    if not found:
        raise InputError("targets: takes one word or more")
    return np.array(sorted(found))


class MaskedTokens(NamedTuple):
    """What `mask_tokens` makes: the same shapes as the ids that came in."""

    input_ids: Array
    labels: Array


def mask_tokens(
    input_ids: Any,
    tokenizer: BertTokenizer,
    rng: np.random.Generator,
    probability: float = 0.15,
    *,
    whole_words: bool = False,
    mask_replace_prob: float = 0.8,
    random_replace_prob: float = 0.1,
) -> MaskedTokens:
    """Mask tokens as BERT's authors did to train it (Devlin et al. 2018, A.1), and label them.

    Each token is chosen with the given probability, but never a special token or padding. Of the chosen, 80% become `[MASK]`,
    10% a random token and 10% stay as they are, unless told otherwise. `labels` holds the chosen tokens as they were, and
    everywhere else -100, which no loss counts. Ids may be `[S]` or `[B, S]`.

    With `whole_words` all pieces of a word are chosen or none. A piece that is left tells most of the others, so a model that
    is to guess words learns more where it must do without.
    """
    check_tokenizer(tokenizer)
    tokens = checks.integers("input_ids", input_ids, (1, 2))
    if not isinstance(rng, np.random.Generator):
        raise InputTypeError(f"rng: takes a numpy.random.Generator, got {shown(rng)}")
    shares = {"mask_replace_prob": mask_replace_prob, "random_replace_prob": random_replace_prob}
    for name, value in {"probability": probability, **shares}.items():
        checks.number(name, value, least=0, most=1)
    if sum(shares.values()) > 1:
        raise InputError(f"{' and '.join(shares)}: are more than 1 together, {mask_replace_prob} and {random_replace_prob}")
    if tokenizer.mask_token_id is None:
        raise InputError("tokenizer: masking needs a mask token, and the tokenizer has none")
    size = len(tokenizer)  # counted anew whenever it is asked for
    tokens = checks.ids("input_ids", tokens, size, rank=tokens.ndim)
    drawn = rng.random(tokens.shape)
    if whole_words:
        drawn = np.take_along_axis(drawn, _words(tokens, tokenizer), axis=-1)  # one number for all pieces of a word
    chosen = (drawn < probability) & ~np.isin(tokens, tokenizer.all_special_ids)
    fate = rng.random(tokens.shape)
    masked = np.where(chosen & (fate < mask_replace_prob), tokenizer.mask_token_id, tokens)
    masked = np.where(chosen & (fate >= 1 - random_replace_prob), rng.integers(0, size, tokens.shape), masked)
    return MaskedTokens(masked, np.where(chosen, tokens, checks.IGNORED))


def _words(tokens: Array, tokenizer: BertTokenizer) -> Array:
    """Which word of its row each token belongs to, counted from 0; a piece that goes on with a word begins with `##`."""
    used, places = np.unique(tokens, return_inverse=True)
    goes_on = np.array([token.startswith("##") for token in tokenizer.convert_ids_to_tokens(used)], np.bool_)
    begins = ~goes_on[places].reshape(tokens.shape)
    begins[..., :1] = True  # a text may have been cut within a word
    return np.cumsum(begins, axis=-1) - 1
