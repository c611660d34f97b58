"""A real fine-tuning: from what WordNet says of a noun to the kind of thing it is (animal, food, act ...; 26 kinds).

python tools/finetune.py data HOME         fetch WordNet from Debian and write train.tsv and held_out.tsv
python tools/finetune.py compare HOME      train from a checkpoint (--model), from random weights of the same sizes, and count
                                           words; print the accuracy of the three on the held-out part
python tools/finetune.py extract FOLDER HOME   write the few hundred rows that the tests have

Every tenth definition is held out, chosen by its text; equal definitions lie on one side. `compare` may be started again: runs
that are done stay, and one that was interrupted goes on. (npbert-small has read nearly all of WordNet's definitions when it
learned English, without the kinds.)
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pretrain import unpack

import npbert
from npbert import ops

FILES = """Tops act animal artifact attribute body cognition communication event feeling food group location motive object
person phenomenon plant possession process quantity relation shape state substance time"""
KINDS = FILES.split()  # the names of WordNet's lexicographer files, from number 3 to 28
HELD_OUT = 10  # one in so many
EXTRACTED = ("animal", "communication", "food", "plant")  # kinds that a very small model can tell apart
OPTIONS = ["--epochs", "3", "--batch-size", "32", "--max-length", "64", "--lr", "3e-4", "--eval-every", "500"]


class Row(NamedTuple):
    """A definition and the kind of what it defines."""

    text: str
    label: str

    @property
    def is_held_out(self) -> bool:
        """The same for equal texts, on every machine and at every time."""
        return zlib.crc32(self.text.encode()) % HELD_OUT == 0


# --- the data ---------------------------------------------------------------------------------------------------------


def glosses(home: Path) -> Iterator[Row]:
    """Every noun's definition, without the examples that may follow it."""
    unpacked, _ = unpack(home, ["wordnet-base"])
    for line in (unpacked / "wordnet-base/usr/share/wordnet/data.noun").read_text("utf-8").splitlines():
        if not line.startswith("  "):  # the licence
            fields, _, gloss = line.partition(" | ")
            text = re.split(r';\s*"', gloss)[0].strip()
            if text:
                yield Row(text.replace("\t", " "), KINDS[int(fields.split()[1]) - 3])


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """A TSV as `npbert train classify` reads it."""
    path.write_text("text\tlabel\n" + "".join(f"{row.text}\t{row.label}\n" for row in rows), "utf-8")


def read_table(path: Path) -> list[Row]:
    """The rows of such a file."""
    return [Row(*line.split("\t")) for line in path.read_text("utf-8").splitlines()[1:]]


def write_data(home: Path) -> None:
    """Both parts."""
    rows = list(glosses(home))
    for name, part in parts_of(rows).items():
        write_table(home / f"{name}.tsv", part)
        print(f"{name}.tsv: {len(part)} rows, {len({row.label for row in part})} kinds")


