"""The command between a shell and files that nobody vouches for: what a terminal shows, and how it starts and ends."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import npbert
from npbert import golden
from npbert.checkpoints import safetensors
from npbert.cli import main

from ..builders import build, ids, tiny

ESCAPE = "\x1b]0;owned\x07\x9b31m"
SHOWN = r"\x1b]0;owned\x07\x9b31m"
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "sat"]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """The command in this process: exit status, standard output, standard error."""
    try:
        status = main(arguments)
    except SystemExit as exit_:
        status = int(exit_.code or 0)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def checkpoint(directory: Path, name: str = "BertModel", words: list[str] = WORDS, **fields: Any) -> str:
    """A tiny checkpoint with a vocabulary."""
    config = tiny(vocab_size=len(words), max_position_embeddings=16, type_vocab_size=2, **fields)
    build(name, config, seed=3, dtype=np.float32, scale=0.6).save_pretrained(directory)
    (directory / "vocab.txt").write_text("".join(f"{word}\n" for word in words), encoding="utf-8")
    return str(directory)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "npbert", *arguments]


def environment() -> dict[str, str]:
    root = str(Path(npbert.__file__).parent.parent)
    return {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}


# ------------------------------------------------------------------------------------------------------- what a file says


def test_a_checkpoint_without_token_types_has_no_column_for_them(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    directory = checkpoint(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "distilbert"}))
    status, out, _ = run(capsys, "tokenize", "--model", directory, "the cat")
    assert (status, out.splitlines()[0].split()) == (0, ["piece", "id", "from", "to", "text"])
    assert out.splitlines()[2].split() == ["the", "5", "0", "3", "the"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert run(capsys, "tokenize", "--model", directory, "the")[1].splitlines()[2].split() == ["the", "5", "0", "0", "3", "the"]


@pytest.mark.parametrize(
    ("verb", "name", "fields", "arguments"),
    [
        ("classify", "BertForSequenceClassification", {"id2label": {0: f"bad{ESCAPE}", 1: "good"}}, ["--top-k", "2", "the"]),
        ("tokens", "BertForTokenClassification", {"id2label": {0: f"B-{ESCAPE}", 1: f"I-{ESCAPE}"}}, ["the cat"]),
        ("fill-mask", "BertForMaskedLM", {}, ["--top-k", "8", "the [MASK]"]),
        ("tokenize", "BertModel", {}, [f"the {ESCAPE}"]),
        ("generate", "BertLMHeadModel", {"is_decoder": True}, ["--max-new-tokens", "8", "--do-sample", "--seed", "1", "the"]),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_what_a_checkpoint_says_cannot_steer_a_terminal(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, verb: str, name: str, fields: Any, arguments: list[str], as_json: bool
) -> None:
    words = [f"w{ESCAPE}{number}" if number > 5 else word for number, word in enumerate([*WORDS, *WORDS])]
    directory = checkpoint(tmp_path, name, words, **fields)
    status, out, err = run(capsys, verb, "--model", directory, *arguments, *(["--json"] if as_json else []))
    assert (status, err) == (0, "")
    assert (r"\u009b31m" if as_json else r"\x9b31m") in out
    assert all(line.isprintable() for line in out.split("\n"))
    if as_json:
        assert "\x9b31m" in json.dumps(json.loads(out), ensure_ascii=False), "the value itself is as it was"


def test_what_a_pack_says_cannot_steer_a_terminal(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    model = build("BertModel", tiny(), dtype=np.float32)
    golden.export(model, {"input_ids": ids(model.config, 1, 3)}, tmp_path / "pack", only="pooler")
    texts = safetensors.read_metadata(tmp_path / "pack")
    texts["config"] = json.dumps({**json.loads(texts["config"]), "architectures": [f"Bert{ESCAPE}"]})
    safetensors.write(tmp_path / "pack", safetensors.read(tmp_path / "pack"), texts)
    status, out, _ = run(capsys, "golden", "show", str(tmp_path / "pack"))
    assert status == 0
    assert f"Bert{SHOWN}" in out
    assert all(line.isprintable() for line in out.split("\n"))


@pytest.mark.parametrize("argument", ["--no\nsuch", "--\x1b[2J", "--\r\n"])
def test_bad_usage_is_one_line_whatever_was_typed(capsys: pytest.CaptureFixture[str], argument: str) -> None:
    status, out, err = run(capsys, "info", argument)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err[:-1].isprintable()


def test_beams_are_limited(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    directory = checkpoint(tmp_path, "BertLMHeadModel", is_decoder=True)
    status, _, err = run(capsys, "generate", "--model", directory, "--num-beams", "99999", "the")
    assert (status, err) == (2, "npbert: --num-beams: takes at most 1000 for a prompt, got 99999\n")


# -------------------------------------------------------------------------------------------------------- where it is written


def test_a_pack_may_be_written_into_a_pipe_and_through_a_link(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    directory = checkpoint(tmp_path / "model")
    (tmp_path / "ids").write_text("[2, 5, 3]")
    export = ["golden", "export", directory, "--ids", str(tmp_path / "ids"), "--only", "pooler", "-o"]
    assert run(capsys, *export, str(tmp_path / "pack"))[0] == 0
    done = subprocess.run(command(*export, "/dev/stdout"), capture_output=True, timeout=60, check=False, env=environment())
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == (tmp_path / "pack").read_bytes()
    (tmp_path / "link").symlink_to("pack")
    status, out, _ = run(capsys, *export, str(tmp_path / "link"))
    assert (status, out.endswith(" bytes\n"), (tmp_path / "link").is_symlink()) == (0, True, True)
    null = tmp_path / "null"
    try:
        os.mknod(null, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        null.write_bytes(b"")
    except OSError:
        return  # only the superuser makes devices, and not everywhere
    assert run(capsys, *export, str(null)) == (0, "", "")
    assert stat.S_ISCHR(null.stat().st_mode)


# -------------------------------------------------------------------------------------------------------- how it starts, ends


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_standard_error_changes_no_status(tmp_path: Path) -> None:
    directory = checkpoint(tmp_path)
    with open("/dev/full", "wb") as full:
        for arguments, status in ((["tokenize", "--model", directory, "the"], 0), (["tokenize", "--model", "./no"], 2),
                                  (["nothing"], 2), (["golden", "show", "./no"], 2)):  # fmt: skip
            done = subprocess.run(command(*arguments), stdout=subprocess.DEVNULL, stderr=full, stdin=subprocess.DEVNULL,
                                  timeout=60, check=False, env=environment())  # fmt: skip
            assert done.returncode == status, arguments


def start_with(directory: Path, module: str, code: str) -> dict[str, str]:
    """The environment of a process that finds this code where it imports a module."""
    (directory / f"{module}.py").write_text(code)
    return {**environment(), "PYTHONPATH": os.pathsep.join([str(directory), environment()["PYTHONPATH"]])}


@pytest.mark.parametrize(("module", "status"), [("argparse", -signal.SIGINT), ("numpy", 130)])
def test_an_interrupt_while_it_starts_leaves_no_traceback(tmp_path: Path, module: str, status: int) -> None:
    """The interrupt comes while a module is imported, which says so and waits."""
    waiting = start_with(tmp_path, module, "import time\nprint('importing', flush=True)\ntime.sleep(60)\n")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it, and so would this
    try:
        running = subprocess.Popen(command("info"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=waiting)
    finally:
        signal.signal(signal.SIGINT, before)
    with running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"importing\n"
        time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=30)
    assert (running.returncode, err) == (status, b"")


@pytest.mark.parametrize("module", ["argparse", "numpy"])
@pytest.mark.parametrize("error", ["ImportError('no room\\nto map it')", "MemoryError()"])
def test_what_cannot_be_imported_is_one_line(tmp_path: Path, module: str, error: str) -> None:
    failing = start_with(tmp_path, module, f"raise {error}\n")
    done = subprocess.run(command("info"), capture_output=True, timeout=60, check=False, env=failing)
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)
    assert b"no room to map it" in done.stderr or b"not enough memory" in done.stderr


def test_a_library_that_cannot_be_loaded_is_one_line_with_the_reason(tmp_path: Path) -> None:
    """As NumPy says it where a limit leaves no memory for its own libraries."""
    failing = start_with(
        tmp_path, "numpy", "try:\n    raise ImportError('blas: failed to map segment')\nexcept ImportError as error:\n"
        "    raise ImportError('PLEASE READ THIS\\n' * 30) from error\n",
    )  # fmt: skip
    done = subprocess.run(command("info"), capture_output=True, timeout=60, check=False, env=failing)
    assert done.returncode == 2
    assert done.stderr == b"npbert: cannot start: blas: failed to map segment (--debug shows the traceback)\n"
