"""Calls as code for the reference makes them: by position, with its options, and with what it hands over without thinking."""

from __future__ import annotations

import inspect
import pickle
from typing import Any

import numpy as np
import pytest

import npbert
from npbert.models.auto import MODELS
from tests.familiar.test_names import SIZES, config_of, model_of

IDS = np.array([[1, 5, 9]])
ONES = np.ones_like(IDS)
RNG = np.random.default_rng(0)


def test_arguments_by_position() -> None:
    model = model_of()
    by_name = model(IDS, attention_mask=ONES, output_attentions=True, output_hidden_states=True, return_dict=False)
    by_position = model(IDS, ONES, None, None, None, None, None, None, None, None, True, True, False)
    assert isinstance(by_position, tuple)
    np.testing.assert_array_equal(by_position[0], by_name[0])
    np.testing.assert_array_equal(by_position[-1][0], by_name[-1][0])
    masked = model_of("BertForMaskedLM")
    assert masked(IDS, ONES, None, None, None, None, None, None, IDS).loss == masked(IDS, labels=IDS).loss
    asked = model_of("BertForQuestionAnswering")
    wanted = asked(IDS, start_positions=[0], end_positions=[1]).loss
    assert asked(IDS, ONES, None, None, None, None, [0], [1]).loss == wanted
    with pytest.raises(npbert.InputTypeError, match="labels is given twice"):
        masked(IDS, ONES, None, None, None, None, None, None, IDS, labels=IDS)
    with pytest.raises(npbert.InputTypeError, match="its last positions, got 12"):
        masked(IDS, ONES, None, None, None, None, *[None] * 8)
    with pytest.raises(npbert.InputError, match="cache_position: past_key_values say"):
        model(IDS, cache_position=[0, 1, 2])


DISTILLED = ["Model", "ForMaskedLM", "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering"]


@pytest.mark.parity
@pytest.mark.parametrize(
    "name", [*sorted(MODELS.keys() - {"EncoderDecoderModel"}), *(f"DistilBert{kind}" for kind in DISTILLED)], ids=str
)
def test_the_order_is_the_reference_s(name: str) -> None:
    transformers = pytest.importorskip("transformers")
    model = blank(name)
    ours = [*positions(model.__call__), *model.further_positions()]
    theirs = positions(getattr(transformers, name).forward)
    assert ours == theirs[1 : len(ours) + 1]
    assert set(theirs[len(ours) + 1 :]) <= {"cache_position", "logits_to_keep"}


def positions(function: Any) -> list[str]:
    """The names of a function's arguments that may be given by position."""
    parameters = inspect.signature(function).parameters.values()
    return [parameter.name for parameter in parameters if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]


def blank(name: str) -> Any:
    """A model of a class, without weights."""
    cls = getattr(npbert, name)
    sizes: Any = {"vocab_size": 60} if name.startswith("GPT2") else SIZES
    if name.startswith("DistilBert"):
        return cls.without_weights(npbert.DistilBertConfig(vocab_size=60, dim=12, n_layers=1, n_heads=3, hidden_dim=20))
    return cls.without_weights(cls.config_class(**sizes, **({"is_decoder": True} if name == "BertLMHeadModel" else {})))


def test_the_third_position_of_a_distilbert_is_its_head_mask() -> None:
    config = npbert.DistilBertConfig(vocab_size=60, dim=12, n_layers=1, n_heads=3, hidden_dim=20)
    model = npbert.DistilBertForMaskedLM(config, rng=np.random.default_rng(0))
    heads = [0, 1, 1]
    by_name = model(IDS, attention_mask=ONES, head_mask=heads, labels=IDS, output_attentions=True)
    by_position = model(IDS, ONES, heads, None, IDS, True)
    assert by_position.loss == by_name.loss != model(IDS, labels=IDS).loss
    np.testing.assert_array_equal(by_position.attentions[0][:, 0], 0)


def test_the_model_below_a_head_is_called_as_a_model() -> None:
    model = model_of("BertForMaskedLM")
    with npbert.trace() as kept:
        out = model.bert(IDS, ONES, output_hidden_states=True)
    np.testing.assert_array_equal(out.last_hidden_state, model.base_model(IDS).last_hidden_state)
    np.testing.assert_array_equal(kept["bert.encoder.layer.0"], out.hidden_states[1])
    with pytest.raises(npbert.InputError, match="input_ids: 99 is out of range"):
        model.bert([[99]])
    writer = npbert.GPT2LMHeadModel(
        npbert.GPT2Config(vocab_size=60, n_embd=12, n_layer=1, n_head=2), rng=np.random.default_rng(0)
    )
    out = writer.transformer(IDS, use_cache=True)
    np.testing.assert_array_equal(out[0], writer.base_model(IDS)[0])
    assert len(writer.transformer(IDS[:, :1], out.past_key_values, return_dict=False)) == 2


