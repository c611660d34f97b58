"""Models and passes that the tests of the pictures share, and one browser for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import npbert
from npbert import golden

from ..builders import build, fill, tiny
from ..golden.subjects import encoder_inputs
from .browser import CHROMIUM, Browser

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "the",
    "cat",
    "sat",
    "on",
    "mat",
    "##s",
    "<",
    "script",
    ">",
    "/",
    "中",
    "ש",
    "\x00",
]
NASTY = ["</script><script>document.title='broken'</script>", "<img/src=x/onerror=document.title='broken'>", "&quot;\"'"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is marked `browser` where there is none."""
    if CHROMIUM is None:
        for item in items:
            if "browser" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="needs a browser: apt-get install chromium"))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with Browser() as running:
        yield running


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> npbert.BertTokenizer:
    file = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    file.write_text("".join(f"{word}\n" for word in [*WORDS, *NASTY]), encoding="utf-8")
    return npbert.BertTokenizer(file, additional_special_tokens=NASTY)


@pytest.fixture(scope="session")
def models() -> dict[str, Any]:
    def model(name: str, **fields: Any) -> Any:
        return build(name, tiny(max_position_embeddings=40, **fields), dtype=np.float32)

    encoder, writer = model("BertModel"), model("BertLMHeadModel", is_decoder=True, add_cross_attention=True)
    sizes = {
        "vocab_size": 31,
        "n_embd": 12,
        "n_layer": 2,
        "n_head": 3,
        "n_positions": 40,
        "scale_attn_by_inverse_layer_idx": True,
    }
    blank = npbert.GPT2LMHeadModel(npbert.GPT2Config(**sizes), rng=np.random.default_rng(0))
    weights = {name: x.astype(np.float32) for name, x in fill(blank.named_parameters(), np.random.default_rng(0)).items()}
    return {
        "gpt2": npbert.GPT2LMHeadModel(blank.config, weights),
        "masked": model("BertForMaskedLM"),
        "causal": model("BertLMHeadModel", is_decoder=True),
        "classifier": model("BertForSequenceClassification", num_labels=3),
        "relative": model("BertForMaskedLM", position_embedding_type="relative_key_query"),
        "base": encoder,
        "two": npbert.EncoderDecoderModel(encoder=encoder, decoder=writer),
        "answers": model("BertForQuestionAnswering"),
        "tokens": model("BertForTokenClassification", num_labels=4),
        "pretraining": model("BertForPreTraining"),
    }


@pytest.fixture(scope="session")
def pack(tmp_path_factory: pytest.TempPathFactory) -> golden.Pack:
    path: Path = tmp_path_factory.mktemp("pack") / "pack.safetensors"
    model = build("BertModel", tiny(num_hidden_layers=3), dtype=np.float32)
    golden.export(model, encoder_inputs(model.config), path, weights=True)
    return golden.read_pack(path)


def changed(pack: golden.Pack, **fields: Any) -> dict[str, np.ndarray]:
    """What a port dumps whose configuration differs in these fields."""
    config = pack.config.to_dict() | fields
    model = npbert.BertModel(npbert.BertConfig.from_dict(config), pack.weights)
    with npbert.trace() as kept:
        model(**pack.inputs)
    return dict(kept)
