"""Everything wrong that can be handed in, and the kinds of right that must be fine."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import npbert
from npbert import NpbertError

from ..builders import CLASSES, arrays_of, build, ids, inputs_for, tiny

# V = 31, D = 12, L = 2, N = 3, H = 4, M = 17, types 3, 2 labels
ENCODER = build("BertModel", tiny())
RELATIVE = build("BertModel", tiny(position_embedding_type="relative_key"))
DECODER = build("BertModel", tiny(is_decoder=True))
CROSS = build("BertModel", tiny(is_decoder=True, add_cross_attention=True))
PRUNED = build("BertModel", tiny(pruned_heads={0: [1]}))
PRUNED_DECODER = build("BertModel", tiny(pruned_heads={1: [1]}, is_decoder=True))
HEADS = {name: build(name, tiny(is_decoder=name == "BertLMHeadModel")) for name in CLASSES[1:]}
FIVE = build("BertForSequenceClassification", tiny(num_labels=5))
NUMBER = build("BertForSequenceClassification", tiny(num_labels=1))
MULTI = build("BertForSequenceClassification", tiny(num_labels=3, problem_type="multi_label_classification"))

IDS = np.array([[1, 2, 3], [4, 5, 6]])
STATES = np.zeros((2, 4, 12))


def cache(batch: int = 2, heads: tuple[int, ...] = (3, 3), length: int = 4, size: int = 4, parts: int = 2) -> Any:
    return tuple(tuple(np.zeros((batch, n, length, size)) for _ in range(parts)) for n in heads)


def with_part(past: Any, layer: int, part: int, array: Any) -> Any:
    changed = [list(entry) for entry in past]
    changed[layer][part] = array
    return tuple(tuple(entry) for entry in changed)


WRONG: dict[str, tuple[Any, dict[str, Any], type[Exception], str]] = {
    # ids
    "negative id": (ENCODER, {"input_ids": [[1, -1]]}, ValueError, r"input_ids.*-1 .*0 to 30"),
    "id past the table": (ENCODER, {"input_ids": [[1, 31]]}, ValueError, r"input_ids.*31 .*0 to 30"),
    "huge unsigned id": (
        ENCODER,
        {"input_ids": np.array([[2**64 - 1]], np.uint64)},
        ValueError,
        r"input_ids.*18446744073709551615",
    ),
    "float ids": (ENCODER, {"input_ids": [[1.0, 2.0]]}, TypeError, r"input_ids.*floats"),
    "string ids": (ENCODER, {"input_ids": [["a"]]}, TypeError, r"input_ids.*strings"),
    "bytes ids": (ENCODER, {"input_ids": [[b"a"]]}, TypeError, r"input_ids.*bytes"),
    "a text": (ENCODER, {"input_ids": "hello"}, TypeError, r"input_ids.*strings"),
    "bool ids": (ENCODER, {"input_ids": [[True, False]]}, TypeError, r"input_ids.*bool"),
    "complex ids": (ENCODER, {"input_ids": [[1j]]}, TypeError, r"input_ids.*complex"),
    "objects": (ENCODER, {"input_ids": [[None, 1]]}, TypeError, r"input_ids.*objects"),
    "a dictionary": (ENCODER, {"input_ids": {"input_ids": [[1]]}}, TypeError, r"input_ids.*objects"),
    "huge integers": (ENCODER, {"input_ids": [[2**70]]}, TypeError, r"input_ids"),
    "one sequence without a batch": (ENCODER, {"input_ids": [1, 2]}, ValueError, r"input_ids.*2 dimensions.*\[2\]"),
    "a single id": (ENCODER, {"input_ids": 1}, ValueError, r"input_ids.*2 dimensions.*\[\]"),
    "three axes": (ENCODER, {"input_ids": [[[1]]]}, ValueError, r"input_ids.*2 dimensions.*\[1, 1, 1\]"),
    "ragged": (ENCODER, {"input_ids": [[1, 2], [3]]}, ValueError, r"input_ids.*one length.*padding=True"),
    "too long": (ENCODER, {"input_ids": np.ones((1, 18), int)}, ValueError, r"input_ids: 18 tokens.*17"),
    "too long by distance": (RELATIVE, {"input_ids": np.ones((1, 18), int)}, ValueError, r"input_ids: 18 tokens.*17"),
    "too long by distance, positions given": (
        RELATIVE,
        {"input_ids": np.ones((1, 18), int), "position_ids": np.zeros((1, 18), int)},
        ValueError,
        r"input_ids: 18 tokens.*17",
    ),
    "too long with the cache": (
        DECODER,
        {"input_ids": np.ones((2, 14), int), "past_key_values": cache()},
        ValueError,
        r"input_ids: 18 tokens \(4 of them cached\).*17",
    ),
    # both or neither
    "neither": (ENCODER, {}, ValueError, r"input_ids or inputs_embeds.*neither"),
    "both": (
        ENCODER,
        {"input_ids": IDS, "inputs_embeds": np.zeros((2, 3, 12))},
        ValueError,
        r"input_ids or inputs_embeds.*both",
    ),
    # embeddings
    "embeddings of another size": (
        ENCODER,
        {"inputs_embeds": np.zeros((2, 3, 11))},
        ValueError,
        r"inputs_embeds.*12\].*\[2, 3, 11\]",
    ),
    "embeddings without a batch": (ENCODER, {"inputs_embeds": np.zeros((3, 12))}, ValueError, r"inputs_embeds.*\[3, 12\]"),
    "string embeddings": (ENCODER, {"inputs_embeds": [[["a"] * 12]]}, TypeError, r"inputs_embeds.*strings"),
    "complex embeddings": (ENCODER, {"inputs_embeds": np.zeros((1, 1, 12), complex)}, TypeError, r"inputs_embeds.*complex"),
    "too many embeddings": (ENCODER, {"inputs_embeds": np.zeros((1, 18, 12))}, ValueError, r"inputs_embeds: 18 tokens"),
    # positions
    "negative position": (ENCODER, {"input_ids": IDS, "position_ids": [[0, 1, -1]]}, ValueError, r"position_ids.*-1 .*0 to 16"),
    "position past the table": (
        ENCODER,
        {"input_ids": IDS, "position_ids": [[0, 1, 17]]},
        ValueError,
        r"position_ids.*17 .*0 to 16",
    ),
    "float positions": (ENCODER, {"input_ids": IDS, "position_ids": [[0.0, 1, 2]]}, TypeError, r"position_ids.*floats"),
    "positions too short": (
        ENCODER,
        {"input_ids": IDS, "position_ids": [[0, 1]]},
        ValueError,
        r"position_ids.*\[2, 3\].*\[1, 2\]",
    ),
    "one position for all": (ENCODER, {"input_ids": IDS, "position_ids": [[0]]}, ValueError, r"position_ids.*\[1, 1\]"),
    "positions of another batch": (
        ENCODER,
        {"input_ids": IDS, "position_ids": np.zeros((3, 3), int)},
        ValueError,
        r"position_ids",
    ),
    "flat positions": (ENCODER, {"input_ids": IDS, "position_ids": [0, 1, 2]}, ValueError, r"position_ids.*2 dimensions"),
    # token types
    "negative type": (
        ENCODER,
        {"input_ids": IDS, "token_type_ids": [[0, 0, -1]] * 2},
        ValueError,
        r"token_type_ids.*-1 .*0 to 2",
    ),
    "type past the table": (
        ENCODER,
        {"input_ids": IDS, "token_type_ids": [[0, 0, 3]] * 2},
        ValueError,
        r"token_type_ids.*3 .*0 to 2",
    ),
    "float types": (ENCODER, {"input_ids": IDS, "token_type_ids": [[0.0, 0, 0]] * 2}, TypeError, r"token_type_ids.*floats"),
    "types of one row": (
        ENCODER,
        {"input_ids": IDS, "token_type_ids": [[0, 0, 0]]},
        ValueError,
        r"token_type_ids.*\[2, 3\].*\[1, 3\]",
    ),
    "flat types": (ENCODER, {"input_ids": IDS, "token_type_ids": [0, 0, 0]}, ValueError, r"token_type_ids.*2 dimensions"),
    # masks
    "mask too short": (
        ENCODER,
        {"input_ids": IDS, "attention_mask": [[1, 1]] * 2},
        ValueError,
        r"attention_mask.*\[2, 3\].*\[2, 2\]",
    ),
    "mask of one row": (ENCODER, {"input_ids": IDS, "attention_mask": [[1, 1, 1]]}, ValueError, r"attention_mask.*\[1, 3\]"),
    "flat mask": (ENCODER, {"input_ids": IDS, "attention_mask": [1, 1, 1]}, ValueError, r"attention_mask.*\[3\]"),
    "mask of four axes": (ENCODER, {"input_ids": IDS, "attention_mask": np.ones((2, 1, 3, 3))}, ValueError, r"attention_mask"),
    "square mask of another size": (
        ENCODER,
        {"input_ids": IDS, "attention_mask": np.ones((2, 3, 4))},
        ValueError,
        r"attention_mask.*\[2, 3, 3\]",
    ),
    "string mask": (ENCODER, {"input_ids": IDS, "attention_mask": [["1"] * 3] * 2}, TypeError, r"attention_mask.*strings"),
    "nan in the mask": (
        ENCODER,
        {"input_ids": IDS, "attention_mask": [[1, 1, np.nan]] * 2},
        ValueError,
        r"attention_mask.*nan",
    ),
    "infinity in the mask": (
        ENCODER,
        {"input_ids": IDS, "attention_mask": [[0, 0, -np.inf]] * 2},
        ValueError,
        r"attention_mask.*-inf",
    ),
    "mask without the cache": (
        DECODER,
        {"input_ids": IDS, "attention_mask": np.ones((2, 3)), "past_key_values": cache()},
        ValueError,
        r"attention_mask.*\[2, 7\]",
    ),
    "head mask of another number": (
        ENCODER,
        {"input_ids": IDS, "head_mask": [1, 1]},
        ValueError,
        r"head_mask.*\[3\].*\[2, 3\].*\[2\]",
    ),
    "head mask of other layers": (
        ENCODER,
        {"input_ids": IDS, "head_mask": np.ones((3, 3))},
        ValueError,
        r"head_mask.*\[2, 3\]",
    ),
    "head mask of one layer": (ENCODER, {"input_ids": IDS, "head_mask": np.ones((1, 3))}, ValueError, r"head_mask"),
    "string head mask": (ENCODER, {"input_ids": IDS, "head_mask": ["a", "b", "c"]}, TypeError, r"head_mask.*strings"),
    "head mask after pruning": (PRUNED, {"input_ids": IDS, "head_mask": [1, 1, 1]}, ValueError, r"head_mask.*pruned"),
    # the encoder's side
    "an encoder for no cross-attention": (
        DECODER,
        {"input_ids": IDS, "encoder_hidden_states": STATES},
        ValueError,
        r"encoder_hidden_states.*add_cross_attention",
    ),
    "an encoder for an encoder": (
        ENCODER,
        {"input_ids": IDS, "encoder_hidden_states": STATES},
        ValueError,
        r"encoder_hidden_states",
    ),
    "encoder of another size": (
        CROSS,
        {"input_ids": IDS, "encoder_hidden_states": STATES[..., :11]},
        ValueError,
        r"encoder_hidden_states.*12\].*11\]",
    ),
    "encoder of another batch": (
        CROSS,
        {"input_ids": IDS, "encoder_hidden_states": STATES[:1]},
        ValueError,
        r"encoder_hidden_states.*\[1, 4, 12\]",
    ),
    "flat encoder": (CROSS, {"input_ids": IDS, "encoder_hidden_states": STATES[0]}, ValueError, r"encoder_hidden_states"),
    "string encoder": (CROSS, {"input_ids": IDS, "encoder_hidden_states": "x"}, TypeError, r"encoder_hidden_states.*strings"),
    "encoder mask too long": (
        CROSS,
        {"input_ids": IDS, "encoder_hidden_states": STATES, "encoder_attention_mask": np.ones((2, 5))},
        ValueError,
        r"encoder_attention_mask.*\[2, 4\].*\[2, 5\]",
    ),
    "encoder mask without an encoder": (
        CROSS,
        {"input_ids": IDS, "encoder_attention_mask": np.ones((2, 4))},
        ValueError,
        r"encoder_attention_mask",
    ),
    "encoder mask for an encoder": (
        ENCODER,
        {"input_ids": IDS, "encoder_attention_mask": np.ones((2, 4))},
        ValueError,
        r"encoder_attention_mask",
    ),
    # caches
    "cache for an encoder": (
        ENCODER,
        {"input_ids": IDS, "past_key_values": cache()},
        ValueError,
        r"past_key_values.*is_decoder",
    ),
    "use_cache for an encoder": (ENCODER, {"input_ids": IDS, "use_cache": True}, ValueError, r"use_cache.*is_decoder"),
    "cache of one layer": (
        DECODER,
        {"input_ids": IDS, "past_key_values": cache()[:1]},
        ValueError,
        r"past_key_values.*2 layers, got tuple of 1",
    ),
    "no cache at all": (DECODER, {"input_ids": IDS, "past_key_values": 3}, ValueError, r"past_key_values.*2 layers, got int"),
    "cache of arrays": (
        DECODER,
        {"input_ids": IDS, "past_key_values": (np.zeros(3), np.zeros(3))},
        ValueError,
        r"past_key_values\[0\]",
    ),
    "cache without values": (
        DECODER,
        {"input_ids": IDS, "past_key_values": cache(parts=1)},
        ValueError,
        r"past_key_values\[0\].*key, value",
    ),
    "cache of three": (
        CROSS,
        {"input_ids": IDS, "past_key_values": cache(parts=3)},
        ValueError,
        r"past_key_values\[0\].*got tuple of 3",
    ),
    "cross cache for no cross-attention": (
        DECODER,
        {"input_ids": IDS, "past_key_values": cache(parts=4)},
        ValueError,
        r"past_key_values\[0\]",
    ),
    "cross cache in one layer": (
        CROSS,
        {"input_ids": IDS, "past_key_values": (cache(parts=4)[0], cache()[1])},
        ValueError,
        r"past_key_values\[1\]",
    ),
    "cache of another batch": (
        DECODER,
        {"input_ids": IDS, "past_key_values": cache(batch=1)},
        ValueError,
        r"past_key_values\[0\]\[0\].*\[2, 3, 4, 4\]",
    ),
    "cache of other heads": (
        DECODER,
        {"input_ids": IDS, "past_key_values": cache(heads=(3, 2))},
        ValueError,
        r"past_key_values\[1\]\[0\]",
    ),
    "cache of all heads after pruning": (
        PRUNED_DECODER,
        {"input_ids": IDS, "past_key_values": cache()},
        ValueError,
        r"past_key_values\[1\]\[0\].*\[2, 2, 4, 4\]",
    ),
    "cache of another head size": (
        DECODER,
        {"input_ids": IDS, "past_key_values": cache(size=5)},
        ValueError,
        r"past_key_values\[0\]\[0\]",
    ),
    "cache without a batch": (
        DECODER,
        {"input_ids": IDS, "past_key_values": with_part(cache(), 0, 0, np.zeros((3, 4)))},
        ValueError,
        r"past_key_values\[0\]\[0\]",
    ),
    "values shorter than keys": (
        DECODER,
        {"input_ids": IDS, "past_key_values": with_part(cache(), 0, 1, np.zeros((2, 3, 3, 4)))},
        ValueError,
        r"past_key_values\[0\]\[1\]",
    ),
    "layers of two lengths": (
        DECODER,
        {"input_ids": IDS, "past_key_values": (cache()[0], cache(length=3)[1])},
        ValueError,
        r"past_key_values\[1\]\[0\].*\[2, 3, 4, 4\].*\[2, 3, 3, 4\]",
    ),
    "strings in the cache": (
        DECODER,
        {"input_ids": IDS, "past_key_values": with_part(cache(), 1, 1, "x")},
        TypeError,
        r"past_key_values\[1\]\[1\].*strings",
    ),
    # unknown arguments
    "unknown argument": (
        ENCODER,
        {"input_ids": IDS, "attention_masks": 1},
        TypeError,
        r"BertModel.*'attention_masks'.*attention_mask",
    ),
    "labels for the base model": (ENCODER, {"input_ids": IDS, "labels": IDS}, TypeError, r"'labels'"),
    "a cache for masked words": (
        HEADS["BertForMaskedLM"],
        {"input_ids": IDS, "past_key_values": None},
        TypeError,
        r"'past_key_values'",
    ),
    "no generator": (ENCODER, {"input_ids": IDS, "rng": 0}, TypeError, r"rng.*Generator.*int"),
    "the old generator": (ENCODER, {"input_ids": IDS, "rng": np.random.RandomState(0)}, TypeError, r"rng.*RandomState"),
    # labels
    "word label past the table": (
        HEADS["BertForMaskedLM"],
        {"input_ids": IDS, "labels": [[0, 1, 31]] * 2},
        ValueError,
        r"labels.*31 .*0 to 30.*-100",
    ),
    "negative word label": (
        HEADS["BertForMaskedLM"],
        {"input_ids": IDS, "labels": [[0, 1, -1]] * 2},
        ValueError,
        r"labels.*-1 ",
    ),
    "word labels of another shape": (
        HEADS["BertForMaskedLM"],
        {"input_ids": IDS, "labels": [[0, 1]] * 2},
        ValueError,
        r"labels.*\[2, 3\].*\[2, 2\]",
    ),
    "flat word labels": (HEADS["BertForMaskedLM"], {"input_ids": IDS, "labels": [0] * 6}, ValueError, r"labels.*2 dimensions"),
    "float word labels": (
        HEADS["BertForMaskedLM"],
        {"input_ids": IDS, "labels": np.zeros((2, 3))},
        TypeError,
        r"labels.*floats",
    ),
    "causal label past the table": (
        HEADS["BertLMHeadModel"],
        {"input_ids": IDS, "labels": [[0, 1, 31]] * 2},
        ValueError,
        r"labels.*31 ",
    ),
    "causal labels of another shape": (
        HEADS["BertLMHeadModel"],
        {"input_ids": IDS, "labels": [[0, 1]] * 2},
        ValueError,
        r"labels",
    ),
    "pre-training word label": (
        HEADS["BertForPreTraining"],
        {"input_ids": IDS, "labels": [[99] * 3] * 2, "next_sentence_label": [0, 1]},
        ValueError,
        r"labels.*99",
    ),
    "pre-training sentence label": (
        HEADS["BertForPreTraining"],
        {"input_ids": IDS, "labels": IDS, "next_sentence_label": [0, 2]},
        ValueError,
        r"next_sentence_label.*2 .*0 to 1",
    ),
    "sentence label": (
        HEADS["BertForNextSentencePrediction"],
        {"input_ids": IDS, "labels": [0, 2]},
        ValueError,
        r"labels.*2 .*0 to 1",
    ),
    "sentence labels of another batch": (
        HEADS["BertForNextSentencePrediction"],
        {"input_ids": IDS, "labels": [0, 1, 1]},
        ValueError,
        r"labels.*\[2\].*\[3\]",
    ),
    "token label": (
        HEADS["BertForTokenClassification"],
        {"input_ids": IDS, "labels": [[0, 1, 2]] * 2},
        ValueError,
        r"labels.*2 .*0 to 1",
    ),
    "token labels of another shape": (
        HEADS["BertForTokenClassification"],
        {"input_ids": IDS, "labels": [[0, 1]] * 2},
        ValueError,
        r"labels",
    ),
    "class label": (FIVE, {"input_ids": IDS, "labels": [0, 5]}, ValueError, r"labels.*5 .*0 to 4"),
    "class labels of another batch": (FIVE, {"input_ids": IDS, "labels": [0]}, ValueError, r"labels.*\[2\].*\[1\]"),
    "string labels": (FIVE, {"input_ids": IDS, "labels": ["LABEL_0", "LABEL_1"]}, TypeError, r"labels.*strings"),
    "several labels of another number": (
        MULTI,
        {"input_ids": IDS, "labels": np.zeros((2, 4))},
        ValueError,
        r"labels.*\[2, 3\].*\[2, 4\]",
    ),
    "flat several labels": (MULTI, {"input_ids": IDS, "labels": np.zeros(2)}, ValueError, r"labels.*\[2, 3\]"),
    "several labels past 1": (
        MULTI,
        {"input_ids": IDS, "labels": [[0, 1, 2]] * 2},
        ValueError,
        r"labels: takes 0 and 1, got 2",
    ),
    "several labels, some to be ignored": (MULTI, {"input_ids": IDS, "labels": [[0, 1, -100]] * 2}, ValueError, r"got -100"),
    "numbers of another batch": (NUMBER, {"input_ids": IDS, "labels": np.zeros(3)}, ValueError, r"labels.*\[3\]"),
    "choice": (HEADS["BertForMultipleChoice"], {"input_ids": IDS[None], "labels": [2]}, ValueError, r"labels.*2 .*0 to 1"),
    "choices of another batch": (
        HEADS["BertForMultipleChoice"],
        {"input_ids": IDS[None], "labels": [0, 1]},
        ValueError,
        r"labels.*\[1\].*\[2\]",
    ),
    "choices without an axis": (HEADS["BertForMultipleChoice"], {"input_ids": IDS}, ValueError, r"input_ids.*3 dimensions"),
    "choices' embeddings without an axis": (
        HEADS["BertForMultipleChoice"],
        {"inputs_embeds": np.zeros((2, 3, 12))},
        ValueError,
        r"inputs_embeds.*4 dimensions",
    ),
    "choices' mask without an axis": (
        HEADS["BertForMultipleChoice"],
        {"input_ids": IDS[None], "attention_mask": np.ones((2, 3))},
        ValueError,
        r"attention_mask",
    ),
    "choices' mask of another shape": (
        HEADS["BertForMultipleChoice"],
        {"input_ids": IDS[None], "attention_mask": np.ones((1, 2, 4))},
        ValueError,
        r"attention_mask",
    ),
    "no choices at all": (HEADS["BertForMultipleChoice"], {}, ValueError, r"inputs_embeds"),
    "both kinds of choices": (
        HEADS["BertForMultipleChoice"],
        {"input_ids": IDS[None], "inputs_embeds": np.zeros((1, 2, 3, 12))},
        ValueError,
        r"both",
    ),
    "start positions of another batch": (
        HEADS["BertForQuestionAnswering"],
        {"input_ids": IDS, "start_positions": [0], "end_positions": [0, 1]},
        ValueError,
        r"start_positions.*\[2\].*\[1\]",
    ),
    "float end positions": (
        HEADS["BertForQuestionAnswering"],
        {"input_ids": IDS, "start_positions": [0, 1], "end_positions": [0.5, 1]},
        TypeError,
        r"end_positions.*floats",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong(name: str) -> None:
    model, arguments, kind, message = WRONG[name]
    with pytest.raises(NpbertError, match=message) as caught:
        model(**arguments)
    assert isinstance(caught.value, kind)


WRONG_TOO: dict[str, tuple[Any, dict[str, Any]]] = {
    "no tokens": (ENCODER, {"input_ids": np.zeros((2, 0), int)}),
    "an encoder of another length than the cache's": (
        CROSS,
        {
            "input_ids": IDS,
            "encoder_hidden_states": STATES,
            "past_key_values": CROSS(IDS, encoder_hidden_states=STATES[:, :2]).past_key_values,
        },
    ),
    "a word for a flag": (ENCODER, {"input_ids": IDS, "output_attentions": "no"}),
    "an array for a flag": (ENCODER, {"input_ids": IDS, "output_hidden_states": np.zeros(2)}),
    "a word for the kind of result": (ENCODER, {"input_ids": IDS, "return_dict": "tuple"}),
    "a word for the cache": (DECODER, {"input_ids": IDS, "use_cache": "no"}),
    "a seed for a generator": (ENCODER, {"input_ids": IDS, "rng": 0}),
    "a mask that is added already": (ENCODER, {"input_ids": IDS, "attention_mask": [[0.0, 0.0, -10000.0]] * 2}),
    "a mask of lengths": (ENCODER, {"input_ids": IDS, "attention_mask": [[3, 3, 2]] * 2}),
}


@pytest.mark.parametrize("name", WRONG_TOO)
def test_wrong_too(name: str) -> None:
    model, arguments = WRONG_TOO[name]
    with pytest.raises(NpbertError):
        model(**arguments)


def test_errors_leave_the_model_as_it_was() -> None:
    before = arrays_of(ENCODER(IDS))
    for model, arguments, _, _ in WRONG.values():
        if model is ENCODER:
            with pytest.raises(NpbertError):
                model(**arguments)
    assert all(np.array_equal(x, before[name]) for name, x in arrays_of(ENCODER(IDS)).items())


# ------------------------------------------------------------------------------------------------------------ what is fine

KINDS: dict[str, Callable[[np.ndarray], Any]] = {
    "lists": np.ndarray.tolist,
    "tuples": lambda x: tuple(map(tuple, x)),
    "int8": lambda x: x.astype(np.int8),
    "int32": lambda x: x.astype(np.int32),
    "uint8": lambda x: x.astype(np.uint8),
    "uint64": lambda x: x.astype(np.uint64),
    "big-endian": lambda x: x.astype(">i4"),
    "a view": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "column-major": np.asfortranarray,
    "read-only": lambda x: np.broadcast_to(x, x.shape),
}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_integers_that_are_fine(kind: str) -> None:
    as_kind = KINDS[kind]
    given = {
        "input_ids": ids(tiny(), 2, 5),
        "token_type_ids": np.array([[0, 1, 2, 0, 0]] * 2),
        "position_ids": np.array([[4, 3, 2, 1, 0]] * 2),
    }
    mask = np.array([[1, 1, 1, 1, 0], [1, 1, 0, 0, 0]])
    expected = ENCODER(**given, attention_mask=mask).last_hidden_state
    actual = ENCODER(**{name: as_kind(x) for name, x in given.items()}, attention_mask=as_kind(mask)).last_hidden_state
    np.testing.assert_array_equal(actual, expected)
    labels = np.array([[1, 0, 30, 2, 2]] * 2)
    loss = HEADS["BertForMaskedLM"](given["input_ids"], labels=labels).loss
    assert HEADS["BertForMaskedLM"](given["input_ids"], labels=as_kind(labels)).loss == loss


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int32, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("decoder", [False, True])
def test_kinds_of_masks_that_are_fine(dtype: Any, axes: int, decoder: bool) -> None:
    model = CROSS if decoder else ENCODER
    mask = np.array([[1, 1, 0], [1, 0, 0]]) if axes == 2 else np.random.default_rng(0).integers(0, 2, (2, 3, 3))
    more = {"encoder_hidden_states": np.random.default_rng(1).normal(size=(2, 3, 12))} if decoder else {}
    head_mask = np.array([1, 0, 1])
    expected = model(
        IDS, attention_mask=mask, head_mask=head_mask, **more, **({"encoder_attention_mask": mask} if decoder else {})
    )
    mask = mask.astype(dtype)
    actual = model(
        IDS,
        attention_mask=mask,
        head_mask=head_mask.astype(dtype),
        **more,
        **({"encoder_attention_mask": mask} if decoder else {}),
    )
    np.testing.assert_array_equal(actual.last_hidden_state, expected.last_hidden_state)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64])
def test_embeddings_of_any_kind_are_computed_in_the_models_own(dtype: Any) -> None:
    embeds = np.random.default_rng(0).integers(-3, 3, (2, 4, 12)).astype(dtype)
    for model in (ENCODER, ENCODER.astype(np.float32)):
        out = model(inputs_embeds=embeds)
        assert out.last_hidden_state.dtype == out.pooler_output.dtype == model.dtype
        np.testing.assert_array_equal(out.last_hidden_state, model(inputs_embeds=embeds.astype(np.float64)).last_hidden_state)


def test_positions_past_the_table_may_be_reached_by_naming_others() -> None:
    out = ENCODER(np.ones((1, 20), int), position_ids=np.zeros((1, 20), int))
    assert out.last_hidden_state.shape == (1, 20, 12)


def test_no_argument_is_changed() -> None:
    given = {
        "input_ids": IDS.copy(),
        "attention_mask": np.array([[1, 0, 1]] * 2),
        "token_type_ids": np.ones((2, 3), int),
        "position_ids": np.array([[2, 1, 0]]),
        "head_mask": np.array([1.0, 0.5, 1]),
        "encoder_hidden_states": np.ones((2, 4, 12)),
        "encoder_attention_mask": np.ones((2, 4)),
    }
    before = {name: x.copy() for name, x in given.items()}
    weights = {name: x.copy() for name, x in CROSS.state_dict().items()}
    CROSS(**given, output_attentions=True, output_hidden_states=True)
    embeds = np.random.default_rng(0).normal(size=(2, 3, 12))
    kept = embeds.copy()
    CROSS(inputs_embeds=embeds)
    past = tuple(tuple(np.ones((2, 3, 4, 4)) for _ in range(2)) for _ in range(2))
    DECODER(IDS, past_key_values=past)
    assert all(np.array_equal(x, before[name]) for name, x in given.items())
    assert all(np.array_equal(x, weights[name]) for name, x in CROSS.state_dict().items())
    np.testing.assert_array_equal(embeds, kept)
    assert all((x == 1).all() for layer in past for x in layer)


# ------------------------------------------------------------------------------------------------------------ empty batches


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("model_class", CLASSES)
def test_an_empty_batch_gives_empty_results(model_class: str, dtype: Any) -> None:
    decoder = model_class in ("BertModel", "BertLMHeadModel")
    model = build(model_class, tiny(is_decoder=decoder, add_cross_attention=decoder, chunk_size_feed_forward=2), dtype=dtype)
    given = inputs_for(model_class, model.config)
    full = arrays_of(model(**given, output_attentions=True, output_hidden_states=True))
    none = {name: x[:0] for name, x in given.items()}
    empty = arrays_of(model(**none, output_attentions=True, output_hidden_states=True))
    assert list(empty) == list(full)
    for name, x in full.items():
        assert empty[name].shape == (0, *x.shape[1:]), name
        assert empty[name].dtype == dtype


@pytest.mark.parametrize("model_class", ["BertModel", "BertForSequenceClassification"])
def test_no_sequences_without_tokens_are_refused(model_class: str) -> None:
    model = ENCODER if model_class == "BertModel" else HEADS[model_class]
    with pytest.raises(NpbertError, match="input_ids: takes at least one token"):
        model(np.zeros((0, 0), int))


@pytest.mark.parametrize(
    ("model_class", "labels"),
    [
        ("BertForMaskedLM", {"labels": np.zeros((0, 5), int)}),
        ("BertLMHeadModel", {"labels": np.zeros((0, 5), int)}),
        ("BertForPreTraining", {"labels": np.zeros((0, 5), int), "next_sentence_label": np.zeros(0, int)}),
        ("BertForNextSentencePrediction", {"labels": np.zeros(0, int)}),
        ("BertForSequenceClassification", {"labels": np.zeros(0, int)}),
        ("BertForMultipleChoice", {"labels": np.zeros(0, int)}),
        ("BertForTokenClassification", {"labels": np.zeros((0, 5), int)}),
        ("BertForQuestionAnswering", {"start_positions": np.zeros(0, int), "end_positions": np.zeros(0, int)}),
    ],
)
def test_the_loss_of_nothing_is_nan(model_class: str, labels: dict[str, Any]) -> None:
    given = {name: x[:0] for name, x in inputs_for(model_class, tiny()).items()}
    assert np.isnan(HEADS[model_class](**given, **labels).loss)


def test_an_empty_batch_with_a_cache_and_an_encoder() -> None:
    out = CROSS(np.zeros((0, 2), int), past_key_values=cache(batch=0, parts=4), encoder_attention_mask=np.ones((0, 4)))
    assert out.past_key_values[1][0].shape == (0, 3, 6, 4)


# ----------------------------------------------------------------------------------------------------------------- padding


def padding_warnings(model: Any, **arguments: Any) -> list[warnings.WarningMessage]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model(**arguments)
    return caught


@pytest.mark.parametrize("rows", [[[1, 2, 0]], [[0, 1, 2]], [[1, 2, 3], [1, 0, 0]]])
def test_padding_without_a_mask_gets_one_warning(rows: list[list[int]]) -> None:
    (warning,) = padding_warnings(ENCODER, input_ids=rows)
    assert "attention_mask" in str(warning.message)
    assert "padding" in str(warning.message)


@pytest.mark.parametrize("model_class", CLASSES)
def test_the_warning_points_at_the_callers_line(model_class: str) -> None:
    rows = [[[1, 0]]] if model_class == "BertForMultipleChoice" else [[1, 0]]
    model = ENCODER if model_class == "BertModel" else HEADS[model_class]
    (warning,) = padding_warnings(model, input_ids=rows)
    assert warning.filename == __file__


def test_no_warning_where_there_is_a_mask_or_no_padding() -> None:
    assert not padding_warnings(ENCODER, input_ids=[[1, 2, 0]], attention_mask=[[1, 1, 0]])
    assert not padding_warnings(ENCODER, input_ids=[[1, 2, 0]], attention_mask=[[1, 1, 1]])
    assert not padding_warnings(ENCODER, input_ids=[[1, 0, 2]])  # only the ends are looked at
    assert not padding_warnings(ENCODER, inputs_embeds=np.zeros((1, 3, 12)))
    assert not padding_warnings(build("BertModel", tiny(pad_token_id=None)), input_ids=[[0, 1, 0]])
    other = build("BertModel", tiny(pad_token_id=5))
    assert not padding_warnings(other, input_ids=[[0, 1, 0]])
    assert len(padding_warnings(other, input_ids=[[1, 5]])) == 1


@pytest.mark.parametrize("model_class", CLASSES)
def test_every_model_warns_once(model_class: str) -> None:
    rows = [[[1, 0], [1, 2]]] if model_class == "BertForMultipleChoice" else [[1, 0]]
    model = ENCODER if model_class == "BertModel" else HEADS[model_class]
    assert len(padding_warnings(model, input_ids=rows)) == 1


def test_public_names() -> None:
    assert set(CLASSES) <= set(npbert.__all__)


def test_a_cache_of_pruned_layers_comes_back() -> None:
    """A layer without some of its heads has fewer keys of its own, and all those that it takes from the encoder."""
    config = tiny(is_decoder=True, add_cross_attention=True)
    model = build("BertModel", config)
    model.prune_heads({0: [0]})
    tokens, encoded = ids(config, 2, 5), np.random.default_rng(0).normal(size=(2, 3, config.hidden_size))
    cache = model(tokens[:, :3], encoder_hidden_states=encoded, use_cache=True).past_key_values
    assert [x.shape[1] for x in cache[0]] == [config.num_attention_heads - 1] * 2 + [config.num_attention_heads] * 2
    whole = model(tokens, encoder_hidden_states=encoded).last_hidden_state
    rest = model(tokens[:, 3:], encoder_hidden_states=encoded, past_key_values=cache).last_hidden_state
    np.testing.assert_allclose(rest, whole[:, 3:], atol=1e-10)


def test_the_part_of_a_cache_that_is_too_short_is_named() -> None:
    config = tiny(is_decoder=True, add_cross_attention=True)
    model, tokens = build("BertModel", config), ids(config, 2, 3)
    encoded = np.random.default_rng(0).normal(size=(2, 4, config.hidden_size))
    cache = model(tokens, encoder_hidden_states=encoded, use_cache=True).past_key_values
    for part, length in ((1, 3), (3, 4)):  # a value has the length of its key
        short = [list(layer) for layer in cache]
        short[0][part] = short[0][part][:, :, 1:]
        message = rf"past_key_values\[0\]\[{part}\]: takes shape \[2, 3, {length}, "
        with pytest.raises(NpbertError, match=message):
            model(tokens[:, :1], encoder_hidden_states=encoded, past_key_values=short)
