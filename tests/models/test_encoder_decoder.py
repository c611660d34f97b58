"""Two BERTs as one: names, ties, loading and saving, and the same numbers as the reference."""

from __future__ import annotations

import functools
import json
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import npbert
from npbert import BertLMHeadModel, BertModel
from npbert.models.encoder_decoder import EncoderDecoderModel
from npbert.models.encoder_decoder_config import EncoderDecoderConfig
from npbert.models.encoder_decoder_pass import shift_tokens_right
from npbert.models.outputs import Seq2SeqLMOutput
from npbert.tracing import observe

from ..builders import POSITION_TYPES, SMALLEST, arrays_of, assert_close, build, tiny
from ..generation.helpers import assert_generates_alike, lively, random_options

DATA = Path(__file__).parents[1] / "data" / "expected" / "generation"
DECODER = {"is_decoder": True, "add_cross_attention": True}
IDS = np.array([[5, 9, 13, 2, 8], [7, 3, 0, 0, 0]])
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]])
WRITTEN = np.array([[1, 3, 9, 4], [1, 8, 6, 2]])
INPUTS = {"input_ids": IDS, "attention_mask": MASK, "decoder_input_ids": WRITTEN}


@functools.cache
def stored(name: str) -> Any:
    return EncoderDecoderModel.from_pretrained(DATA / name)


def config_of(*, encoder: dict[str, Any] | None = None, decoder: dict[str, Any] | None = None, **fields: Any) -> Any:
    parts = {"encoder": tiny(**(encoder or {})), "decoder": tiny(**{**DECODER, **(decoder or {})})}
    return EncoderDecoderConfig(**{"decoder_start_token_id": 1, "pad_token_id": 0, **parts, **fields})


def whole(seed: int = 0, **options: Any) -> Any:
    config = config_of(**options)
    blank = EncoderDecoderModel(config, rng=np.random.default_rng(0))
    return EncoderDecoderModel(config, lively(dict(blank.named_parameters()), np.random.default_rng(seed)))


# ----------------------------------------------------------------------------------------------- files of the reference


@pytest.mark.parametrize("name", ["encoder_decoder", "tied"])
def test_logits_and_loss_are_the_reference_s(name: str) -> None:
    expected = np.load(DATA / "forward.npz")
    for kind, arguments in json.loads((DATA / "forward_inputs.json").read_text()).items():
        out = stored(name)(**arguments)
        assert_close(out.logits, expected[f"{name}.{kind}.logits"], 1e-5)
        if kind == "labels":
            assert_close(out.loss, expected[f"{name}.{kind}.loss"], 1e-5)
        else:
            assert out.loss is None


@pytest.mark.parametrize("name", ["encoder_decoder", "tied"])
def test_the_names_are_the_file_s(name: str) -> None:
    file = load_file(DATA / name / "model.safetensors")
    model, info = EncoderDecoderModel.from_pretrained(DATA / name, output_loading_info=True)
    assert info == {"missing_keys": [], "unexpected_keys": [], "mismatched_keys": [], "error_msgs": []}
    assert dict(model.named_parameters()).keys() == file.keys()
    assert all((array == file[n]).all() for n, array in model.named_parameters())
    assert model.num_parameters() == sum(array.size for array in file.values())
    assert isinstance(npbert.load(DATA / name), EncoderDecoderModel)


@pytest.mark.parametrize("name", ["encoder_decoder", "tied"])
def test_saved_and_loaded_it_is_the_same(name: str, tmp_path: Path) -> None:
    model = stored(name)
    model.save_pretrained(tmp_path)
    again = EncoderDecoderModel.from_pretrained(tmp_path, dtype=np.float64)
    assert again.dtype == np.float64
    again.save_pretrained(tmp_path / "double")
    assert npbert.load(tmp_path / "double", dtype=None).dtype == np.float64
    assert again.name_or_path == str(tmp_path)
    assert again.generation_config == model.generation_config == {
        "_from_model_config": True, "decoder_start_token_id": 1, "pad_token_id": 0, "transformers_version": "4.57.6",
    }  # fmt: skip
    assert (
        again.config
        == EncoderDecoderConfig.from_pretrained(tmp_path)
        == EncoderDecoderConfig.from_json_file(tmp_path / "config.json")
    )
    fields = json.loads((tmp_path / "config.json").read_text())
    assert (fields["model_type"], fields["is_encoder_decoder"], fields["encoder"]["model_type"]) == (
        "encoder-decoder",
        True,
        "bert",
    )
    mine, theirs = model.state_dict(), again.state_dict()
    assert mine.keys() == theirs.keys()
    assert all((mine[n] == theirs[n]).all() for n in mine)
    assert_close(again(**INPUTS).logits, model(**INPUTS).logits, 1e-5)


