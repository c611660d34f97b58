"""`npbert train`: from a file to a checkpoint that loads here and in the reference."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import xml.etree.ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import npbert
from npbert.cli import main
from npbert.training.folder import CURVE, LOG, RESULTS, STATE, read_log

from ..training.small import checkpoint_in, sentences, vocab_file
from ..training.test_answering import asked_about
from ..training.test_classification import labelled
from ..training.test_tagging import tagged


def texts(path: Path, count: int = 40, seed: int = 0) -> str:
    lines = sentences(count, seed)
    path.write_text("".join(f"{line}\n" + ("\n" if number % 5 == 4 else "") for number, line in enumerate(lines)))
    return str(path)


def table(path: Path, count: int = 40, seed: int = 0) -> str:
    path.write_text("text\tlabel\n" + "".join(f"{one.text}\t{one.label}\n" for one in labelled(count, seed)))
    return str(path)


def columns(path: Path, count: int = 40, seed: int = 0) -> str:
    blocks = ["\n".join(map(" ".join, zip(one.words, one.labels, strict=True))) for one in tagged(count, seed)]
    path.write_text("\n\n".join(blocks) + "\n")
    return str(path)


def squad(path: Path, count: int = 24, seed: int = 0) -> str:
    def entry(asked: Any) -> dict[str, Any]:
        answers = [{"text": text, "answer_start": start} for text, start in asked.answers]
        return {
            "context": asked.context,
            "qas": [{"question": asked.question, "answers": answers, "is_impossible": not answers}],
        }

    path.write_text(
        json.dumps({"data": [{"paragraphs": [entry(asked) for asked in asked_about(count, seed, impossible=True)]}]})
    )
    return str(path)


DATA = {"pretrain": texts, "mlm": texts, "classify": table, "tokens": columns, "qa": squad}
FILES = {"classify": ".tsv", "qa": ".json"}
FIGURES = {
    "pretrain": {"loss", "masked_accuracy", "next_sentence_accuracy"},
    "mlm": {"loss", "masked_accuracy"},
    "classify": {"accuracy", "loss"},
    "tokens": {"f1", "precision", "recall", "accuracy", "loss"},
    "qa": {"exact_match", "f1"},
}
CLASSES = {
    "pretrain": "BertForPreTraining",
    "mlm": "BertForMaskedLM",
    "classify": "BertForSequenceClassification",
    "tokens": "BertForTokenClassification",
    "qa": "BertForQuestionAnswering",
}


def command(tmp_path: Path, task: str, *more: str) -> list[str]:
    """A run of a few steps of the task, from a tiny checkpoint."""
    ending = FILES.get(task, ".txt")
    data, held_out = (DATA[task](tmp_path / f"{name}{ending}", seed=seed) for name, seed in (("data", 0), ("eval", 7)))
    begin = ["--model", str(checkpoint_in(tmp_path / "start"))]
    if task == "pretrain":
        sizes = "--layers 1 --hidden-size 16 --heads 2 --max-length 24".split()  # noqa: SIM905
        begin = [*sizes, "--vocab", str(vocab_file(tmp_path))]
    options = ["--eval", held_out, "-o", str(tmp_path / "out"), "--lr", "1e-3", "--batch-size", "8"]
    return ["train", task, data, *begin, *options, *more]


def files_of(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.mark.parametrize("task", DATA)
def test_every_task_ends_with_a_checkpoint_and_its_figures(
    task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(tmp_path, task, "--steps", "4", "--eval-every", "2")) == 0
    out, err = capsys.readouterr()
    home = tmp_path / "out"
    assert err == ""
    assert out.startswith(f"{task}: ")
    results = json.loads((home / RESULTS).read_text())
    assert set(results) == {"step", *FIGURES[task]}
    for name in FIGURES[task]:
        assert name.replace("_", " ") in out
    model = npbert.load(home)
    assert type(model).__name__ == CLASSES[task]
    tokenizer = npbert.BertTokenizer.from_pretrained(home)
    assert tokenizer("the cat")["input_ids"] == npbert.BertTokenizer(vocab_file(tmp_path))("the cat")["input_ids"]
    log = read_log(home / LOG)
    assert [line["step"] for line in log if "lr" in line] == [1, 2, 3, 4]
    assert [line["step"] for line in log if "lr" not in line] == [2, 4]
    drawing = xml.etree.ElementTree.fromstring((home / CURVE).read_text())
    assert drawing.tag.endswith("svg")
    assert not (home / STATE).exists()


@pytest.mark.parity
@pytest.mark.parametrize("task", DATA)
def test_the_reference_reads_what_was_trained(task: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    assert main(command(tmp_path, task, "--steps", "2")) == 0
    home = tmp_path / "out"
    ours = npbert.load(home)
    theirs, info = getattr(transformers, CLASSES[task]).from_pretrained(
        home, attn_implementation="eager", output_loading_info=True
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert theirs.config.id2label == ours.config.id2label
    tokenizer = transformers.AutoTokenizer.from_pretrained(home)
    inputs = tokenizer(["the cat sat", "a dog"], padding=True, return_tensors="pt")
    own = npbert.BertTokenizer.from_pretrained(home)(["the cat sat", "a dog"], padding=True, return_tensors="np")
    np.testing.assert_array_equal(own["input_ids"], inputs["input_ids"].numpy())
    with torch.no_grad():
        expected = theirs.eval()(**inputs).to_tuple()
    for one, other in zip(ours(**own).to_tuple(), expected, strict=True):
        np.testing.assert_allclose(one, other.numpy(), atol=3e-5)


def test_labels_come_from_the_data(tmp_path: Path) -> None:
    assert main(command(tmp_path, "classify", "--steps", "1")) == 0
    config = npbert.BertConfig.from_pretrained(tmp_path / "out")
    assert config.id2label == {0: "cat", 1: "none"}
    assert config.label2id == {"cat": 0, "none": 1}


def test_a_head_that_knows_these_labels_is_kept_and_another_begins_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(tmp_path, "classify", "--steps", "1")) == 0
    assert "new weights: classifier.weight, classifier.bias" in capsys.readouterr().out.replace(
        "classifier.bias, classifier.weight", "classifier.weight, classifier.bias"
    )
    again = command(tmp_path, "classify", "--steps", "1", "--model", str(tmp_path / "out"))
    again[again.index("-o") + 1] = str(tmp_path / "second")
    assert main(again) == 0
    assert "new weights" not in capsys.readouterr().out
    data = tmp_path / "data.tsv"
    data.write_text(data.read_text().replace("\tcat\n", "\tfeline\n"))
    again[again.index("-o") + 1] = str(tmp_path / "third")
    del again[again.index("--eval") : again.index("--eval") + 2]
    assert main(again) == 0
    assert "new weights: classifier" in capsys.readouterr().out


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(tmp_path, "classify", "--epochs", "1", "--json")) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == {"directory": str(tmp_path / "out"), **json.loads((tmp_path / "out" / RESULTS).read_text())}
    assert printed["step"] == 5  # 40 rows, 8 at once


def test_epochs_with_accumulation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(tmp_path, "classify", "--epochs", "3", "--accumulate", "2")) == 0
    assert "; 8 steps\n" in capsys.readouterr().out  # 15 batches


def test_frozen_weights_stay(tmp_path: Path) -> None:
    assert main(command(tmp_path, "classify", "--steps", "3", "--freeze", "bert.embeddings.*", "--freeze", "*layer.0*")) == 0
    before, after = (npbert.BertModel.from_pretrained(tmp_path / name) for name in ("start", "out"))
    changed = {name for name, array in after.named_parameters() if not np.array_equal(array, before.weights[name])}
    assert changed == {name for name, _ in after.named_parameters() if "layer.1." in name or "pooler" in name}


def test_the_same_command_makes_the_same_files_and_another_seed_others(tmp_path: Path) -> None:
    ends = []
    for number, seed in enumerate((0, 0, 1)):
        arguments = command(tmp_path, "pretrain", "--steps", "2", "--seed", str(seed))
        arguments[arguments.index("-o") + 1] = str(tmp_path / f"out{number}")
        assert main(arguments) == 0
        ends.append(files_of(tmp_path / f"out{number}"))
    assert ends[0] == ends[1]
    assert ends[0]["model.safetensors"] != ends[2]["model.safetensors"]


def test_a_run_that_is_stopped_goes_on_with_resume(tmp_path: Path) -> None:
    """In another process, with the signal of Ctrl-C, as soon as there is a log."""
    arguments = command(tmp_path, "tokens", "--steps", "30", "--eval-every", "7")
    program = [sys.executable, "-m", "npbert", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(Path(npbert.__file__).parents[1])}
    process = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    log = tmp_path / "out" / LOG
    while process.poll() is None and not (log.exists() and log.stat().st_size):
        pass
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "the same command with --resume goes on" in err
    assert (tmp_path / "out" / STATE).exists()
    assert (tmp_path / "out" / CURVE).exists()
    assert main(arguments) == 2
    assert main([*arguments, "--resume"]) == 0
    stopped = files_of(tmp_path / "out")
    arguments[arguments.index("-o") + 1] = str(tmp_path / "whole")
    assert main(arguments) == 0
    assert stopped == files_of(tmp_path / "whole")


def test_resume_begins_a_run_that_is_not_there_and_leaves_one_that_is_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = command(tmp_path, "mlm", "--steps", "2", "--resume")
    assert main(arguments) == 0
    first, before = capsys.readouterr().out, files_of(tmp_path / "out")
    assert main(arguments) == 0
    assert capsys.readouterr().out == first
    assert files_of(tmp_path / "out") == before


def test_another_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = command(tmp_path, "mlm", "--steps", "2")
    assert main(arguments) == 0
    before = files_of(tmp_path / "out")
    capsys.readouterr()
    assert main(arguments) == 2
    assert "holds a training run that is done" in capsys.readouterr().err
    assert main([*arguments, "--resume", "--seed", "4"]) == 2
    assert "--seed: the run in" in capsys.readouterr().err
    (tmp_path / "data.txt").write_text("the cat .\n")
    assert main([*arguments, "--resume"]) == 2
    assert "data: the run in" in capsys.readouterr().err
    assert files_of(tmp_path / "out") == before


def test_other_peoples_directories_are_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = command(tmp_path, "mlm", "--steps", "2")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "config.json").write_text("mine")
    for more in ([], ["--resume"]):
        assert main([*arguments, *more]) == 2
        assert "is not empty and holds no training run, but config.json" in capsys.readouterr().err
    assert files_of(tmp_path / "out") == {"config.json": b"mine"}


def test_a_bad_row_leaves_no_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = command(tmp_path, "classify")
    (tmp_path / "eval.tsv").write_text("text\tlabel\na\tcat\nb\n")
    assert main(arguments) == 2
    assert f"{tmp_path}/eval.tsv: line 3: takes 2 fields" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--epochs", "1", "--steps", "2"], "not allowed with"),
        (["--layers", "3"], "--layers: belongs to a new model"),
        (["--max-length", "99"], "--max-length: takes 5 to 40, got 99"),
        (["--freeze", "nothing.*"], "no weight of this model"),
        (["--freeze", "*"], "--freeze: leaves no weight to train"),
        (["--lr", "-1"], "--lr"),
        (["--batch-size", "0"], "--batch-size"),
        (["--epochs", "0"], "--epochs"),
        (["--steps", "0"], "--steps"),
        (["--seed", "-3"], "--seed"),
        (["--warmup", "-1"], "--warmup"),
        (["--weight-decay", "nan"], "--weight-decay"),
        (["--patience", "0"], "--patience"),
        (["--eval-every", "0"], "--eval-every"),
    ],
)
def test_wrong_options(more: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = command(tmp_path, "classify", *more)
    try:
        status = main(arguments)
    except SystemExit as error:
        status = int(str(error.code))
    assert status == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_needs_something_to_evaluate_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = table(tmp_path / "data.tsv")
    assert main(["train", "classify", data, "-o", str(tmp_path / "out"), "--patience", "2"]) == 2
    assert "--eval DATA" in capsys.readouterr().err


def test_a_checkpoint_that_is_no_bert(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = command(tmp_path, "classify")
    config = json.loads((tmp_path / "start" / "config.json").read_text())
    (tmp_path / "start" / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    assert main(arguments) == 2
    assert "is no whole BERT: bert.encoder.layer.2." in capsys.readouterr().err


def test_a_new_model_with_a_vocabulary_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = texts(tmp_path / "data.txt")
    arguments = ["train", "pretrain", data, "-o", str(tmp_path / "out"), "--vocab-size", "60", "--steps", "1"]
    assert main([*arguments, "--hidden-size", "12", "--heads", "3", "--layers", "2", "--max-length", "30"]) == 0
    model = npbert.load(tmp_path / "out")
    assert model.config.hidden_size == 12
    assert model.config.num_hidden_layers == 2
    assert model.config.intermediate_size == 48
    assert model.config.max_position_embeddings == 30
    assert model.config.vocab_size == len((tmp_path / "out" / "vocab.txt").read_text().splitlines()) <= 60
    assert npbert.BertTokenizer.from_pretrained(tmp_path / "out").model_max_length == 30
