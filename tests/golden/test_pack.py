"""Packs: what is in the file, that anybody can read it, that it is always the same, and what making it costs."""

from __future__ import annotations

import hashlib
import json
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import npbert
from npbert import FileError, InputError, InputTypeError, MissingFileError, MissingNameError, golden
from npbert.checkpoints import safetensors
from npbert.golden.precision import STORED_IN

from ..builders import CLASSES, build, ids, inputs_for, tiny

PACKS = Path(__file__).parent / "packs"
DECODER = {"is_decoder": True, "add_cross_attention": True}


def read_by_hand(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The README's reader: JSON and bytes, nothing else."""
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + size])
    metadata = {key: json.loads(text) for key, text in header.pop("__metadata__").items()}
    tensors = {}
    for name, entry in header.items():
        start, stop = entry["data_offsets"]
        dtype = {"F32": "<f4", "F64": "<f8", "I64": "<i8"}[entry["dtype"]]
        tensors[name] = np.frombuffer(raw[8 + size + start : 8 + size + stop], dtype).reshape(entry["shape"])
    for name, other in metadata["aliases"].items():
        tensors[name] = tensors[other]
    return tensors, metadata


@pytest.fixture
def model() -> Any:
    return build("BertForSequenceClassification", tiny(), dtype=np.float32)


@pytest.fixture
def inputs(model: Any) -> dict[str, np.ndarray]:
    mask = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    return {"input_ids": ids(model.config, 2, 5), "attention_mask": mask, "labels": np.array([0, 1])}


# -------------------------------------------------------------------------------------------------------- what is in a pack


@pytest.mark.parametrize("model_class", CLASSES)
@pytest.mark.parametrize("dtype", ["float32", np.float64])
def test_every_intermediate_and_output(tmp_path: Path, model_class: str, dtype: Any) -> None:
    config = tiny(**(DECODER if model_class == "BertLMHeadModel" else {}))
    model = build(model_class, config, dtype=np.float32)
    inputs = inputs_for(model_class, config)
    if model_class == "BertLMHeadModel":
        inputs["encoder_hidden_states"] = np.random.default_rng(0).normal(size=(2, 3, 12)).astype(np.float32)
    golden.export(model, inputs, tmp_path / "pack.safetensors", dtype=dtype)
    tensors, metadata = read_by_hand(tmp_path / "pack.safetensors")
    with npbert.trace() as kept:
        out = model.astype(np.float64)(**inputs)
    expected = dict(kept) | {f"output:{name}": x for name, x in out.items() if name != "past_key_values"}
    assert metadata["order"] == list(expected)
    for name, x in expected.items():
        assert tensors[name].dtype == dtype
        assert np.array_equal(tensors[name], x.astype(dtype)), name
    for name, x in inputs.items():
        assert np.array_equal(tensors[f"input:{name}"], x)
    pack = golden.read_pack(tmp_path / "pack.safetensors")
    assert list(pack) == list(expected)
    assert all(np.array_equal(pack[name], tensors[name]) for name in pack)


def test_metadata(tmp_path: Path, model: Any, inputs: Any) -> None:
    path = tmp_path / "pack.safetensors"
    golden.export(model, inputs, path, weights=True)
    tensors, metadata = read_by_hand(path)
    assert metadata["format"] == "npbert golden pack 1"
    assert metadata["npbert"] == npbert.__version__
    assert npbert.BertConfig.from_dict(metadata["config"]) == model.config
    digest = hashlib.sha256()
    weights = {name.removeprefix("weight:"): x for name, x in tensors.items() if name.startswith("weight:")}
    assert weights.keys() == dict(model.named_parameters()).keys()
    for name in sorted(weights):
        digest.update(f"{name} float32 {list(weights[name].shape)}\n".encode())
        digest.update(weights[name].tobytes())
    assert metadata["weights_sha256"] == digest.hexdigest()
    for name in metadata["order"]:
        assert metadata["tolerances"][name].keys() == set(STORED_IN)
        short, half, brain = (metadata["tolerances"][name][p] for p in ("float32", "float16", "bfloat16"))
        assert 0 < short["rms"] < half["rms"] < brain["rms"]
        assert 0 < short["max_abs"] < half["max_abs"] < brain["max_abs"]


