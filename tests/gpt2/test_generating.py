"""Writing with GPT-2: as the reference, token by token; as the model without a cache; and through tasks and the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import npbert
from npbert.cli import main

from ..generation.helpers import assert_generates_alike, last_logits, random_options
from ..text.vocabularies import vocab_file
from .cases import writer
from .checkpoints import TEXTS, write_byte_pairs


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(30))
def test_parity_of_greedy_and_beam_search(seed: int) -> None:
    from . import reference

    rng = np.random.default_rng(seed)
    fields = {
        "vocab_size": int(rng.integers(5, 31)),
        "tie_word_embeddings": bool(rng.integers(2)),
        "scale_attn_by_inverse_layer_idx": bool(rng.integers(2)),
    }
    model = writer(seed, **fields)
    theirs = reference.build("GPT2LMHeadModel", model.config.to_dict(), model.state_dict())
    prompts = rng.integers(1, model.config.vocab_size, (int(rng.integers(1, 4)), int(rng.integers(1, 7))))
    mask = np.arange(prompts.shape[1]) >= rng.integers(0, prompts.shape[1], (len(prompts), 1)) * (rng.random() < 0.6)
    arrays = {"input_ids": prompts * mask}
    if rng.random() < 0.5:
        arrays["attention_mask"] = mask.astype(np.int64)
    if rng.random() < 0.3:
        arrays["token_type_ids"] = rng.integers(0, model.config.vocab_size, prompts.shape)
    assert_generates_alike(model, theirs, arrays, random_options(rng, model.config.vocab_size))


def test_the_cache_changes_nothing() -> None:
    model = writer().astype(np.float64)
    prompts = np.random.default_rng(0).integers(1, 23, (3, 5))
    mask = np.array([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1], [0, 0, 0, 0, 1]])
    row, row_mask = prompts, mask
    for _ in range(12):
        positions = np.where(row_mask == 0, 1, row_mask.cumsum(axis=1) - 1)
        logits = model(row, attention_mask=row_mask, position_ids=positions, use_cache=False).logits[:, -1]
        row = np.column_stack([row, logits.argmax(axis=-1)])
        row_mask = np.column_stack([row_mask, np.ones(3, np.int64)])
    assert npbert.generate(model, prompts, attention_mask=mask, max_new_tokens=12).tolist() == row.tolist()
    assert model.generate(prompts, attention_mask=mask, max_new_tokens=12).tolist() == row.tolist()


@pytest.mark.parametrize("beams", [1, 3])
def test_padding_on_the_left_changes_nothing(beams: int) -> None:
    model, options = writer(2), {"max_new_tokens": 9, "num_beams": beams}
    alone = [npbert.generate(model, [prompt], **options)[0, len(prompt) :].tolist() for prompt in ([3, 7, 2, 9], [5, 4])]
    together = npbert.generate(model, [[3, 7, 2, 9], [0, 0, 5, 4]], **options)[:, 4:].tolist()
    assert together == alone
    assert alone[0] != alone[1]


def test_a_model_that_reads_an_encoder() -> None:
    model = writer(add_cross_attention=True, pad_token_id=None)
    states, mask = np.random.default_rng(0).normal(size=(2, 4, 12)), np.array([[1, 1, 1, 1], [1, 1, 0, 0]])
    row = prompts = np.array([[3, 7], [5, 4]])
    encoder = {"encoder_hidden_states": states, "encoder_attention_mask": mask}
    for _ in range(6):
        row = np.column_stack([row, model(row, **encoder, use_cache=False).logits[:, -1].argmax(axis=-1)])
    assert npbert.generate(model, prompts, max_new_tokens=6, **encoder).tolist() == row.tolist()
    assert npbert.generate(model, prompts, max_new_tokens=6, num_beams=2, **encoder).shape == (2, 8)


def test_sampling_draws_what_is_likely() -> None:
    model, rng = writer(), np.random.default_rng(0)
    greedy = npbert.generate(model, [[3, 7]], max_new_tokens=6)
    assert (npbert.generate(model, [[3, 7]], max_new_tokens=6, do_sample=True, top_k=1, rng=rng) == greedy).all()
    drawn = npbert.generate(model, [[3, 7]], max_new_tokens=1, do_sample=True, num_return_sequences=1000, top_k=0, rng=rng)
    logits = model(np.array([[3, 7]])).logits[0, -1].astype(np.float64)
    shares = np.bincount(drawn[:, -1], minlength=23) / 1000
    np.testing.assert_allclose(shares, npbert.ops.softmax(logits), atol=0.05)
    assert [column.shape for column in npbert.stream(model, [[3, 7]], max_new_tokens=3)] == [(1,)] * 3


def test_an_end_token_that_the_model_cannot_write_ends_nothing() -> None:
    """As in a checkpoint with a vocabulary of its own that kept the first GPT-2's end token."""
    model = writer(eos_token_id=50256, bos_token_id=50256, pad_token_id=None)
    assert npbert.generate(model, [[3, 7]], max_new_tokens=6).shape == (1, 8)
    with pytest.raises(npbert.InputError, match="eos_token_id: 50256 is out of range"):
        npbert.generate(model, [[3, 7]], max_new_tokens=6, eos_token_id=50256)
    with pytest.raises(npbert.InputError, match="a model without layers"):
        npbert.generate(writer(n_layer=0), [[3]])


