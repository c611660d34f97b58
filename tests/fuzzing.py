"""Every reader of npbert, and damage for its files: what must end in a value or in an NpbertError, whatever a file holds.

A target is a folder of sound files, one of them to be damaged, and what a user would do with the folder. Damage is of two
kinds: bytes are changed anywhere, or, where a file has a structure (JSON, the header of safetensors, a zip archive), single
values of it are replaced by ones that readers stumble over. `tests/test_fuzz.py` tries a few inputs of each target, and
`tools/fuzz.py` as many as there is time for.
"""

from __future__ import annotations

import copy
import io
import json
import random
import shutil
import time
import traceback
import warnings
import zipfile
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import npbert
from npbert import golden
from npbert.checkpoints import safetensors
from npbert.checkpoints.crc32c import masked_crc32c
from npbert.checkpoints.wire import read_varint

from .builders import build, tiny

TENSORFLOW = Path(__file__).parent / "checkpoints" / "data" / "tf"
TORCH = Path(__file__).parent / "checkpoints" / "data" / "torch"
SLOW = 20.0  # seconds; no input here is larger than some hundred kilobytes
LONGEST_MESSAGE = 4000

Damage = Callable[[bytes, random.Random], bytes]


class Target(NamedTuple):
    """A reader."""

    name: str
    make: Callable[[Path], None]  # writes sound files into a folder
    file: str  # the one that is damaged
    damages: tuple[Damage, ...]
    use: Callable[[Path], object]


class Outcome(NamedTuple):
    """What came of one input."""

    kind: str  # "read", "refused", or the failure: "foreign", "slow", "memory", "message"
    what: str  # of a failure: the error and where it comes from


# ------------------------------------------------------------------------------------------------------------------ damage


def change_bytes(content: bytes, rng: random.Random) -> bytes:
    """One to four changes anywhere."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at = rng.randrange(len(data) + 1)
        length = rng.choice((1, 1, 2, 4, 8, 30))
        match rng.randrange(7):
            case 0 if data:
                data[at % len(data)] ^= 1 << rng.randrange(8)
            case 1 if data:
                data[at % len(data)] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, ord('"'), ord("{"), ord("9"), ord("\n"), ord("-")))
            case 2:
                del data[at : at + length]
            case 3:
                data[at:at] = rng.randbytes(length)
            case 4:
                data[at:at] = data[at : at + length * 4]
            case 5:
                del data[at:]
            case 6:
                number = rng.choice((0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 40, (1 << 63) - 1, (1 << 64) - 1))
                width = rng.choice((1, 2, 4, 8))
                data[at : at + width] = (number % (1 << 8 * width)).to_bytes(width, "little")
    return bytes(data)


VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 7, 1.5, -0.0, 1e30, 1e-30, 1e308, -1e308),
    *(99999, 10**6, 3 * 10**8, 2**31, 2**63, 10**30, -(10**30)),
    *("", "a", "0", "None", "\ud800", "a\0b", "\x1b[2J", "../../x", "x" * 300, "\u00e9", "[PAD]", "bert", "gelu"),
    *([], {}, [1], ["a"], [None], [[]], [[1, 2], [3]], {"a": 1}, {"0": ["a"]}, {"": None}, {"0": "a", "1": "a"}, [{}] * 3),
)
NAMES = (
    *("", "a", "0", "_kept", "_kept.__class__", "self", "cls", "fields", "path", "config", "__class__", "__init__", "validate"),
    *("to_dict", "from_dict", "plain", "num_labels", "head_size", "activation", "dtype", "encoder", "decoder", "id2label"),
    *("label2id", "model_type", "architectures", "num_hidden_layers", "intermediate_size", "vocab_size", "num_beams", "\ud800"),
    *("max_length", "prompts", "pooling_mode", "additional_special_tokens", "type", "content", "x" * 300, "a.b.c"),
)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every list and object of a JSON value, with each of its keys."""
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])


