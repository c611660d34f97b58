"""Files from the hub: from a small one that runs on this machine for the test."""

import http.server
import importlib.metadata
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from npbert.checkpoints import hub_repository

ROOT = Path(__file__).parents[2]
TF = Path(__file__).parent / "data" / "tf"

COMMIT = "0123456789abcdef0123456789abcdef01234567"
INDEX = json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}).encode()
REPOSITORIES = {
    "safe": {"config.json": b"{}", "model.safetensors": b"weights", "pytorch_model.bin": b"old", "vocab.txt": b"[PAD]"},
    "org/sharded": {
        "config.json": b"{}",
        "model.safetensors.index.json": INDEX,
        "model-00001-of-00002.safetensors": b"first",
        "model-00002-of-00002.safetensors": b"second",
        "pytorch_model.bin": b"old",
    },
    "org/torch": {"config.json": b"{}", "pytorch_model.bin": b"old"},
    "org/tensorflow": {
        name.replace("model.ckpt-7", "bert_model.ckpt"): (TF / "classifier" / name).read_bytes()
        for name in (
            "bert_config.json",
            "model.ckpt-7.index",
            "model.ckpt-7.data-00000-of-00002",
            "model.ckpt-7.data-00001-of-00002",
        )
    }
    | {"vocab.txt": b"[PAD]"},
    "org/empty": {"config.json": b"{}"},
    "org/outside": {"config.json": b"{}", "pytorch_model.bin.index.json": b'{"weight_map": {"a": "../../safe/vocab.txt"}}'},
    "org/short": {"config.json": b"{}", "pytorch_model.bin.index.json": b'{"weight_map": {"a": "gone.bin"}}'},
    "org/folders": {
        "in/side/config.json": b"{}",
        "in/side/model.safetensors.index.json": INDEX,
        "in/side/model-00001-of-00002.safetensors": b"first",
        "in/side/model-00002-of-00002.safetensors": b"second",
    },
    "org/private": {"config.json": b"{}", "model.safetensors": b"weights"},
    "org/gated": {"config.json": b"{}"},
    "org/broken": {"config.json": b"{}", "model.safetensors": b"weights"},
}


