"""Comparing ports with packs: honest ports, wrong ones, and dumps that cannot be compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import npbert
from npbert import FileError, InputError, InputTypeError, MissingFileError, golden
from npbert.checkpoints import safetensors

from ..builders import build, ids, tiny

PACKS = Path(__file__).parent / "packs"
ENCODER = PACKS / "encoder.safetensors"
PRECISIONS = ["float32", "float16", "bfloat16"]
SELF = "bert.encoder.layer.0.attention.self"


@pytest.fixture
def pack() -> golden.Pack:
    return golden.read_pack(ENCODER)


@pytest.fixture
def port(pack: golden.Pack) -> dict[str, np.ndarray]:
    """A perfect port, to be spoiled."""
    return {name: pack[name].copy() for name in pack}


# --------------------------------------------------------------------------------------------------------- honest and wrong


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ["encoder", "decoder"])
def test_the_reference_is_right_in_its_precision_alone(name: str, precision: str) -> None:
    """Dumps of the reference, computed in each precision (tools/make_packs.py)."""
    path = PACKS / f"{name}.{precision}.safetensors"
    report = golden.compare(PACKS / f"{name}.safetensors", path, precision=precision)
    assert report.ok, report
    assert report.first_divergence is None
    assert len(report.rows) >= 50
    assert not report.not_in_pack
    if precision != "float32":
        report = golden.compare(PACKS / f"{name}.safetensors", path)
        assert not report.ok
        assert report.first_divergence == "bert.embeddings.word_embeddings"


def test_rows(pack: golden.Pack, port: dict[str, np.ndarray]) -> None:
    name = "bert.encoder.layer.1.intermediate.dense"
    port[name][0, 2, 3] += 0.5
    report = golden.compare(pack, port)
    assert not report.ok
    assert report.first_divergence == name
    assert [row.name for row in report.rows] == list(pack)
    row = next(row for row in report.rows if row.name == name)
    counted = 10 * 20  # of 12 positions two are padding
    assert (row.shape, row.ok, row.compared) == ((2, 6, 20), False, counted)
    assert row.max_abs == pytest.approx(0.5, rel=1e-6)
    assert row.rms == pytest.approx(0.5 / np.sqrt(counted), rel=1e-6)
    x, y = (array[np.asarray(pack.inputs["attention_mask"], bool)].ravel() for array in (pack[name], port[name]))
    assert row.cosine == pytest.approx(float(x @ y / np.linalg.norm(x) / np.linalg.norm(y)), abs=1e-6)
    assert (row.tolerance, row.rms_tolerance) == pack.tolerances[name]["float32"]
    assert all(row.ok and row.max_abs == 0 for row in report.rows if row.name != name)


def test_the_first_is_the_first_in_the_order_of_execution(pack: golden.Pack, port: dict[str, np.ndarray]) -> None:
    for name in ("bert.pooler", f"{SELF}:scores", "bert.encoder.layer.1"):
        port[name] += 1
    report = golden.compare(pack, dict(reversed(port.items())))
    assert report.first_divergence == f"{SELF}:scores"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_a_number_differs(pack: golden.Pack, port: dict[str, np.ndarray], value: float) -> None:
    port["bert.pooler"][1, 4] = value
    report = golden.compare(pack, port)
    assert report.first_divergence == "bert.pooler"
    row = next(row for row in report.rows if not row.ok)
    assert (row.not_finite, row.max_abs, row.rms) == (1, np.inf, np.inf)
    assert "1 NaN or infinite" in str(report)
    fields = json.loads(report.to_json(), parse_constant=pytest.fail)
    assert [row for row in fields["rows"] if not row["ok"]][0]["max_abs"] is None  # noqa: RUF015


def test_a_little_everywhere_is_found_by_the_rms(pack: golden.Pack, port: dict[str, np.ndarray]) -> None:
    name = "bert.encoder.layer.0.intermediate.dense"
    bounds = pack.tolerances[name]["float32"]
    assert bounds.rms * 1.5 < bounds.max_abs
    port[name] += np.float32(bounds.rms * 1.5)
    row = next(row for row in golden.compare(pack, port).rows if row.name == name)
    assert not row.ok
    assert row.max_abs <= row.tolerance
    assert row.tolerance_used == pytest.approx(1.5, rel=0.1)


def test_one_wrong_element_is_found_by_the_largest(pack: golden.Pack, port: dict[str, np.ndarray]) -> None:
    name = "bert.encoder.layer.0.intermediate.dense"
    bounds = pack.tolerances[name]["float32"]
    port[name][0, 1, 2] += np.float32(bounds.max_abs * 1.1)
    row = next(row for row in golden.compare(pack, port).rows if row.name == name)
    assert not row.ok
    assert row.rms <= row.rms_tolerance
    assert row.tolerance_used == pytest.approx(1.1, rel=0.1)


def test_a_wrong_input_is_the_first_divergence(pack: golden.Pack) -> None:
    dump = {"input:token_type_ids": np.zeros((2, 6)), "input:input_ids": pack.inputs["input_ids"].astype(np.int32)}
    report = golden.compare(pack, dump)
    assert report.first_divergence == "input:token_type_ids"
    assert [row.ok for row in report.rows] == [True, False]


def test_other_ids_whose_results_are_right_are_a_fault_of_the_dump(pack: golden.Pack, port: dict[str, np.ndarray]) -> None:
    dump = {"input:input_ids": pack.inputs["input_ids"] + 1, "bert.encoder.layer.1": port["bert.encoder.layer.1"]}
    assert golden.compare(pack, dump).dump_at_fault == ["input:input_ids"]
    (suspect,) = golden.diagnose(pack, dump)
    assert (suspect.mistake, suspect.where) == ("dump-not-computation", "input:input_ids")
    dump["bert.encoder.layer.1"] = dump["bert.encoder.layer.1"] + 1
    assert golden.compare(pack, dump).dump_at_fault == []
    assert golden.diagnose(pack, dump)[0].mistake == "unknown"


def test_ids_of_padding_are_no_difference(pack: golden.Pack) -> None:
    ids = pack.inputs["input_ids"].copy()
    ids[1, 4:] = 30
    assert golden.compare(pack, {"input_ids": ids}).ok
    ids[1, 3] = 30
    assert golden.compare(pack, {"input_ids": ids}).first_divergence == "input:input_ids"
    assert not golden.compare(pack, {"attention_mask": np.ones((2, 6))}).ok


def test_an_additive_mask_is_the_same_mask(pack: golden.Pack, port: dict[str, np.ndarray]) -> None:
    mask = np.where(pack.inputs["attention_mask"] == 1, 0.0, -1e9)[:, None, None]  # [B, 1, 1, S]
    assert golden.compare(pack, {"attention_mask": mask}).ok
    assert not golden.compare(pack, {"attention_mask": mask[::-1]}).ok
    square = np.broadcast_to(mask, (2, 1, 6, 6))  # is another thing of the same name
    report = golden.compare(pack, {"attention_mask": square, "bert.pooler": port["bert.pooler"]})
    assert report.ok
    assert report.not_in_pack == ["attention_mask"]
    assert not golden.compare(pack, {"input:attention_mask": square, "bert.pooler": port["bert.pooler"]}).ok
    with pytest.raises(InputError, match=r"attention_mask takes shape \[2, 6\]"):
        golden.compare(pack, {"attention_mask": square})


@pytest.mark.parametrize("prefix", ["model.", "bert.", "model.bert.", "module."])
def test_prefixes_are_seen_through(tmp_path: Path, pack: golden.Pack, port: dict[str, np.ndarray], prefix: str) -> None:
    bare = {f"{prefix}{name.removeprefix('bert.')}": x for name, x in port.items() if name.startswith("bert.e")}
    report = golden.compare(pack, bare)
    assert report.ok
    assert len(report.rows) == len(bare)
    base = build("BertModel", tiny(), dtype=np.float32)
    golden.export(base, {"input_ids": ids(base.config, 1, 3)}, tmp_path / "pack")
    values = golden.read_pack(tmp_path / "pack")
    report = golden.compare(values, {f"{prefix}{name}": x for name, x in values.items() if name.startswith("e")})
    assert report.ok
    assert not report.not_in_pack


def test_a_name_as_it_stands_goes_before_one_that_is_seen_through(pack: golden.Pack, port: dict[str, np.ndarray]) -> None:
    report = golden.compare(pack, {"model.bert.pooler": port["bert.pooler"] + 1, "bert.pooler": port["bert.pooler"]})
    assert report.ok
    assert report.not_in_pack == ["model.bert.pooler"]


# ------------------------------------------------------------------------------------------------- what most of a dump is used


def test_a_dump_that_is_hardly_used_is_an_error(pack: golden.Pack, port: dict[str, np.ndarray]) -> None:
    dump = {f"blocks.{name}": x for name, x in port.items()} | {"bert.pooler": port["bert.pooler"]}
    with pytest.raises(InputError, match=r"67 of the 68 arrays in the mapping have names that no pack has.*allow_unused"):
        golden.compare(pack, dump)
    assert golden.compare(pack, dump, allow_unused=True).ok


def test_a_small_pack_uses_little_of_a_whole_dump(tmp_path: Path) -> None:
    """The names are right; this pack just does not hold them."""
    model = build("BertModel", tiny(), dtype=np.float32)
    inputs = {"input_ids": ids(model.config, 1, 3)}
    for name, only in (("whole", None), ("small", "pooler")):
        golden.export(model, inputs, tmp_path / name, only=only)
    assert golden.compare(tmp_path / "small", golden.read_pack(tmp_path / "whole")).ok


# ------------------------------------------------------------------------------------------------------- what rows say together


@pytest.mark.parametrize("precision", PRECISIONS[1:])
@pytest.mark.parametrize("name", ["encoder", "decoder"])
def test_another_precision_that_fits_is_on_the_first_line(name: str, precision: str) -> None:
    report = golden.compare(PACKS / f"{name}.safetensors", PACKS / f"{name}.{precision}.safetensors")
    assert not report.ok
    assert (report.other_precision, report.shows_precision) == (precision, True)
    assert str(report).splitlines()[0] == f"right as {precision}, not as float32: compare with precision={precision!r}"


def test_a_small_mistake_is_not_another_precision(pack: golden.Pack, port: dict[str, np.ndarray]) -> None:
    """A mistake in the last layer, as small as bfloat16's errors: all before it is far more exact than bfloat16 is."""
    rng = np.random.default_rng(0)
    late = list(port)[list(port).index("bert.encoder.layer.1.intermediate.dense") :]
    for name in late:
        port[name] += rng.normal(0, pack.tolerances[name]["bfloat16"].rms / 4, port[name].shape).astype(np.float32)
    report = golden.compare(pack, port)
    assert report.first_divergence == "bert.encoder.layer.1.intermediate.dense"
    assert report.other_precision is None
    alone = golden.compare(pack, {"output:logits": port["output:logits"], "bert": port["bert"]})
    assert not alone.shows_precision
    assert str(alone).startswith("wrong as float32, but no further off than ")