def change_json(content: bytes, rng: random.Random) -> bytes:
    """One or two values, names or entries of a JSON text replaced, added, copied or taken away."""
    value = json.loads(content)
    for _ in range(rng.choice((1, 1, 2))):
        value = _changed(value, rng)
    text = json.dumps(value)
    if rng.random() < 0.1:
        text = text.replace(
            rng.choice(("1", "0", "null", "true")), rng.choice(("1e999", "-1e999", "NaN", "9" * 5000, "[" * 500)), 1
        )
    return text.encode()


def _changed(value: Any, rng: random.Random) -> Any:
    places = list(_places(value)) if isinstance(value, dict | list) else []
    if not places or rng.random() < 0.02:
        return copy.deepcopy(rng.choice(VALUES))
    parent, key = rng.choice(places)
    new = copy.deepcopy(rng.choice(VALUES))
    match rng.randrange(6):
        case 0 | 1:
            parent[key] = new
        case 2:
            del parent[key]
        case 3 if isinstance(parent, dict):
            parent[rng.choice(NAMES)] = new
        case 4 if isinstance(parent, dict):
            parent[rng.choice(NAMES)] = parent.pop(key)
        case 5:
            other, its_key = rng.choice(places)
            parent[key] = (
                copy.deepcopy(other[its_key]) if its_key in (other if isinstance(other, dict) else range(len(other))) else new
            )
        case _:
            parent[key] = [parent[key]]
    return value


def change_header(content: bytes, rng: random.Random) -> bytes:
    """The JSON header of a safetensors file changed, and its length made to fit."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    texts = header.get("__metadata__", {})
    if texts and rng.random() < 0.6:  # a pack's metadata are JSON texts of their own
        name = rng.choice([*texts])
        try:
            texts[name] = change_json(texts[name].encode(), rng).decode()
        except ValueError:
            texts[name] = str(rng.choice(VALUES))
        raw = json.dumps(header).encode()
    else:
        raw = change_json(json.dumps(header).encode(), rng)
    return len(raw).to_bytes(8, "little") + raw + content[8 + length :]


def change_member(content: bytes, rng: random.Random) -> bytes:
    """One file of a zip archive changed, renamed, added or compressed, with sums that fit again."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    name = rng.choice([*members])
    new_name, method = name, zipfile.ZIP_STORED
    match rng.randrange(6):
        case 0:
            new_name = rng.choice(("x", "x.npy", "a/../b", "data.pkl", f"{name}x", "\u00e9.npy", "x" * 300))
        case 1:
            method = rng.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
        case _:
            members[name] = change_bytes(members[name], rng)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for member, data in members.items():
            archive.writestr(new_name if member == name else member, data, method)
    return buffer.getvalue()


def change_index(content: bytes, rng: random.Random) -> bytes:
    """One block of a LevelDB table changed, with a sum that fits again."""
    footer = content[-48:]
    handles, at = [], 0
    for _ in range(4):
        number, at = read_varint(footer, at)
        handles.append(number)
    offset, size = rng.choice((tuple(handles[:2]), tuple(handles[2:]), (0, handles[0] - 5)))
    block = (
        change_bytes(content[offset : offset + size], rng)[:size].ljust(size, b"\0")
        + content[offset + size : offset + size + 1]
    )
    return content[:offset] + block + masked_crc32c(block).to_bytes(4, "little") + content[offset + size + 5 :]


def change_config(content: bytes, rng: random.Random) -> bytes:
    """As `change_json`, and more often a field that counts."""
    if rng.random() < 0.5:
        return change_json(content, rng)
    fields = json.loads(content)
    parts = [part for part in (fields, fields.get("encoder"), fields.get("decoder")) if isinstance(part, dict)]
    part = rng.choice(parts)
    part[rng.choice([*part, *NAMES])] = copy.deepcopy(rng.choice(VALUES))
    return json.dumps(fields).encode()


# ------------------------------------------------------------------------------------------------------------- sound files

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "hello",
    "world",
    "##s",
    "a",
    "b",
    "##x",
    ",",
    ".",
    "!",
    "the",
    "of",
    "to",
]


