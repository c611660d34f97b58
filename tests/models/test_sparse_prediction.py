"""Predicting only where there are labels: the same loss and gradients as everywhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import npbert

SIZES: dict[str, Any] = {
    "vocab_size": 60,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 20,
}


def model_of(cls: Any, **fields: Any) -> Any:
    return cls(npbert.BertConfig(**SIZES, **fields), rng=np.random.default_rng(0)).astype(np.float64)


def batch_of(cls: Any, seed: int = 1, share: float = 0.3) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    ids = rng.integers(5, 60, (3, 9))
    mask = np.arange(9) < np.array([[9], [6], [1]])
    batch = {"input_ids": ids, "attention_mask": mask, "labels": np.where((rng.random(ids.shape) < share) & mask, ids, -100)}
    return batch | ({"next_sentence_label": rng.integers(0, 2, 3)} if cls is npbert.BertForPreTraining else {})


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("dropout", [False, True])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("cls", [npbert.BertForMaskedLM, npbert.BertForPreTraining])
def test_the_same_loss_and_gradients_as_the_dense_call(cls: Any, tied: bool, dropout: bool, checkpointing: bool) -> None:
    model = model_of(cls, tie_word_embeddings=tied, gradient_checkpointing=checkpointing)
    batch = batch_of(cls)
    dense, sparse = (
        model.gradients(**batch, sparse_prediction=choice, rng=np.random.default_rng(5) if dropout else None)
        for choice in (False, True)
    )
    assert float(sparse[0].loss) == pytest.approx(float(dense[0].loss), rel=1e-12)
    rows = batch["labels"] != -100
    name = "prediction_logits" if cls is npbert.BertForPreTraining else "logits"
    assert sparse[0][name].shape == (rows.sum(), 60)
    np.testing.assert_allclose(sparse[0][name], dense[0][name][rows], rtol=1e-10, atol=1e-12)
    assert list(sparse[1]) == list(dense[1])
    for weight, gradient in dense[1].items():
        np.testing.assert_allclose(sparse[1][weight], gradient, rtol=1e-9, atol=1e-13, err_msg=weight)


@pytest.mark.parametrize("frozen", ["bert.*", "cls.*"])
def test_frozen_parts(frozen: str) -> None:
    model = model_of(npbert.BertForPreTraining).requires_grad_(False, only=frozen)
    batch = batch_of(npbert.BertForPreTraining)
    _, dense = model.gradients(**batch)
    _, sparse = model.gradients(**batch, sparse_prediction=True)
    assert list(sparse) == list(dense) == model.trainable_names()
    for name, gradient in dense.items():
        np.testing.assert_allclose(sparse[name], gradient, rtol=1e-9, atol=1e-13)


def test_one_label_and_all_labels() -> None:
    model = model_of(npbert.BertForMaskedLM)
    batch = batch_of(npbert.BertForMaskedLM, share=2.0)
    assert (model(**batch, sparse_prediction=True).loss - model(**batch).loss) == pytest.approx(0, abs=1e-12)
    one = np.full((3, 9), -100)
    one[1, 2] = 7
    assert model(batch["input_ids"], labels=one, sparse_prediction=True).logits.shape == (1, 60)


def test_refusals() -> None:
    model, batch = model_of(npbert.BertForMaskedLM), batch_of(npbert.BertForMaskedLM)
    with pytest.raises(npbert.InputError, match="sparse_prediction: predicts where there are labels"):
        model(batch["input_ids"], sparse_prediction=True)
    with pytest.raises(npbert.InputError, match="labels: 60 is out of range"):
        model(batch["input_ids"], labels=np.full((3, 9), 60), sparse_prediction=True)
    with pytest.raises(npbert.InputError, match="labels"):
        model(batch["input_ids"], labels=batch["labels"][:, :5], sparse_prediction=True)
    with pytest.raises(npbert.InputTypeError, match="sparse_prediction: takes True, False"):
        model(**batch, sparse_prediction="yes")
    with pytest.raises(npbert.InputTypeError, match="sparse_prediction"):
        model_of(npbert.BertForSequenceClassification)(batch["input_ids"], sparse_prediction=True)
    with pytest.raises(npbert.InputError, match="next_sentence_label"):
        model_of(npbert.BertForPreTraining)(**batch, sparse_prediction=True)
