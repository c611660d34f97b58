"""Models as users handle them: building, loading, pruning, resizing, dropout."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import npbert
from npbert import BertConfig, InputError, InputTypeError, MissingNameError, NpbertError

from ..builders import CLASSES, POSITION_TYPES, arrays_of, assert_close, assert_same_results, build, ids, inputs_for, tiny

pytestmark = pytest.mark.filterwarnings("ignore:BertLMHeadModel without is_decoder")

WORDS = "embeddings.word_embeddings.weight"
QUERY = "encoder.layer.0.attention.self.query.weight"


# -------------------------------------------------------------------------------------------------------------- building


@pytest.mark.parametrize("model_class", CLASSES)
def test_built_from_arrays_which_are_used_as_they_are(model_class: str) -> None:
    first = build(model_class, tiny())
    second = getattr(npbert, model_class)(tiny(), first.state_dict())
    assert_same_results(second(**inputs_for(model_class, tiny())), first(**inputs_for(model_class, tiny())), 0)
    for name, x in first.state_dict().items():
        assert second.state_dict()[name] is x, "no copy of an array that has the right type already"
    assert second.config.architectures == [model_class]


def test_the_weights_type_is_the_models() -> None:
    for dtype in (np.float32, np.float64):
        model = build("BertModel", tiny(), dtype=dtype)
        out = arrays_of(model(ids(tiny(), 2, 3), output_attentions=True, output_hidden_states=True))
        assert model.dtype == dtype
        assert {x.dtype for x in out.values()} == {np.dtype(dtype)}
    halves = {name: x.astype(np.float16) for name, x in model.state_dict().items()}
    assert npbert.BertModel(tiny(), halves).dtype == np.float32
    mixed = {**model.state_dict(), WORDS: model.state_dict()[WORDS].astype(np.float32)}
    assert npbert.BertModel(tiny(), mixed).dtype == np.float64
    assert {x.dtype for _, x in npbert.BertModel(tiny(), mixed).named_parameters()} == {np.dtype(np.float64)}


def test_astype() -> None:
    model = build("BertForMaskedLM", tiny())
    single = model.astype(np.float32)
    assert (model.dtype, single.dtype) == (np.float64, np.float32)
    tokens = ids(tiny(), 2, 3)
    assert single(tokens).logits.dtype == np.float32
    assert_close(single(tokens).logits, model(tokens).logits, 3e-5)
    same = model.astype("float64")
    assert same.state_dict()["bert." + WORDS] is model.state_dict()["bert." + WORDS]
    single.config.hidden_act = "relu"
    assert model.config.hidden_act == "gelu"
    for wrong in (np.float16, np.int64, complex):
        with pytest.raises(InputTypeError, match="float32 or float64"):
            model.astype(wrong)


@pytest.mark.parametrize("wrong", [{}, None, "bert-base-uncased", 3])
def test_a_model_takes_a_configuration(wrong: Any) -> None:
    with pytest.raises(InputTypeError, match=r"config.*BertConfig"):
        npbert.BertModel(wrong)


def test_the_configuration_is_the_models_own() -> None:
    config = tiny()
    model = build("BertModel", config)
    config.hidden_act = "relu"
    config.pruned_heads[0] = [0]
    assert model.config.hidden_act == "gelu"
    assert model.config.pruned_heads == {}


def test_without_a_pooler() -> None:
    weights = {name: x for name, x in build("BertModel", tiny()).state_dict().items() if not name.startswith("pooler")}
    model = npbert.BertModel(tiny(), weights, add_pooling_layer=False)
    assert model(ids(tiny(), 1, 2)).pooler_output is None
    assert not any(name.startswith("pooler") for name, _ in model.named_parameters())
    with pytest.raises(MissingNameError, match=r"pooler\.dense"):
        npbert.BertModel(tiny(), weights)


def test_no_token_types_no_layers() -> None:
    plain = build("BertModel", tiny(type_vocab_size=0))
    assert "embeddings.token_type_embeddings.weight" not in plain.state_dict()
    assert plain(ids(tiny(), 1, 3)).last_hidden_state.shape == (1, 3, 12)
    empty = build("BertModel", tiny(num_hidden_layers=0))
    out = empty(ids(tiny(), 1, 3), output_attentions=True, output_hidden_states=True)
    assert len(out.hidden_states) == 1
    assert out.attentions == ()


def test_a_pooler_with_another_activation() -> None:
    model = build("BertModel", tiny(pooler_act="relu"))
    with npbert.trace() as kept:
        pooled = model(ids(tiny(), 3, 3)).pooler_output
    np.testing.assert_array_equal(pooled, np.maximum(kept["pooler.dense"], 0))


def test_repr_says_what_it_is() -> None:
    text = repr(build("BertModel", tiny()))
    assert text.startswith("BertModel(")
    assert "float64" in text
    assert "hidden_size=12" in text


# --------------------------------------------------------------------------------------------------------------- loading


def test_loading() -> None:
    source, target = (build("BertForMaskedLM", tiny(), seed=seed) for seed in (1, 2))
    tokens = ids(tiny(), 2, 3)
    result = target.load_state_dict(source.state_dict())
    assert result == ([], [])
    np.testing.assert_array_equal(target(tokens).logits, source(tokens).logits)


def test_a_tied_table_may_come_under_either_name() -> None:
    model = build("BertForMaskedLM", tiny())
    state = model.state_dict()
    table = "bert." + WORDS
    for absent in ([table], ["cls.predictions.decoder.weight"], ["cls.predictions.bias"], ["cls.predictions.decoder.bias"]):
        loaded = npbert.BertForMaskedLM(tiny(), {name: x for name, x in state.items() if name not in absent})
        assert_same_results(loaded(ids(tiny(), 1, 3)), model(ids(tiny(), 1, 3)), 0)
    neither = {name: x for name, x in state.items() if name not in (table, "cls.predictions.decoder.weight")}
    with pytest.raises(MissingNameError, match=r"word_embeddings"):
        npbert.BertForMaskedLM(tiny(), neither)


def test_strict_loading_names_what_is_missing_and_what_is_too_much() -> None:
    model = build("BertModel", tiny())
    state = model.state_dict()
    before = dict(model.named_parameters())
    less = {name: x for name, x in state.items() if name != QUERY}
    with pytest.raises(
        MissingNameError, match=r"BertModel, missing: encoder\.layer\.0\.attention\.self\.query\.weight"
    ) as caught:
        model.load_state_dict(less)
    assert isinstance(caught.value, KeyError)
    with pytest.raises(MissingNameError, match=r"unexpected: extra"):
        model.load_state_dict({**state, "extra": np.zeros(1)})
    with pytest.raises(MissingNameError, match=r"unexpected: None, 7"):
        model.load_state_dict({**state, None: np.zeros(1), 7: np.zeros(1)})
    with pytest.raises(InputError, match=r"query\.weight takes shape \[12, 12\], got \[12, 11\]"):
        model.load_state_dict({**{n: x * 2 for n, x in state.items()}, QUERY: np.zeros((12, 11))})
    wide = "encoder.layer.0.intermediate.dense.weight"
    with pytest.raises(InputError, match=r"dense\.weight takes shape \[21, 12\], got \[12, 21\]"):
        model.load_state_dict({**state, wide: state[wide].T})
    with pytest.raises(InputError, match=r"query\.weight takes shape"):
        model.load_state_dict({QUERY: np.zeros(12)}, strict=False)
    with pytest.raises(InputTypeError, match=r"query\.weight.*strings"):
        model.load_state_dict({**state, QUERY: "x"})
    with pytest.raises(InputTypeError, match=r"query\.weight.*complex"):
        model.load_state_dict({**state, QUERY: np.zeros((12, 12), complex)})
    assert all(x is before[name] for name, x in model.named_parameters()), "after an error the model is as it was"


def test_loading_that_is_not_strict() -> None:
    model = build("BertModel", tiny())
    before = dict(model.named_parameters())
    result = model.load_state_dict({QUERY: np.ones((12, 12), np.float32), "extra": np.zeros(1)}, strict=False)
    assert result.unexpected_keys == ["extra"]
    assert sorted(result.missing_keys) == sorted(set(before) - {QUERY})
    assert (model.state_dict()[QUERY] == 1).all()
    assert model.dtype == np.float64, "the model keeps its type"
    assert model.state_dict()[WORDS] is before[WORDS]
    with pytest.raises(MissingNameError, match="missing"):
        npbert.BertModel(tiny(), {})
    with pytest.raises(MissingNameError, match="missing"):
        npbert.BertModel.without_weights(tiny()).load_state_dict({QUERY: np.ones((12, 12))}, strict=False)


@pytest.mark.parametrize("wrong", ["bert-base-uncased", [1], 3])
def test_weights_are_a_mapping(wrong: Any) -> None:
    with pytest.raises(NpbertError, match="weights"):
        npbert.BertModel(tiny(), wrong)


def test_models_can_be_copied_and_pickled() -> None:
    model = build("BertForMaskedLM", tiny(pruned_heads={0: [1]}))
    tokens = ids(tiny(), 1, 3)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert_same_results(other(tokens), model(tokens), 0)
        assert other.state_dict()["bert." + WORDS] is not model.state_dict()["bert." + WORDS]
        assert other.config == model.config


def test_many_threads_may_share_a_model() -> None:
    model = build("BertModel", tiny())
    given = [ids(tiny(), 2, 5, seed=seed) for seed in range(8)]
    expected = [model(tokens)[0] for tokens in given]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda tokens: model(tokens)[0], given))
    assert all(np.array_equal(x, y) for x, y in zip(found, expected, strict=True))


def test_lists_are_weights_too() -> None:
    model = build("BertModel", tiny(), dtype=np.float64)
    listed = {name: x.tolist() for name, x in model.state_dict().items()}
    assert_same_results(npbert.BertModel(tiny(), listed)(ids(tiny(), 1, 3)), model(ids(tiny(), 1, 3)), 0)


@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.bool_])
def test_whole_numbers_are_no_weights(dtype: Any) -> None:
    """NumPy would let one such array turn a float32 model into a float64 one."""
    state = build("BertModel", tiny(), dtype=np.float32).state_dict()
    with pytest.raises(InputTypeError, match=r"weights: .*query\.weight takes floats, got (int|bool)"):
        npbert.BertModel(tiny(), {**state, QUERY: state[QUERY].astype(dtype)})


def test_a_generator_draws_or_the_weights_are_given() -> None:
    with pytest.raises(InputTypeError, match=r"rng: takes a numpy\.random\.Generator, got int"):
        npbert.BertModel(tiny(), rng=0)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"rng: .*weights were given"):
        npbert.BertModel(tiny(), build("BertModel", tiny()).state_dict(), rng=np.random.default_rng(0))


@pytest.mark.parametrize("swap", [">f2", ">f4", ">f8"])
def test_weights_in_any_byte_order_and_layout(swap: str) -> None:
    model = build("BertModel", tiny(), dtype=np.float16 if swap == ">f2" else swap.replace(">", "<"))
    odd = {name: np.asfortranarray(x).astype(swap, order="F") for name, x in model.state_dict().items()}
    for x in odd.values():
        x.flags.writeable = False
    other = npbert.BertModel(tiny(), odd)
    assert other.dtype == model.dtype
    assert_same_results(other(ids(tiny(), 2, 3)), model(ids(tiny(), 2, 3)), 1e-6 if model.dtype == np.float32 else 1e-14)


def test_word_table() -> None:
    model = build("BertForMaskedLM", tiny())
    table = np.random.default_rng(9).normal(size=(31, 12))
    model.set_input_embeddings(table)
    assert model.get_input_embeddings() is table
    assert model.state_dict()["cls.predictions.decoder.weight"] is table, "the tied decoder goes with it"
    for wrong in (table[:30], table[:, :11], table[0]):
        with pytest.raises(InputError, match="table"):
            model.set_input_embeddings(wrong)
    untied = build("BertForMaskedLM", tiny(tie_word_embeddings=False))
    decoder = untied.state_dict()["cls.predictions.decoder.weight"]
    untied.set_input_embeddings(table)
    assert untied.state_dict()["cls.predictions.decoder.weight"] is decoder


# --------------------------------------------------------------------------------------------------------------- pruning


def heads_of(weights: dict[str, np.ndarray], layer: int, stay: list[int], prefix: str = "") -> dict[str, np.ndarray]:
    """The weights with only these heads of a layer, cut out by hand (H = 4)."""
    cut = dict(weights)
    rows = [row for head in stay for row in range(4 * head, 4 * head + 4)]
    at = f"{prefix}encoder.layer.{layer}.attention"
    for part in ("query", "key", "value"):
        for kind in ("weight", "bias"):
            cut[f"{at}.self.{part}.{kind}"] = weights[f"{at}.self.{part}.{kind}"][rows]
    cut[f"{at}.output.dense.weight"] = weights[f"{at}.output.dense.weight"][:, rows]
    return cut


@pytest.mark.parametrize("kind", POSITION_TYPES)
@pytest.mark.parametrize("model_class", ["BertModel", "BertForMaskedLM"])
def test_pruned_heads_are_gone(model_class: str, kind: str) -> None:
    model = build(model_class, tiny(position_embedding_type=kind))
    prefix = "" if model_class == "BertModel" else "bert."
    full = model.state_dict()
    expected = heads_of(heads_of(full, 0, [0, 2], prefix), 1, [2], prefix)
    tokens = ids(tiny(), 2, 4)
    masked = model(tokens, head_mask=np.array([[1, 0, 1], [0, 0, 1]]))
    model.prune_heads({0: [1], 1: [1, 0]})
    assert model.config.pruned_heads == {0: [1], 1: [0, 1]}
    for name, x in model.state_dict().items():
        np.testing.assert_array_equal(x, expected[name], err_msg=name)
    pruned = model(tokens, output_attentions=True)
    assert_close(pruned[0], masked[0], 1e-12)
    assert [x.shape[1] for x in pruned.attentions] == [2, 1]
    built = getattr(npbert, model_class)(model.config, model.state_dict())
    assert_same_results(built(tokens, output_attentions=True), pruned, 0)


def test_pruning_twice_is_pruning_once() -> None:
    once, twice = build("BertModel", tiny(num_attention_heads=6)), build("BertModel", tiny(num_attention_heads=6))
    once.prune_heads({0: [1, 2, 4], 1: [5]})
    twice.prune_heads({0: [4]})
    twice.prune_heads({0: [4, 1], 1: [5]})
    twice.prune_heads({0: [2], 1: []})
    assert once.config.pruned_heads == twice.config.pruned_heads == {0: [1, 2, 4], 1: [5]}
    for name, x in once.state_dict().items():
        np.testing.assert_array_equal(twice.state_dict()[name], x)
    assert once.num_parameters() == build("BertModel", tiny(num_attention_heads=6)).num_parameters() - 4 * (3 * 26 + 24)


@pytest.mark.parametrize("kind", POSITION_TYPES)
def test_all_heads_of_a_layer(kind: str) -> None:
    """Nothing is left of its self-attention but the bias of the output block."""
    model = build("BertModel", tiny(position_embedding_type=kind, is_decoder=True))
    tokens = ids(tiny(), 2, 4)
    masked = model(tokens, head_mask=np.array([[0, 0, 0], [1, 1, 1]]), use_cache=False)
    model.prune_heads({0: [0, 1, 2]})
    out = model(tokens, output_attentions=True)
    assert_close(out[0], masked[0], 1e-12)
    assert out.attentions[0].shape == (2, 0, 4, 4)
    assert out.past_key_values[0][0].shape == (2, 0, 4, 4)
    model.prune_heads({0: [1]})
    step = model(tokens[:, :1], past_key_values=out.past_key_values)
    assert np.isfinite(step[0]).all()


def test_cross_attention_is_not_pruned() -> None:
    model = build("BertModel", tiny(is_decoder=True, add_cross_attention=True))
    model.prune_heads({0: [0, 1]})
    out = model(ids(tiny(), 1, 3), encoder_hidden_states=np.ones((1, 2, 12)), output_attentions=True)
    assert (out.attentions[0].shape[1], out.cross_attentions[0].shape[1]) == (1, 3)
    again = model(ids(tiny(), 1, 1), past_key_values=out.past_key_values)
    assert [x.shape[1] for x in again.past_key_values[0]] == [1, 1, 3, 3]


def test_layers_to_prune_count_from_the_end_too() -> None:
    """As in the reference, whose layers are a list."""
    models = build("BertModel", tiny()), build("BertModel", tiny())
    for model, layer in zip(models, (-1, 1), strict=True):
        model.prune_heads({layer: [0]})
    assert models[0].config == models[1].config
    assert all(np.array_equal(x, models[1].weights[name]) for name, x in models[0].named_parameters())


@pytest.mark.parametrize("wrong", [{2: [0]}, {-3: [0]}, {0: [3]}, {0: [-1]}, {0: [0.5]}, {0: ["a"]}])
def test_heads_that_are_not_there(wrong: Any) -> None:
    model = build("BertModel", tiny())
    before = dict(model.named_parameters())
    config = copy.deepcopy(model.config)
    with pytest.raises(NpbertError, match=r"pruned_heads|heads_to_prune"):
        model.prune_heads(wrong)
    assert model.config == config
    assert all(x is before[name] for name, x in model.named_parameters())


@pytest.mark.parametrize("wrong", [{0: 1}, [0], {"0": [1]}, None], ids=str)
def test_prune_heads_takes_a_mapping_of_lists(wrong: Any) -> None:
    with pytest.raises(NpbertError, match=r"heads"):
        build("BertModel", tiny()).prune_heads(wrong)


def test_heads_may_be_numpy_integers() -> None:
    model = build("BertModel", tiny())
    model.prune_heads({np.int64(0): np.array([1])})
    assert model.config.pruned_heads == {0: [1]}
    assert model.config.to_json_string()


def test_loading_into_a_pruned_model() -> None:
    model = build("BertModel", tiny())
    full = model.state_dict()
    model.prune_heads({1: [0]})
    with pytest.raises(InputError, match=r"layer\.1.*takes shape \[8, 12\], got \[12, 12\]"):
        model.load_state_dict(full)
    assert model.load_state_dict(heads_of(full, 1, [1, 2])) == ([], [])


# -------------------------------------------------------------------------------------------------------------- resizing


@pytest.mark.parametrize("model_class", CLASSES)
@pytest.mark.parametrize("size", [20, 31, 40])
@pytest.mark.parametrize("tied", [True, False])
def test_resizing(model_class: str, size: int, tied: bool) -> None:
    model = build(model_class, tiny(tie_word_embeddings=tied))
    before = {name: x.copy() for name, x in model.state_dict().items()}
    given = inputs_for(model_class, tiny(vocab_size=20))
    expected = arrays_of(model(**given))
    table = model.resize_token_embeddings(size)
    assert table is model.get_input_embeddings()
    assert (model.config.vocab_size, len(table)) == (size, size)
    kept = min(size, 31)
    for name, x in model.state_dict().items():
        old = before[name]
        resized = name.endswith("word_embeddings.weight") or name.startswith(
            ("cls.predictions.decoder", "cls.predictions.bias")
        )
        if not resized:
            np.testing.assert_array_equal(x, old, err_msg=name)
            continue
        assert x.shape == (size, *old.shape[1:]), name
        assert x.dtype == old.dtype
        np.testing.assert_array_equal(x[:kept], old[:kept])
        for row in x[31:]:
            np.testing.assert_allclose(row, old.mean(axis=0))
    for name, x in arrays_of(model(**given)).items():
        if x.shape == expected[name].shape:
            np.testing.assert_allclose(x, expected[name], rtol=1e-12)
        else:
            np.testing.assert_allclose(x[..., :kept], expected[name][..., :kept], rtol=1e-9)
    if "cls.predictions.bias" in before:
        decoder = model.state_dict()["cls.predictions.decoder.weight"]
        assert (decoder is table) == tied
    rebuilt = getattr(npbert, model_class)(model.config, model.state_dict())
    assert_same_results(rebuilt(**given), model(**given), 0)
    if size > 31 and model_class != "BertForMultipleChoice":
        model(np.array([[39, 1]]))
    if size < 31 and model_class != "BertForMultipleChoice":
        with pytest.raises(InputError, match="0 to 19"):
            model(np.array([[20, 1]]))


def test_resizing_to_nothing_said_changes_nothing() -> None:
    model = build("BertModel", tiny())
    table = model.get_input_embeddings()
    assert model.resize_token_embeddings() is table
    assert model.resize_token_embeddings(None) is table


@pytest.mark.parametrize("tied", [True, False])
def test_new_rows_may_be_those_of_a_new_model(tied: bool) -> None:
    model = build("BertForMaskedLM", tiny(tie_word_embeddings=tied))
    before = model.get_input_embeddings()
    table = model.resize_token_embeddings(40, mean_resizing=False, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(table[:31], before)
    assert np.unique(table[31:]).size == table[31:].size
    assert 0 < np.abs(table[31:]).max() < 0.1
    assert (model.cls.predictions.bias[31:] == 0).all()
    assert (model.get_output_embeddings() is table) == tied
    with pytest.raises(InputError, match="rng: draws new rows, which takes mean_resizing=False"):
        model.resize_token_embeddings(41, rng=np.random.default_rng(0))
    with pytest.raises(InputTypeError, match="mean_resizing: takes True or False"):
        model.resize_token_embeddings(41, mean_resizing=None)


@pytest.mark.parametrize(
    ("wrong", "kind"), [(0, ValueError), (-3, ValueError), (2.5, TypeError), ("40", TypeError), (True, TypeError)]
)
def test_sizes_that_are_none(wrong: Any, kind: type[Exception]) -> None:
    model = build("BertModel", tiny())
    with pytest.raises(NpbertError, match=r"new_num_tokens|vocab_size") as caught:
        model.resize_token_embeddings(wrong)
    assert isinstance(caught.value, kind)
    assert model.config.vocab_size == 31
    with pytest.raises(InputError, match="pad_token_id"):
        build("BertModel", tiny(pad_token_id=30)).resize_token_embeddings(30)


# --------------------------------------------------------------------------------------------------------------- dropout


def dropping(**probabilities: float) -> BertConfig:
    none = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "classifier_dropout": 0.0}
    return tiny(**{**none, **probabilities})


PLACES = {
    "hidden_dropout_prob": {
        "bert.embeddings.dropout",
        *(f"bert.encoder.layer.{i}.attention.output.dropout" for i in range(2)),
        *(f"bert.encoder.layer.{i}.output.dropout" for i in range(2)),
    },
    "attention_probs_dropout_prob": {f"bert.encoder.layer.{i}.attention.self.dropout" for i in range(2)},
    "classifier_dropout": {"dropout"},
}


@pytest.mark.parametrize("place", PLACES)
def test_dropout_happens_at_its_places_exactly(place: str) -> None:
    model = build("BertForTokenClassification", dropping(**{place: 0.5}))
    tokens = ids(tiny(), 4, 7)
    with npbert.trace() as kept:
        dropped = model(tokens, rng=np.random.default_rng(0)).logits
    places = {name for name in kept if name.rpartition(".")[2] == "dropout"}
    assert places == set.union(*PLACES.values())
    names = list(kept)
    for name in places:
        fraction = (kept[name] == 0).mean()
        assert (0.3 < fraction < 0.7) if name in PLACES[place] else fraction == 0, name
        if name in PLACES[place]:
            before = names[names.index(name) - 1]
            if before.endswith((".LayerNorm", ".dense")):
                np.testing.assert_allclose(kept[name], np.where(kept[name] == 0, 0, kept[before] * 2))
    plain = model(tokens).logits
    assert not np.allclose(plain, dropped)
    np.testing.assert_array_equal(model(tokens).logits, plain)


@pytest.mark.parametrize("place", ["hidden_dropout_prob", "attention_probs_dropout_prob"])
def test_cross_attention_drops_as_well(place: str) -> None:
    config = dropping(**{place: 0.5})
    config.is_decoder = config.add_cross_attention = True
    states = np.random.default_rng(0).normal(size=(4, 6, 12))
    with npbert.trace() as kept:
        build("BertModel", config)(ids(tiny(), 4, 7), encoder_hidden_states=states, rng=np.random.default_rng(0))
    part = "self" if place == "attention_probs_dropout_prob" else "output"
    for index in range(2):
        for name in ("self", "output"):
            fraction = (kept[f"encoder.layer.{index}.crossattention.{name}.dropout"] == 0).mean()
            assert (0.3 < fraction < 0.7) if name == part else fraction == 0


def test_the_dropped_probabilities_are_those_that_are_put_out_and_used() -> None:
    model = build("BertModel", dropping(attention_probs_dropout_prob=0.5))
    head_mask = np.array([1, 0.5, 1])
    with npbert.trace() as kept:
        out = model(ids(tiny(), 2, 5), head_mask=head_mask, output_attentions=True, rng=np.random.default_rng(0))
    at = "encoder.layer.0.attention.self"
    np.testing.assert_array_equal(out.attentions[0], kept[f"{at}:probs"])
    np.testing.assert_allclose(kept[f"{at}:probs"], kept[f"{at}.dropout"] * head_mask[:, None, None])
    scores = kept[f"{at}:masked_scores"]
    probs = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    np.testing.assert_allclose(kept[f"{at}.dropout"], np.where(kept[f"{at}.dropout"] == 0, 0, probs * 2))
    context = np.einsum("bnqk,bnkh->bqnh", kept[f"{at}:probs"], kept[f"{at}:value"]).reshape(2, 5, 12)
    np.testing.assert_allclose(kept[at], context, atol=1e-14)


@pytest.mark.parametrize("model_class", CLASSES)
def test_the_same_generator_gives_the_same_result(model_class: str) -> None:
    model = build(model_class, tiny())
    given = inputs_for(model_class, tiny())
    first, same, other = (arrays_of(model(**given, rng=np.random.default_rng(seed))) for seed in (1, 1, 2))
    name = next(iter(first))
    np.testing.assert_array_equal(first[name], same[name])
    assert (first[name] != other[name]).any()
    plain = arrays_of(model(**given))
    assert (first[name] != plain[name]).any()
    rng = np.random.default_rng(1)
    one, two = (arrays_of(model(**given, rng=rng))[name] for _ in range(2))
    assert (one != two).any(), "the generator goes on"


@pytest.mark.parametrize("model_class", CLASSES)
def test_a_probability_of_zero_is_no_dropout(model_class: str) -> None:
    model = build(model_class, dropping())
    given = inputs_for(model_class, tiny())
    assert_same_results(model(**given, rng=np.random.default_rng(0)), model(**given), 0)


def test_a_probability_of_one_drops_everything() -> None:
    model = build("BertForSequenceClassification", dropping(classifier_dropout=1.0))
    bias = model.state_dict()["classifier.bias"]
    np.testing.assert_array_equal(model(ids(tiny(), 2, 3), rng=np.random.default_rng(0)).logits, [bias, bias])


@pytest.mark.parametrize(
    "model_class", ["BertForSequenceClassification", "BertForMultipleChoice", "BertForTokenClassification"]
)
def test_classifiers_drop_as_hidden_states_do_unless_told_otherwise(model_class: str) -> None:
    given = inputs_for(model_class, tiny())
    for fields, expected in (
        ({"hidden_dropout_prob": 1.0, "classifier_dropout": None}, True),
        ({"hidden_dropout_prob": 1.0, "classifier_dropout": 0.0}, False),
        ({"hidden_dropout_prob": 0.0, "classifier_dropout": 1.0}, True),
    ):
        with npbert.trace(only="dropout") as kept:
            build(model_class, tiny(**fields))(**given, rng=np.random.default_rng(0))
        assert (kept["dropout"] == 0).all() == expected


def test_dropout_keeps_the_expectation_of_the_embeddings() -> None:
    model = build("BertModel", dropping(hidden_dropout_prob=0.3))
    tokens = np.repeat(ids(tiny(), 1, 2), 4000, axis=0)
    with npbert.trace(only=["embeddings.LayerNorm", "embeddings"]) as kept:
        model(tokens, rng=np.random.default_rng(0))
    spread = np.abs(kept["embeddings.LayerNorm"][0]) * np.sqrt(0.3 / 0.7 / 4000)
    assert (np.abs(kept["embeddings"].mean(axis=0) - kept["embeddings.LayerNorm"][0]) < 5 * spread).all()


def test_chunks_drop_as_well() -> None:
    model = build("BertModel", dropping(hidden_dropout_prob=1.0))
    model.config.chunk_size_feed_forward = 2
    out = model(ids(tiny(), 1, 5), rng=np.random.default_rng(0), output_hidden_states=True)
    assert (out.hidden_states[0] == 0).all()


# ---------------------------------------------------------------------------------------------------------------- calling


def test_positional_arguments_stand_in_the_references_order() -> None:
    model = build("BertModel", tiny())
    mask, types, positions, heads = np.array([[1, 1, 0]]), np.array([[0, 2, 1]]), np.array([[5, 1, 0]]), np.array([1, 0, 1])
    tokens = ids(tiny(), 1, 3)
    named = model(
        input_ids=tokens, attention_mask=mask, token_type_ids=types, position_ids=positions, head_mask=heads, inputs_embeds=None
    )
    np.testing.assert_array_equal(model(tokens, mask, types, positions, heads, None)[0], named[0])


def test_embeddings_instead_of_ids() -> None:
    model = build("BertModel", tiny())
    tokens = ids(tiny(), 2, 4)
    assert_same_results(model(inputs_embeds=model.get_input_embeddings()[tokens]), model(tokens), 0)


def test_defaults_that_are_filled_in() -> None:
    model = build("BertModel", tiny())
    tokens = ids(tiny(), 2, 4)
    explicit = model(
        tokens,
        attention_mask=np.ones((2, 4)),
        token_type_ids=np.zeros((2, 4), int),
        position_ids=[[0, 1, 2, 3]],
        head_mask=np.ones(3),
    )
    assert_same_results(model(tokens), explicit, 1e-14)
    decoder = build("BertModel", tiny(is_decoder=True, add_cross_attention=True))
    states = np.random.default_rng(0).normal(size=(2, 5, 12))
    past = decoder(tokens, encoder_hidden_states=states).past_key_values
    explicit = decoder(
        tokens[:, :2],
        past_key_values=past,
        attention_mask=np.ones((2, 6)),
        position_ids=[[4, 5]],
        encoder_attention_mask=np.ones((2, 5)),
    )
    assert_same_results(decoder(tokens[:, :2], past_key_values=past), explicit, 0)


# -------------------------------------------------------------------------------- a configuration that the weights contradict


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("num_hidden_layers", 1, r"has no place for weights .*encoder\.layer\.1\.attention"),
        ("num_hidden_layers", 3, r"asks for the weight bert\.encoder\.layer\.2\."),
        (
            "vocab_size",
            50,
            r"asks for bert\.embeddings\.word_embeddings\.weight of shape \[50, 12\], and the model has \[31, 12\]",
        ),
        ("hidden_size", 24, r"of shape \[31, 24\]"),
        ("intermediate_size", 22, r"intermediate\.dense\.weight of shape \[22, 12\]"),
        ("max_position_embeddings", 16, r"position_embeddings"),
        ("type_vocab_size", 0, r"has no place for weights .*token_type_embeddings"),
        ("position_embedding_type", "relative_key", r"asks for the weight .*distance_embedding"),
        ("pruned_heads", {0: [1]}, r"query\.weight of shape \[8, 12\]"),
        ("hidden_dropout_prob", 2.0, "takes a probability"),
    ],
)
def test_a_configuration_changed_behind_the_models_back_is_held_against_the_weights(
    field: str, value: Any, words: str, tmp_path: Path
) -> None:
    model = build("BertForMaskedLM", tiny())
    before = model(np.array([[1, 2]])).logits
    old = getattr(model.config, field)
    setattr(model.config, field, value)
    for use in (
        lambda: model(np.array([[1, 2]])),
        lambda: model.gradients(np.array([[1, 2]]), labels=np.array([[1, 2]])),
        lambda: model.save_pretrained(tmp_path),
    ):
        with pytest.raises(InputError, match=f"config: .*{words}"):
            use()
    assert not list(tmp_path.iterdir())
    setattr(model.config, field, old)
    np.testing.assert_array_equal(model(np.array([[1, 2]])).logits, before)


def test_what_no_shape_can_contradict_is_believed() -> None:
    model = build("BertModel", tiny())
    model.config.num_attention_heads = 2
    model.config.hidden_act = "relu"
    assert model(np.array([[1, 2]]), output_attentions=True).attentions[0].shape == (1, 2, 2, 2)


def test_parts_of_an_encoder_decoder_are_held_against_their_weights_too() -> None:
    model = npbert.EncoderDecoderModel(
        encoder=build("BertModel", tiny()), decoder=build("BertLMHeadModel", tiny(is_decoder=True, add_cross_attention=True))
    )
    model.config.encoder.num_hidden_layers = 1
    with pytest.raises(InputError, match=r"has no place for weights .*encoder\.layer\.1\."):
        model(np.array([[1, 2]]), decoder_input_ids=np.array([[1]]))
