"""The models and packs that several tests of the diagnosis read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from npbert import golden

from ..builders import build, tiny
from .lessons import STEPS, Lesson, lesson
from .subjects import Subject, decoder_inputs, encoder_inputs


@pytest.fixture(scope="session")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Subject]:
    folder = tmp_path_factory.mktemp("packs")

    def subject(name: str, model_class: str, inputs: Callable[[Any], Any], prefix: str = "", **fields: Any) -> Subject:
        config = tiny(**fields)
        model = build(model_class, config, dtype=np.float32)
        arguments = inputs(config)
        golden.export(model, arguments, folder / name, weights=True)
        return Subject(model, arguments, golden.read_pack(folder / name), prefix)

    return {
        "encoder": subject("encoder", "BertModel", encoder_inputs),
        "decoder": subject("decoder", "BertModel", decoder_inputs, is_decoder=True, add_cross_attention=True),
        "lm": subject("lm", "BertForMaskedLM", encoder_inputs, "bert."),
        "classifier": subject("classifier", "BertForSequenceClassification", encoder_inputs, "bert."),
    }


@pytest.fixture(scope="session")
def lessons(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Lesson]:
    folder = tmp_path_factory.mktemp("lessons")
    half = {"hidden_dropout_prob": 0.5, "attention_probs_dropout_prob": 0.5, "classifier_dropout": 0.5}
    return {
        "lm": lesson(folder, "BertForMaskedLM"),
        "classifier": lesson(folder, "BertForSequenceClassification"),
        "dropout": lesson(folder, "BertForSequenceClassification", fields=half, dropout_seed=7),
        "steps": lesson(folder, "BertForMaskedLM", steps=STEPS),
    }