def test_the_dump_and_not_the_computation(pack: golden.Pack, port: dict[str, np.ndarray]) -> None:
    port[f"{SELF}:scores"] = port[f"{SELF}:scores"] / 2
    port["bert.encoder.layer.0"] = port["bert.encoder.layer.1"]  # the next one's result under this name
    report = golden.compare(pack, port)
    assert not report.ok
    assert report.dump_at_fault == [f"{SELF}:scores", "bert.encoder.layer.0"]
    assert str(report).startswith(f"the dump, not the computation: {SELF}:scores, bert.encoder.layer.0 differ, but what is")


def test_a_computation_at_fault_is_not_blamed_on_the_dump(pack: golden.Pack, port: dict[str, np.ndarray]) -> None:
    keys = ("bert.encoder.layer.0.attention.self.key", f"{SELF}:key", f"{SELF}:scores", f"{SELF}:masked_scores")
    for name in keys:  # a bias that is missing from the keys: softmax does not see it
        port[name] = port[name] + 1
    assert not golden.compare(pack, port).dump_at_fault
    port = {name: pack[name].copy() for name in pack}
    port["bert.pooler"] += 1  # `bert` comes after it, and is not computed from it
    small = "bert.encoder.layer.0.attention.output.dense"
    port[small] += np.float32(20 * pack.tolerances[small]["float32"].rms)  # so little may be lost on the way
    report = golden.compare(pack, port)
    assert not report.ok
    assert not report.dump_at_fault