class Handler(http.server.BaseHTTPRequestHandler):
    """As much of the hub as `hf_hub_download` talks to: /{repository}/resolve/{revision}/{file}."""

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        if "/resolve/" in self.path:  # some versions also ask for news
            self.server.downloads.append(self.path)
        self.answer(body=True)

    def answer(self, *, body):
        repository, _, rest = self.path.strip("/").partition("/resolve/")
        revision, _, name = rest.partition("/")
        files = REPOSITORIES.get(repository)
        if repository == "org/private" and self.headers.get("Authorization") != "Bearer secret":
            files = None
        if files is None:
            self.refuse(401, "RepoNotFound")
        elif repository == "org/gated":
            self.refuse(403, "GatedRepo")
        elif repository == "org/broken" and body:
            self.refuse(410, "Gone")
        elif revision not in ("main", "v1", COMMIT):
            self.refuse(404, "RevisionNotFound")
        elif name not in files:
            self.refuse(404, "EntryNotFound")
        else:
            self.send_response(200)
            self.send_header("ETag", f'"{abs(hash((repository, name))):x}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", str(len(files[name])))
            self.end_headers()
            if body:
                self.wfile.write(files[name])

    def refuse(self, status, code):
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        if code == "EntryNotFound":
            self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.downloads = []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


SCRIPT = """
import json, sys
from npbert.checkpoints import find
from npbert.errors import FileError, MissingFileError
for wanted, (name, *file_names), options in json.load(sys.stdin):
    try:
        checkpoint = find(name, **options)
        if wanted == "weights_file":
            print(json.dumps([str(checkpoint.weights_file.path), checkpoint.weights_file.format]))
        else:
            found = checkpoint.file(*file_names) if wanted == "file" else checkpoint.fields_path
            print(json.dumps(found and str(found)))
    except MissingFileError as error:
        print(json.dumps({"missing": str(error)}))
    except FileError as error:
        print(json.dumps({"damaged": str(error)}))
"""


NOBODY = "http://127.0.0.1:9"  # the discard service, which nothing has offered for decades


def ask(home, endpoint, *calls, script=SCRIPT, **environment):
    """What these calls answer in a process of its own: huggingface_hub reads its environment when it is imported."""
    hidden = ("HF_", "HUGGING", "TRANSFORMERS_", "http_proxy", "https_proxy", "all_proxy")
    env = {name: value for name, value in os.environ.items() if not name.lower().startswith(tuple(map(str.lower, hidden)))}
    env |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "NO_PROXY": "127.0.0.1", "HF_HUB_DISABLE_XET": "1"} | environment
    done = subprocess.run(
        [sys.executable, "-c", script], input=json.dumps(calls), cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def url(server):
    return f"http://127.0.0.1:{server.server_port}"


def test_only_what_is_needed_is_downloaded(tmp_path, server):
    cached = str(tmp_path / "hub")
    (config, weights, vocabulary, nothing, sharded, torch, tf_config, tf), stderr = ask(
        tmp_path,
        url(server),
        ("fields_path", ["safe"], {}),
        ("weights_file", ["safe"], {}),
        ("file", ["safe", "vocab.txt"], {}),
        ("file", ["safe", "modules.json"], {}),
        ("weights_file", ["org/sharded"], {"revision": "v1"}),
        ("weights_file", ["org/torch"], {"cache_dir": str(tmp_path / "other")}),
        ("fields_path", ["org/tensorflow"], {}),
        ("weights_file", ["org/tensorflow"], {}),
        TQDM_POSITION="-1",  # show progress bars though stderr is no terminal
    )
    assert Path(config).read_bytes() == b"{}"
    assert config.startswith(cached)
    assert weights[1] == "safetensors"
    assert Path(weights[0]).read_bytes() == b"weights"
    assert Path(vocabulary).read_bytes() == b"[PAD]"
    assert nothing is None
    assert sharded[1] == "safetensors shards"
    assert Path(sharded[0]).with_name("model-00002-of-00002.safetensors").read_bytes() == b"second"
    assert torch[1] == "torch"
    assert torch[0].startswith(str(tmp_path / "other"))
    assert Path(tf_config).name == "bert_config.json"
    assert tf[1] == "tensorflow"
    assert Path(tf[0]).with_name("bert_model.ckpt.data-00001-of-00002").is_file()
    assert [path.partition("/resolve/")[2] for path in server.downloads] == [
        "main/config.json",
        "main/model.safetensors",
        "main/vocab.txt",
        "v1/model.safetensors.index.json",
        "v1/model-00001-of-00002.safetensors",
        "v1/model-00002-of-00002.safetensors",
        "main/pytorch_model.bin",
        "main/bert_config.json",
        "main/bert_model.ckpt.index",
        "main/bert_model.ckpt.data-00000-of-00002",
        "main/bert_model.ckpt.data-00001-of-00002",
    ]
    if tuple(map(int, importlib.metadata.version("huggingface_hub").split(".")[:2])) >= (0, 26):  # which heed TQDM_POSITION
        assert "model.safetensors: 100%" in stderr


def test_a_folder_inside_a_repository(tmp_path, server):
    (config, weights, nothing), _ = ask(
        tmp_path,
        url(server),
        ("fields_path", ["org/folders"], {"subfolder": "in/side", "proxies": {}}),
        ("weights_file", ["org/folders"], {"subfolder": "in/side"}),
        ("fields_path", ["org/folders"], {"subfolder": "in"}),
    )
    assert config.endswith("/in/side/config.json")
    assert Path(weights[0]).with_name("model-00002-of-00002.safetensors").read_bytes() == b"second"
    assert "no configuration" in nothing["missing"]


MODELS = """
import json, sys, npbert
from npbert.models.converting import convert
for name, target, options in json.load(sys.stdin):
    model = npbert.load(name, **options)
    print(json.dumps([type(model).__name__, model.config.num_labels, model.name_or_path]))
    print(json.dumps([path.name for path in convert(name, target)] if target else None))
"""


def test_a_model_from_the_hub_is_loaded_and_converted(tmp_path, server):
    where = {"revision": "v1", "cache_dir": str(tmp_path / "other")}
    calls = [["org/tensorflow", None, where], ["org/tensorflow", str(tmp_path / "made"), {}]]
    (pinned, _, latest, made), _ = ask(tmp_path, url(server), *calls, script=MODELS)
    assert pinned == latest == ["BertForSequenceClassification", 3, "org/tensorflow"]
    assert made == ["config.json", "model.safetensors", "vocab.txt"]
    assert (tmp_path / "made" / "vocab.txt").read_bytes() == b"[PAD]"
    downloads = [path.partition("/resolve/")[2] for path in server.downloads]
    names = [
        "bert_config.json",
        *(f"bert_model.ckpt.{part}" for part in ("index", "data-00000-of-00002", "data-00001-of-00002")),
    ]
    assert downloads == [f"{revision}/{name}" for revision in ("v1", "main") for name in names] + ["main/vocab.txt"]


def test_what_is_cached_needs_no_network(tmp_path, server):
    online = [("fields_path", ["org/torch"], {}), ("weights_file", ["org/torch"], {})]
    first, _ = ask(tmp_path, url(server), *online)
    server.downloads.clear()
    offline, _ = ask(tmp_path, url(server), *online, ("file", ["org/torch", "vocab.txt"], {}), HF_HUB_OFFLINE="1")
    assert offline == [*first, None]
    local, _ = ask(tmp_path, url(server), *[(wanted, names, {"local_files_only": True}) for wanted, names, _ in online])
    assert local == first
    unreachable, _ = ask(tmp_path, NOBODY, *online)
    assert unreachable == first
    assert server.downloads == []


def test_what_is_not_on_the_hub(tmp_path, server):
    (unknown, revision, empty, outside, short, name, private, token, gated, broken), _ = ask(
        tmp_path,
        url(server),
        ("fields_path", ["org/unknown"], {}),
        ("fields_path", ["safe"], {"revision": "v9"}),
        ("weights_file", ["org/empty"], {}),
        ("weights_file", ["org/outside"], {}),
        ("weights_file", ["org/short"], {}),
        ("weights_file", ["spaces in it"], {}),
        ("weights_file", ["org/private"], {}),
        ("weights_file", ["org/private"], {"token": "secret"}),
        ("fields_path", ["org/gated"], {}),
        ("fields_path", ["org/broken"], {}),
    )
    assert unknown["missing"].startswith(f"org/unknown: no such file or directory, and no such model on {url(server)}")
    assert "token" in unknown["missing"]
    assert revision["missing"] == f"safe: no revision 'v9' of this model on {url(server)}"
    assert empty["missing"].startswith(f"org/empty: no weights on {url(server)} (looked for model.safetensors, ")
    assert "only files beside the index" in outside["damaged"]
    assert short["missing"].startswith("org/short: no gone.bin on")
    assert "not a name that a model on the hub can have" in name["missing"]
    assert private["missing"].startswith("org/private: no such file or directory, and no such model on")
    assert token[1] == "safetensors"
    assert f"{url(server)} does not give you the model without permission" in gated["missing"]
    assert broken["missing"].startswith(f"org/broken: could not get config.json from {url(server)}: ")
    assert "410" in broken["missing"]


def test_without_a_network(tmp_path):
    calls = [("fields_path", ["org/torch"], {}), ("weights_file", ["org/torch"], {}), ("file", ["a/b", "vocab.txt"], {})]
    answers, _ = ask(tmp_path, NOBODY, *calls)
    for answer in answers:
        assert ": no such file or directory, and no model of this name in the cache" in answer["missing"]
        assert str(tmp_path) in answer["missing"]
        assert f"{NOBODY} does not answer: [Errno " in answer["missing"]
    answers, _ = ask(tmp_path, NOBODY, *calls, HF_HUB_OFFLINE="1")
    for answer in answers:
        assert "the network must not be asked (local_files_only or HF_HUB_OFFLINE)" in answer["missing"]


def test_an_unreachable_hub_is_asked_once_a_minute(monkeypatch):
    asked, now = [], [1000.0]

    def refuse(address, timeout):
        asked.append(address)
        raise ConnectionRefusedError("refused")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(hub_repository.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(hub_repository, "_unreachable", {})
    monkeypatch.setattr("urllib.request.getproxies", dict)
    for _ in range(3):
        assert (
            hub_repository._why_unreachable("https://mirror.example", timeout=1)
            == "https://mirror.example does not answer: refused"
        )
    assert asked == [("mirror.example", 443)]
    now[0] += 61
    hub_repository._why_unreachable("https://mirror.example", timeout=1)
    assert len(asked) == 2
    # A proxy may know a way where there is no direct one.
    monkeypatch.setattr("urllib.request.getproxies", lambda: {"http": "http://proxy.example"})
    assert hub_repository._why_unreachable("http://other.example", timeout=1) == ""
    assert len(asked) == 2


def test_a_cache_without_weights_says_so(tmp_path, server):
    ask(tmp_path, url(server), ("fields_path", ["org/torch"], {}))
    (answer,), _ = ask(tmp_path, url(server), ("weights_file", ["org/torch"], {}), HF_HUB_OFFLINE="1")
    assert answer["missing"].startswith(f"org/torch: no weights in the cache {tmp_path}")
    assert "HF_HUB_OFFLINE" in answer["missing"]
