"""Maps: what entries say, and what is proposed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import npbert
from npbert import InputError, golden
from npbert.golden.resemblance import LIKE

PACKS = Path(__file__).parent / "packs"
LAYER = "bert.encoder.layer"


@pytest.fixture(scope="module")
def pack() -> golden.Pack:
    return golden.read_pack(PACKS / "encoder.safetensors")


def under(pack: golden.Pack, names: dict[str, str]) -> dict[str, np.ndarray]:
    """A right port's dump under its own names; `*` runs over the layers."""
    dump = {}
    for own, name in names.items():
        for layer in ("0", "1") if "*" in own else ("",):
            dump[own.replace("*", layer)] = pack[name.replace("*", layer)]
    return dump


OWN = {
    "emb": "bert.embeddings",
    "blocks.*.attn.q": f"{LAYER}.*.attention.self.query",
    "blocks.*.attn.k": f"{LAYER}.*.attention.self.key",
    "blocks.*.attn.v": f"{LAYER}.*.attention.self.value",
    "blocks.*.attn.probs": f"{LAYER}.*.attention.self:probs",
    "blocks.*.attn.proj": f"{LAYER}.*.attention.output.dense",
    "blocks.*.ln1": f"{LAYER}.*.attention.output.LayerNorm",
    "blocks.*.fc1": f"{LAYER}.*.intermediate.dense",
    "blocks.*.fc2": f"{LAYER}.*.output.dense",
    "blocks.*": f"{LAYER}.*",
    "pooled": "bert.pooler",
}


# ------------------------------------------------------------------------------------------------------------------- entries


@pytest.mark.parametrize(
    "names",
    [
        OWN,
        {own: name.removeprefix("bert.") for own, name in OWN.items()},
        {"blocks.": f"{LAYER}.", **OWN},
        dict(reversed(OWN.items())),
    ],
)
def test_patterns(pack: golden.Pack, names: dict[str, str]) -> None:
    """The longer pattern goes first, whatever the order: `blocks.*` would match all others."""
    dump = under(pack, OWN)
    report = golden.compare(pack, dump, names=names)
    assert report.ok
    assert len(report.rows) == len(dump)
    assert not report.not_in_pack


def test_prefixes(pack: golden.Pack) -> None:
    dump = {f"net/{name}": x for name, x in pack.items() if name.startswith("bert.e")}
    for names in ({"net/*": "*"}, {"net/": ""}):
        assert golden.compare(pack, dump, names=names).ok
    dump = {f"my.{name.removeprefix('bert.')}": x for name, x in pack.items() if name.startswith("bert.e")}
    for names in ({"my.": "bert."}, {"my.": ""}, {"my.*": "bert.*"}):
        report = golden.compare(pack, dump, names=names)
        assert report.ok
        assert len(report.rows) == len(dump)


