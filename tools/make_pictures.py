"""Make the pictures that README shows, from a real pass of all-MiniLM-L6-v2: `python tools/make_pictures.py`.

One is the map of a port's errors (GELU computed by its approximation with tanh), the other shows where every head looks.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import npbert
from npbert import golden, views

FOLDER = Path(__file__).parent.parent / "npbert" / "views" / "examples"
MODEL = "all-MiniLM-L6-v2"
TEXTS = ["A man is eating food.", "The sky is blue today."]


def pictures() -> dict[str, str]:
    """The name of each file, and what is in it."""
    return {"port.svg": _port(), "heads.svg": _heads()}


def _port() -> str:
    model, tokenizer = npbert.BertModel.from_pretrained(MODEL), npbert.BertTokenizer.from_pretrained(MODEL)
    with tempfile.TemporaryDirectory() as folder:
        golden.export(model, tokenizer(TEXTS, return_tensors="np"), Path(folder) / "pack.safetensors", weights=True)
        pack = golden.read_pack(Path(folder) / "pack.safetensors")
        port = npbert.BertModel.from_pretrained(MODEL, hidden_act="gelu_new")
        with npbert.trace(only="encoder.layer.*") as dump:
            port(**pack.inputs)
        return views.comparison(pack, dump).view.svg("map")


def _heads() -> str:
    model, tokenizer = npbert.BertModel.from_pretrained(MODEL), npbert.BertTokenizer.from_pretrained(MODEL)
    return views.look(model, tokenizer, "the cat sat on the mat", gradients=False).svg("heads")


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in pictures().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
        print(f"{FOLDER / name}: {len(text):,} characters")
