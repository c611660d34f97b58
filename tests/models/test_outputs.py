"""Results by attribute, key and position."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from npbert import MissingNameError
from npbert.models import outputs

from ..builders import CLASSES, arrays_of, build, ids, inputs_for, tiny

MODEL = build("BertModel", tiny(is_decoder=True, add_cross_attention=True))
STATES = np.random.default_rng(0).normal(size=(2, 4, 12))


def test_attribute_key_index_tuple() -> None:
    out = build("BertModel", tiny())(ids(tiny(), 2, 3))
    assert out.last_hidden_state is out["last_hidden_state"] is out[0] is out.to_tuple()[0]
    assert out.pooler_output is out[1] is out[-1]
    assert len(out) == 2
    assert list(out) == ["last_hidden_state", "pooler_output"] == list(out.keys())
    assert dict(out.items()).keys() == set(out)
    assert all(a is b for a, b in zip(out.values(), out.to_tuple(), strict=True))
    assert out[:1] == (out[0],)
    assert "attentions" not in out
    assert out.attentions is None
    assert "pooler_output" in out


def test_a_missing_name_says_what_there_is() -> None:
    out = build("BertModel", tiny())(ids(tiny(), 2, 3))
    for name in ("attentions", "logits"):
        with pytest.raises(MissingNameError, match=rf"no '{name}'; there are last_hidden_state, pooler_output"):
            out[name]
    with pytest.raises(IndexError):
        out[2]
    with pytest.raises(AttributeError):
        _ = out.logits


def test_everything_that_can_be_asked_for() -> None:
    tokens = ids(tiny(), 2, 3)
    out = MODEL(tokens, encoder_hidden_states=STATES, output_attentions=True, output_hidden_states=True, use_cache=True)
    assert out.keys() == (
        "last_hidden_state",
        "pooler_output",
        "hidden_states",
        "past_key_values",
        "attentions",
        "cross_attentions",
    )
    assert len(out.hidden_states) == 3
    assert len(out.attentions) == len(out.cross_attentions) == len(out.past_key_values) == 2
    assert [x.shape for x in out.hidden_states] == [(2, 3, 12)] * 3
    assert [x.shape for x in out.attentions] == [(2, 3, 3, 3)] * 2
    assert [x.shape for x in out.cross_attentions] == [(2, 3, 3, 4)] * 2
    assert [[x.shape for x in layer] for layer in out.past_key_values] == [[(2, 3, 3, 4)] * 2 + [(2, 3, 4, 4)] * 2] * 2
    assert out.hidden_states[-1] is out.last_hidden_state
    np.testing.assert_allclose(out.attentions[0].sum(-1), 1)
    np.testing.assert_allclose(out.cross_attentions[0].sum(-1), 1)
    assert isinstance(out.past_key_values, tuple)
    assert isinstance(out.past_key_values[0], tuple)


def test_only_what_is_asked_for() -> None:
    tokens = ids(tiny(), 2, 3)
    assert list(MODEL(tokens, use_cache=False)) == ["last_hidden_state", "pooler_output"]
    assert list(MODEL(tokens)) == ["last_hidden_state", "pooler_output", "past_key_values"]
    assert list(MODEL(tokens, use_cache=False, output_attentions=True)) == ["last_hidden_state", "pooler_output", "attentions"]
    assert list(MODEL(tokens, use_cache=False, output_hidden_states=True)) == [
        "last_hidden_state",
        "pooler_output",
        "hidden_states",
    ]


def test_the_configuration_gives_the_defaults() -> None:
    tokens = ids(tiny(), 2, 3)
    asking = build("BertModel", tiny(output_attentions=True, output_hidden_states=True))
    assert {"attentions", "hidden_states"} <= set(asking(tokens))
    assert list(asking(tokens, output_attentions=False, output_hidden_states=False)) == ["last_hidden_state", "pooler_output"]
    plain = build("BertModel", tiny(return_dict=False))
    assert type(plain(tokens)) is tuple
    assert plain(tokens, return_dict=True).last_hidden_state.shape == (2, 3, 12)
    silent = build("BertModel", tiny(is_decoder=True, use_cache=False))
    assert "past_key_values" not in silent(tokens)
    assert "past_key_values" in silent(tokens, use_cache=True)


def test_plain_tuples_without_the_nones() -> None:
    tokens = ids(tiny(), 2, 3)
    options = {"encoder_hidden_states": STATES, "output_attentions": True, "output_hidden_states": True}
    named, plain = MODEL(tokens, **options), MODEL(tokens, **options, return_dict=False)
    order = ("last_hidden_state", "pooler_output", "past_key_values", "hidden_states", "attentions", "cross_attentions")
    assert len(plain) == 6
    for name, value in zip(order, plain, strict=True):
        mine, other = (arrays_of({name: x}) for x in (named[name], value))
        assert list(mine) == list(other)
        assert all(np.array_equal(mine[key], other[key]) for key in mine)
    without_pooler = build("BertModel", tiny())
    weights = {name: x for name, x in without_pooler.state_dict().items() if not name.startswith("pooler")}
    without_pooler = type(without_pooler)(tiny(), weights, add_pooling_layer=False)
    assert len(without_pooler(tokens, return_dict=False)) == 1
    assert without_pooler(tokens).pooler_output is None


@pytest.mark.parametrize("model_class", CLASSES[1:])
def test_plain_tuples_of_every_head(model_class: str) -> None:
    model = build(model_class, tiny(is_decoder=model_class == "BertLMHeadModel"))
    options = {**inputs_for(model_class, tiny()), "output_attentions": True, "output_hidden_states": True}
    named, plain = model(**options), model(**options, return_dict=False)
    mine, other = (arrays_of({"all": x}) for x in (named.to_tuple(), plain))
    assert list(mine) == list(other)
    assert all(np.array_equal(mine[key], other[key]) for key in mine)


@pytest.mark.parity
@pytest.mark.parametrize(
    "name",
    [
        n
        for n, x in vars(outputs).items()
        if dataclasses.is_dataclass(x) and n not in ("ModelOutput", "LogitsOutput", "GenerateOutput")
    ],
)
def test_fields_are_the_references_in_its_order(name: str) -> None:
    import transformers.modeling_outputs
    from transformers.models.bert import modeling_bert

    theirs = getattr(transformers.modeling_outputs, name, None) or getattr(modeling_bert, name)
    assert [f.name for f in dataclasses.fields(getattr(outputs, name))] == [f.name for f in dataclasses.fields(theirs)]


@pytest.mark.parity
def test_generate_puts_out_what_the_four_classes_of_the_reference_hold_in_their_order() -> None:
    from transformers.generation import utils

    ours = [field.name for field in dataclasses.fields(outputs.GenerateOutput)]
    found = set()
    for kind in ("DecoderOnly", "BeamDecoderOnly", "EncoderDecoder", "BeamEncoderDecoder"):
        theirs = [field.name for field in dataclasses.fields(getattr(utils, f"Generate{kind}Output"))]
        assert [name for name in ours if name in theirs] == theirs
        found.update(theirs)
    assert found == set(ours)
