"""What the reference's pipelines cannot say: embeddings and their files, masking for training, pipelines from directories."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import npbert
from npbert import FileError, InputError, InputTypeError, tasks
from npbert.tasks import Pooling

from . import cases
from .cases import TEXTS, assert_same

# --------------------------------------------------------------------------------------------------------------- pooling


def test_pooling_by_hand() -> None:
    hidden = np.array([[[1.0, -4.0], [3.0, -2.0], [100.0, 100.0]], [[5.0, -1.0], [0.0, 0.0], [4.0, -8.0]]])
    mask = np.array([[1, 1, 0], [1, 1, 1]])
    root = np.sqrt([[2.0], [3.0]])
    expected = {
        "cls": [[1, -4], [5, -1]],
        "max": [[3, -2], [5, 0]],
        "mean": [[2, -3], [3, -3]],
        "mean_sqrt_len": np.array([[4.0, -6.0], [9.0, -9.0]]) / root,
    }
    for mode, vectors in expected.items():
        assert np.allclose(tasks.pool(hidden, mask, Pooling(modes=(mode,))), vectors)
    joined = tasks.pool(hidden, mask, Pooling(modes=("mean", "cls")))
    assert np.allclose(joined, [[2, -3, 1, -4], [3, -3, 5, -1]])
    unit = tasks.pool(hidden, mask, Pooling(modes=("cls",), normalize=True))
    assert np.allclose(unit, np.array([[1, -4], [5, -1]]) / np.sqrt([[17], [26]]))
    assert np.isfinite(tasks.pool(np.zeros((1, 2, 2)), np.ones((1, 2)), Pooling(normalize=True))).all()


def test_a_model_from_nowhere_pools_by_the_mean() -> None:
    model, tokenizer = cases.model("base"), cases.tokenizer()
    hidden = model(**tokenizer(["A text."], return_tensors="np")).last_hidden_state
    assert np.allclose(tasks.embed(model, tokenizer, "A text."), hidden[0].mean(axis=0), atol=1e-6)
    assert tasks.pooling_of(model) == Pooling()


def test_embedding_with_a_head_s_base_is_embedding_with_the_base() -> None:
    masked = cases.model("masked")
    names = [name for name, _ in masked.named_parameters() if name.startswith("bert.")]
    base = npbert.BertModel(
        masked.config, {name.removeprefix("bert."): masked.state_dict()[name] for name in names}, add_pooling_layer=False
    )
    for function in (tasks.embed, tasks.feature_extraction):
        ours, theirs = (function(model, cases.tokenizer(), TEXTS[0]) for model in (masked, base))
        assert np.array_equal(ours, theirs)


def test_embeddings_have_the_model_s_precision() -> None:
    model = cases.model("base")
    exact = tasks.embed(model.astype(np.float64), cases.tokenizer(), TEXTS)
    assert exact.dtype == np.float64
    rough = tasks.embed(model, cases.tokenizer(), TEXTS)
    assert rough.dtype == np.float32
    assert np.abs(rough - exact).max() < 1e-5


def test_a_prompt_stands_before_every_text(tmp_path: Path) -> None:
    cases.write_pooling_files(tmp_path, Pooling())
    prompts = {"prompts": {"query": "query: ", "": ""}, "default_prompt_name": "query"}
    (tmp_path / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    pooling = tasks.read_pooling(tmp_path)
    assert pooling.prompt == "query: "
    model, tokenizer = cases.model("base"), cases.tokenizer()
    assert np.array_equal(
        tasks.embed(model, tokenizer, "a text", pooling=pooling), tasks.embed(model, tokenizer, "query: a text")
    )


def test_max_seq_length_and_lower_case_are_applied() -> None:
    model, tokenizer = cases.model("base"), cases.tokenizer()
    short = Pooling(max_seq_length=4)
    assert np.array_equal(
        tasks.embed(model, tokenizer, "one two three four", pooling=short), tasks.embed(model, tokenizer, "one two")
    )
    cased = npbert.BertTokenizer.from_pretrained(cases.vocabulary(), do_lower_case=False)
    for pooling, same in ((Pooling(lower_case=True), True), (Pooling(), False)):
        small, large = (tasks.embed(model, cased, text, pooling=pooling) for text in ("a text", "A TEXT"))
        assert np.array_equal(small, large) == same


def test_no_more_is_read_than_the_model_has_positions_for() -> None:
    model, tokenizer = cases.model("base"), cases.tokenizer()
    vectors = [tasks.embed(model, tokenizer, cases.LONG, pooling=Pooling(max_seq_length=n)) for n in (128, 999)]
    assert np.array_equal(*vectors)


def test_the_pooling_is_that_of_the_checkpoint_the_model_is_said_to_be_from(tmp_path: Path) -> None:
    model = cases.model("base").astype(np.float64)
    poolings = [Pooling(modes=("cls",), max_seq_length=9), Pooling(modes=("max",), max_seq_length=8)]
    for number, pooling in enumerate(poolings):
        (tmp_path / str(number)).mkdir()
        cases.write_pooling_files(tmp_path / str(number), pooling)
    for number in (0, 1, 1, 0):
        model.name_or_path = str(tmp_path / str(number))
        assert tasks.pooling_of(model) == poolings[number]
    model.name_or_path = ""
    assert tasks.pooling_of(model) == Pooling()


def test_without_files_the_mean_is_pooled(tmp_path: Path) -> None:
    assert tasks.read_pooling(tmp_path) == Pooling()


def test_a_transformer_in_a_folder_of_its_own_says_its_length_there(tmp_path: Path) -> None:
    cases.write_pooling_files(tmp_path, Pooling(modes=("cls",), max_seq_length=99))
    modules = json.loads((tmp_path / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    assert tasks.read_pooling(tmp_path).max_seq_length is None
    (tmp_path / "0_Transformer").mkdir()
    (tmp_path / "0_Transformer" / "sentence_bert_config.json").write_text('{"max_seq_length": 7}')
    assert tasks.read_pooling(tmp_path) == Pooling(modes=("cls",), max_seq_length=7)


TRANSFORMER = {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}
POOL = {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}
DENSE = {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"modules.json": [TRANSFORMER, POOL, DENSE]}, "modules.json: .* got Transformer, Pooling, Dense"),
        ({"modules.json": [POOL, TRANSFORMER]}, "modules.json: .* in this order, got Pooling, Transformer"),
        ({"modules.json": {"type": "x"}}, "modules.json: takes a list of modules"),
        ({"modules.json": [{"idx": 0}]}, "modules.json: takes a list of modules"),
        ({"modules.json": [TRANSFORMER, POOL]}, "1_Pooling/config.json: modules.json names a pooling"),
        (
            {"1_Pooling/config.json": {"pooling_mode_lasttoken": True}},
            "1_Pooling/config.json: asks for the pooling 'lasttoken'",
        ),
        (
            {"1_Pooling/config.json": {"pooling_mode_weightedmean_tokens": True, "pooling_mode_cls_token": True}},
            "asks for the pooling 'weightedmean'",
        ),
        ({"1_Pooling/config.json": {"pooling_mode": "lasttoken"}}, "asks for the pooling 'lasttoken'"),
        ({"1_Pooling/config.json": {}, "sentence_bert_config.json": {"max_seq_length": "9"}}, "max_seq_length: takes a whole"),
        (
            {"1_Pooling/config.json": {}, "config_sentence_transformers.json": {"default_prompt_name": "q", "prompts": {}}},
            "there is no prompt 'q'",
        ),
        (
            {
                "1_Pooling/config.json": {"include_prompt": False},
                "config_sentence_transformers.json": {"default_prompt_name": "q", "prompts": {"q": "ask: "}},
            },
            "include_prompt",
        ),
    ],
)
def test_files_that_ask_for_something_else_are_refused_by_name(tmp_path: Path, files: dict[str, Any], message: str) -> None:
    (tmp_path / "1_Pooling").mkdir()
    for name, value in {"modules.json": [TRANSFORMER, POOL], **files}.items():
        (tmp_path / name).write_text(json.dumps(value))
    with pytest.raises(FileError, match=message):
        tasks.read_pooling(tmp_path)


def test_poolings_are_checked() -> None:
    for fields in ({"modes": ("median",)}, {"modes": ()}, {"max_seq_length": 0}):
        with pytest.raises(InputError, match=r"^pooling: "):
            Pooling(**fields)  # type: ignore[arg-type]
    assert Pooling(max_seq_length=1).max_seq_length == 1
    with pytest.raises(InputTypeError, match=r"^pooling: takes a Pooling, got str"):
        tasks.embed(cases.model("base"), cases.tokenizer(), "a", pooling="mean")  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------------------- pipelines


def test_a_pipeline_is_made_from_a_directory(tmp_path: Path) -> None:
    for task, name, inputs in (
        ("embed", "base", "A text."),
        ("fill-mask", "masked", "A [MASK]."),
        ("ner", "names", TEXTS[0]),
        ("text-classification", "four", "A text."),
    ):
        directory = tmp_path / name
        cases.model(name).save_pretrained(directory)
        cases.tokenizer().save_pretrained(directory)
        made = npbert.pipeline(task, model=str(directory))
        assert type(made.model) is type(cases.model(name))
        expected = npbert.pipeline(task, model=cases.model(name), tokenizer=cases.tokenizer())(inputs)
        if task == "embed":
            assert np.allclose(made(inputs), expected, atol=1e-6)
        else:
            assert_same(made(inputs), expected)
        assert npbert.pipeline(task, model=made.model).tokenizer.name_or_path == str(directory)
        exact = npbert.pipeline(task, model=directory, tokenizer=directory, model_kwargs={"dtype": np.float64})
        assert exact.model.dtype == np.float64


def test_sentence_similarity_is_asked_as_on_the_hub() -> None:
    model, tokenizer = cases.model("base"), cases.tokenizer()
    ask = npbert.pipeline("sentence-similarity", model=model, tokenizer=tokenizer)
    question = {"source_sentence": TEXTS[0], "sentences": TEXTS[3:]}
    expected = tasks.similarity(model, tokenizer, TEXTS[0], TEXTS[3:]).tolist()
    assert_same(ask(question), expected)
    assert_same(ask([question, question]), [expected, expected])
    assert_same(list(ask(iter([question]))), [expected])
    with pytest.raises(InputTypeError, match=r"^inputs\[0\]: takes"):
        ask([{"source_sentence": "a"}])
    with pytest.raises(InputTypeError, match=r"^inputs\['sentences'\]: takes a list"):
        ask({"source_sentence": "a", "sentences": "b"})


def test_pre_training_models_fill_masks_and_judge_pairs() -> None:
    masked, follows = cases.model("masked"), cases.model("next")
    both = npbert.BertForPreTraining(masked.config, {**follows.state_dict(), **masked.state_dict()})
    tokenizer = cases.tokenizer()
    assert_same(tasks.fill_mask(both, tokenizer, "A [MASK]."), tasks.fill_mask(masked, tokenizer, "A [MASK]."))
    answer = tasks.next_sentence(both, tokenizer, ("a", "b"))
    assert answer["is_next"] + answer["not_next"] == pytest.approx(1)
    assert_same(tasks.next_sentence(both, tokenizer, [{"text": "a", "text_pair": "b"}]), [answer])


@pytest.mark.parametrize(("task", "name"), [("text-classification", "four"), ("token-classification", "names")])
def test_a_label_without_a_name_has_its_number(task: str, name: str) -> None:
    model, tokenizer = cases.model(name), cases.tokenizer()
    last = model.config.num_labels - 1
    gap = {99 if index == last else index: label for index, label in model.config.id2label.items()}
    with pytest.warns(UserWarning, match=f"no name for {last};"):
        config = npbert.BertConfig.from_dict({**model.config.to_dict(), "id2label": gap})
    unnamed = type(model)(config)
    unnamed.load_state_dict({**model.state_dict(), "classifier.bias": np.eye(last + 1, dtype=np.float32)[last] * 1e3})
    (answer, *_) = npbert.pipeline(task, model=unnamed, tokenizer=tokenizer)("A text.")
    assert answer.get("label", answer.get("entity")) == f"LABEL_{last}"


def test_text_generation_draws_from_the_generator_it_is_given() -> None:
    model, tokenizer = cases.model("writer"), cases.tokenizer()
    drawn = [
        tasks.text_generation(model, tokenizer, "Hi", rng=np.random.default_rng(seed), max_new_tokens=5) for seed in (0, 0, 1)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


def test_text_generation_stops_at_the_last_position() -> None:
    """The reference's 256 tokens, where so many do not fit."""
    model, tokenizer = cases.model("writer"), cases.tokenizer()
    (answer,) = tasks.text_generation(model, tokenizer, "Hi", do_sample=False, return_tensors=True)
    assert len(answer["generated_token_ids"]) == 128
    with pytest.raises(npbert.InputError, match="max_new_tokens: 256 new tokens after"):
        tasks.text_generation(model, tokenizer, "Hi", do_sample=False, max_new_tokens=256)