def test_one_token_looks_at_itself_whatever_the_query(tmp_path: Path) -> None:
    """Softmax of one score is 1: that all after it is right says nothing of the query."""
    model = build("BertModel", tiny(), dtype=np.float32)
    golden.export(model, {"input_ids": ids(model.config, 2, 1)}, tmp_path / "pack")
    pack = golden.read_pack(tmp_path / "pack")
    query = [name for name in pack if name.startswith("encoder.layer.0.attention.self") and name.endswith("query")]
    port = {name: pack[name] + 1 if name in query else pack[name] for name in pack if not name.endswith("scores")}
    report = golden.compare(pack, port)
    assert (report.first_divergence, report.dump_at_fault) == ("encoder.layer.0.attention.self.query", [])
    scores = "encoder.layer.0.attention.self:scores"
    assert golden.compare(pack, {**port, scores: pack[scores]}).dump_at_fault == query


def test_a_bias_of_keys_lost_in_gpt2_is_not_blamed_on_the_dump(tmp_path: Path) -> None:
    config = npbert.GPT2Config(vocab_size=30, hidden_size=12, num_hidden_layers=2, num_attention_heads=3, n_positions=10)
    model = npbert.GPT2Model(config, rng=np.random.default_rng(0))
    bias = model.state_dict()["h.0.attn.c_attn.bias"]
    bias[12:24] = 0.5
    inputs = {"input_ids": np.array([[3, 5, 7, 9]])}
    golden.export(model, inputs, tmp_path / "pack", weights=True)
    bias[12:24] = 0
    with npbert.trace() as port:
        model(**inputs)
    report = golden.compare(tmp_path / "pack", dict(port))
    assert (report.first_divergence, report.dump_at_fault) == ("h.0.attn.c_attn", [])
    assert [row.name for row in report.rows if not row.ok][-1] == "h.0.attn:masked_scores"


