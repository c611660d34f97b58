"""The modules of the articles, alone: the same numbers as inside a model, and as the reference's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import npbert
from tests.familiar.test_names import config_of, model_of

PLACES = {
    "BertEmbeddings": "embeddings",
    "BertSelfAttention": "encoder.layer.0.attention.self",
    "BertSelfOutput": "encoder.layer.0.attention.output",
    "BertAttention": "encoder.layer.0.attention",
    "BertIntermediate": "encoder.layer.0.intermediate",
    "BertOutput": "encoder.layer.0.output",
    "BertLayer": "encoder.layer.0",
    "BertEncoder": "encoder",
    "BertPooler": "pooler",
    "BertPredictionHeadTransform": "cls.predictions.transform",
    "BertLMPredictionHead": "cls.predictions",
    "BertOnlyMLMHead": "cls",
    "BertOnlyNSPHead": "cls",
    "BertPreTrainingHeads": "cls",
}
RNG = np.random.default_rng(0)
HIDDEN = RNG.normal(size=(2, 5, 12))
WIDE = RNG.normal(size=(2, 5, 20))
MASK = np.where(RNG.random((2, 1, 1, 5)) < 0.3, -1e9, 0.0)
OF_HEADS = np.array([1.0, 0.0, 0.5])


def calls(name: str) -> list[dict[str, Any]]:
    """The arguments of one call or several."""
    ids = np.array([[1, 2, 3, 4, 5], [6, 7, 8, 9, 0]])
    attended: list[dict[str, Any]] = [
        {"hidden_states": HIDDEN},
        {"hidden_states": HIDDEN, "attention_mask": MASK},
        {"hidden_states": HIDDEN, "attention_mask": MASK, "head_mask": OF_HEADS[None, :, None, None]},
    ]
    given: dict[str, list[dict[str, Any]]] = {
        "BertEmbeddings": [
            {"input_ids": ids},
            {"input_ids": ids, "token_type_ids": ids % 2, "position_ids": ids % 7},
            {"inputs_embeds": HIDDEN},
        ],
        "BertSelfAttention": attended,
        "BertAttention": attended,
        "BertLayer": attended,
        "BertEncoder": [*attended[:2], {**attended[1], "output_hidden_states": True, "output_attentions": True}],
        "BertSelfOutput": [{"hidden_states": HIDDEN, "input_tensor": HIDDEN[::-1]}],
        "BertOutput": [{"hidden_states": WIDE, "input_tensor": HIDDEN}],
        "BertOnlyMLMHead": [{"sequence_output": HIDDEN}],
        "BertOnlyNSPHead": [{"pooled_output": HIDDEN[:, 0]}],
        "BertPreTrainingHeads": [{"sequence_output": HIDDEN, "pooled_output": HIDDEN[:, 0]}],
    }
    return given.get(name, [{"hidden_states": HIDDEN}])


def arrays_of(out: Any) -> list[np.ndarray]:
    """The arrays of a result, in order, of whatever framework."""
    if isinstance(out, dict) or hasattr(out, "items"):
        out = list(out.values())
    if isinstance(out, tuple | list):
        return [x for one in out if one is not None for x in arrays_of(one)]
    return [out.detach().numpy() if hasattr(out, "detach") else out]


@pytest.mark.parametrize("name", PLACES)
def test_a_module_alone_begins_with_random_weights_of_the_right_names(name: str) -> None:
    module = getattr(npbert, name)(config_of())
    whole = model_of("BertForPreTraining").state_dict() | {
        name.removeprefix("bert."): array for name, array in model_of("BertForPreTraining").state_dict().items()
    }
    start = f"{PLACES[name]}."
    shapes = {name.removeprefix(start): array.shape for name, array in whole.items() if name.startswith(start)}
    ours = {name: array.shape for name, array in module.state_dict().items()}
    assert ours.items() <= shapes.items()
    assert ours
    for arguments in calls(name):
        assert all(np.isfinite(x).all() for x in arrays_of(module(**arguments)))


def test_a_module_alone_computes_what_it_computes_in_a_model() -> None:
    model = model_of()
    layer = npbert.BertLayer(config_of(), weights=model.weights.scope("encoder.layer.0"))
    out = model(np.array([[1, 2, 3]]), output_hidden_states=True, output_attentions=True)
    hidden, probs = layer(out.hidden_states[0])
    np.testing.assert_array_equal(hidden, out.hidden_states[1])
    np.testing.assert_array_equal(probs, out.attentions[0])
    assert layer.attention.self.query.weight is model.encoder.layer[0].attention.self.query.weight


def test_dropout_happens_with_a_generator() -> None:
    module = npbert.BertSelfOutput(config_of(), rng=np.random.default_rng(0))
    once, again = (module(HIDDEN, HIDDEN, rng=np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(once, again)
    assert not np.array_equal(once, module(HIDDEN, HIDDEN))


def test_bad_calls_are_named() -> None:
    with pytest.raises(npbert.InputError, match="input_ids or inputs_embeds"):
        npbert.BertEmbeddings(config_of())()
    with pytest.raises(npbert.NpbertError, match="hidden_states"):
        npbert.BertPooler(config_of())("text")
    with pytest.raises(npbert.NpbertError, match="config"):
        npbert.BertLayer({})


@pytest.mark.parity
@pytest.mark.parametrize("name", PLACES)
def test_the_reference_s_own_module_has_the_same_numbers(name: str) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    theirs_config = transformers.BertConfig(**config_of().to_dict() | {"attn_implementation": "eager"})
    theirs = getattr(transformers.models.bert.modeling_bert, name)(theirs_config).double().eval()
    ours = getattr(npbert, name)(config_of()).double()
    state = {name: array.detach().numpy() for name, array in theirs.state_dict().items() if not name.endswith("_ids")}
    ours.load_state_dict(state)
    for arguments in calls(name):
        given = {name: torch.tensor(x.copy()) if isinstance(x, np.ndarray) else x for name, x in arguments.items()}
        with torch.no_grad():
            wanted = arrays_of(theirs(**given))
        found = arrays_of(ours(**arguments))
        assert len(found) == len(wanted)
        for x, y in zip(found, wanted, strict=True):
            np.testing.assert_allclose(x, y, rtol=0, atol=1e-12)