def parts_of(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """What is learned from, and what is held out."""
    return {
        "train": [row for row in rows if not row.is_held_out],
        "held_out": [row for row in rows if row.is_held_out],
    }


def write_extract(folder: Path, home: Path) -> None:
    """Some rows of a few kinds, chosen by their text, for the tests."""
    chosen = {kind: [row for row in glosses(home) if row.label == kind] for kind in EXTRACTED}
    for name, count in (("train", 90), ("held_out", 25)):
        rows = []
        for kind_rows in chosen.values():
            by_chance = sorted(parts_of(kind_rows)[name], key=lambda row: zlib.crc32(row.text.encode()[::-1]))
            rows += by_chance[:count]
        write_table(folder / f"{name}.tsv", sorted(rows))


# --- a baseline -------------------------------------------------------------------------------------------------------


def words_of(text: str) -> list[str]:
    """The words of a text, in lower case, each once."""
    return sorted(set(re.findall(r"[a-z0-9]+", text.lower())))


def bag_of_words(train: Sequence[Row], held_out: Sequence[Row], *, epochs: int = 12, lr: float = 0.3) -> float:
    """The accuracy of logistic regression on which words occur, by Adagrad (Duchi et al. 2011) in batches of 64.

    A text's logits are the sum of its words' rows in a table `[V, kinds]`.
    """
    words = {word: number for number, word in enumerate(sorted({word for row in train for word in words_of(row.text)}))}
    kinds = {kind: number for number, kind in enumerate(sorted({row.label for row in train}))}
    bags = [np.array([words[word] for word in words_of(row.text) if word in words] + [len(words)]) for row in train]  # the bias
    labels = np.array([kinds[row.label] for row in train])
    table = np.zeros((len(words) + 1, len(kinds)))
    squares = np.full_like(table, 1e-8)
    rng = np.random.default_rng(0)
    for _ in range(epochs):
        order = rng.permutation(len(train))
        for batch in (order[start : start + 64] for start in range(0, len(order), 64)):
            flat = np.concatenate([bags[row] for row in batch])  # every word of the batch
            owner = np.repeat(np.arange(len(batch)), [len(bags[row]) for row in batch])
            logits = np.zeros((len(batch), len(kinds)))
            np.add.at(logits, owner, table[flat])
            dlogits = ops.softmax(logits)
            dlogits[np.arange(len(batch)), labels[batch]] -= 1
            used, place = np.unique(flat, return_inverse=True)
            gradient = np.zeros((len(used), len(kinds)))
            np.add.at(gradient, place, dlogits[owner] / len(batch))
            squares[used] += gradient**2
            table[used] -= lr * gradient / np.sqrt(squares[used])
    right = 0
    for row in held_out:
        known = [words[word] for word in words_of(row.text) if word in words]
        right += int(table[[*known, len(words)]].sum(axis=0).argmax()) == kinds.get(row.label)
    return right / len(held_out)


# --- the comparison ---------------------------------------------------------------------------------------------------


def write_random(model: str, folder: Path) -> None:
    """A checkpoint of the same sizes with the same vocabulary, and random weights."""
    if not (folder / "tokenizer.json").exists():
        config = npbert.BertConfig.from_pretrained(model)
        npbert.BertModel(config, rng=np.random.default_rng(0)).save_pretrained(folder)
        npbert.BertTokenizer.from_pretrained(model).save_pretrained(folder)


def trained(home: Path, name: str, model: str, options: Sequence[str]) -> float:
    """The held-out accuracy of a fine-tuning by the command."""
    data = ["classify", str(home / "train.tsv"), "--eval", str(home / "held_out.tsv"), "--model", model]
    command = [sys.executable, "-m", "npbert", "train", *data, "-o", str(home / name), *options, "--resume", "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return float(json.loads(done.stdout)["accuracy"])


def compare(home: Path, model: str, options: Sequence[str]) -> dict[str, float]:
    """The accuracy of the three, and of always saying the most frequent kind."""
    rows = {name: read_table(home / f"{name}.tsv") for name in ("train", "held_out")}
    common = Counter(row.label for row in rows["train"]).most_common(1)[0][0]
    write_random(model, home / "random")
    return {
        "always the same": sum(row.label == common for row in rows["held_out"]) / len(rows["held_out"]),
        "bag of words": bag_of_words(rows["train"], rows["held_out"]),
        "from random weights": trained(home, "from-random", str(home / "random"), options),
        f"from {model}": trained(home, "from-checkpoint", model, options),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["data", "compare", "extract"])
    parser.add_argument("folders", type=Path, nargs="+", metavar="HOME")
    parser.add_argument("--model", default="npbert-small", help="compare: the checkpoint to begin with")
    args, options = parser.parse_known_args()
    if args.verb == "data":
        write_data(args.folders[0])
    elif args.verb == "extract":
        write_extract(args.folders[0], args.folders[1])
    else:
        for name, accuracy in compare(args.folders[0], args.model, [*OPTIONS, *options]).items():
            print(f"{name:<40} {accuracy:.4f}")


if __name__ == "__main__":
    main()