def test_what_is_equal_is_stored_once(tmp_path: Path, model: Any, inputs: Any) -> None:
    golden.export(model, inputs, tmp_path / "pack.safetensors")
    pack = golden.read_pack(tmp_path / "pack.safetensors")
    assert pack.aliases["bert.encoder.layer.0"] == "bert.encoder.layer.0.output.LayerNorm"
    assert pack.aliases["output:logits"] == "classifier"
    assert "bert.encoder.layer.0.output.LayerNorm" not in pack.aliases
    stored = safetensors.read_header(tmp_path / "pack.safetensors")
    assert not set(pack.aliases) & set(stored)
    assert set(stored) == {f"input:{name}" for name in inputs} | set(pack) - set(pack.aliases)


def test_a_pack_with_weights_is_a_complete_test_case(tmp_path: Path, model: Any, inputs: Any) -> None:
    golden.export(model, inputs, tmp_path / "pack.safetensors", weights=True)
    pack = golden.read_pack(tmp_path / "pack.safetensors")
    assert pack.weights is not None
    with npbert.trace() as kept:
        out = npbert.BertForSequenceClassification(pack.config, pack.weights)(**pack.inputs)
    assert golden.compare(pack, {**kept, **dict(out.items())}).ok
    golden.export(model, inputs, tmp_path / "without.safetensors")
    assert golden.read_pack(tmp_path / "without.safetensors").weights is None


def test_arguments_in_tuples_come_back_as_they_were(tmp_path: Path) -> None:
    model = build("BertLMHeadModel", tiny(is_decoder=True), dtype=np.float32)
    past = model(ids(model.config, 2, 3)).past_key_values
    inputs = {"input_ids": ids(model.config, 2, 2), "past_key_values": past, "token_type_ids": None}
    golden.export(model, inputs, tmp_path / "pack.safetensors")
    pack = golden.read_pack(tmp_path / "pack.safetensors")
    assert pack.inputs.keys() == {"input_ids", "past_key_values"}
    assert [len(layer) for layer in pack.inputs["past_key_values"]] == [2, 2]
    assert all(np.array_equal(pack.inputs["past_key_values"][i][j], past[i][j]) for i in range(2) for j in range(2))


def test_an_encoder_with_a_decoder(tmp_path: Path) -> None:
    encoder = build("BertModel", tiny(hidden_size=9), dtype=np.float32)
    decoder = build("BertLMHeadModel", tiny(**DECODER), dtype=np.float32)
    model = npbert.EncoderDecoderModel(encoder=encoder, decoder=decoder)
    inputs = {"input_ids": ids(encoder.config, 2, 4), "decoder_input_ids": ids(decoder.config, 2, 3)}
    golden.export(model, inputs, tmp_path / "pack.safetensors", weights=True)
    pack = golden.read_pack(tmp_path / "pack.safetensors")
    with npbert.trace() as kept:
        out = model.astype(np.float64)(**inputs)
    assert list(pack)[: len(kept)] == list(kept)
    assert all(np.array_equal(pack[name], kept[name].astype(np.float32)) for name in kept)
    assert np.array_equal(pack["output:logits"], out.logits.astype(np.float32))
    again = npbert.EncoderDecoderModel(pack.config, pack.weights)
    with npbert.trace() as kept:
        again(**pack.inputs)
    assert golden.compare(pack, kept).ok


def test_a_decoder_that_is_given_nothing_to_begin_with(tmp_path: Path) -> None:
    """No model runs so, and no pack is read in which the decoder's tokens are lost."""
    decoder = build("BertLMHeadModel", tiny(**DECODER), dtype=np.float32)
    model = npbert.EncoderDecoderModel(encoder=build("BertModel", tiny(), dtype=np.float32), decoder=decoder)
    inputs = {"input_ids": ids(decoder.config, 2, 4)}
    with pytest.raises(InputError, match="decoder_input_ids: the decoder has nothing to begin with"):
        golden.export(model, inputs, tmp_path / "pack")
    golden.export(model, inputs | {"decoder_input_ids": inputs["input_ids"]}, tmp_path / "pack")
    raw = (tmp_path / "pack").read_bytes()
    (tmp_path / "pack").write_bytes(raw.replace(b'"input:decoder_input_ids"', b'"input:decoder_attention"'))
    with pytest.raises(FileError, match="decoder_input_ids: there are none, and no labels that they could be made from"):
        golden.read_pack(tmp_path / "pack")