def test_a_nan_is_named_at_its_first_place(pack: golden.Pack, port: dict[str, np.ndarray]) -> None:
    port["bert.encoder.layer.0.output.dense"][1, 2:, 7] = np.nan  # tokens 4 and 5 are padding
    port["bert.pooler"][0, 1] = np.nan
    text = " ".join(str(golden.compare(pack, port)).split())
    assert "NaN: 2 of the 120 elements of bert.encoder.layer.0.output.dense that count, at [1, 2, 7]" in text
    assert f"(text 1, token 2, counted from 0, id {pack.inputs['input_ids'][1, 2]})" in text
    port = {name: pack[name].copy() for name in pack}
    port["bert.pooler"][0, 1] = np.inf
    assert "NaN:" not in str(golden.compare(pack, port))


# ------------------------------------------------------------------------------------------------------------------ the mask


def test_padding_may_hold_anything(pack: golden.Pack, port: dict[str, np.ndarray]) -> None:
    for name, x in port.items():
        if name.endswith((":query", ":key", ":value", ":probs", "self.dropout")):
            x[1, :, 4:] = np.nan
        elif name.endswith((":scores", ":masked_scores")):
            x[1, :, 4:] = np.nan  # queries
        elif x.ndim == 3 and x.shape[:2] == (2, 6):
            x[1, 4:] = np.nan
    for name in (f"{SELF}:scores", "bert.encoder.layer.1.attention.self:scores"):
        port[name][1, :, :, 4:] = np.nan  # keys
    report = golden.compare(pack, port)
    assert report.ok, report
    assert "2 of 12 positions, which are padding" in report.hidden
    assert "2 of 12 positions, which are padding" in str(report)
    port["bert.encoder.layer.0"][1, 3] += 1
    assert golden.compare(pack, port).first_divergence == "bert.encoder.layer.0"


@pytest.mark.parametrize("hidden", [-np.inf, float(np.finfo(np.float32).min), -65504.0, -1e9, -200.0])
def test_masks_may_hide_in_their_own_way(pack: golden.Pack, port: dict[str, np.ndarray], hidden: float) -> None:
    port[f"{SELF}:masked_scores"][1, :, :, 4:] = hidden
    assert golden.compare(pack, port).ok


