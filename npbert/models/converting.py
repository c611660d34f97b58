"""Turning a checkpoint of any format into one that every program reads."""

from __future__ import annotations

import re
from pathlib import Path

from numpy.typing import DTypeLike

from npbert import checkpoints
from npbert.checkpoints import writing
from npbert.errors import FileError
from npbert.models.auto import load
from npbert.types import StrPath

# What travels with a checkpoint besides configuration and weights: the tokenizer's files and sentence-transformers' settings.
COMPANIONS = (
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "modules.json",
    "sentence_bert_config.json",
    "1_Pooling/config.json",
)


def convert(
    source: StrPath, target: StrPath, *, dtype: DTypeLike | None = None, max_shard_size: int | str = "5GB"
) -> list[Path]:
    """Write a checkpoint of any format as `config.json` and `model.safetensors`, with the files that travel with it.

    Nothing that the model has is lost, float64 included; what else the checkpoint holds is left out with a warning that lists
    it (bert-base-uncased is a masked language model by its configuration, and has another head in its file). Returns the files.

    A file that is a link out of the checkpoint's folder is not copied but refused: a stranger's checkpoint could name any file
    of this machine. The links in the hub's cache lead to its `blobs`, and are followed.
    """
    from tqdm import tqdm

    checkpoint = checkpoints.find(source)
    found = {name: path for name in COMPANIONS if (path := checkpoint.file(name)) is not None}
    for name, path in found.items():
        _refuse_a_link_that_leaves(path, name)
    model = load(source, dtype=dtype)
    total = sum(array.nbytes for array in model.parameters())
    with tqdm(total=total, unit="B", unit_scale=True, desc="writing", disable=None) as bar:  # None: on a terminal only
        model.save_pretrained(target, max_shard_size=max_shard_size, progress=bar.update)
    companions = []
    for name, path in found.items():
        copy = Path(target) / name
        companions.append(copy)
        if path.resolve() != copy.resolve():
            writing.make_directory(copy.parent)
            writing.write_bytes(copy, path.read_bytes())
    own = re.compile(r"(generation_)?config\.json|model(-\d{5}-of-\d{5})?\.safetensors(\.index\.json)?")
    return sorted(path for path in Path(target).iterdir() if own.fullmatch(path.name)) + companions


def _refuse_a_link_that_leaves(path: Path, name: str) -> None:
    folder = Path(str(path).removesuffix(name)).resolve()
    target = path.resolve()
    blobs = folder.parents[1] / "blobs" if folder.parent.name == "snapshots" else folder
    if not target.is_relative_to(folder) and not target.is_relative_to(blobs):
        raise FileError(f"{path}: is a link to {target}, out of the checkpoint's folder; copy that file there if you trust it")