@cache
def _model(model_class: str, **fields: Any) -> Any:
    return build(model_class, tiny(**fields), dtype=np.float32)


def _save(model_class: str, folder: Path, **fields: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _model(model_class, **fields).save_pretrained(folder)


def _save_shards(folder: Path) -> None:
    _model("BertModel").save_pretrained(folder, max_shard_size="4KB")


def _save_distilbert(folder: Path) -> None:
    fields = {
        "type_vocab_size": 0,
        "model_type": "distilbert",
        "pooler_act": "relu",
        "mask_value": float(np.finfo(np.float32).min),
    }
    _save("BertForSequenceClassification", folder, **fields)


@cache
def _encoder_decoder() -> Any:
    encoder, decoder = _model("BertModel"), _model("BertLMHeadModel", is_decoder=True, add_cross_attention=True)
    model = npbert.EncoderDecoderModel(encoder=encoder, decoder=decoder)
    model.config.decoder_start_token_id, model.config.pad_token_id = 1, 0
    return model


def _save_gpt2(folder: Path) -> None:
    config = npbert.GPT2Config(vocab_size=31, n_positions=17, n_embd=12, n_layer=2, n_head=3, bos_token_id=0, eos_token_id=0)
    npbert.GPT2LMHeadModel(config, rng=np.random.default_rng(0)).save_pretrained(folder)


def _save_encoder_decoder(folder: Path) -> None:
    _encoder_decoder().save_pretrained(folder)


def _save_generating(folder: Path) -> None:
    _save("BertLMHeadModel", folder, is_decoder=True)
    settings = {"max_new_tokens": 2, "num_beams": 2, "do_sample": False, "length_penalty": 1.0, "temperature": 1.0, "top_k": 50}
    settings |= {"top_p": 1.0, "repetition_penalty": 1.0, "no_repeat_ngram_size": 0, "eos_token_id": [3], "pad_token_id": 0}
    settings |= {"early_stopping": False, "num_return_sequences": 1, "min_length": 0, "max_length": 9}
    (folder / "generation_config.json").write_text(json.dumps(settings))


def _copy_torch(name: str, folder: Path) -> None:
    shutil.copy(TORCH / name, folder / "pytorch_model.bin")


def _copy_tensorflow(folder: Path) -> None:
    for file in (TENSORFLOW / "classifier").iterdir():
        shutil.copy(file, folder)


def _save_tokenizer(folder: Path) -> None:
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in WORDS))
    tokenizer = npbert.BertTokenizer(folder / "vocab.txt", additional_special_tokens=["[E1]"], model_max_length=12)
    tokenizer.save_pretrained(folder)


def _save_older_tokenizer(folder: Path) -> None:
    _save_tokenizer(folder)
    (folder / "tokenizer.json").unlink()
    config = {"do_lower_case": True, "max_len": 12, "unk_token": {"content": "[UNK]", "lstrip": False}, "strip_accents": None}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    special = {
        "unk_token": "[UNK]",
        "cls_token": {"content": "[CLS]"},
        "additional_special_tokens": ["[E1]", {"content": "[E2]"}],
    }
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    (folder / "added_tokens.json").write_text(json.dumps({"[E1]": 17, "[E2]": 18}))