@pytest.mark.parametrize("shown", [0.0, -3.0, np.nan, np.inf])
def test_a_mask_that_does_not_hide_is_found(pack: golden.Pack, port: dict[str, np.ndarray], shown: float) -> None:
    port[f"{SELF}:masked_scores"][1, 0, 2, 4] = shown
    assert golden.compare(pack, port).first_divergence == f"{SELF}:masked_scores"


def test_the_size_of_the_mask_blinds_nobody(pack: golden.Pack, port: dict[str, np.ndarray]) -> None:
    """-10000 stands in the tensor, yet a score that is off in its fifth digit shows."""
    x = port[f"{SELF}:masked_scores"]
    x[1, 0, 2, 1] += 1e-4 * max(1.0, abs(x[1, 0, 2, 1]))
    assert golden.compare(pack, port).first_divergence == f"{SELF}:masked_scores"
    probs = port[f"{SELF}:probs"]
    probs[0, 0, 0, 0] += 1e-3
    assert not golden.compare(pack, {f"{SELF}:probs": probs}).ok


def test_attention_to_padding_is_a_difference(pack: golden.Pack, port: dict[str, np.ndarray]) -> None:
    port[f"{SELF}:probs"][1, 0, 0, 5] = 0.01
    assert golden.compare(pack, port).first_divergence == f"{SELF}:probs"


# ---------------------------------------------------------------------------------------------------- what a port may look like


def test_any_subset(pack: golden.Pack, port: dict[str, np.ndarray]) -> None:
    names = ["output:logits", "bert.encoder.layer.1", "bert.encoder.layer.0"]
    report = golden.compare(pack, {name: port[name] for name in names})
    assert report.ok
    assert [row.name for row in report.rows] == names[::-1]
    assert "bert.pooler" in report.not_in_port
    assert "bert.encoder.layer.1" not in report.not_in_port
    assert "bert.encoder" not in report.not_in_port  # is the same as the last layer
    assert "not in the port: bert.embeddings.word_embeddings" in str(report)


def test_outputs_by_their_own_names(pack: golden.Pack, port: dict[str, np.ndarray]) -> None:
    report = golden.compare(pack, {"logits": port["output:logits"]})
    assert [row.name for row in report.rows] == ["output:logits"]


def test_own_names(pack: golden.Pack, port: dict[str, np.ndarray], tmp_path: Path) -> None:
    dump = {"h0": port["bert.encoder.layer.0"], "result": port["output:logits"], "scratch": np.zeros(3)}
    names = {"h0": "bert.encoder.layer.0", "result": "logits", "h1": "bert.encoder.layer.1"}
    (tmp_path / "names.json").write_text(json.dumps(names))
    for given in (names, tmp_path / "names.json", str(tmp_path / "names.json")):
        report = golden.compare(pack, dump, names=given)
        assert [row.name for row in report.rows] == ["bert.encoder.layer.0", "output:logits"]
        assert report.not_in_pack == ["scratch"]
        assert "h1" in report.not_in_port
        assert "not in the pack: scratch" in str(report)
    with pytest.raises(InputError, match="nowhere"):
        golden.compare(pack, dump, names={"h0": "nowhere"})
    with pytest.raises(InputError, match=r"'a' and 'b'"):
        golden.compare(pack, {"a": 1, "b": 2}, names={"a": "bert.pooler", "b": "bert.pooler"})
    (tmp_path / "names.json").write_text('["h0"]')
    with pytest.raises(InputError, match="names"):
        golden.compare(pack, dump, names=tmp_path / "names.json")
    with pytest.raises(MissingFileError):
        golden.compare(pack, dump, names=tmp_path / "other.json")


def test_heads_split_or_merged(pack: golden.Pack, port: dict[str, np.ndarray]) -> None:
    # [B, N, S, H] -> [B, S, N*H] and back, written out
    merged = np.concatenate([port[f"{SELF}:query"][:, n] for n in range(3)], axis=-1)
    split = np.stack([port[f"{SELF}.key"][..., 4 * n : 4 * n + 4] for n in range(3)], axis=1)
    assert np.array_equal(merged, port[f"{SELF}.query"])
    assert np.array_equal(split, port[f"{SELF}:key"])
    dump = {f"{SELF}:query": merged, f"{SELF}.key": split, f"{SELF}:value": port[f"{SELF}.value"]}
    report = golden.compare(pack, dump)
    assert report.ok
    assert [row.max_abs for row in report.rows] == [0.0] * 3
    wrong = port[f"{SELF}:query"].reshape(2, 6, 12)  # merged without the transpose
    assert not golden.compare(pack, {f"{SELF}:query": wrong}).ok