def test_the_classifier_of_a_distilbert_has_a_model_below_it(tmp_path: Any) -> None:
    config = npbert.DistilBertConfig(vocab_size=60, dim=12, n_layers=1, n_heads=3, hidden_dim=20)
    model = npbert.DistilBertForSequenceClassification(config, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(model.base_model(IDS)[0], model(IDS, output_hidden_states=True).hidden_states[-1])
    model.base_model.save_pretrained(tmp_path)
    with pytest.warns(UserWarning, match="classifier"):
        again = npbert.DistilBertForSequenceClassification.from_pretrained(tmp_path)
    np.testing.assert_array_equal(again.base_model(IDS)[0], model.base_model(IDS)[0])


def test_options_of_saving_and_of_gradients(tmp_path: Any) -> None:
    model = model_of()
    model.save_pretrained(tmp_path, safe_serialization=True)
    with pytest.raises(npbert.InputError, match="safe_serialization: npbert writes safetensors and no pickles"):
        model.save_pretrained(tmp_path, safe_serialization=False)
    assert model.supports_gradient_checkpointing
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    assert model.is_gradient_checkpointing
    model.gradient_checkpointing_disable()
    assert not model.is_gradient_checkpointing
    assert model.main_input_name == "input_ids"
    both = npbert.EncoderDecoderModel(
        encoder=model, decoder=npbert.BertLMHeadModel(config_of(is_decoder=True, add_cross_attention=True), rng=RNG)
    )
    both.gradient_checkpointing_enable()
    assert both.is_gradient_checkpointing
    assert both.config.encoder.gradient_checkpointing is both.config.decoder.gradient_checkpointing is True


def test_pruned_layers_may_be_counted_from_the_end() -> None:
    config = config_of(num_hidden_layers=3, pruned_heads={-1: [0], 0: [1, 2], 2: [2]})
    model = npbert.BertModel(config, rng=np.random.default_rng(0))
    assert [x.shape[1] for x in model(IDS, output_attentions=True).attentions] == [1, 3, 1]
    assert model.config.pruned_heads == {2: [0, 2], 0: [1, 2]}
    with pytest.raises(npbert.InputError, match="pruned_heads names layer -4, the model has 3"):
        npbert.BertModel(config_of(num_hidden_layers=3, pruned_heads={-4: [0]}))


def test_the_pooler_by_position() -> None:
    assert not npbert.BertModel(config_of(), False).has_pooler
    assert npbert.BertModel(config_of(), True).has_pooler


@pytest.mark.parametrize("load", [npbert.BertModel.from_pretrained, npbert.AutoModel.from_pretrained, npbert.load])
def test_the_type_of_numbers_by_its_older_name(load: Any, tmp_path: Any) -> None:
    model_of().save_pretrained(tmp_path)
    assert load(tmp_path, torch_dtype="float64").dtype == np.float64
    assert load(tmp_path, torch_dtype="auto").dtype == load(tmp_path, dtype="auto").dtype == np.float32
    with pytest.raises(npbert.InputTypeError, match="dtype: takes float32 or float64, got float16"):
        load(tmp_path, torch_dtype="torch.float16")


def test_a_checkpoint_by_the_reference_s_keyword(tmp_path: Any) -> None:
    model = model_of()
    model.save_pretrained(tmp_path)
    for cls in (npbert.BertModel, npbert.AutoModel):
        np.testing.assert_array_equal(cls.from_pretrained(pretrained_model_name_or_path=tmp_path)(IDS)[0], model(IDS)[0])
    for cls in (npbert.BertConfig, npbert.AutoConfig):
        assert cls.from_pretrained(pretrained_model_name_or_path=tmp_path).vocab_size == 60


def test_weights_at_hand_in_the_place_of_a_checkpoint() -> None:
    model = model_of("BertForMaskedLM")
    weights = model.state_dict()
    del weights["cls.predictions.transform.dense.bias"]
    weights["other"] = np.zeros(1)
    with pytest.warns(UserWarning, match="state_dict") as said:
        again, info = npbert.BertForMaskedLM.from_pretrained(
            None, config=model.config, state_dict=weights, output_loading_info=True
        )
    assert (info["missing_keys"], info["unexpected_keys"]) == (["cls.predictions.transform.dense.bias"], ["other"])
    assert [str(one.message).partition(": ")[2] for one in said] == [
        "newly initialized, because state_dict does not have them: cls.predictions.transform.dense.bias",
        "left out, because BertForMaskedLM has none of them: other",
    ]
    np.testing.assert_array_equal(again(IDS).logits, model(IDS).logits)
    assert not np.shares_memory(again.get_input_embeddings(), model.get_input_embeddings())
    assert again.name_or_path == ""
    for name, options in (("a/name", {"config": model.config}), (None, {})):
        with pytest.raises(npbert.InputError, match="state_dict: takes None in the place of a checkpoint's name"):
            npbert.BertForMaskedLM.from_pretrained(name, state_dict=weights, **options)
    with pytest.raises(npbert.InputTypeError, match="state_dict: takes a mapping from names to arrays, got 5"):
        npbert.BertForMaskedLM.from_pretrained(None, config=model.config, state_dict=5)


@pytest.mark.parametrize("name", ["BertForMaskedLM", "GPT2Model", "EncoderDecoderModel"])
def test_forward_says_what_it_takes(name: str) -> None:
    named = list(inspect.signature(getattr(npbert, name).forward).parameters)
    assert named[:2] == ["self", "input_ids"]
    assert {"attention_mask", "inputs_embeds", "output_attentions"} <= set(named)
    pooler = npbert.BertPooler(config_of())
    assert list(inspect.signature(pooler.forward).parameters) == ["hidden_states"]
    np.testing.assert_array_equal(pooler.forward(np.ones((1, 2, 12))), pooler(np.ones((1, 2, 12))))


def test_a_value_of_a_wrong_kind_is_an_error_of_both_kinds() -> None:
    for kind in (TypeError, ValueError):
        with pytest.raises(kind, match=r"pad_to_multiple_of: takes a whole number, got 1\.3"):
            model_of().resize_token_embeddings(60, pad_to_multiple_of=1.3)


def test_a_checkpoint_in_a_folder_of_another(tmp_path: Any) -> None:
    model = model_of()
    model.save_pretrained(tmp_path / "step" / "last")
    for load in (npbert.AutoModel.from_pretrained, npbert.BertModel.from_pretrained):
        np.testing.assert_array_equal(load(tmp_path, subfolder="step/last")(IDS)[0], model(IDS)[0])
    assert npbert.AutoConfig.from_pretrained(tmp_path, subfolder="step/last").vocab_size == 60


def test_options_that_change_nothing_here(tmp_path: Any) -> None:
    model_of().save_pretrained(tmp_path)
    npbert.BertModel.from_pretrained(
        tmp_path, attn_implementation="eager", device_map="auto", low_cpu_mem_usage=True, use_safetensors=True, from_tf=True
    )
    with pytest.raises(npbert.InputError, match="device_map: npbert takes 'cpu' or 'auto', got 'cuda'"):
        npbert.BertModel.from_pretrained(tmp_path, device_map="cuda")
    with pytest.raises(npbert.InputError, match="attn_implementation: npbert takes 'eager'"):
        npbert.BertModel.from_pretrained(tmp_path, attn_implementation="flash_attention_2")


def test_what_a_tokenizer_gives_without_its_options_names_the_option() -> None:
    model = model_of()
    with pytest.raises(npbert.InputError, match=r'takes 2 dimensions, got shape \[3\]; .* return_tensors="np"'):
        model(input_ids=[1, 5, 9])
    with pytest.raises(npbert.InputError, match=r"rows of one length, got 2 to 3 tokens; .* padding=True"):
        model(input_ids=[[1, 5, 9], [1, 5]])
    assert model(input_ids=[[1, 5, 9], [1, 5, 0]], attention_mask=[[1, 1, 1], [1, 1, 0]])[0].shape == (2, 3, 12)


def test_a_name_in_a_trace_with_a_dot_for_its_colon() -> None:
    model = model_of("BertForMaskedLM")
    with npbert.trace() as kept:
        model(IDS)
    with pytest.raises(KeyError, match=r"such as bert\.encoder\.layer\.0\.attention\.self:probs$"):
        kept["encoder.layer.0.attention.self.probs"]


def test_counting_parameters() -> None:
    model = model_of("BertForMaskedLM")
    tables = sum(x.size for name, x in model.named_parameters() if name.endswith("embeddings.weight"))
    assert model.num_parameters(exclude_embeddings=True) == model.num_parameters() - tables
    model.requires_grad_(False, only="bert.*")
    assert model.num_parameters(only_trainable=True) == sum(x.size for n, x in model.named_parameters() if n.startswith("cls"))


def test_an_import_says_what_to_use() -> None:
    with pytest.raises(ImportError, match=r"npbert has no Trainer: use npbert\.training\.train"):
        from npbert import Trainer  # noqa: F401
    with pytest.raises(ImportError, match="npbert has no TFBertForMaskedLM: npbert computes with NumPy alone"):
        from npbert import TFBertForMaskedLM  # noqa: F401
    for name, remedy in (
        ("TrainerCallback", "npbert.training.train"),
        ("DataCollatorForSeq2Seq", "padding=True"),
        ("MaxLengthCriteria", "the setting itself"),
        ("NoBadWordsLogitsProcessor", "bad_words_ids="),
        ("get_constant_schedule_with_warmup", "npbert.training.linear"),
    ):
        with pytest.raises(AttributeError, match=f"npbert has no {name}: .*{remedy}"):
            getattr(npbert, name)
    with pytest.raises(ImportError, match="cannot import name 'BertForEverything'"):
        from npbert import BertForEverything  # noqa: F401
    assert not hasattr(npbert, "TFBertForMaskedLM")


def test_settings_of_generation_are_attributes() -> None:
    model = npbert.BertLMHeadModel(config_of(is_decoder=True), rng=np.random.default_rng(0))
    settings = model.generation_config
    assert (settings.max_length, settings.num_beams, settings.do_sample) == (20, 1, False)
    settings.max_new_tokens = 2
    assert model.generate(IDS).shape == (1, 5)
    assert settings == {"max_new_tokens": 2}
    assert pickle.loads(pickle.dumps(model)).generation_config.max_new_tokens == 2
    assert model.generate(IDS, npbert.GenerationConfig(max_new_tokens=3)).shape == (1, 6)
    assert model.generate(IDS, generation_config={"max_new_tokens": 3}, max_new_tokens=1).shape == (1, 4)
    model.generation_config = npbert.GenerationConfig(max_new_tokens=4)
    assert model.generate(IDS).shape == (1, 7)
    with pytest.raises(AttributeError, match="generation_config: no setting 'max_tokens'"):
        settings.max_tokens = 3
    with pytest.raises(AttributeError, match="no setting 'max_tokens'"):
        settings.max_tokens  # noqa: B018
    with pytest.raises(npbert.InputTypeError, match="generation_config: takes a GenerationConfig or a dictionary, got 5"):
        model.generate(IDS, 5)


def test_the_model_below_the_head() -> None:
    model = model_of("BertForPreTraining")
    base = model.base_model
    assert isinstance(base, npbert.BertModel)
    np.testing.assert_array_equal(base(IDS).pooler_output, model.bert.pooler(base(IDS).last_hidden_state))
    model.weights.replace({"bert.embeddings.LayerNorm.bias": np.ones(12, np.float32)})
    np.testing.assert_array_equal(base.embeddings.LayerNorm.bias, 1)
    assert base.base_model is base
    assert "pooler_output" not in model_of("BertForMaskedLM").base_model(IDS)
    writer = npbert.GPT2LMHeadModel(
        npbert.GPT2Config(vocab_size=60, n_embd=12, n_layer=1, n_head=2), rng=np.random.default_rng(0)
    )
    hidden = writer(IDS, output_hidden_states=True).hidden_states[-1]
    np.testing.assert_array_equal(writer.base_model(IDS).last_hidden_state, hidden)


def test_tables_can_be_set() -> None:
    model = model_of("BertForMaskedLM", tie_word_embeddings=False)
    words = model.get_input_embeddings()
    model.set_output_embeddings(np.ones((60, 12)))
    assert (model.get_output_embeddings() == 1).all()
    assert model.get_input_embeddings() is words
    tied = model_of("BertForMaskedLM")
    tied.set_output_embeddings(np.ones((60, 12)))
    assert (tied.get_input_embeddings() == 1).all()
    assert tied.tie_weights() is None
    with pytest.raises(npbert.InputError, match="a BertModel has no such table"):
        model_of().set_output_embeddings(words)


@pytest.mark.parametrize("name", ["BertForMaskedLM", "DistilBertModel", "GPT2LMHeadModel"])
def test_fewer_and_more_positions(name: str, tmp_path: Any) -> None:
    model = blank(name)
    model = type(model)(model.config, rng=np.random.default_rng(0))
    before, positions = model(IDS)[0], model.config.max_position_embeddings
    model.resize_position_embeddings(positions + 2, rng=np.random.default_rng(0))
    assert len(model.get_position_embeddings()) == model.config.max_position_embeddings == positions + 2
    assert 0 < np.abs(model.get_position_embeddings()[-2:]).max() < 0.2
    model.resize_position_embeddings(3)
    np.testing.assert_array_equal(model(IDS)[0], before)
    with pytest.raises(npbert.InputError, match="3"):
        model(np.ones((1, 4), int))
    model.save_pretrained(tmp_path)
    np.testing.assert_array_equal(type(model).from_pretrained(tmp_path)(IDS)[0], before)
    for number in (0, 2.5):
        with pytest.raises(ValueError, match="new_num_position_embeddings: takes"):
            model.resize_position_embeddings(number)


def test_positions_that_are_sines_go_on_as_sines() -> None:
    config = npbert.DistilBertConfig(
        vocab_size=60, dim=12, n_layers=1, n_heads=3, hidden_dim=20, max_position_embeddings=1, sinusoidal_pos_embds=True
    )
    model = npbert.DistilBertModel(config, rng=np.random.default_rng(0))
    model.resize_position_embeddings(3)
    wanted = [[np.sin(x / 10000 ** (i / 12)), np.cos(x / 10000 ** (i / 12))] for x in (1, 2) for i in range(0, 12, 2)]
    np.testing.assert_allclose(model.get_position_embeddings()[1:], np.reshape(wanted, (2, 12)), rtol=1e-6)
    with pytest.raises(npbert.InputError, match="relative positions have a table of distances"):
        model_of(position_embedding_type="relative_key").resize_position_embeddings(3)


def test_what_a_tensor_would_answer() -> None:
    out = model_of("BertForMaskedLM")(IDS, labels=IDS, output_hidden_states=True)
    logits = out.logits.detach().cpu().numpy()
    assert type(logits) is np.ndarray
    np.testing.assert_array_equal(logits, out.logits)
    assert (out.logits.numel(), out.hidden_states[-1].detach().clone().shape) == (logits.size, (1, 3, 12))
    assert type(out.loss.detach().numpy()) is np.float32
    assert round(out.loss, 1) == round(float(out.loss), 1)
    assert out.get("logits") is out.logits
    assert out.get("attentions") is None
    for ask, remedy in (
        (lambda: out.loss.backward(), r"'backward': out, grads = model\.gradients"),
        (lambda: out.logits[:, 0].requires_grad, r"'requires_grad': model\.requires_grad_"),
        (lambda: setattr(out.logits, "requires_grad", True), r"'requires_grad': model\.requires_grad_"),
        (lambda: out.logits.softmax(-1), r"'softmax': npbert\.ops\.softmax"),
        (lambda: out.to("cuda"), "MaskedLMOutput has no 'to': it holds NumPy arrays, loss, logits"),
    ):
        with pytest.raises(npbert.NpbertError, match=remedy):
            ask()
    with pytest.raises(AttributeError, match="an array has no attribute 'anything'"):
        out.logits.anything  # noqa: B018


def test_a_weight_answers_too() -> None:
    model = model_of("BertForMaskedLM")
    assert sum(x.numel() for x in model.parameters()) == model.num_parameters()
    first = next(model.parameters())
    assert np.shares_memory(first, model.get_input_embeddings())
    assert type(first.detach().cpu().numpy()) is type(first * 2) is np.ndarray
    for ask in (lambda: first.requires_grad, lambda: setattr(first, "requires_grad", False)):
        with pytest.raises(
            AttributeError, match=r"'requires_grad': model\.requires_grad_\(False, only=\.\.\.\) freezes weights"
        ):
            ask()


def test_what_is_computed_from_an_output_is_numpy_s_own() -> None:
    out = model_of("BertForMaskedLM")(IDS, labels=IDS)
    for x in (out.logits * 2, out.logits @ np.ones((60, 2)), np.stack([out.logits, out.logits]), np.exp(out.logits)):
        assert type(x) is np.ndarray
    assert type(out.logits.sum()) is type(out.loss + 1) is np.float32
    assert type(pickle.loads(pickle.dumps(out.logits))) is np.ndarray
    assert repr(out.logits).startswith("array([")
    assert f"{out.loss:.3f}" == f"{float(out.loss):.3f}"