def test_an_encoder_decoder_writes_a_text_of_its_own(tmp_path: Path) -> None:
    encoder = cases.model("base")
    decoder_config = npbert.BertConfig(**{**cases.FIELDS, "is_decoder": True, "add_cross_attention": True})
    decoder = npbert.BertLMHeadModel(decoder_config, rng=np.random.default_rng(0))
    model = npbert.EncoderDecoderModel(encoder=encoder, decoder=decoder)
    model.config.decoder_start_token_id, model.config.pad_token_id = 101, 0
    tokenizer = cases.tokenizer()
    (answer,) = tasks.text_generation(model, tokenizer, "Hello there", max_new_tokens=5)
    ids = tokenizer(["Hello there"], return_tensors="np")["input_ids"]
    expected = npbert.generate(model, ids, num_beams=4, max_new_tokens=5)
    assert answer == {"generated_text": tokenizer.decode(expected[0], skip_special_tokens=True)}
    (answer_to_the_end,) = tasks.text_generation(model, tokenizer, "Hello there", num_beams=1, return_tensors=True)
    assert len(answer_to_the_end["generated_token_ids"]) <= decoder_config.max_position_embeddings + 1
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    made = npbert.pipeline("text-generation", model=tmp_path, max_new_tokens=5)
    assert made("Hello there") == [answer]


