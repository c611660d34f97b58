"""What the tests of generation share: small decoders, stored checkpoints, and random settings held against the reference."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np

import npbert
from npbert import BertLMHeadModel

from ..builders import SMALLEST, tiny

DATA = Path(__file__).parents[1] / "data" / "expected" / "generation"
CASES = json.loads((DATA / "cases.json").read_text())

WRONG_SETTINGS: list[tuple[dict[str, Any], str]] = [
    ({"max_new_tokens": 0}, "max_new_tokens: takes 1 or more, got 0"),
    ({"max_new_tokens": 2.0}, "max_new_tokens: takes a whole number, got 2.0"),
    ({"max_new_tokens": True}, "max_new_tokens: takes a whole number, got True"),
    ({"num_beams": 0}, "num_beams: takes 1 or more, got 0"),
    ({"num_beams": None}, "num_beams: takes a whole number, got None"),
    ({"temperature": 0.0, "do_sample": True}, "temperature: takes a finite number above 0, got 0.0"),
    ({"temperature": float("nan"), "do_sample": True}, "temperature: takes a finite number above 0, got nan"),
    ({"top_p": 1.5, "do_sample": True}, "top_p: takes a finite number from 0 to 1, got 1.5"),
    ({"top_k": -1, "do_sample": True}, "top_k: takes 0 or more, got -1"),
    ({"repetition_penalty": -1.0}, "repetition_penalty: takes a finite number above 0, got -1.0"),
    ({"length_penalty": "1"}, "length_penalty: takes a number, got '1'"),
    ({"length_penalty": float("inf"), "num_beams": 2}, "length_penalty: takes a finite number, got inf"),
    ({"num_beams": 1001}, "num_beams: takes at most 1000 for a prompt, got 1001"),
    ({"num_beams": 10**5000}, "num_beams: takes at most 1000 for a prompt, got an integer of 16610 bits"),
    ({"num_beams": 1e30}, "num_beams: takes a whole number, got 1e+30"),
    (
        {"num_return_sequences": 999_999, "do_sample": True},
        "num_return_sequences: takes at most 100000 for a prompt, got 999999",
    ),
    ({"temperature": 1e-300, "do_sample": True}, "temperature: takes a finite number from 1e-20 to 1e+20, got 1e-300"),
    ({"repetition_penalty": 1e300}, "repetition_penalty: takes a finite number from 1e-20 to 1e+20, got 1e+300"),
    ({"eos_token_id": [[1], [2, 3]]}, "eos_token_id: takes an array or evenly nested lists"),
    ({"eos_token_id": [[1, 2]]}, "eos_token_id: takes 0 or 1 dimensions, got shape [1, 2]"),
    ({"eos_token_id": "[SEP]"}, "eos_token_id: takes whole numbers, got strings"),
    ({"pad_token_id": [0]}, "pad_token_id: takes 0 dimensions, got shape [1]"),
    ({"bos_token_id": {}}, "bos_token_id: takes whole numbers, got objects"),
    ({"decoder_start_token_id": 2**70}, "decoder_start_token_id: takes whole numbers, got objects"),
    ({"early_stopping": "always"}, "early_stopping: takes True, False or \"never\", got 'always'"),
    ({"do_sample": 1}, "do_sample: takes True or False, got 1"),
    ({"num_return_sequences": 2}, "num_return_sequences: greedy search finds one sequence"),
    ({"num_return_sequences": 3, "num_beams": 2}, "num_return_sequences: takes at most num_beams, 2; got 3"),
]


@functools.cache
def stored(name: str) -> Any:
    return npbert.load(DATA / name)


def decoder(**fields: Any) -> Any:
    """A small decoder whose best token is clearly the best and depends on all that stands before it."""
    seed = fields.pop("seed", 0)
    config = tiny(**{"is_decoder": True, "max_position_embeddings": 40, "mask_value": SMALLEST, **fields})
    blank = BertLMHeadModel(config, rng=np.random.default_rng(0))
    return BertLMHeadModel(config, lively(dict(blank.named_parameters()), np.random.default_rng(seed)))


def lively(parameters: Any, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Rows of the word table are equally long: otherwise the longest one would win everywhere."""
    weights = {}
    for name, parameter in parameters.items():
        noise = rng.normal(size=parameter.shape)
        if name.endswith("LayerNorm.weight") or (".ln_" in name and name.endswith("weight")):
            weights[name] = 1 + 0.2 * noise
        elif "word_embeddings" in name or "decoder.weight" in name or name.endswith(("wte.weight", "lm_head.weight")):
            weights[name] = 3 * noise / np.linalg.norm(noise, axis=-1, keepdims=True)
        else:
            weights[name] = noise * (0.1 if "bias" in name else 0.8)
    return weights


def last_logits(model: Any, tokens: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Without a cache: the whole row, every time."""
    positions = np.where(mask == 0, 1, mask.cumsum(axis=1) - 1)
    return model(tokens, mask, position_ids=positions, use_cache=False).logits[:, -1]


def random_options(rng: np.random.Generator, vocabulary: int) -> dict[str, Any]:
    """Any settings of greedy or beam search."""
    options: dict[str, Any] = {"max_new_tokens": int(rng.integers(1, 14))}

    def sometimes(probability: float, name: str, value: Any) -> None:
        if rng.random() < probability:
            options[name] = value

    ends = (rng.choice(vocabulary - 1, int(rng.integers(1, 4)), replace=False) + 1).tolist()
    sometimes(0.7, "eos_token_id", ends if len(ends) > 1 else ends[0])
    sometimes(0.5, "pad_token_id", int(rng.integers(0, vocabulary)))
    sometimes(0.4, "repetition_penalty", float(rng.choice([0.7, 1.3, 2.5])))
    sometimes(0.3, "min_new_tokens", int(rng.integers(0, 8)))
    sometimes(0.2, "min_length", int(rng.integers(0, 12)))
    sometimes(0.3, "no_repeat_ngram_size", int(rng.integers(2, 4)))
    if rng.random() < 0.65:
        options["num_beams"] = int(rng.integers(2, 5))
        options["num_return_sequences"] = int(rng.integers(1, options["num_beams"] + 1))
        options["length_penalty"] = float(rng.choice([-1, 0, 0.5, 1, 2]))
        options["early_stopping"] = [True, False, "never"][rng.integers(3)]
    return options


def assert_generates_alike(model: Any, reference_model: Any, arrays: dict[str, Any], options: dict[str, Any]) -> None:
    import torch

    decoder_config = getattr(model.config, "decoder", model.config)
    with torch.no_grad():
        theirs = reference_model.generate(
            **{name: torch.from_numpy(array) for name, array in arrays.items()},
            **options,
            do_sample=False,
            # Where attention knows distances, the reference measures them wrongly from its cache.
            use_cache=getattr(decoder_config, "position_embedding_type", "absolute") == "absolute",
            return_dict_in_generate=True,
            output_scores=True,
        )
    ours = npbert.generate(model, return_dict_in_generate=True, **arrays, **options)
    assert ours.sequences.tolist() == theirs.sequences.tolist(), options
    if "num_beams" in options:
        np.testing.assert_allclose(ours.sequences_scores, theirs.sequences_scores.numpy(), rtol=1e-4, atol=1e-4)