def test_a_model_may_leave_the_range_of_a_short_format(tmp_path: Path) -> None:
    """The smallest float32 as mask is -infinity in both, and scores above 65504 are infinite in float16."""
    config = tiny(mask_value=float(np.finfo(np.float32).min))
    model = build("BertModel", config, dtype=np.float32)
    weights = {name: x * (400 if ".query." in name or ".key." in name else 1) for name, x in model.named_parameters()}
    model = npbert.BertModel(config, weights)
    inputs = {"input_ids": ids(config, 2, 4), "attention_mask": np.array([[1, 1, 1, 0], [0, 0, 0, 0]])}
    golden.export(model, inputs, tmp_path / "pack.safetensors")
    pack = golden.read_pack(tmp_path / "pack.safetensors")
    assert np.abs(pack["encoder.layer.0.attention.self:scores"]).max() > 65504
    bounds = [bound for by_precision in pack.tolerances.values() for pair in by_precision.values() for bound in pair]
    assert np.isfinite(bounds).all()
    with npbert.trace() as kept:
        model(**inputs)
    assert golden.compare(pack, kept).ok


def test_only(tmp_path: Path, model: Any, inputs: Any) -> None:
    golden.export(model, inputs, tmp_path / "one.safetensors", only="*:probs")
    assert list(golden.read_pack(tmp_path / "one.safetensors")) == [
        f"bert.encoder.layer.{i}.attention.self:probs" for i in (0, 1)
    ]
    golden.export(model, inputs, tmp_path / "two.safetensors", only=["*.pooler", "output:*"])
    pack = golden.read_pack(tmp_path / "two.safetensors")
    assert list(pack) == ["bert.pooler", "output:loss", "output:logits"]
    assert pack.inputs.keys() == inputs.keys()
    assert not pack.aliases
    golden.export(model, inputs, tmp_path / "all.safetensors")
    everything = golden.read_pack(tmp_path / "all.safetensors")
    assert all(np.array_equal(pack[name], everything[name]) for name in pack)
    assert all(pack.tolerances[name] == everything.tolerances[name] for name in pack)
    golden.export(model, inputs, tmp_path / "three.safetensors", only=["*.layer.0", "*.layer.0.output"])
    pack = golden.read_pack(tmp_path / "three.safetensors")
    assert pack.aliases == {"bert.encoder.layer.0": "bert.encoder.layer.0.output"}


# -------------------------------------------------------------------------------------------------------------- the file


def test_always_the_same_bytes(tmp_path: Path, model: Any, inputs: Any) -> None:
    for name in ("a", "b"):
        golden.export(model, dict(inputs), tmp_path / name, weights=True)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a", "b"]


def test_the_model_is_left_as_it_was(tmp_path: Path, model: Any, inputs: Any) -> None:
    before = {name: array.copy() for name, array in model.named_parameters()}
    kind = type(model)
    golden.export(model, inputs, tmp_path / "pack.safetensors")
    assert type(model) is kind
    assert model.dtype == np.float32
    assert all(np.array_equal(before[name], array) for name, array in model.named_parameters())


def test_a_failure_leaves_the_old_file(tmp_path: Path, model: Any, inputs: Any) -> None:
    path = tmp_path / "pack.safetensors"
    path.write_bytes(b"old")
    with pytest.raises(InputError):
        golden.export(model, {"input_ids": [[99]]}, path)
    with pytest.raises(InputError, match=r"nothing .* is called 'nowhere\*'"):
        golden.export(model, inputs, path, only="nowhere*")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_bad_arguments(tmp_path: Path, model: Any, inputs: Any) -> None:
    path = tmp_path / "pack.safetensors"
    with pytest.raises(InputTypeError, match="float16"):
        golden.export(model, inputs, path, dtype="float16")
    with pytest.raises(MissingFileError, match="nowhere"):
        golden.export(model, inputs, tmp_path / "nowhere" / "pack.safetensors")
    with pytest.raises(InputTypeError, match="str"):
        golden.export("bert-base-uncased", inputs, path)
    with pytest.raises(InputTypeError, match="output_attentions"):
        golden.export(model, {**inputs, "output_attentions": True}, path)
    with pytest.raises(InputTypeError, match="labelz"):
        golden.export(model, {**inputs, "labelz": [1, 0]}, path)
    model.config.hidden_act = lambda x: x
    with pytest.raises(InputError, match="config"):
        golden.export(model, inputs, path)
    assert not path.exists()