# --------------------------------------------------------------------------------------------------------------- masking


def test_masking_has_the_proportions_of_the_paper() -> None:
    tokenizer = cases.tokenizer()
    ids = np.full((200, 500), 2000)
    ids[:, 0], ids[:, 300], ids[:, 400:] = 101, 102, 0
    masked, labels = tasks.mask_tokens(ids, tokenizer, np.random.default_rng(0))
    special = ids != 2000
    chosen = labels != -100
    assert not (chosen & special).any()
    assert np.array_equal(masked[~chosen], ids[~chosen])
    assert np.array_equal(labels[chosen], ids[chosen])
    words = (~special).sum()
    n = chosen.sum()
    assert n / words == pytest.approx(0.15, abs=4 * np.sqrt(0.15 * 0.85 / words))
    is_mask, is_same = masked[chosen] == 103, masked[chosen] == 2000
    assert is_mask.mean() == pytest.approx(0.8, abs=4 * np.sqrt(0.16 / n))
    assert is_same.mean() == pytest.approx(0.1, abs=4 * np.sqrt(0.09 / n))
    drawn = masked[chosen][~is_mask & ~is_same]
    assert drawn.mean() == pytest.approx(30522 / 2, rel=0.05)
    assert len(np.unique(drawn)) > 0.9 * len(drawn)
    assert 0 <= drawn.min() <= drawn.max() < 30522


