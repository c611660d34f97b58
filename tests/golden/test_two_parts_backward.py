"""Mistakes in the backward pass of an encoder-decoder, made in a copy of npbert's own pass and in the live reference."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import npbert
from npbert import golden, ops
from npbert.bert import layer as bert_layer
from npbert.models.encoder_decoder import EncoderDecoderModel
from npbert.ops import attention as ops_attention

from ..builders import build, tiny
from .lessons import Lesson
from .subjects import Dump

Patch = Callable[[pytest.MonkeyPatch], None]


@pytest.fixture(scope="module")
def lesson(tmp_path_factory: pytest.TempPathFactory) -> Lesson:
    encoder = build("BertModel", tiny(num_hidden_layers=1))
    decoder = build("BertLMHeadModel", tiny(is_decoder=True, add_cross_attention=True))
    config = npbert.EncoderDecoderConfig(
        encoder=encoder.config, decoder=decoder.config, decoder_start_token_id=1, pad_token_id=0
    )
    model = npbert.EncoderDecoderModel(config, encoder=encoder, decoder=decoder).astype(np.float32)
    rng = np.random.default_rng(0)
    tokens, labels = rng.integers(1, 31, (3, 7)), rng.integers(1, 31, (3, 5))
    tokens[0, 2] = tokens[0, 1]
    labels[0, 3:] = labels[2, 1:] = -100
    mask = np.array([[1] * 7, [1] * 5 + [0] * 2, [1] * 3 + [0] * 4])
    inputs = {"input_ids": tokens, "attention_mask": mask, "labels": labels}
    path = tmp_path_factory.mktemp("packs") / "pack"
    golden.export(model, inputs, path, weights=True, gradients=True)
    return Lesson(model, inputs, golden.read_pack(path))


def dump_of(lesson: Lesson) -> Dump:
    """Every value and gradient of a pass."""
    with npbert.trace() as trace:
        out, grads = lesson.model.gradients(**lesson.inputs)
    dump = {name: np.array(x) for name, x in trace.items() if not name.startswith("grad:weight:")}
    return dump | {f"grad:weight:{name}": x for name, x in grads.items()} | {"output:loss": out.loss}


def test_a_right_pass_is_right(lesson: Lesson) -> None:
    assert golden.compare(lesson.pack, dump_of(lesson)).ok


def mean_term_missing(patch: pytest.MonkeyPatch) -> None:
    def backward(dy: Any, x: Any, weight: Any, *, eps: float) -> Any:
        centred = x - x.mean(-1, keepdims=True)
        s = np.sqrt(np.square(centred).mean(-1, keepdims=True) + eps)
        g, n = dy * weight, centred / s
        return (g - n * (g * n).mean(-1, keepdims=True)) / s

    patch.setattr(ops, "layer_norm_backward", backward)


def diagonal_alone(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ops_attention, "softmax_backward", lambda dy, y: dy * y * (1 - y))


def not_scaled(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ops_attention, "scale_and_mask_backward", lambda dy, size, *, divisor=None: dy)


def derivative_of_tanhs(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(ops.ACTIVATIONS_BACKWARD, ops.gelu, ops.gelu_new_backward)


def past_the_wide_array(patch: pytest.MonkeyPatch) -> None:
    def backward(m: Any, dy: Any, hidden: Any) -> Any:
        dwide, _ = bert_layer.add_and_norm_backward(m.output, dy, m.intermediate.kept(""))
        return bert_layer.intermediate_backward(m.intermediate, dwide, hidden)

    patch.setattr(bert_layer, "feed_forward_backward", backward)


def loss_of_all(patch: pytest.MonkeyPatch) -> None:
    def backward(model: Any, logits: Any, labels: Any) -> Any:
        counted = (labels != -100).sum()
        return tuple(dx * dx.dtype.type(counted) for dx in (ops.cross_entropy_backward(logits[0], labels),))

    patch.setattr(EncoderDecoderModel, "loss_backward", backward)


def averaged_bias(patch: pytest.MonkeyPatch) -> None:
    right = ops.linear_weight_backward

    def backward(dy: Any, x: Any) -> Any:
        dweight, dbias = right(dy, x)
        return dweight, dbias / dbias.dtype.type(dy.size // dy.shape[-1])

    patch.setattr(ops, "linear_weight_backward", backward)


def last_one_kept(patch: pytest.MonkeyPatch) -> None:
    def backward(dy: Any, ids: Any, num_rows: int, *, padding_idx: int | None = None) -> Any:
        table = np.zeros((num_rows, dy.shape[-1]), dy.dtype)
        table[ids.reshape(-1)] = dy.reshape(-1, dy.shape[-1])
        if padding_idx is not None:
            table[padding_idx] = 0
        return table

    patch.setattr(ops, "embedding_backward", backward)


PLANTS: list[tuple[str, Patch, str]] = [
    ("layernorm-backward-mean-term-missing", mean_term_missing, "grad:decoder.cls.predictions.transform.transform_act_fn"),
    ("softmax-backward-diagonal-only", diagonal_alone, "grad:decoder.bert.encoder.layer.1.crossattention.self:masked_scores"),
    ("attention-scale-missing-in-backward", not_scaled, "grad:decoder.bert.encoder.layer.1.crossattention.self:scores"),
    ("gelu-derivative-of-another", derivative_of_tanhs, "grad:decoder.cls.predictions.transform.dense"),
    ("residual-gradient-missing", past_the_wide_array, "grad:decoder.bert.encoder.layer.1.crossattention"),
    ("loss-sum-for-mean", loss_of_all, "grad:decoder"),
    ("bias-gradient-averaged", averaged_bias, "grad:weight:decoder.cls.predictions.bias"),
    ("embedding-gradient-overwritten", last_one_kept, "grad:weight:decoder.bert.embeddings.token_type_embeddings.weight"),
]


@pytest.mark.parametrize(("mistake", "plant", "where"), PLANTS, ids=lambda x: x if isinstance(x, str) else "")
@pytest.mark.parametrize("which", ["everything", "weights"])
def test_a_mistake_is_named(lesson: Lesson, mistake: str, plant: Patch, where: str, which: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        plant(patch)
        dump = dump_of(lesson)
    if which == "weights":
        dump = {name: x for name, x in dump.items() if name.startswith("grad:weight:")}
    suspects = golden.diagnose(lesson.pack, dump)
    assert suspects[0].mistake == mistake
    if which == "everything":
        assert suspects[0].where == where


@pytest.mark.parametrize("plant", [diagonal_alone, past_the_wide_array])
def test_a_mistake_is_named_from_the_encoder_alone(lesson: Lesson, plant: Patch) -> None:
    with pytest.MonkeyPatch.context() as patch:
        plant(patch)
        dump = {name: x for name, x in dump_of(lesson).items() if re.match(r"grad:(?:weight:)?encoder", name)}
    assert golden.diagnose(lesson.pack, dump)[0].mistake == next(mistake for mistake, made, _ in PLANTS if made is plant)