def test_what_is_no_pack(tmp_path: Path) -> None:
    sound = (PACKS / "encoder.safetensors").read_bytes()
    path = tmp_path / "pack.safetensors"
    with pytest.raises(MissingFileError):
        golden.read_pack(path)
    path.write_bytes(sound[:-1])
    with pytest.raises(FileError):
        golden.read_pack(path)
    with pytest.raises(FileError, match="not a golden pack"):
        golden.read_pack(PACKS / "encoder.float32.safetensors")
    path.write_bytes(sound.replace(b"golden pack 1", b"golden pack 2"))
    with pytest.raises(FileError, match="golden pack 2"):
        golden.read_pack(path)
    path.write_bytes(sound.replace(b'"aliases":', b'"aliasez":'))
    with pytest.raises(FileError, match="lacks aliases"):
        golden.read_pack(path)
    path.write_bytes(sound.replace(b"bert.pooler.dense\\", b"bert.pooler.tense\\"))
    with pytest.raises(FileError, match="sound"):
        golden.read_pack(path)


def _tolerances(bounds: Any) -> Any:
    return lambda tolerances: tolerances["bert.pooler"]["bfloat16"].update(bounds) or tolerances


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("config", lambda config: [config]),
        ("weights_sha256", lambda text: 5),
        ("order", lambda order: [*order, 5]),
        ("order", lambda order: [*order, {}]),
        ("aliases", lambda aliases: list(aliases)),
        ("tolerances", lambda tolerances: {}),
        ("tolerances", lambda tolerances: {name: {} for name in tolerances}),
        ("tolerances", _tolerances({"max_abs": "1"})),
        ("tolerances", _tolerances({"max_abs": None})),
        ("tolerances", _tolerances({"rms": True})),
        ("tolerances", _tolerances({"rms": -1e-6})),
        ("tolerances", _tolerances({"mean": 0})),
    ],
)
def test_metadata_that_does_not_fit(tmp_path: Path, part: str, change: Any) -> None:
    def damage(header: dict[str, Any]) -> None:
        texts = header["__metadata__"]
        texts[part] = json.dumps(change(json.loads(texts[part])))

    with pytest.raises(FileError, match="sound"):
        golden.read_pack(_damaged(tmp_path, damage))


@pytest.mark.parametrize(
    "name", ["input:labels.0", "input:past_key_values.0", "input:past_key_values.0.x", "input:inputs_embeds"]
)
def test_inputs_that_do_not_fit(tmp_path: Path, name: str) -> None:
    def damage(header: dict[str, Any]) -> None:
        header[name] = header.pop("input:input_ids")

    with pytest.raises(FileError, match="sound"):
        golden.read_pack(_damaged(tmp_path, damage))


def test_packs_of_the_first_npbert(tmp_path: Path) -> None:
    """They know three precisions; of the others the error says what to do."""

    def damage(header: dict[str, Any]) -> None:
        texts = header["__metadata__"]
        tolerances = {
            name: {precision: bounds[precision] for precision in ("float32", "float16", "bfloat16")}
            for name, bounds in json.loads(texts["tolerances"]).items()
        }
        texts["tolerances"] = json.dumps(tolerances)

    pack = golden.read_pack(_damaged(tmp_path, damage))
    dump = {"bert.pooler": pack["bert.pooler"]}
    assert golden.compare(pack, dump, precision="bf16").ok
    with pytest.raises(MissingNameError, match=r"pack\.safetensors.*tf32.*export the pack again"):
        golden.compare(pack, dump, precision="tf32")


def test_tensors_that_do_not_fit_the_inputs(tmp_path: Path) -> None:
    def damage(header: dict[str, Any]) -> None:
        header["bert.encoder.layer.0.attention.self:scores"]["shape"].reverse()

    with pytest.raises(FileError, match="sound"):
        golden.read_pack(_damaged(tmp_path, damage))


def _damaged(tmp_path: Path, damage: Any) -> Path:
    """A committed pack with another header."""
    sound = (PACKS / "encoder.safetensors").read_bytes()
    data = 8 + int.from_bytes(sound[:8], "little")
    header = json.loads(sound[8:data])
    damage(header)
    text = json.dumps(header).encode()
    path = tmp_path / "pack.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + sound[data:])
    return path


def test_names_that_are_not_there() -> None:
    pack = golden.read_pack(PACKS / "encoder.safetensors")
    with pytest.raises(MissingNameError, match=r"bert\.pooler"):
        pack["pooler"]
    assert "pooler" not in pack
    assert not pack["bert.pooler"].flags.writeable