def test_a_token_may_be_replaced_by_any_of_the_vocabulary(tmp_path: Path) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b"]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n")
    tokenizer = npbert.BertTokenizer(tmp_path / "vocab.txt")
    tokenizer.add_tokens(["c"])
    masked, labels = tasks.mask_tokens(np.full((50, 100), 5), tokenizer, np.random.default_rng(0), probability=1)
    assert set(masked.flat) == set(range(8)), "the special ones and the added one among them"
    assert set(labels.flat) == {5}


def test_masking_keeps_shapes_and_leaves_its_argument_alone() -> None:
    tokenizer = cases.tokenizer()
    ids = np.array(tokenizer("A text to be masked, every word of it.")["input_ids"])
    before = ids.copy()
    all_of_it = tasks.mask_tokens(ids, tokenizer, np.random.default_rng(0), probability=1)
    assert np.array_equal(ids, before)
    assert all_of_it.labels.tolist() == [-100, *ids[1:-1].tolist(), -100]
    nothing = tasks.mask_tokens(ids.tolist(), tokenizer, np.random.default_rng(0), probability=0)
    assert np.array_equal(nothing.input_ids, ids)
    assert (nothing.labels == -100).all()
    again = [tasks.mask_tokens(ids, tokenizer, np.random.default_rng(5)).input_ids.tolist() for _ in range(2)]
    assert again[0] == again[1]