def _save_pooling(folder: Path) -> None:
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (path, kind) in enumerate(kinds.items())
    ]
    modes = {"word_embedding_dimension": 12, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
    texts = {
        "modules.json": modules,
        "1_Pooling/config.json": {**modes, "include_prompt": True},
        "sentence_bert_config.json": {"max_seq_length": 128, "do_lower_case": False},
        "config_sentence_transformers.json": {"prompts": {"query": "q: "}, "default_prompt_name": "query"},
    }
    (folder / "1_Pooling").mkdir(exist_ok=True)
    for name, value in texts.items():
        (folder / name).write_text(json.dumps(value))


INPUTS = {"input_ids": np.array([[4, 5, 6], [7, 8, 0]]), "attention_mask": np.array([[1, 1, 1], [1, 1, 0]])}


@cache
def _pack() -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        golden.export(_model("BertModel", num_hidden_layers=1), INPUTS, Path(folder) / "pack", weights=True)
        return (Path(folder) / "pack").read_bytes()


def _write_pack(folder: Path) -> None:
    (folder / "pack").write_bytes(_pack())
    pack = golden.read_pack(folder / "pack")
    names = [name for name in pack if "layer.0" in name or name.startswith("output:")][:12]
    port = {name: np.asarray(pack[name]) for name in names}
    np.savez(folder / "port.npz", **port)
    (folder / "port").mkdir(exist_ok=True)
    for number, name in enumerate(names):
        np.save(folder / "port" / f"{'first' if not number else name.replace(':', '_')}.npy", port[name])
    safetensors.write(folder / "port.safetensors", port)
    (folder / "names.json").write_text(
        json.dumps({f"own.{number}": name for number, name in enumerate(names)} | {"first": names[0]})
    )


# ------------------------------------------------------------------------------------------------------------ what users do


def use_checkpoint(folder: Path) -> None:
    """Load it, look at its configuration, run it, save it, and load what was saved."""
    model = npbert.load(folder)
    repr(model.config)
    tokens = np.ones((1, 4), np.int64)
    if isinstance(model, npbert.EncoderDecoderModel):
        model(tokens, decoder_input_ids=tokens)
    elif type(model).__name__ != "BertForMultipleChoice":
        model(tokens)
    model.save_pretrained(folder / "again")
    npbert.load(folder / "again")


def use_config(folder: Path) -> None:
    config = npbert.BertConfig.from_pretrained(folder)
    config.save_pretrained(folder / "again")
    assert npbert.BertConfig.from_pretrained(folder / "again") == config


def use_weights(folder: Path) -> None:
    for array in npbert.checkpoints.find(folder).arrays.values():
        array.astype(np.float64).tobytes()


def use_generation(folder: Path) -> None:
    npbert.load(folder).generate(np.array([[5, 6]]), rng=np.random.default_rng(0))


def use_tokenizer(folder: Path) -> None:
    tokenizer = npbert.BertTokenizer.from_pretrained(folder)
    ids = tokenizer("Hello worlds, [E1] the!", "a b", truncation=True)["input_ids"]
    tokenizer.decode(ids, skip_special_tokens=True)
    tokenizer.save_pretrained(folder / "again")


def use_pack(folder: Path) -> None:
    golden.show(folder / "pack")
    golden.compare(folder / "pack", folder / "port.npz")


def use_diagnosis(folder: Path) -> None:
    golden.diagnose(folder / "pack", folder / "port.npz")


def use_port(port: str, folder: Path) -> None:
    str(golden.compare(folder / "pack", folder / port))


def use_map(folder: Path) -> None:
    golden.compare(folder / "pack", folder / "port", names=folder / "names.json")


CONFIG = (change_config, change_config, change_bytes)
JSON = (change_json, change_json, change_json, change_bytes)
BYTES = (change_bytes,)
HEADER = (change_header, change_header, change_bytes)
MEMBERS = (change_member, change_member, change_bytes)
_classifier = partial(_save, "BertForSequenceClassification")

TARGETS = (
    Target("config", _classifier, "config.json", CONFIG, use_checkpoint),
    Target("config alone", _classifier, "config.json", CONFIG, use_config),
    Target("config of distilbert", _save_distilbert, "config.json", CONFIG, use_checkpoint),
    Target("config of an encoder-decoder", _save_encoder_decoder, "config.json", CONFIG, use_checkpoint),
    Target("config of gpt2", _save_gpt2, "config.json", CONFIG, use_checkpoint),
    Target("safetensors", _classifier, "model.safetensors", HEADER, use_checkpoint),
    Target("index of shards", _save_shards, "model.safetensors.index.json", JSON, use_weights),
    Target("torch zip", partial(_copy_torch, "zip.bin"), "pytorch_model.bin", MEMBERS, use_weights),
    Target("torch stream", partial(_copy_torch, "stream.bin"), "pytorch_model.bin", BYTES, use_weights),
    Target("torch of python 2", partial(_copy_torch, "python2.bin"), "pytorch_model.bin", BYTES, use_weights),
    Target("tensorflow index", _copy_tensorflow, "model.ckpt-7.index", (change_index, change_index, change_bytes), use_weights),
    Target("tensorflow data", _copy_tensorflow, "model.ckpt-7.data-00000-of-00002", BYTES, use_weights),
    Target("generation settings", _save_generating, "generation_config.json", JSON, use_generation),
    Target("vocabulary", _save_older_tokenizer, "vocab.txt", BYTES, use_tokenizer),
    Target("tokenizer.json", _save_tokenizer, "tokenizer.json", JSON, use_tokenizer),
    Target("tokenizer_config.json", _save_tokenizer, "tokenizer_config.json", JSON, use_tokenizer),
    Target("older tokenizer_config.json", _save_older_tokenizer, "tokenizer_config.json", JSON, use_tokenizer),
    Target("special_tokens_map.json", _save_older_tokenizer, "special_tokens_map.json", JSON, use_tokenizer),
    Target("added_tokens.json", _save_older_tokenizer, "added_tokens.json", JSON, use_tokenizer),
    Target("modules.json", _save_pooling, "modules.json", JSON, npbert.read_pooling),
    Target("pooling", _save_pooling, "1_Pooling/config.json", JSON, npbert.read_pooling),
    Target("sentence_bert_config.json", _save_pooling, "sentence_bert_config.json", JSON, npbert.read_pooling),
    Target("prompts", _save_pooling, "config_sentence_transformers.json", JSON, npbert.read_pooling),
    Target("pack", _write_pack, "pack", HEADER, use_pack),
    Target("pack in a diagnosis", _write_pack, "pack", HEADER, use_diagnosis),
    Target("port as npz", _write_pack, "port.npz", MEMBERS, partial(use_port, "port.npz")),
    Target("port as npy", _write_pack, "port/first.npy", BYTES, use_map),
    Target("port as safetensors", _write_pack, "port.safetensors", HEADER, partial(use_port, "port.safetensors")),
    Target("map of names", _write_pack, "names.json", JSON, use_map),
)


# ------------------------------------------------------------------------------------------------------------------ trying


def attempt(target: Target, folder: Path, seed: int) -> Outcome:
    """Damage the target's file in one way, which the seed says, and use the folder."""
    if not folder.exists():
        folder.mkdir(parents=True)
        target.make(folder)
        (folder / f"{target.file}.sound").write_bytes((folder / target.file).read_bytes())
    rng = random.Random(f"{target.name} {seed}")
    sound = (folder / f"{target.file}.sound").read_bytes()
    (folder / target.file).write_bytes(rng.choice(target.damages)(sound, rng))
    shutil.rmtree(folder / "again", ignore_errors=True)
    began = time.perf_counter()
    outcome = _outcome(lambda: target.use(folder))
    return Outcome("slow", f"{time.perf_counter() - began:.0f} s") if time.perf_counter() - began > SLOW else outcome


def _outcome(use: Callable[[], object]) -> Outcome:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            warnings.simplefilter("ignore", RuntimeWarning)  # damaged weights may overflow
            use()
    except npbert.NpbertError as error:
        message = str(error)
        return Outcome("message", f"{len(message)} characters") if len(message) > LONGEST_MESSAGE else Outcome("refused", "")
    except MemoryError as error:
        return Outcome("memory", _place(error))
    except Exception as error:
        return Outcome("foreign", _place(error))
    return Outcome("read", "")


def _place(error: BaseException) -> str:
    """The error, and the last line of npbert's that it came through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "npbert" in Path(frame.filename).parts] or frames
    path = "/".join(Path(ours[-1].filename).parts[-2:])
    return f"{type(error).__name__}: {str(error)[:80]!r} in {path}, line {ours[-1].lineno}"