def test_what_a_file_lacks_starts_at_random_and_is_listed(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    model = stored("encoder_decoder")
    model.save_pretrained(tmp_path)
    arrays = load_file(tmp_path / "model.safetensors")
    gone = [n for n in arrays if n.startswith("encoder.pooler")]
    save_file(
        {**{n: a for n, a in arrays.items() if n not in gone}, "decoder.more": arrays[gone[0]]}, tmp_path / "model.safetensors"
    )
    with (
        pytest.warns(UserWarning, match=r"newly initialized.*encoder\.pooler\.dense\.weight, encoder\.pooler\.dense\.bias$"),
        pytest.warns(UserWarning, match=r"left out, because EncoderDecoderModel has none of them: decoder\.more$"),
    ):
        again, info = EncoderDecoderModel.from_pretrained(tmp_path, output_loading_info=True)
    assert info["missing_keys"] == sorted(gone)
    assert info["unexpected_keys"] == ["decoder.more"]
    assert_close(again(**INPUTS).logits, model(**INPUTS).logits, 1e-6)

    save_file({**arrays, "enc_to_dec_proj.bias": np.zeros(3, np.float32)}, tmp_path / "model.safetensors")
    with pytest.raises(npbert.InputError, match=r"enc_to_dec_proj.bias takes shape \[12\], the file has \[3\]"):
        EncoderDecoderModel.from_pretrained(tmp_path)
    with pytest.warns(UserWarning, match=r"newly initialized.*: enc_to_dec_proj.bias$"):
        _, info = EncoderDecoderModel.from_pretrained(tmp_path, ignore_mismatched_sizes=True, output_loading_info=True)
    assert info["mismatched_keys"] == [("enc_to_dec_proj.bias", (3,), (12,))]


def test_encoder_weights_that_a_tied_file_repeats_are_no_surprise(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    model = stored("tied")
    model.save_pretrained(tmp_path)
    every = {n: np.ascontiguousarray(a) for n, a in model.state_dict().items()}
    save_file(every, tmp_path / "model.safetensors")
    _, info = EncoderDecoderModel.from_pretrained(tmp_path, output_loading_info=True)
    assert info["missing_keys"] == info["unexpected_keys"] == []
    # A file that holds the encoder's names alone says the same.
    tied = model.tied()
    only = {n: a for n, a in every.items() if n not in [tied[alias] for alias in tied if alias.startswith("encoder.")]}
    save_file(only, tmp_path / "model.safetensors")
    again = EncoderDecoderModel.from_pretrained(tmp_path)
    assert all((a == every[n]).all() for n, a in again.state_dict().items())


def test_from_two_checkpoints(tmp_path: Path) -> None:
    encoder, decoder = build("BertModel", tiny(hidden_size=18)), build("BertForMaskedLM", tiny())
    encoder.save_pretrained(tmp_path / "encoder")
    decoder.save_pretrained(tmp_path / "decoder")
    with pytest.warns(UserWarning, match="newly initialized") as caught:
        model = EncoderDecoderModel.from_encoder_decoder_pretrained(
            tmp_path / "encoder", tmp_path / "decoder", dtype=np.float64, decoder_hidden_dropout_prob=0.25, pad_token_id=0
        )
    assert len(caught) == 1
    listed = re.sub(".*: ", "", str(caught[0].message)).split(", ")
    fresh = [n for n in model.decoder.expected_parameters() if "crossattention" in n]
    assert sorted(listed) == sorted(fresh)
    assert model.dtype == np.float64
    assert (model.config.decoder.is_decoder, model.config.decoder.add_cross_attention) == (True, True)
    assert (model.config.encoder.is_decoder, model.config.decoder.hidden_dropout_prob) == (False, 0.25)
    assert (model.config.pad_token_id, model.config.decoder_start_token_id) == (0, None)
    weights = model.state_dict()
    assert all((weights[f"encoder.{n}"] == a).all() for n, a in encoder.named_parameters())
    assert all((weights[f"decoder.{n}"] == a).all() for n, a in decoder.named_parameters())
    assert weights["enc_to_dec_proj.weight"].shape == (12, 18)

    given = EncoderDecoderModel.from_encoder_decoder_pretrained(
        tmp_path / "encoder", decoder_model=BertLMHeadModel(tiny(**DECODER), rng=np.random.default_rng(0))
    )
    assert given.encoder.config.hidden_size == 18
    with pytest.raises(npbert.InputError, match="decoder_pretrained_model_name_or_path"):
        EncoderDecoderModel.from_encoder_decoder_pretrained(tmp_path / "encoder")


def test_errors_of_files(tmp_path: Path) -> None:
    build("BertModel", tiny()).save_pretrained(tmp_path)
    with pytest.raises(npbert.FileError, match="has the model_type 'bert'"):
        EncoderDecoderModel.from_pretrained(tmp_path)
    with pytest.raises(npbert.MissingFileError):
        EncoderDecoderModel.from_pretrained(tmp_path / "nothing")
    with pytest.raises(npbert.InputTypeError, match="unknown argument 'colour'"):
        EncoderDecoderModel.from_pretrained(DATA / "tied", colour=3)
    (tmp_path / "config.json").write_text('{"model_type": "encoder-decoder", "encoder": {}}')
    with pytest.raises(npbert.FileError, match="no decoder"):
        EncoderDecoderModel.from_pretrained(tmp_path)


# -------------------------------------------------------------------------------------------------------- configuration


def test_the_configuration() -> None:
    config = EncoderDecoderConfig.from_encoder_decoder_configs(tiny(), tiny(), note="mine")
    assert (config.decoder.is_decoder, config.decoder.add_cross_attention, config.encoder.is_decoder) == (True, True, False)
    assert (config.note, config.is_encoder_decoder, config.model_type) == ("mine", True, "encoder-decoder")
    assert EncoderDecoderConfig.from_dict(json.loads(config.to_json_string())) == config
    assert "note='mine'" in repr(config)
    for fields, message in (
        ({"decoder": tiny()}, "config: the decoder takes is_decoder=True and add_cross_attention=True"),
        ({"encoder": {"model_type": "roberta"}}, "encoder: takes model_type 'bert', got 'roberta'"),
        ({"encoder": 3}, "encoder: takes a BertConfig or its fields, got int"),
        ({"encoder": {"hidden_size": 7}}, "encoder: config: hidden_size 7 cannot be divided"),
        ({"tie_encoder_decoder": 1}, "tie_encoder_decoder takes bool"),
        ({"decoder": tiny(**DECODER, cross_attention_hidden_size=18)}, "cross_attention_hidden_size is 18"),
    ):
        with pytest.raises((npbert.InputError, npbert.InputTypeError), match=re.escape(message)):
            EncoderDecoderConfig(**{"encoder": tiny(), "decoder": tiny(**DECODER), **fields})


def test_parts_and_whole_share_one_configuration() -> None:
    model = whole()
    model.config.decoder.use_cache = False
    assert model(**INPUTS).past_key_values is None
    assert model.decoder.config is model.config.decoder
    assert model.astype(np.float32).decoder.config.use_cache is False
    assert model.config.architectures == ["EncoderDecoderModel"]


# ------------------------------------------------------------------------------------------------------------ parameters


def test_of_two_models() -> None:
    encoder, decoder = build("BertModel", tiny(hidden_size=18), seed=1), build("BertLMHeadModel", tiny(**DECODER), seed=2)
    model = EncoderDecoderModel(encoder=encoder, decoder=decoder, rng=np.random.default_rng(0))
    assert model.get_encoder() is encoder
    assert model.get_decoder() is decoder
    assert model.config.encoder is encoder.config
    assert model.config.decoder is decoder.config
    hidden = encoder(IDS, MASK).last_hidden_state
    weights = model.state_dict()
    projected = hidden @ weights["enc_to_dec_proj.weight"].T + weights["enc_to_dec_proj.bias"]
    alone = decoder(WRITTEN, encoder_hidden_states=projected, encoder_attention_mask=MASK).logits
    assert_close(model(**INPUTS).logits, alone, 1e-12)
    # A change of a part is a change of the whole.
    encoder.set_input_embeddings(np.zeros((31, 18)))
    assert not model.state_dict()["encoder.embeddings.word_embeddings.weight"].any()
    assert not model.get_input_embeddings().any()


def test_names_and_counts() -> None:
    model = whole(encoder={"hidden_size": 18})
    parts = model.encoder.num_parameters() + model.decoder.num_parameters() + 12 * 18 + 12
    assert model.num_parameters() == parts == sum(array.size for _, array in model.named_parameters())
    names = list(model.state_dict())
    assert "encoder.pooler.dense.weight" in names
    assert "decoder.bert.encoder.layer.0.crossattention.self.query.weight" in names
    assert "decoder.cls.predictions.decoder.weight" in names
    assert "EncoderDecoderModel" in repr(model)


def test_load_state_dict() -> None:
    model, other = whole(1), whole(2)
    assert model.load_state_dict(other.state_dict()) == ([], [])
    assert_close(model(**INPUTS).logits, other(**INPUTS).logits, 1e-15)
    with pytest.raises(npbert.MissingNameError, match=r"unexpected: more"):
        model.load_state_dict({**other.state_dict(), "more": np.zeros(1)})
    result = model.load_state_dict({"encoder.pooler.dense.bias": np.ones(12)}, strict=False)
    assert len(result.missing_keys) == len(model.expected_parameters()) - 1
    assert (model.encoder.state_dict()["pooler.dense.bias"] == 1).all()
    with pytest.raises(npbert.MissingNameError, match="missing"):
        EncoderDecoderModel(config_of(), {})


def test_tied_parts_are_one() -> None:
    model = whole(tie_encoder_decoder=True)
    names = [name for name, _ in model.named_parameters()]
    assert [n for n in names if n.startswith("encoder.")] == ["encoder.pooler.dense.weight", "encoder.pooler.dense.bias"]
    assert model.num_parameters() == model.decoder.num_parameters() + 12 * 12 + 12
    table = np.random.default_rng(0).normal(size=(31, 12))
    model.decoder.set_input_embeddings(table)
    hidden = model(**INPUTS).encoder_last_hidden_state  # the encoder reads by the new table
    assert_close(hidden, model.astype(np.float64).encoder(IDS, MASK).last_hidden_state, 1e-15)
    assert (model.state_dict()["encoder.embeddings.word_embeddings.weight"] == table).all()
    untied = EncoderDecoderModel(config_of(), model.state_dict())
    assert_close(model(**INPUTS).logits, untied(**INPUTS).logits, 1e-15)
    again = model.astype(np.float32)
    assert again.encoder.state_dict()["pooler.dense.bias"].dtype == np.float32
    assert again.encoder.get_input_embeddings() is again.decoder.get_input_embeddings()
    assert model.dtype == np.float64


def test_astype_leaves_the_model_alone() -> None:
    model = whole(encoder={"hidden_size": 18})
    single = model.astype(np.float32)
    assert (single.dtype, single.encoder.dtype, single.decoder.dtype) == (np.float32,) * 3
    assert {array.dtype for array in model.state_dict().values()} == {np.dtype(np.float64)}
    assert single(**INPUTS).logits.dtype == np.float32
    assert_close(single(**INPUTS).logits, model(**INPUTS).logits, 1e-4)


def test_fresh_weights() -> None:
    model = EncoderDecoderModel(config_of(encoder={"hidden_size": 18}), rng=np.random.default_rng(0))
    same = EncoderDecoderModel(config_of(encoder={"hidden_size": 18}), rng=np.random.default_rng(0))
    assert all((a == b).all() for a, b in zip(model.state_dict().values(), same.state_dict().values(), strict=True))
    assert model.dtype == np.float32
    assert model.state_dict()["enc_to_dec_proj.weight"].std() > 0


def test_construction_errors() -> None:
    encoder, decoder = build("BertModel", tiny()), build("BertLMHeadModel", tiny(**DECODER))
    with pytest.raises(npbert.InputError, match="takes a configuration, or else an encoder and a decoder"):
        EncoderDecoderModel(encoder=encoder)
    with pytest.raises(npbert.InputTypeError, match="config: takes an EncoderDecoderConfig, got BertConfig"):
        EncoderDecoderModel(tiny())  # type: ignore[arg-type]
    with pytest.raises(npbert.InputTypeError, match="encoder: takes a BertModel, got BertLMHeadModel"):
        EncoderDecoderModel(encoder=decoder, decoder=decoder)  # type: ignore[arg-type]
    with pytest.raises(npbert.InputError, match="the decoder takes is_decoder=True and add_cross_attention=True"):
        EncoderDecoderModel(encoder=encoder, decoder=build("BertLMHeadModel", tiny(is_decoder=True)))
    with pytest.raises(npbert.InputError, match=r"encoder: does not fit the config's encoder, in embeddings\.word"):
        EncoderDecoderModel(config_of(encoder={"vocab_size": 32}), encoder=encoder, decoder=decoder)
    with pytest.raises(npbert.InputError, match="decoder: does not fit the config's decoder, in the number of weights"):
        EncoderDecoderModel(config_of(decoder={"num_hidden_layers": 3}), encoder=encoder, decoder=decoder)
    assert decoder.config.num_hidden_layers == 2
    with pytest.raises(npbert.InputError, match="weights: an encoder and a decoder bring their own"):
        EncoderDecoderModel(config_of(), {}, encoder=encoder)
    for change in ("resize_token_embeddings", "prune_heads"):
        with pytest.raises(npbert.InputError, match=rf"{change}: .*model\.encoder"):
            getattr(whole(), change)({} if change == "prune_heads" else 5)


# --------------------------------------------------------------------------------------------------------------- calling


def test_labels_are_shifted_right() -> None:
    assert shift_tokens_right([[5, 6, -100, 7], [-100, 4, 4, 4]], 9, 1).tolist() == [[1, 5, 6, 9], [1, 9, 4, 4]]
    model = whole()
    labels = np.array([[3, 9, 4, 6], [8, 6, -100, -100]])
    out = model(IDS, MASK, labels=labels)
    written = np.array([[1, 3, 9, 4], [1, 8, 6, 0]])
    same = model(IDS, MASK, decoder_input_ids=written, decoder_attention_mask=written != 0)
    assert_close(out.logits, same.logits, 1e-15)
    shifted = out.logits - out.logits.max(axis=-1, keepdims=True)
    log_probs = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    expected = -np.mean([log_probs[b, s, labels[b, s]] for b in range(2) for s in range(4) if labels[b, s] >= 0])
    assert out.loss == pytest.approx(expected, rel=1e-12)
    assert (model.prepare_decoder_input_ids_from_labels(labels) == written).all()
    # Labels beside decoder_input_ids only make the loss.
    assert_close(model(IDS, MASK, WRITTEN, labels=labels).logits, model(**INPUTS).logits, 1e-15)


def test_what_comes_out() -> None:
    model = whole(encoder={"num_hidden_layers": 1})
    out = model(**INPUTS, output_attentions=True, output_hidden_states=True)
    assert isinstance(out, Seq2SeqLMOutput)
    assert list(out.keys()) == [
        "logits", "past_key_values", "decoder_hidden_states", "decoder_attentions", "cross_attentions",
        "encoder_last_hidden_state", "encoder_hidden_states", "encoder_attentions",
    ]  # fmt: skip
    assert [x.shape for x in out.cross_attentions] == [(2, 3, 4, 5)] * 2
    assert (len(out.encoder_hidden_states), len(out.decoder_hidden_states)) == (2, 3)
    alone = model.encoder(IDS, MASK)
    assert_close(out.encoder_last_hidden_state, alone.last_hidden_state, 1e-15)
    plain = model(**INPUTS, return_dict=False)
    assert len(plain) == 4  # logits, cache, the encoder's hidden states and pooled vector
    assert_close(plain[2], alone.last_hidden_state, 1e-15)
    labels = np.full((2, 4), 3)
    assert model(**INPUTS, labels=labels, return_dict=False)[0] == model(**INPUTS, labels=labels).loss


def test_the_encoder_s_result_may_be_handed_in() -> None:
    model = whole(encoder={"hidden_size": 18})
    expected = model(**INPUTS)
    read = model.encoder(IDS, MASK, output_hidden_states=True)
    for given in (read, (read.last_hidden_state,), [read.last_hidden_state, read.hidden_states]):
        out = model(encoder_outputs=given, attention_mask=MASK, decoder_input_ids=WRITTEN)
        assert_close(out.logits, expected.logits, 1e-15)
        assert_close(out.encoder_last_hidden_state, read.last_hidden_state, 0)
        assert (out.encoder_hidden_states is None) == (len(given) == 1)
    # The cache holds all that the decoder wants of the encoder.
    first = model(IDS, MASK, WRITTEN[:, :3])
    step = model(decoder_input_ids=WRITTEN[:, 3:], attention_mask=MASK, past_key_values=first.past_key_values)
    assert_close(step.logits, expected.logits[:, 3:], 1e-12)
    assert step.encoder_last_hidden_state is None


def test_embeddings_instead_of_ids() -> None:
    model = whole()
    tables = [part.get_input_embeddings() for part in (model.encoder, model.decoder)]
    out = model(inputs_embeds=tables[0][IDS], attention_mask=MASK, decoder_inputs_embeds=tables[1][WRITTEN])
    assert_close(out.logits, model(**INPUTS).logits, 1e-14)


def test_arguments_of_the_parts() -> None:
    model = whole()
    types, positions = np.array([[0, 1, 1, 0, 0], [1, 0, 0, 0, 0]]), np.array([[4, 3, 2, 1]])
    read = model.encoder(IDS, MASK, types, head_mask=[1, 0, 1])
    hidden = {"encoder_hidden_states": read.last_hidden_state, "encoder_attention_mask": MASK}
    alone = model.decoder(WRITTEN, token_type_ids=WRITTEN % 2, position_ids=positions, head_mask=[0, 1, 1], **hidden)
    out = model(
        **INPUTS,
        token_type_ids=types,
        head_mask=[1, 0, 1],
        decoder_token_type_ids=WRITTEN % 2,
        decoder_position_ids=positions,
        decoder_head_mask=[0, 1, 1],
    )
    assert_close(out.logits, alone.logits, 1e-15)


def test_dropout_happens_with_a_generator() -> None:
    model = whole()
    quiet = model(**INPUTS).logits
    drawn = [model(**INPUTS, rng=np.random.default_rng(seed)).logits for seed in (0, 0, 1)]
    assert (drawn[0] == drawn[1]).all()
    assert (drawn[0] != drawn[2]).any()
    assert (drawn[0] != quiet).any()


def test_a_trace_sees_the_whole() -> None:
    model = whole(encoder={"hidden_size": 18})
    with npbert.trace() as t:
        out = model(**INPUTS)
    assert all(name.split(".")[0].split(":")[0] in ("encoder", "decoder", "enc_to_dec_proj") for name in t)
    assert (t["encoder"] == out.encoder_last_hidden_state).all()
    assert (t["decoder"] == out.logits).all()
    assert t["enc_to_dec_proj"].shape == (2, 5, 12)
    for part, name in ((model.encoder, "encoder"), (model.decoder, "decoder")):
        with npbert.trace() as alone:
            part(
                IDS if name == "encoder" else WRITTEN,
                **({"attention_mask": MASK} if name == "encoder" else {
                    "encoder_hidden_states": t["enc_to_dec_proj"], "encoder_attention_mask": MASK}),
            )  # fmt: skip
        assert [f"{name}.{n}" for n in alone] == [n for n in t if n.startswith(f"{name}.")]
        assert all((alone[n] == t[f"{name}.{n}"]).all() for n in alone)


def test_an_observer_may_change_any_value() -> None:
    model = whole(encoder={"hidden_size": 18})
    expected = model(**INPUTS).logits
    for changed in ("encoder", "enc_to_dec_proj", "encoder.embeddings", "decoder.bert.embeddings", "decoder"):
        with observe(lambda name, x, changed=changed: x + 1 if name == changed else x):  # type: ignore[misc]
            assert (model(**INPUTS).logits != expected).any(), changed
    assert (model(**INPUTS).logits == expected).all()


CALL_ERRORS = [
    ({"decoder_input_ids": None}, "decoder_input_ids: the decoder has nothing to begin with"),
    ({"input_ids": [[99]]}, "encoder: input_ids: 99 is out of range"),
    ({"decoder_input_ids": [[1, 99]] * 2}, "decoder: input_ids: 99 is out of range"),
    ({"decoder_input_ids": WRITTEN[:1]}, "decoder: encoder_hidden_states: takes shape [1, length, 12]"),
    ({"labels": [[1, 2]] * 2}, "labels: takes shape [2, 4], got [2, 2]"),
    ({"labels": [[1.5]] * 2}, "labels: takes whole numbers"),
    ({"encoder_outputs": np.zeros((2, 5, 12))}, "encoder_outputs: takes a result of the encoder, or a tuple"),
    ({"colour": 3}, "EncoderDecoderModel: unknown argument 'colour'; it takes"),
    ({"input_ids": None}, "encoder: takes either input_ids or inputs_embeds, got neither"),
    ({"rng": 3}, "encoder: rng: takes a numpy.random.Generator, got int"),
]


@pytest.mark.parametrize(("options", "message"), CALL_ERRORS, ids=[message[:40] for _, message in CALL_ERRORS])
def test_bad_input_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises((npbert.InputError, npbert.InputTypeError), match=re.escape(message)):
        whole()(**{**INPUTS, **options})


def test_labels_need_to_know_how_to_begin() -> None:
    for name in ("pad_token_id", "decoder_start_token_id"):
        with pytest.raises(npbert.InputError, match=f"which takes {name}"):
            whole(**{name: None})(IDS, MASK, labels=WRITTEN)


# ------------------------------------------------------------------------------------------------------------- generation


@pytest.mark.parametrize("position_type", POSITION_TYPES)
def test_the_cache_changes_nothing(position_type: str) -> None:
    model = whole(3, decoder={"position_embedding_type": position_type}, encoder={"hidden_size": 18})
    row = np.ones((2, 1), np.int64)
    for _ in range(12):
        logits = model(IDS, MASK, row, use_cache=False).logits[:, -1]
        row = np.column_stack([row, logits.argmax(axis=-1)])
    assert model.generate(IDS, attention_mask=MASK, max_new_tokens=12).tolist() == row.tolist()
    assert model.generate(IDS, max_new_tokens=12).tolist() == row.tolist()  # the mask is read off the padding
    assert np.column_stack(list(npbert.stream(model, IDS, max_new_tokens=12))).tolist() == row[:, 1:].tolist()


def test_generation_from_what_the_encoder_made() -> None:
    model = whole(1)
    expected = model.generate(IDS, attention_mask=MASK, max_new_tokens=9, num_beams=3)
    read = model.encoder(IDS, MASK)
    given = {"attention_mask": MASK, "max_new_tokens": 9, "num_beams": 3}
    assert (model.generate(encoder_outputs=read, **given) == expected).all()
    assert (model.generate(inputs_embeds=model.get_input_embeddings()[IDS], **given) == expected).all()


def test_generation_begins_where_it_is_told() -> None:
    model = whole(1)
    assert model.generate(IDS, max_new_tokens=2)[:, 0].tolist() == [1, 1]
    assert model.generate(IDS, max_new_tokens=2, decoder_start_token_id=4)[:, 0].tolist() == [4, 4]
    continued = model.generate(IDS, max_new_tokens=2, decoder_input_ids=[[1, 5], [1, 6]])
    assert continued[:, :2].tolist() == [[1, 5], [1, 6]]
    assert (model.generate(IDS, max_new_tokens=2, decoder_input_ids=[[5], [6]]) == continued).all()
    padded = model.generate(IDS, max_new_tokens=2, decoder_input_ids=[[5, 7], [6, 7]], decoder_attention_mask=[[1, 1], [0, 1]])
    same = model.generate(
        IDS, max_new_tokens=2, decoder_input_ids=[[1, 5, 7], [1, 6, 7]], decoder_attention_mask=[[1, 1, 1], [1, 0, 1]]
    )
    assert (padded == same).all()
    # What the configuration says counts, even where a file of settings is silent about it.
    model.generation_config = {"max_new_tokens": 3}
    assert model.generate(IDS).shape == (2, 4)


def test_generation_errors() -> None:
    for options, message in (
        ({"input_ids": None}, "there is nothing for the encoder to read"),
        ({"input_ids": np.zeros((0, 3), np.int64)}, "input_ids: takes at least one sequence, got none"),
        ({"decoder_input_ids": [[1]]}, "decoder_input_ids: takes shape [2, length], got [1, 1]"),
        ({"decoder_start_token_id": 99}, "decoder_start_token_id: 99 is out of range"),
        ({"max_new_tokens": 18}, "max_new_tokens: 18 new tokens after 1 do not fit into the model's 17 positions; at most 17"),
        ({"encoder_hidden_states": 3}, "unknown argument 'encoder_hidden_states'"),
    ):
        with pytest.raises((npbert.InputError, npbert.InputTypeError), match=re.escape(message)):
            whole().generate(**{"input_ids": IDS, **options})
    with pytest.raises(npbert.InputError, match="decoder_start_token_id: neither given nor in the config"):
        whole(decoder_start_token_id=None).generate(IDS)


# --------------------------------------------------------------------------------------------------- the live reference


def random_whole(rng: np.random.Generator) -> Any:
    tied = bool(rng.random() < 0.3)
    position_type = str(rng.choice(POSITION_TYPES, p=[0.5, 0.25, 0.25]))
    vocabulary = int(rng.integers(6, 31))
    shared = {"vocab_size": vocabulary, "position_embedding_type": position_type, "mask_value": SMALLEST}
    encoder = shared | ({} if tied else {"hidden_size": int(rng.choice([12, 18])), "vocab_size": int(rng.integers(6, 31))})
    decoder = shared | {"tie_word_embeddings": bool(rng.random() < 0.7)}
    start = int(rng.integers(0, vocabulary))
    return whole(
        int(rng.integers(1000)), encoder=encoder, decoder=decoder, tie_encoder_decoder=tied, decoder_start_token_id=start
    )


def reference_of(model: Any) -> Any:
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    fields = model.config.to_dict()
    for part in ("encoder", "decoder"):
        dropped = ("mask_value", "pooler_act", "architectures")
        fields[part] = {name: value for name, value in fields[part].items() if name not in dropped}
    config = transformers.EncoderDecoderConfig(**fields)
    for part in (config, config.encoder, config.decoder):
        part._attn_implementation = "eager"
    theirs = transformers.EncoderDecoderModel(config).eval().to(getattr(torch, model.dtype.name))
    result = theirs.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in model.state_dict().items()})
    assert not result.missing_keys
    assert not result.unexpected_keys
    theirs.tie_weights()
    return theirs


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(25))
def test_parity(seed: int) -> None:
    from .. import reference

    rng = np.random.default_rng(seed)
    model = random_whole(rng).astype([np.float64, np.float32][seed % 2])
    theirs = reference_of(model)
    assert model.num_parameters() == theirs.num_parameters()
    batch, read, written = (int(rng.integers(1, high)) for high in (4, 8, 7))
    ids = rng.integers(1, model.config.encoder.vocab_size, (batch, read))
    mask = np.ones_like(ids)
    for row in mask:  # padding on either side
        padding = int(rng.integers(0, read))
        row[slice(padding) if rng.random() < 0.4 else slice(read - padding, None)] = 0
    vocabulary = model.config.decoder.vocab_size
    arguments: dict[str, Any] = {"input_ids": ids * mask, "attention_mask": mask}
    if rng.random() < 0.6:
        labels = rng.integers(0, vocabulary, (batch, written))
        arguments["labels"] = np.where(rng.random((batch, written)) < 0.3, -100, labels)
    if "labels" not in arguments or rng.random() < 0.3:
        arguments["decoder_input_ids"] = rng.integers(1, vocabulary, (batch, written))
    if rng.random() < 0.3:
        arguments |= {"token_type_ids": rng.integers(0, 3, ids.shape)}
        arguments |= {"decoder_token_type_ids": rng.integers(0, 3, (batch, written))}
    arguments |= {"output_attentions": True, "output_hidden_states": True} if rng.random() < 0.3 else {}
    if model.config.decoder.position_embedding_type != "absolute":
        arguments["use_cache"] = False  # with a cache the reference measures distances wrongly
    with npbert.trace() as t, reference.hooked(theirs) as seen:
        expected = reference.run(theirs, arguments)
        found = arrays_of(model(**arguments))
    tolerance = 1e-11 if model.dtype == np.float64 else 1e-4
    assert list(found) == list(expected)
    for name in expected:
        assert_close(found[name], expected[name], tolerance, name)
    for name in seen.keys() & t.keys():
        assert_close(t[name], seen[name], tolerance, name)
    assert {"encoder", "decoder", "decoder.bert", "decoder.cls", "encoder.pooler"} <= seen.keys() & t.keys()
    # Modules that this trace does not name pass on what another one put out, or are lists.
    assert {n for n in seen if n not in t} <= {n for n in seen if n.endswith(("dropout", "activation", "act_fn", "tanh"))}


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(20))
def test_parity_of_generation(seed: int) -> None:
    rng = np.random.default_rng(seed)
    model = random_whole(rng).astype(np.float32)
    options = random_options(rng, model.config.decoder.vocab_size)
    batch, read = int(rng.integers(1, 4)), int(rng.integers(1, 8))
    ids = rng.integers(1, model.config.encoder.vocab_size, (batch, read))
    mask = (np.arange(read) < rng.integers(1, read + 1, (batch, 1))).astype(np.int64)
    arrays = {"input_ids": ids * mask}
    if rng.random() < 0.7:
        arrays["attention_mask"] = mask
    if rng.random() < 0.3:
        arrays["decoder_input_ids"] = rng.integers(1, model.config.decoder.vocab_size, (batch, int(rng.integers(1, 4))))
    assert_generates_alike(model, reference_of(model), arrays, options)


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("tied", [False, True])
def test_the_reference_reads_what_is_saved(tied: bool, tmp_path: Path) -> None:
    import transformers

    model = whole(2, tie_encoder_decoder=tied).astype(np.float32)
    model.generation_config = {"num_beams": 3}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.save_pretrained(tmp_path)
    theirs, info = transformers.EncoderDecoderModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    assert theirs.generation_config.num_beams == 3
    expected = theirs.state_dict()
    assert expected.keys() == model.state_dict().keys()
    assert all((expected[n].numpy() == a).all() for n, a in model.state_dict().items())
    assert isinstance(model.encoder, BertModel)


@pytest.mark.parametrize("part", ["encoder", "decoder"])
@pytest.mark.parametrize("fields", [{"__class__": 1}, {"num_hidden_layers": 10**6}, {"num_labels": 10**9}], ids=str)
def test_a_part_s_hostile_fields_are_refused_by_file(part: str, fields: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    both = json.loads((DATA / "encoder_decoder" / "config.json").read_text())
    path.write_text(json.dumps({**both, part: {**both[part], **fields}}))
    with pytest.raises(npbert.FileError, match=re.escape(str(path))):
        npbert.load(tmp_path)


def test_return_dict_is_no_text() -> None:
    with pytest.raises(npbert.InputTypeError, match="return_dict"):
        stored("encoder_decoder")([[2, 5]], decoder_input_ids=[[2]], return_dict="no")