def test_a_name_written_out_goes_before_patterns(pack: golden.Pack) -> None:
    dump = {"h.0": pack[f"{LAYER}.0"], "h.1": pack["bert.embeddings"]}
    report = golden.compare(pack, dump, names={"h.*": f"{LAYER}.*", "h.1": "bert.embeddings"})
    assert [row.name for row in report.rows] == ["bert.embeddings", f"{LAYER}.0"]
    assert report.ok


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"blocks.*": "nowhere.*"}, "maps 'blocks.\\*' to 'nowhere.0.attn.q', which is not in the pack"),
        ({"blocks": f"{LAYER}.*"}, r"fewer \*"),
        ({"blocks": {"name": "bert.pooler", "shape": "S B"}}, "takes a name of the pack, or"),
        ({"blocks": {}}, "takes a name of the pack, or"),
        ({"blocks": 3}, "takes a name of the pack, or"),
        ({"blocks": {"layout": "time first"}}, "takes a layout such as"),
        ({"blocks": {"layout": "S,B,D"}}, "takes a layout such as"),
    ],
)
def test_what_is_no_map(pack: golden.Pack, names: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        golden.compare(pack, under(pack, OWN), names=names)


def test_what_a_map_names_and_nobody_dumped_is_told(pack: golden.Pack) -> None:
    report = golden.compare(pack, {"emb": pack["bert.embeddings"]}, names=OWN)
    assert {"blocks.*.attn.q", "pooled"} <= set(report.not_in_port)


# ------------------------------------------------------------------------------------------------------------------ proposals


def test_values_tell_what_is_what(pack: golden.Pack, tmp_path: Path) -> None:
    proposal = golden.propose_map(pack, under(pack, OWN))
    assert proposal.names == OWN
    assert not proposal.remarks
    (tmp_path / "names.json").write_text(json.dumps(proposal.names))
    assert golden.compare(pack, under(pack, OWN), names=tmp_path / "names.json").ok


def test_names_that_say_nothing(pack: golden.Pack) -> None:
    """Nodes of an exported graph, say."""
    wanted = [name for name in pack if name not in pack.aliases and ":query" not in name and ".self:" not in name]
    dump = {f"node_{index * 7919 % 1000}": pack[name] for index, name in enumerate(wanted)}
    proposal = golden.propose_map(pack, dump)
    report = golden.compare(pack, dump, names=proposal.names)
    assert report.ok
    assert len(report.rows) == len(wanted)


def test_other_layouts_are_recognised(pack: golden.Pack) -> None:
    dump = {own: x.swapaxes(0, 1) if x.ndim == 3 else x for own, x in under(pack, OWN).items()}
    dump |= {f"blocks.{i}.attn.q": pack[f"{LAYER}.{i}.attention.self:query"].reshape(6, 6, 4) for i in range(2)}
    proposal = golden.propose_map(pack, dump)
    report = golden.compare(pack, dump, names=proposal.names)
    assert report.ok
    assert len(report.rows) == len(dump)


def test_a_layout_is_said_where_the_shape_does_not_tell_it(pack: golden.Pack) -> None:
    dump = {f"h.{i}": pack[f"{LAYER}.{i}"].swapaxes(0, 1).reshape(12, 12) for i in range(2)}
    proposal = golden.propose_map(pack, dump)
    assert proposal.names == {"h.*": {"name": f"{LAYER}.*", "layout": "S*B D"}}
    assert golden.compare(pack, dump, names=proposal.names).ok


def test_hidden_states_count_the_embeddings(pack: golden.Pack) -> None:
    dump = {f"hidden_states.{i}": pack[name] for i, name in enumerate(("bert.embeddings", f"{LAYER}.0", f"{LAYER}.1"))}
    proposal = golden.propose_map(pack, dump)
    assert proposal.names == {
        "hidden_states.0": "bert.embeddings",
        "hidden_states.1": f"{LAYER}.0",
        "hidden_states.2": f"{LAYER}.1",
    }


def test_a_wrong_layer_is_named_as_the_right_ones_are(pack: golden.Pack) -> None:
    dump = under(pack, OWN)
    rng = np.random.default_rng(0)
    wrong = [own for own in dump if own.startswith("blocks.1")]
    dump |= {own: rng.normal(size=dump[own].shape) for own in wrong}
    proposal = golden.propose_map(pack, dump)
    assert proposal.names == OWN | {"pooled": "bert.pooler"}
    assert any(remark.startswith("taken by their names") for remark in proposal.remarks)
    assert golden.compare(pack, dump, names=proposal.names).first_divergence == f"{LAYER}.1.attention.self.query"


def test_no_map_hides_what_a_port_mixes_up(pack: golden.Pack) -> None:
    dump = under(pack, OWN)
    for i in range(2):
        dump[f"blocks.{i}.attn.q"], dump[f"blocks.{i}.attn.k"] = dump[f"blocks.{i}.attn.k"], dump[f"blocks.{i}.attn.q"]
    proposal = golden.propose_map(pack, dump)
    remarks = " ".join(proposal.remarks)
    assert f"blocks.0.attn.q equals {LAYER}.0.attention.self.key: either its name is wrong or the port is" in remarks
    assert golden.compare(pack, dump, names=proposal.names).first_divergence == f"{LAYER}.0.attention.self.query"


def test_what_is_ambiguous_is_left_open(pack: golden.Pack) -> None:
    rng = np.random.default_rng(0)
    dump = {"x": pack["bert.pooler"], "y": rng.normal(size=(2, 6, 12)), "z": np.zeros((5, 5)), "scores": None}
    dump["scores"] = 2 * pack[f"{LAYER}.0.attention.self:scores"]
    proposal = golden.propose_map(pack, dump)
    assert proposal.names == {"x": "bert.pooler"}
    assert proposal.remarks == [f"scores is {LAYER}.0.attention.self:scores times 2", "left open: y, z, scores"]


def test_what_is_roughly_a_multiple_is_none(pack: golden.Pack) -> None:
    scores = pack[f"{LAYER}.0.attention.self:scores"]
    noise = np.random.default_rng(0).normal(size=scores.shape) * np.sqrt(np.mean(scores**2))
    close, rough = (2 * (scores + share * noise) for share in (LIKE / 30, LIKE / 3))
    proposal = golden.propose_map(pack, {"x": pack["bert.pooler"], "close": close, "rough": rough})
    first, second = proposal.remarks
    assert first.startswith(f"close is {LAYER}.0.attention.self:scores times ")
    assert second == "left open: close, rough"


def test_scores_without_a_mask_are_no_masked_scores(pack: golden.Pack) -> None:
    proposal = golden.propose_map(pack, {"a": pack[f"{LAYER}.0.attention.self:scores"] / 2, "x": pack["bert.pooler"]})
    assert proposal.names == {"x": "bert.pooler"}
    assert "without the mask, which the pack does not hold" in proposal.remarks[0]


def test_of_a_model_names_and_shapes_are_known(pack: golden.Pack) -> None:
    assert pack.weights is not None
    model = npbert.BertForSequenceClassification(pack.config, pack.weights)
    proposal = golden.propose_map(model, under(pack, OWN))
    for own in ("blocks.*.attn.q", "blocks.*.attn.k", "blocks.*.attn.v", "blocks.*.ln1", "blocks.*.fc1", "blocks.*.attn.probs"):
        assert proposal.names[own] == OWN[own]


def test_where_no_map_is_needed(pack: golden.Pack) -> None:
    proposal = golden.propose_map(pack, dict(pack))
    assert proposal.names == {}
    assert proposal.remarks == ["all names are in the pack as they are, so no map is needed"]