def test_show() -> None:
    text = golden.show(PACKS / "encoder.safetensors")
    assert "BertForSequenceClassification, 2 layers, hidden size 12" in text
    assert "input_ids [2, 6] int64" in text
    lines = {line.split()[0]: line for line in text.splitlines() if line}
    pack = golden.read_pack(PACKS / "encoder.safetensors")
    assert all(name in lines for name in pack)
    bounds = pack.tolerances["bert.pooler"]["float32"]
    assert f"[2, 12]       {bounds.max_abs:.2e} {bounds.rms:.2e}  = bert.pooler.activation" in lines["bert.pooler"]
    stored = [x for name, x in pack.items() if name not in pack.aliases]
    numbers, size = sum(x.size for x in stored), sum(x.nbytes for x in stored)
    counts = f"{numbers:,} numbers, {size:,} bytes"
    assert text.splitlines()[-1] == f"{len(pack)} tensors, {len(stored)} of them stored: {counts}"
    assert size == 4 * numbers > 1000


@pytest.mark.parametrize("weights", [True, False])
def test_show_counts_the_weights_and_aligns_its_columns(tmp_path: Path, model: Any, inputs: Any, weights: bool) -> None:
    golden.export(model, inputs, tmp_path / "pack", only=["bert.pooler", "output:l*"], weights=weights)
    number = sum(x.size for _, x in model.named_parameters())
    lines = golden.show(tmp_path / "pack").splitlines()
    assert lines[2] == (f"weights  {number:,} numbers" if weights else "weights  not in the pack")
    assert [line for line in lines if line.startswith("input ")] == [
        *("input    input_ids [2, 5] int64", "input    attention_mask [2, 5] int64", "input    labels [2] int64"),
    ]
    start = lines.index("") + 1
    table = lines[start:-1]
    assert [line.split()[0] for line in table] == ["tensor", *golden.read_pack(tmp_path / "pack")]
    assert {line.index("[") for line in table[1:]} == {table[0].index("shape")}
    assert {len(line) for line in table[1:]} == {table[0].index("float32") + 17}, "every number ends at one place"


# ------------------------------------------------------------------------------------------------------ the committed packs


@pytest.mark.parametrize("name", ["encoder", "decoder"])
def test_the_committed_packs_can_be_made_again(tmp_path: Path, name: str) -> None:
    old = golden.read_pack(PACKS / f"{name}.safetensors")
    model = getattr(npbert, old.config.architectures[0])(old.config, old.weights)
    golden.export(model, old.inputs, tmp_path / "pack.safetensors", weights=True)
    new = golden.read_pack(tmp_path / "pack.safetensors")
    for part in ("format", "config", "weights_sha256", "order", "aliases", "multiples"):
        assert new.metadata[part] == old.metadata[part], part
    for tensor in old:  # another machine's BLAS may round another way, once in a while
        assert np.allclose(new[tensor], old[tensor], rtol=1e-6, atol=1e-12), tensor
        for precision in STORED_IN:
            ratios = np.divide(new.tolerances[tensor][precision], old.tolerances[tensor][precision])
            assert (ratios > 0.3).all()
            assert (ratios < 3).all()


# ----------------------------------------------------------------------------------------------------------------- the cost


def test_memory(tmp_path: Path) -> None:
    """All layers together take many times the memory that an export may take."""
    config = npbert.BertConfig(
        vocab_size=50,
        hidden_size=64,
        num_hidden_layers=8,
        num_attention_heads=8,
        intermediate_size=256,
        max_position_embeddings=192,
    )
    model = npbert.BertModel(config, rng=np.random.default_rng(0))
    inputs = {"input_ids": ids(config, 1, 96)}
    with npbert.trace(only="encoder.layer.0.*") as kept:
        model.astype(np.float64)(**inputs)
    layer = sum({id(x): x.nbytes for x in kept.values()}.values())
    weights = sum(array.nbytes for _, array in model.named_parameters())
    tracemalloc.start()
    golden.export(model, inputs, tmp_path / "pack.safetensors")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * layer + weights
    assert peak < (tmp_path / "pack.safetensors").stat().st_size


def test_a_progress_bar_on_a_terminal_alone(tmp_path: Path, model: Any, inputs: Any, capsys: Any, monkeypatch: Any) -> None:
    golden.export(model, inputs, tmp_path / "pack.safetensors")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    golden.export(model, inputs, tmp_path / "pack.safetensors")
    assert "golden pack" in capsys.readouterr().err
