"""`npbert golden`: what it makes of arguments before a pack is touched. The way from export to diagnosis is in tests/cli."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import npbert
from npbert import golden
from npbert.cli import main

from ..builders import build, tiny


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    where = tmp_path_factory.mktemp("checkpoint")
    build("BertModel", tiny(), dtype=np.float32).save_pretrained(where)
    return str(where)


def export(checkpoint: str, tmp_path: Path, ids: str, *more: str) -> int:
    (tmp_path / "ids.json").write_text(ids)
    return main(["golden", "export", checkpoint, "--ids", str(tmp_path / "ids.json"), "-o", str(tmp_path / "pack"), *more])


@pytest.mark.parametrize(("ids", "rows"), [("[2, 5, 7]", [[2, 5, 7]]), ("[[2, 5], [7, 3]]", [[2, 5], [7, 3]])])
def test_ids(checkpoint: str, tmp_path: Path, ids: str, rows: list[list[int]]) -> None:
    assert export(checkpoint, tmp_path, ids) == 0
    np.testing.assert_array_equal(golden.read_pack(tmp_path / "pack").inputs["input_ids"], rows)


@pytest.mark.parametrize(
    "ids", ["3", "null", '{"a": 1}', '"text"', '["a"]', "[1.0]", "[true]", "[[1], 2]", "[[[1]]]", f"[{2**64}]"]
)
def test_what_are_no_ids(checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], ids: str) -> None:
    assert export(checkpoint, tmp_path, ids) == 2
    error = capsys.readouterr().err
    assert error == f"npbert: {tmp_path / 'ids.json'}: takes one list of token ids, or several\n"


def test_shorter_rows_are_padded(tmp_path: Path) -> None:
    build("BertModel", tiny(pad_token_id=9), dtype=np.float32).save_pretrained(tmp_path / "model")
    assert export(str(tmp_path / "model"), tmp_path, "[[2, 5, 7], [3], [9, 4]]") == 0
    inputs = golden.read_pack(tmp_path / "pack").inputs
    np.testing.assert_array_equal(inputs["input_ids"], [[2, 5, 7], [3, 9, 9], [9, 4, 9]])
    np.testing.assert_array_equal(inputs["attention_mask"], [[1, 1, 1], [1, 0, 0], [1, 1, 0]])
    assert export(str(tmp_path / "model"), tmp_path, "[[2], []]") == 2


@pytest.mark.parametrize(
    ("ids", "message"), [("[1, 2", "is not JSON"), ("[]", "at least one token"), ("[[]]", "at least one token")]
)
def test_no_ids_at_all(checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], ids: str, message: str) -> None:
    assert export(checkpoint, tmp_path, ids) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("npbert:") == error.count("\n") == 1
    assert "takes one list" not in error


def test_only_may_be_given_again(checkpoint: str, tmp_path: Path) -> None:
    assert export(checkpoint, tmp_path, "[2, 5]", "--only", "pooler", "embeddings", "--only", "encoder") == 0
    assert list(golden.read_pack(tmp_path / "pack")) == ["embeddings", "encoder", "pooler"]


def test_a_directory_is_no_pack_to_write(checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pack").mkdir()
    assert export(checkpoint, tmp_path, "[2, 5]") == 2
    assert "a directory is there" in capsys.readouterr().err


def test_weights_that_are_missing_can_be_named(checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(checkpoint, tmp_path, "[2, 5]") == 0
    pack = golden.read_pack(tmp_path / "pack")
    np.savez(tmp_path / "port.npz", pooler=pack["pooler.dense"])
    diagnose = ["golden", "diagnose", str(tmp_path / "pack"), str(tmp_path / "port.npz")]
    assert main(diagnose) == 2
    assert "--model" in capsys.readouterr().err
    assert main([*diagnose, "--model", checkpoint]) == 0
    assert "pooler-tanh-missing" in capsys.readouterr().out


@pytest.fixture
def pack(checkpoint: str, tmp_path: Path) -> str:
    assert export(checkpoint, tmp_path, "[[2, 5, 7], [7, 3]]", "--weights") == 0
    return str(tmp_path / "pack")


def own_names(pack: str) -> dict[str, np.ndarray]:
    """Some values under the names and in the layouts of somebody else."""
    values = golden.read_pack(pack)
    dump = {}
    for layer in range(2):
        there = f"encoder.layer.{layer}"
        dump[f"blocks.{layer}.q"] = values[f"{there}.attention.self.query"].swapaxes(0, 1)
        dump[f"blocks.{layer}.norm"] = values[f"{there}.attention.output.LayerNorm"].reshape(-1, 12)
    return dump


def test_from_unknown_names_by_a_map_to_a_comparison(pack: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    port, names = str(tmp_path / "port.npz"), tmp_path / "names.json"
    np.savez(port, **own_names(pack))
    assert main(["golden", "compare", pack, port]) == 2
    assert "npbert golden map" in capsys.readouterr().err
    assert main(["golden", "map", pack, port]) == 0
    names.write_text(capsys.readouterr().out)
    assert json.loads(names.read_text()).keys() == {"blocks.*.q", "blocks.*.norm"}
    assert main(["golden", "compare", pack, port, "--map", str(names)]) == 0
    out = capsys.readouterr().out
    assert "ok: 4 tensors" in out
    assert "read as [S, B, N*H]: encoder.layer.0.attention.self.query" in out


def test_unused_names_are_accepted_when_asked(pack: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    port = str(tmp_path / "port.npz")
    np.savez(port, pooler=golden.read_pack(pack)["pooler"], **own_names(pack))
    assert main(["golden", "compare", pack, port]) == 2
    error = capsys.readouterr().err
    assert "4 of the 5 arrays" in error
    assert "--allow-unused" in error
    assert "--map" in error
    assert "allow_unused=" not in error
    assert main(["golden", "compare", pack, port, "--allow-unused"]) == 0


def test_one_misshapen_tensor_is_a_row(pack: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = golden.read_pack(pack)
    port = str(tmp_path / "port.npz")
    np.savez(port, pooler=values["pooler"], encoder=np.zeros((5, 5)))
    assert main(["golden", "compare", pack, port]) == 1
    out = capsys.readouterr().out
    assert "BAD encoder" in out
    assert "takes shape [2, 3, 12], got [5, 5]" in out
    assert "1 of 2 tensors are right" in out
    np.savez(port, encoder=np.zeros((5, 5)))
    assert main(["golden", "compare", pack, port]) == 2


def test_a_diagnosis_goes_on_where_a_tensor_is_misshapen(pack: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = golden.read_pack(pack)
    dump = {name: whole[name] for name in ("embeddings", "encoder.layer.0", "encoder.layer.1")}
    dump["embeddings"] = dump["embeddings"][..., :5]
    dump["encoder.layer.1"] = np.cos(dump["encoder.layer.1"])
    np.savez(tmp_path / "port.npz", **dump)
    capsys.readouterr()
    assert main(["golden", "diagnose", pack, str(tmp_path / "port.npz")]) == 0
    assert capsys.readouterr().out.startswith("unknown at encoder.layer.1\n")
    del dump["encoder.layer.1"]
    np.savez(tmp_path / "port.npz", **dump)
    assert main(["golden", "diagnose", pack, str(tmp_path / "port.npz")]) == 0
    out = capsys.readouterr().out
    assert out.startswith("unknown at embeddings\n    It takes shape [2, 3, 12], got [2, 3, 5], so nobody can tell")
    assert "evidence: embeddings could not be compared" in out


def test_a_diagnosis_asks_for_the_layout_too(checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As many texts as tokens."""
    assert export(checkpoint, tmp_path, "[[2, 5], [9, 7]]", "--weights") == 0
    whole = golden.read_pack(tmp_path / "pack")
    np.savez(tmp_path / "port.npz", **{name: whole[name].swapaxes(0, 1) for name in ("encoder.layer.0", "encoder.layer.1")})
    capsys.readouterr()
    assert main(["golden", "diagnose", str(tmp_path / "pack"), str(tmp_path / "port.npz")]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert out.startswith("unknown at encoder.layer.0 ")
    assert "Is it [S, B, D]? The shape does not tell, and read so, encoder.layer.0, encoder.layer.1 would be right" in out
    assert 'say it in the map: {"*": {"layout": "S B D"}}' in out


def test_advice_is_the_commands(pack: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    port = str(tmp_path / "port.npz")
    packs = Path(__file__).parent / "packs"
    assert main(["golden", "compare", str(packs / "encoder.safetensors"), str(packs / "encoder.bfloat16.safetensors")]) == 1
    assert capsys.readouterr().out.startswith("right as bfloat16, not as float32: compare with --precision bfloat16\n")
    np.savez(port, pooler=golden.read_pack(pack)["pooler"])
    assert main(["golden", "compare", pack, port, "--precision", "fp8"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("npbert: --precision: takes float32")
    assert "bf16" in error


def test_names(checkpoint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["golden", "names", checkpoint]) == 0
    out = capsys.readouterr().out
    assert "encoder.layer.1.attention.self:query              [B, 3, S, 4]" in out
    assert "still not scaled" in out


def test_a_map_for_a_model(checkpoint: str, pack: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "port.npz", **own_names(pack))
    assert main(["golden", "map", checkpoint, str(tmp_path / "port.npz")]) == 0
    assert json.loads(capsys.readouterr().out)["blocks.*.q"] == "encoder.layer.*.attention.self.query"


def diagnosed(pack: str, tmp_path: Path, dump: dict[str, np.ndarray]) -> int:
    np.savez(tmp_path / "port.npz", **dump)
    return main(["golden", "diagnose", pack, str(tmp_path / "port.npz")])


def test_a_diagnosis_of_a_wrong_dump(pack: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dump = dict(golden.read_pack(pack))
    name = "encoder.layer.0.attention.self:scores"
    dump[name] = dump[name] / 2
    assert diagnosed(pack, tmp_path, dump) == 1
    out = capsys.readouterr().out
    assert out.startswith(f"the dump, not the computation: {name} differs, but what is computed from it is right\n")
    assert "the right tensor times 0.5" in out


def test_a_diagnosis_of_another_precision(pack: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dump = {name: x.astype(np.float16) for name, x in golden.read_pack(pack).items()}
    assert diagnosed(pack, tmp_path, dump) == 0
    out = capsys.readouterr().out
    assert out.startswith("right as float16, not as float32: compare with --precision float16\n")


def test_a_mistake_in_another_precision_is_not_right(pack: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dump = {name: x.astype(np.float16) for name, x in golden.read_pack(pack).items()}
    dump["pooler"] = dump["pooler.activation"] = dump["output:pooler_output"] = dump["pooler.dense"]
    assert diagnosed(pack, tmp_path, dump) == 0
    out = capsys.readouterr().out
    assert out.startswith("pooler-tanh-missing at pooler.activation\n")
    assert "right as" not in out


# -------------------------------------------------------------------------------------------------------------------- training


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> str:
    where = tmp_path_factory.mktemp("classifier")
    build("BertForSequenceClassification", tiny(), dtype=np.float32).save_pretrained(where)
    return str(where)


IDS = "[[2, 5, 7], [3, 4]]"


def test_gradients_dropout_and_steps(classifier: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "labels.json").write_text("[1, 0]")
    steps = ["--steps", "2", "--lr", "1e-3", "--optimizer", "adamw", "--weight-decay", "0", "--max-norm", "1"]
    schedule = ["--schedule", "linear", "--warmup", "1", "--total", "9"]
    training = ["--labels", str(tmp_path / "labels.json"), "--gradients", "--dropout-seed", "3", *steps, *schedule]
    assert export(classifier, tmp_path, IDS, *training) == 0
    pack = golden.read_pack(tmp_path / "pack")
    assert pack.backward is not None
    assert pack.backward.dropout_seed == 3
    assert pack.steps == golden.Steps(2, lr=1e-3, weight_decay=0, max_norm=1, schedule="linear", warmup=1, total=9)
    assert {"grad:classifier", "grad:weight:classifier.bias", "step:2:weight:classifier.bias", "step:2:loss"} <= set(pack)
    np.testing.assert_array_equal(pack.inputs["labels"], [1, 0])
    capsys.readouterr()
    assert main(["golden", "show", str(tmp_path / "pack")]) == 0
    assert "training gradients, dropout with seed 3, 2 steps of adamw with lr 0.001" in capsys.readouterr().out


def test_labels_of_several_arguments(tmp_path: Path) -> None:
    build("BertForQuestionAnswering", tiny(), dtype=np.float32).save_pretrained(tmp_path / "model")
    labels = '{"start_positions": [1, 0], "end_positions": [2, 1]}'
    assert export(str(tmp_path / "model"), tmp_path, IDS, "--labels", labels, "--gradients", "--no-large") == 0
    assert "grad:qa_outputs" in golden.read_pack(tmp_path / "pack")


def test_a_decoder_begins_with_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    decoder = build("BertLMHeadModel", tiny(is_decoder=True, add_cross_attention=True), dtype=np.float32)
    model = npbert.EncoderDecoderModel(encoder=build("BertModel", tiny(), dtype=np.float32), decoder=decoder)
    model.save_pretrained(tmp_path / "model")
    where = str(tmp_path / "model")
    assert export(where, tmp_path, IDS) == 2
    assert capsys.readouterr().err.endswith("""give --labels '[[5, 3]]', or --labels '{"decoder_input_ids": [[2, 5]]}'\n""")
    assert export(where, tmp_path, IDS, "--labels", '{"decoder_input_ids": [[2, 5], [2, 7]]}') == 0
    assert golden.read_pack(tmp_path / "pack")["output:logits"].shape[:2] == (2, 2)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--gradients"], "--gradients: come from a loss, and the loss from labels, which --labels gives"),
        (["--labels", "[1, 0]", "--steps", "2"], "--steps: belongs to --gradients"),
        (["--labels", "[1, 0]", "--dropout-seed", "2"], "--dropout-seed: belongs to --gradients"),
        (["--labels", "[1, 0]", "--gradients", "--lr", "2"], "--lr: belongs to --steps"),
        (["--labels", "[1, 0]", "--gradients", "--steps", "2", "--lr", "x"], "--lr: takes a number, got 'x'"),
        (["--labels", "[1, 0]", "--gradients", "--steps", "2", "--optimizer", "sgd"], "--optimizer: takes 'adamw', got 'sgd'"),
        (["--labels", "[[1, 0], [1]]", "--gradients"], "--labels: takes rows of one length, padded with -100"),
        (["--labels", "[1, ", "--gradients"], "--labels"),
    ],
)
def test_what_training_lacks(
    classifier: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    assert export(classifier, tmp_path, IDS, *options) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"npbert: {said}")
    assert error.count("\n") == 1


def test_a_base_model_has_no_loss(checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(checkpoint, tmp_path, IDS, "--gradients") == 2
    said = "npbert: --gradients: BertModel has no loss; give --output-gradients, or take a model with a head\n"
    assert capsys.readouterr().err == said


def test_a_base_model_with_gradients_of_its_own(checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = str(tmp_path / "given.npz")
    shape = (2, 3, tiny().hidden_size)
    np.savez(given, last_hidden_state=np.ones(shape, np.float32))
    assert export(checkpoint, tmp_path, IDS, "--gradients", "--output-gradients", given) == 0
    pack = golden.read_pack(tmp_path / "pack")
    np.testing.assert_array_equal(pack["grad:output:last_hidden_state"], np.ones(shape))
    assert pack["grad:embeddings"].any()
    capsys.readouterr()
    for arrays, options, said in (
        ({"last_hidden_state": np.ones(3)}, ["--gradients"], "--output-gradients['last_hidden_state']: takes"),
        ({"logits": np.ones(3)}, ["--gradients"], "--output-gradients: takes gradients by last_hidden_state"),
        ({"last_hidden_state": np.ones(shape)}, [], "--output-gradients: belongs to --gradients"),
    ):
        np.savez(given, **arrays)
        assert export(checkpoint, tmp_path, IDS, *options, "--output-gradients", given) == 2
        assert capsys.readouterr().err.startswith(f"npbert: {said}")