def test_whole_words_are_masked_or_left() -> None:
    tokenizer = cases.tokenizer()
    row = [101, *tokenizer("unaffable embeddings stay , tokenization is it", add_special_tokens=False)["input_ids"], 102]
    continues = [token.startswith("##") for token in tokenizer.convert_ids_to_tokens(row)]
    row = [*row, row[continues.index(True)], 1996, 0, 0]  # a text that was cut within a word, as the second one of a pair is
    continues = [*continues, True, False, False, False]
    assert sum(continues) > 3
    ids = np.tile(row, (20000, 1))
    masked, labels = tasks.mask_tokens(ids, tokenizer, np.random.default_rng(0), 0.3, whole_words=True)
    chosen = labels != -100
    assert not chosen[:, np.isin(row, [101, 102, 0])].any()
    for place, goes_on in enumerate(continues):
        if goes_on and row[place - 1] != 102:
            assert np.array_equal(chosen[:, place], chosen[:, place - 1]), "a word falls apart"
    words = chosen[:, [not goes_on and token not in (101, 102, 0) for token, goes_on in zip(row, continues, strict=True)]]
    shares = np.append(words.mean(axis=0), chosen[:, len(row) - 4].mean())
    assert shares == pytest.approx(np.full(len(shares), 0.3), abs=4 * np.sqrt(0.3 * 0.7 / len(ids)))
    assert np.abs(np.corrcoef(words.T) - np.eye(words.shape[1])).max() < 4 / np.sqrt(len(ids)), "words are drawn each by itself"
    assert (masked[chosen] == 103).mean() == pytest.approx(0.8, abs=0.01)
    alone = tasks.mask_tokens(ids[0], tokenizer, np.random.default_rng(0), 1, whole_words=True).labels
    assert np.array_equal(alone != -100, ~np.isin(row, [101, 102, 0]))


def test_what_becomes_of_the_chosen_may_be_told() -> None:
    tokenizer = cases.tokenizer()
    ids = np.full((50, 100), 2000)
    rng = np.random.default_rng(0)
    all_masked = tasks.mask_tokens(ids, tokenizer, rng, 1, mask_replace_prob=1, random_replace_prob=0)
    assert (all_masked.input_ids == 103).all()
    untouched = tasks.mask_tokens(ids, tokenizer, rng, 1, mask_replace_prob=0, random_replace_prob=0)
    assert np.array_equal(untouched.input_ids, ids)
    assert np.array_equal(untouched.labels, ids)
    drawn = tasks.mask_tokens(ids, tokenizer, rng, 1, mask_replace_prob=0, random_replace_prob=1)
    assert len(np.unique(drawn.input_ids)) > 0.9 * ids.size
    paper = [
        tasks.mask_tokens(ids, tokenizer, np.random.default_rng(1), **told).input_ids
        for told in ({}, {"mask_replace_prob": 0.8, "random_replace_prob": 0.1, "whole_words": False})
    ]
    assert np.array_equal(*paper)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mask_replace_prob": 1.1}, "^mask_replace_prob: takes a finite number from 0 to 1"),
        ({"random_replace_prob": -0.1}, "^random_replace_prob: takes a finite number from 0 to 1"),
        ({"random_replace_prob": 0.3}, "^mask_replace_prob and random_replace_prob: are more than 1 together, 0.8 and 0.3$"),
        ({"input_ids": [[1.5]]}, "^input_ids: takes whole numbers"),
        ({"input_ids": [[[1]]]}, "^input_ids: takes 1 or 2 dimensions"),
        ({"input_ids": [30522]}, "^input_ids: 30522 is out of range, it takes 0 to 30521"),
        ({"input_ids": [-1]}, "^input_ids: -1 is out of range"),
        ({"rng": 0}, "^rng: takes a numpy.random.Generator"),
        ({"probability": 1.5}, "^probability: takes a finite number from 0 to 1"),
        ({"probability": True}, "^probability: takes a number, got True"),
    ],
)
def test_masking_checks_its_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(npbert.NpbertError, match=message):
        tasks.mask_tokens(**{"input_ids": [1], "tokenizer": cases.tokenizer(), "rng": np.random.default_rng(0), **arguments})
