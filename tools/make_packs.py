"""Make the packs under tests/golden/packs, and dumps of the reference to compare with them.

    python tools/make_packs.py

Needs torch and transformers 4.57. For each of two tiny models, an encoder with a padded batch and a decoder that reads an
encoder, it writes NAME.safetensors, the pack with weights, and NAME.PRECISION.safetensors, what the reference (eager attention)
computes in that precision with the same weights: every module's output, caught by a hook, in that format.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.torch import save_file

import npbert
from npbert import golden

sys.path.insert(0, str(Path(__file__).parent.parent))
from tools.reference_ports import TORCH_TYPES, dump, reference

HOME = Path(__file__).parent.parent / "tests" / "golden" / "packs"
SIZES = {
    "vocab_size": 23,
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 20,
    "max_position_embeddings": 11,
}


def models() -> dict[str, tuple]:
    """By name: our model, the reference's class, the inputs."""
    rng = np.random.default_rng(5)
    encoder_inputs = {
        "input_ids": rng.integers(1, 23, (2, 6)),
        "attention_mask": np.array([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]]),
        "token_type_ids": np.array([[0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 0, 0]]),
    }
    decoder_inputs = {
        "input_ids": rng.integers(1, 23, (2, 5)),
        "encoder_hidden_states": rng.normal(size=(2, 4, 12)).astype(np.float32),
        "encoder_attention_mask": np.array([[1, 1, 1, 1], [1, 1, 0, 0]]),
    }
    classifier = npbert.BertForSequenceClassification(npbert.BertConfig(**SIZES), rng=rng)
    decoder = npbert.BertLMHeadModel(npbert.BertConfig(**SIZES, is_decoder=True, add_cross_attention=True), rng=rng)
    for model in (classifier, decoder):
        for name, array in model.named_parameters():  # nothing stays at 0 or 1, where a mistake could hide
            array[...] = rng.normal(1 if name.endswith("LayerNorm.weight") else 0, 0.3, array.shape)
    return {
        "encoder": (classifier, transformers.BertForSequenceClassification, encoder_inputs),
        "decoder": (decoder, transformers.BertLMHeadModel, decoder_inputs),
    }


def main() -> None:
    """Write the files."""
    warnings.simplefilter("ignore")
    HOME.mkdir(parents=True, exist_ok=True)
    for name, (model, kind, inputs) in models().items():
        path = HOME / f"{name}.safetensors"
        golden.export(model, inputs, path, weights=True)
        for precision, dtype in TORCH_TYPES.items():
            caught = dump(reference(model, kind, precision, "eager"), inputs)
            tensors = {name: torch.tensor(array).to(dtype) for name, array in caught.items()}
            save_file(tensors, HOME / f"{name}.{precision}.safetensors")
            print(name, precision, golden.compare(path, HOME / f"{name}.{precision}.safetensors", precision=precision))


if __name__ == "__main__":
    main()