def test_every_kind_of_dump(pack: golden.Pack, port: dict[str, np.ndarray], tmp_path: Path) -> None:
    port["bert.pooler"] = port["bert.pooler"] + 1
    np.savez(tmp_path / "port.npz", **port)
    safetensors.write(tmp_path / "port.safetensors", port)
    (tmp_path / "port").mkdir()
    for name, x in port.items():
        np.save(tmp_path / "port" / f"{name}.npy", x)
    (tmp_path / "port" / "notes.txt").write_text("no array")
    expected = str(golden.compare(pack, port))
    for kind in ("port.npz", "port.safetensors", "port"):
        assert str(golden.compare(pack, tmp_path / kind)) == expected
        assert str(golden.compare(str(ENCODER), str(tmp_path / kind))) == expected
    assert "first divergence: bert.pooler; 1 of" in expected
    golden_as_port = golden.compare(pack, ENCODER)
    assert golden_as_port.ok
    assert not golden_as_port.not_in_pack
    assert golden_as_port.rows[0].name == "input:input_ids"


def test_every_kind_of_number(pack: golden.Pack, port: dict[str, np.ndarray]) -> None:
    for dtype in (np.float64, ">f4"):
        assert golden.compare(pack, {name: x.astype(dtype) for name, x in port.items()}).ok
    assert golden.compare(pack, {"bert.pooler": port["bert.pooler"].tolist()}).ok
    assert golden.compare(pack, {"bert.pooler": port["bert.pooler"].astype(np.float16)}, precision="fp16").ok


# ---------------------------------------------------------------------------------------------------------- what cannot be


def test_a_pack_whose_last_bytes_look_like_those_of_a_zip_is_read(pack: golden.Pack, tmp_path: Path) -> None:
    data = Path(pack.path).read_bytes()
    (tmp_path / "pack").write_bytes(data[:-22] + b"PK\x05\x06" + bytes(18))
    assert list(golden.read_pack(tmp_path / "pack")) == list(pack)


def test_what_cannot_be_compared(pack: golden.Pack, port: dict[str, np.ndarray], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"bert\.pooler takes shape \[2, 12\], got \[12, 2\]"):
        golden.compare(pack, {"bert.pooler": port["bert.pooler"].T})
    with pytest.raises(InputError, match="holds no arrays"):
        golden.compare(pack, {})
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty holds no arrays"):
        golden.compare(pack, tmp_path / "empty")
    with pytest.raises(InputError, match=r"none of the pack's names.*h0"):
        golden.compare(pack, {"h0": port["bert.pooler"]})
    for path in ("nowhere.npz", "nowhere"):
        with pytest.raises(MissingFileError, match=r"nowhere"):
            golden.compare(pack, tmp_path / path)
    with pytest.raises(MissingFileError):
        golden.compare(tmp_path / "nowhere.safetensors", port)
    np.savez(tmp_path / "dump.npz", x=np.zeros(3))
    with pytest.raises(FileError, match=r"is no pack but a \.npz file; the pack comes first"):
        golden.compare(tmp_path / "dump.npz", ENCODER)
    with pytest.raises(InputError, match="precision"):
        golden.compare(pack, port, precision="fp8")
    (tmp_path / "port.txt").write_text("no")
    with pytest.raises(InputError, match=r"\.npz"):
        golden.compare(pack, tmp_path / "port.txt")
    with pytest.raises(InputTypeError, match="port"):
        golden.compare(pack, 3)  # type: ignore[arg-type]
    whole = np.ones((2, 12), np.int32)
    for value in ("text", None, [[1], [2, 3]], np.ones((2, 12), complex), np.zeros((2, 12), "V2"), whole, whole > 0):
        with pytest.raises(InputTypeError, match=r"bert\.pooler"):
            golden.compare(pack, {"bert.pooler": value})
    with pytest.raises(InputTypeError, match="names that are texts"):
        golden.compare(pack, {3: port["bert.pooler"]})  # type: ignore[dict-item]
    with pytest.raises(InputError, match="precision"):
        golden.compare(pack, port, precision=["bf16"])  # type: ignore[arg-type]