def test_one_step_at_a_time_is_all_at_once() -> None:
    model = writer().astype(np.float64)
    tokens, mask = np.array([[3, 7, 2, 9]]), np.ones((1, 4), np.int64)
    np.testing.assert_allclose(last_logits(_Plain(model), tokens, mask), model(tokens).logits[:, -1], atol=1e-12)


class _Plain:
    """A model called as the helpers call it: the mask second."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def __call__(self, tokens: Any, mask: Any, **options: Any) -> Any:
        return self._model(tokens, attention_mask=mask, **options)


# --- tasks and the command ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with byte pairs."""
    path = write_byte_pairs(tmp_path_factory.mktemp("gpt2"))
    size = len(json.loads((path / "vocab.json").read_text()))
    writer(vocab_size=size, n_positions=60, eos_token_id=0, bos_token_id=0, pad_token_id=None).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def chinese(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as uer/gpt2-chinese-cluecorpussmall: BERT's vocabulary, and a model with room for a few tokens more."""
    path = tmp_path_factory.mktemp("chinese")
    vocab_file(path, ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"这是很久之前的事情了天地"])
    writer(vocab_size=25, eos_token_id=50256, bos_token_id=50256, pad_token_id=None).save_pretrained(path)
    fields = json.loads((path / "config.json").read_text())
    fields |= {
        "tokenizer_class": "BertTokenizer",
        "task_specific_params": {"text-generation": {"max_length": 320}},
        "n_ctx": 40,
    }
    (path / "config.json").write_text(json.dumps(fields))
    return path


def test_text_generation(directory: Path) -> None:
    write = npbert.pipeline("text-generation", model=directory)
    assert type(write.model) is npbert.GPT2LMHeadModel
    assert type(write.tokenizer) is npbert.GPT2Tokenizer
    answer = write("Once upon a", do_sample=False, max_new_tokens=5)
    ids = write.tokenizer("Once upon a", return_tensors="np")["input_ids"]
    tokens = npbert.generate(write.model, ids, max_new_tokens=5)[0]
    expected = write.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=True)
    assert answer == [{"generated_text": expected}]
    assert expected.startswith("Once upon a")


def test_a_bert_tokenizer_and_a_gpt2(chinese: Path) -> None:
    model, tokenizer = npbert.load(chinese), npbert.BertTokenizer.from_pretrained(chinese)
    assert model.config.vocab_size == 25 > len(tokenizer)
    ids = tokenizer("这是很久之前的事情了", return_tensors="np")["input_ids"]
    assert model.generate(ids, max_new_tokens=4).shape == (1, ids.shape[1] + 4)
    write = npbert.pipeline("text-generation", model=chinese)
    assert write("这是", do_sample=False, max_new_tokens=1)[0]["generated_text"].startswith("这是")


def test_the_command(directory: Path, chinese: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--model", str(directory), "--no-do-sample", "--max-new-tokens", "4", "--json", "Once upon a"]
    assert main(["generate", *arguments]) in (0, None)
    answer = json.loads(capsys.readouterr().out)
    write = npbert.pipeline("text-generation", model=directory)
    assert answer["generated"][0] == write("Once upon a", do_sample=False, max_new_tokens=4)[0]["generated_text"]
    for verb in (["tokenize", "--model", str(directory), TEXTS[2]], ["info", "--model", str(directory)]):
        assert main(verb) in (0, None)
    assert "decoder: 2 layers of 3 heads" in capsys.readouterr().out
    assert main(["generate", "--model", str(chinese), "--max-new-tokens", "2", "--seed", "1", "这是"]) in (0, None)
    assert capsys.readouterr().out.startswith("这是")


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
def test_the_pipeline_is_the_references(directory: Path, chinese: Path) -> None:
    import transformers

    for path, tokenizer_class in ((directory, transformers.GPT2TokenizerFast), (chinese, transformers.BertTokenizerFast)):
        theirs = transformers.pipeline(
            "text-generation",
            model=transformers.GPT2LMHeadModel.from_pretrained(path, attn_implementation="eager"),
            tokenizer=tokenizer_class.from_pretrained(path),
            device="cpu",
        )
        ours = npbert.pipeline("text-generation", model=path)
        for text in ("这是 Once upon", "the dog. It's"):
            options = {"do_sample": False, "max_new_tokens": 9}
            assert ours(text, **options) == theirs(text, **options)
            options |= {"num_beams": 3, "num_return_sequences": 2, "return_full_text": False}
            assert ours(text, **options) == theirs(text, **options)