def test_whole_numbers_in_place_of_a_tensor_are_a_row_that_says_so(pack: golden.Pack, port: dict[str, np.ndarray]) -> None:
    report = golden.compare(pack, {**port, "bert.pooler": np.zeros((2, 12), np.int32)})
    (row,) = (row for row in report.rows if not row.ok)
    assert (row.name, row.problem) == ("bert.pooler", "takes floating-point numbers, got int32")


def test_a_misspelt_map_is_told_where(pack: golden.Pack, port: dict[str, np.ndarray]) -> None:
    own = {f"h{i}": port[f"bert.encoder.layer.{i}"] for i in (0, 1)}
    with pytest.raises(InputError, match=r"which is not in the pack; the nearest is 'bert.encoder.layer"):
        golden.compare(pack, own, names={"h0": "bert.encodr.layer.0"})
    with pytest.raises(InputError, match=r"none of the pack's names.*; of the map, l\* matches none of them$"):
        golden.compare(pack, own, names={"l*": "bert.encoder.layer.*"})
    with pytest.raises(InputError, match=r"2 of the 3 arrays .*allow_unused=True; of the map, l\* matches none of them$"):
        golden.compare(pack, {**own, "bert.pooler": port["bert.pooler"]}, names={"l*": "bert.encoder.layer.*"})


def test_damaged_dumps(pack: golden.Pack, port: dict[str, np.ndarray], tmp_path: Path) -> None:
    np.savez(tmp_path / "port.npz", **{"bert.pooler": port["bert.pooler"]})
    raw = (tmp_path / "port.npz").read_bytes()
    (tmp_path / "port.npz").write_bytes(raw[:-30])
    with pytest.raises(FileError, match=r"port\.npz"):
        golden.compare(pack, tmp_path / "port.npz")
    middle = raw.index(b"NUMPY")
    (tmp_path / "port.npz").write_bytes(raw[:middle] + b"YPMUN" + raw[middle + 5 :])
    with pytest.raises(FileError, match=r"port\.npz"):
        golden.compare(pack, tmp_path / "port.npz")
    (tmp_path / "port").mkdir()
    np.save(tmp_path / "port" / "bert.pooler.npy", np.array([{}]))  # a pickle, which could run anything
    with pytest.raises(FileError, match=r"bert\.pooler\.npy"):
        golden.compare(pack, tmp_path / "port")
    (tmp_path / "port" / "bert.pooler.npy").write_bytes(b"")
    with pytest.raises(FileError, match=r"bert\.pooler\.npy"):
        golden.compare(pack, tmp_path / "port")
    (tmp_path / "port.safetensors").write_bytes(b"\0" * 20)
    with pytest.raises(FileError, match=r"port\.safetensors"):
        golden.compare(pack, tmp_path / "port.safetensors")


# ---------------------------------------------------------------------------------------------------------------- the report


def test_the_table_keeps_to_what_matters(pack: golden.Pack, port: dict[str, np.ndarray]) -> None:
    names = list(pack)
    bad = names.index("bert.encoder.layer.0.intermediate.dense")
    for name in names[bad : bad + 10]:
        port[name] = port[name] + 1
    first, _, table = str(golden.compare(pack, port)).partition("\n\n")
    assert first.startswith("the dump, not the computation: bert.encoder.layer.0.intermediate.dense,")  # layer 1 is right
    lines = table.splitlines()
    assert lines[1].split() == ["...", str(bad - 3), "more", "are", "ok"]
    assert [line.split()[1] for line in lines[2:9]] == names[bad - 3 : bad + 4]
    assert [line.split()[0] for line in lines[2:9]] == ["ok"] * 3 + ["BAD"] * 4
    assert lines[9].strip() == f"... {len(names) - bad - 10} more are ok and 6 more differ"
    assert f"first divergence: {names[bad]}; 10 of {len(names)} tensors differ as float32" in lines
    right = str(golden.compare(pack, {name: pack[name] for name in names}, precision="bf16"))
    assert f"ok: {len(names)} tensors are right as bfloat16" in right


def test_the_report_fits_a_terminal(pack: golden.Pack, port: dict[str, np.ndarray]) -> None:
    port = {name: x for name, x in port.items() if ":" not in name} | {
        f"a_name_of_the_port_{i:030}": np.ones(1) for i in range(9)
    }
    port["bert.pooler"] = np.full_like(port["bert.pooler"], np.nan)
    text = str(golden.compare(pack, port))
    assert max(map(len, text.splitlines())) <= 140
    notes = " ".join(text.split("first divergence")[1].split())
    assert "not in the port: bert.embeddings:sum, bert.encoder.layer.0.attention.self:query" in notes
    assert f"a_name_of_the_port_{4:030} and 4 more" in notes


def test_one_more_is_no_plural(pack: golden.Pack, port: dict[str, np.ndarray]) -> None:
    first, *others = list(pack)[:5]
    few = {name: port[name] for name in (first, *others)}
    assert "... 1 more is ok" in str(golden.compare(pack, {**few, first: few[first] + 1}))
    assert "... 1 more differs" in str(golden.compare(pack, {name: x + 1 for name, x in few.items()}))


def test_a_cosine_is_at_most_1(pack: golden.Pack) -> None:
    assert max(row.cosine for row in golden.compare(pack, dict(pack)).rows) <= 1


def test_json(pack: golden.Pack, port: dict[str, np.ndarray]) -> None:
    port["extra"] = np.ones(1)
    port["bert.pooler"] = port["bert.pooler"] + 1
    text = golden.compare(pack, port, precision="bf16").to_json()
    assert "\n" not in text  # one value a line, as every verb prints
    fields = json.loads(text)
    assert (fields["ok"], fields["first_divergence"], fields["precision"]) == (False, "bert.pooler", "bfloat16")
    assert fields["not_in_pack"] == ["extra"]
    row = next(row for row in fields["rows"] if row["name"] == "bert.pooler")
    assert row["shape"] == [2, 12]
    assert row["max_abs"] == pytest.approx(1, rel=1e-5)
    assert row.keys() >= {"name", "shape", "max_abs", "rms", "cosine", "tolerance", "ok"}


def test_nothing_that_counts(tmp_path: Path) -> None:
    """Where every position is hidden there is nothing to compare, and nothing to fail."""
    model = build("BertModel", tiny(), dtype=np.float32)
    inputs = {"input_ids": ids(model.config, 1, 3), "attention_mask": np.zeros((1, 3), int)}
    golden.export(model, inputs, tmp_path / "pack.safetensors")
    pack = golden.read_pack(tmp_path / "pack.safetensors")
    report = golden.compare(pack, {"encoder.layer.0": np.full((1, 3, 12), np.nan), "pooler": np.full((1, 12), np.nan)})
    assert report.ok
    assert [row.compared for row in report.rows] == [0, 0]
    assert "3 of 3 positions" in str(report)


@pytest.mark.parity
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_live_reference_is_right(pack: golden.Pack, precision: str, attention: str) -> None:
    import torch
    import transformers

    fields = {name: x for name, x in pack.config.to_dict().items() if name != "architectures"}
    config = transformers.BertConfig(**fields, attn_implementation=attention)
    assert pack.weights is not None
    port = transformers.BertForSequenceClassification(config).eval()
    port.load_state_dict({name: torch.from_numpy(x.copy()) for name, x in pack.weights.items()})
    port = port.to(getattr(torch, precision))
    dump: dict[str, Any] = {}
    for name, module in port.named_modules():
        if name.endswith(("dense", "LayerNorm", "query", "key", "value", "self", "pooler", "classifier")):

            def catch(_module: Any, _arguments: Any, result: Any, name: str = name) -> None:
                dump[name] = (result[0] if isinstance(result, tuple) else result).detach().float()

            module.register_forward_hook(catch)
    with torch.no_grad():
        dump["logits"] = port(**{name: torch.from_numpy(x.copy()) for name, x in pack.inputs.items()}).logits.float()
    report = golden.compare(pack, dump, precision=precision)
    assert report.ok, report
    assert len(report.rows) == 23
    assert golden.compare(pack, dump).ok == (precision == "float32")
