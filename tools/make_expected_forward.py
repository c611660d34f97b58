"""Make tests/data/expected/forward/*.safetensors: what the live reference computes, for tests that run without it.

    python tools/make_expected_forward.py

Needs torch and transformers (the `parity` extra). Each file holds one model and several calls:

    weights/<name>                       float16: both sides widen it, so the very same numbers go in
    calls/<call>/inputs/<argument>       integers as they are; numbers as float16, again to be widened
    calls/<call>/float32/<output>        what the reference puts out in float32
    calls/<call>/float64/<output>        and in float64
    calls/<call>/modules/<module path>   in float64, what a forward hook on every module sees (the first call only)

and, as JSON under "golden" in the metadata, the model's class and configuration, each call's plain arguments, which modules put
out the same as an earlier one (they are kept once), the seed and the versions. Results of several arrays are flat:
`attentions.0`, `past_key_values.1.0`.

Two of the reference's habits are steered around here. Its causal loss is computed in float32 whatever the model's type: the
loss kept for float64 is computed from its float64 logits by its own cross-entropy. And it places relative positions wrongly
when several tokens meet a cache (even an empty one), so there tokens come one at a time.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors.numpy import save_file

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests")]

import reference  # noqa: E402

import npbert  # noqa: E402

SEED = 20240607
SMALLEST = float(np.finfo(np.float32).min)
SIZES = {
    "vocab_size": 29,
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 19,
    "max_position_embeddings": 13,
    "type_vocab_size": 3,
    "mask_value": SMALLEST,  # the reference's, so that rows with nothing to attend to agree as well
}
Call = dict[str, Any]


class Drawn:
    """Random inputs of the sizes in SIZES, every one different."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def ids(self, *shape: int, upper: int = 29) -> np.ndarray:
        return self.rng.integers(1, upper, shape).astype(np.int64)

    def below(self, upper: int, *shape: int) -> np.ndarray:
        return self.rng.integers(0, upper, shape).astype(np.int64)

    def numbers(self, *shape: int) -> np.ndarray:
        return self.rng.normal(size=shape).astype(np.float16)

    def some_ignored(self, upper: int, *shape: int) -> np.ndarray:
        labels = self.below(upper, *shape)
        labels.reshape(-1)[::3] = -100
        return labels

    def cache(self, batch: int, length: int, *, cross: int | None = None, heads: tuple[int, ...] = (3, 3)) -> Any:
        """(key, value) or (key, value, cross_key, cross_value) for each layer."""
        return tuple(
            tuple(self.numbers(batch, n, length, 4) for _ in range(2))
            + (tuple(self.numbers(batch, 3, cross, 4) for _ in range(2)) if cross else ())
            for n in heads
        )


def padding(length: int, *lengths: int) -> np.ndarray:
    """A mask for sequences of these lengths."""
    return (np.arange(length) < np.array(lengths)[:, None]).astype(np.int64)


def encoder_calls(d: Drawn) -> dict[str, Call]:
    return {
        "ids": {"input_ids": d.ids(2, 7), "output_hidden_states": True, "output_attentions": True},
        "padding": {"input_ids": d.ids(3, 7), "attention_mask": padding(7, 7, 4, 1)},
        "mask_3d": {"input_ids": d.ids(2, 5), "attention_mask": d.below(2, 2, 5, 5)},
        "nothing_to_attend_to": {"input_ids": d.ids(2, 5), "attention_mask": padding(5, 0, 3), "output_attentions": True},
        "types_and_positions": {
            "input_ids": d.ids(2, 6),
            "token_type_ids": d.below(3, 2, 6),
            "position_ids": d.below(13, 2, 6),
        },
        "shared_positions": {"input_ids": d.ids(2, 4), "position_ids": d.below(13, 1, 4)},
        "inputs_embeds": {"inputs_embeds": d.numbers(2, 5, 12), "token_type_ids": d.below(3, 2, 5)},
        "head_mask": {"input_ids": d.ids(1, 6), "head_mask": np.array([1, 0, 0.5], np.float16), "output_attentions": True},
        "head_mask_by_layer": {
            "input_ids": d.ids(1, 6),
            "head_mask": np.array([[1, 0, 1], [0, 0.25, 1]], np.float16),
            "output_attentions": True,
        },
        "longest": {"input_ids": d.ids(1, 13)},
        "one_token": {"input_ids": d.ids(1, 1)},
    }


def decoder_calls(d: Drawn, *, several_at_once: bool) -> dict[str, Call]:
    calls: dict[str, Call] = {
        "no_cache": {"input_ids": d.ids(2, 6), "use_cache": False, "output_attentions": True},
        "padding": {"input_ids": d.ids(2, 6), "attention_mask": padding(6, 6, 3), "use_cache": False},
        "mask_3d": {"input_ids": d.ids(2, 4), "attention_mask": d.below(2, 2, 4, 4), "use_cache": False},
        "step": {"input_ids": d.ids(2, 1), "past_key_values": d.cache(2, 4), "use_cache": True},
        "step_padding": {
            "input_ids": d.ids(2, 1),
            "attention_mask": 1 - padding(6, 0, 2),
            "past_key_values": d.cache(2, 5),
            "use_cache": True,
            "output_attentions": True,
        },
        "step_no_cache_back": {"input_ids": d.ids(1, 1), "past_key_values": d.cache(1, 3), "use_cache": False},
        "step_position": {
            "input_ids": d.ids(2, 1),
            "position_ids": d.below(13, 2, 1),
            "past_key_values": d.cache(2, 2),
            "use_cache": True,
        },
    }
    if several_at_once:
        calls |= {
            "default_cache": {"input_ids": d.ids(2, 5)},
            "steps": {
                "input_ids": d.ids(2, 3),
                "attention_mask": 1 - padding(7, 2, 0),
                "past_key_values": d.cache(2, 4),
                "use_cache": True,
                "output_attentions": True,
            },
            "steps_mask_3d": {
                "input_ids": d.ids(2, 3),
                "attention_mask": d.below(2, 2, 3, 5),
                "past_key_values": d.cache(2, 2),
                "use_cache": True,
            },
        }
    return calls


def cross_calls(d: Drawn, *, several_at_once: bool) -> dict[str, Call]:
    encoder = {"encoder_hidden_states": d.numbers(2, 5, 12)}
    calls: dict[str, Call] = {
        "no_cache": {
            "input_ids": d.ids(2, 4),
            **encoder,
            "use_cache": False,
            "output_attentions": True,
            "output_hidden_states": True,
        },
        "without_encoder_attentions_off": {"input_ids": d.ids(2, 4), "use_cache": False},
        "encoder_mask": {
            "input_ids": d.ids(2, 4),
            "attention_mask": padding(4, 4, 2),
            **encoder,
            "encoder_attention_mask": padding(5, 3, 0),
            "use_cache": False,
            "output_attentions": True,
        },
        "encoder_mask_3d": {
            "input_ids": d.ids(2, 4),
            **encoder,
            "encoder_attention_mask": d.below(2, 2, 4, 5),
            "use_cache": False,
        },
        "head_mask": {
            "input_ids": d.ids(2, 4),
            **encoder,
            "head_mask": np.array([[1, 0, 1], [0.5, 1, 0]], np.float16),
            "use_cache": False,
        },
        "step": {
            "input_ids": d.ids(2, 1),
            **encoder,
            "encoder_attention_mask": padding(5, 5, 2),
            "past_key_values": d.cache(2, 3, cross=5),
            "use_cache": True,
            "output_attentions": True,
        },
        "step_self_cache_only": {
            "input_ids": d.ids(2, 1),
            **encoder,
            "past_key_values": d.cache(2, 3),
            "use_cache": True,
        },
    }
    if several_at_once:
        calls["default_cache"] = {"input_ids": d.ids(2, 3), **encoder}
        calls["steps"] = {
            "input_ids": d.ids(2, 2),
            **encoder,
            "past_key_values": d.cache(2, 3, cross=5),
            "use_cache": True,
        }
    return calls


def words_with_labels(d: Drawn, **more: np.ndarray) -> dict[str, Call]:
    ids = d.ids(2, 6)
    return {
        "logits": {"input_ids": ids, "output_attentions": True, "output_hidden_states": True},
        "loss": {"input_ids": ids, "attention_mask": padding(6, 6, 4), "labels": d.some_ignored(29, 2, 6), **more},
    }


def all_cases() -> dict[str, tuple[str, dict[str, Any], dict[str, Call]]]:
    """Every case: the class, what its configuration has beyond SIZES, and the calls."""
    d = Drawn(SEED)
    relative = ("relative_key", "relative_key_query")
    chosen: dict[str, tuple[str, dict[str, Any], dict[str, Call]]] = {
        "encoder_absolute": ("BertModel", {}, encoder_calls(d)),
        **{f"encoder_{kind}": ("BertModel", {"position_embedding_type": kind}, encoder_calls(d)) for kind in relative},
        "decoder_absolute": ("BertModel", {"is_decoder": True}, decoder_calls(d, several_at_once=True)),
        **{
            f"decoder_{kind}": (
                "BertModel",
                {"position_embedding_type": kind, "is_decoder": True},
                decoder_calls(d, several_at_once=False),
            )
            for kind in relative
        },
        "cross_absolute": (
            "BertModel",
            {"is_decoder": True, "add_cross_attention": True},
            cross_calls(d, several_at_once=True),
        ),
        "cross_relative_key_query": (
            "BertModel",
            {"is_decoder": True, "add_cross_attention": True, "position_embedding_type": "relative_key_query"},
            cross_calls(d, several_at_once=False),
        ),
        "chunked": (
            "BertModel",
            {"chunk_size_feed_forward": 2, "hidden_act": "gelu_new"},
            {"six": {"input_ids": d.ids(2, 6)}, "two": {"input_ids": d.ids(2, 2)}},
        ),
        "pruned": (
            "BertModel",
            {"pruned_heads": {"0": [1], "1": [0, 2]}, "position_embedding_type": "relative_key"},
            {"ids": {"input_ids": d.ids(2, 6), "attention_mask": padding(6, 6, 3), "output_attentions": True}},
        ),
        "pruned_decoder": (
            "BertModel",
            {"pruned_heads": {"1": [2]}, "is_decoder": True, "add_cross_attention": True},
            {
                "step": {
                    "input_ids": d.ids(2, 2),
                    "encoder_hidden_states": d.numbers(2, 3, 12),
                    "past_key_values": d.cache(2, 3, cross=3, heads=(3, 2)),
                    "use_cache": True,
                }
            },
        ),
        "one_head_relu": (
            "BertModel",
            {"num_attention_heads": 1, "hidden_act": "relu", "layer_norm_eps": 0.1, "num_hidden_layers": 1},
            {"ids": {"input_ids": d.ids(2, 3)}},
        ),
        "many_heads_silu": (
            "BertModel",
            {"num_attention_heads": 12, "hidden_act": "silu", "layer_norm_eps": 1e-5, "num_hidden_layers": 3},
            {"ids": {"input_ids": d.ids(2, 3)}},
        ),
        "masked_lm": ("BertForMaskedLM", {}, words_with_labels(d)),
        "masked_lm_untied": (
            "BertForMaskedLM",
            {"tie_word_embeddings": False, "hidden_act": "quick_gelu"},
            words_with_labels(d),
        ),
        "causal_lm": ("BertLMHeadModel", {"is_decoder": True}, words_with_labels(d)),
        "pretraining": (
            "BertForPreTraining",
            {"hidden_act": "gelu_10"},
            words_with_labels(d, next_sentence_label=np.array([1, 0])),
        ),
        "next_sentence": (
            "BertForNextSentencePrediction",
            {"hidden_act": "mish"},
            {"loss": {"input_ids": d.ids(3, 4), "labels": np.array([0, -100, 1])}, "logits": {"input_ids": d.ids(3, 4)}},
        ),
        "multiple_choice": (
            "BertForMultipleChoice",
            {"hidden_act": "relu6"},
            {
                "loss": {
                    "input_ids": d.ids(2, 4, 5),
                    "attention_mask": padding(5, 5, 3, 2, 5, 1, 4, 5, 2).reshape(2, 4, 5),
                    "token_type_ids": d.below(3, 2, 4, 5),
                    "labels": np.array([3, 1]),
                },
                "inputs_embeds": {"inputs_embeds": d.numbers(1, 2, 3, 12)},
            },
        ),
        "token_classification": (
            "BertForTokenClassification",
            {"num_labels": 5, "hidden_act": "laplace"},
            {"loss": {"input_ids": d.ids(2, 6), "labels": d.some_ignored(5, 2, 6)}, "logits": {"input_ids": d.ids(2, 6)}},
        ),
        "question_answering": (
            "BertForQuestionAnswering",
            {"hidden_act": "relu2"},
            {
                "loss": {"input_ids": d.ids(2, 6), "start_positions": np.array([0, 3]), "end_positions": np.array([5, 4])},
                "past_the_end": {
                    "input_ids": d.ids(4, 6),
                    "start_positions": np.array([2, 6, -1, 9]),
                    "end_positions": np.array([60, 5, 1, 6]),
                },
                "column": {
                    "input_ids": d.ids(2, 3),
                    "start_positions": np.array([[1], [0]]),
                    "end_positions": np.array([[2], [2]]),
                },
                "all_past_the_end": {
                    "input_ids": d.ids(1, 3),
                    "start_positions": np.array([3]),
                    "end_positions": np.array([2]),
                },
            },
        ),
    }
    three = {"input_ids": d.ids(2, 5)}
    classifications: dict[str, tuple[dict[str, Any], dict[str, np.ndarray]]] = {
        "inferred_single": ({"num_labels": 4}, {"labels": np.array([3, 0])}),
        "inferred_multi": ({"num_labels": 4}, {"labels": d.below(2, 2, 4).astype(np.float16)}),
        "inferred_regression": ({"num_labels": 1}, {"labels": d.numbers(2)}),
        "single": ({"num_labels": 4, "problem_type": "single_label_classification"}, {"labels": np.array([-100, 2])}),
        "multi": (
            {"num_labels": 3, "problem_type": "multi_label_classification"},
            {"labels": d.below(2, 2, 3).astype(np.float16)},
        ),
        "regression": ({"num_labels": 3, "problem_type": "regression"}, {"labels": d.numbers(2, 3)}),
    }
    for name, (fields, labels) in classifications.items():
        chosen[f"classification_{name}"] = ("BertForSequenceClassification", fields, {"loss": {**three, **labels}})
    return chosen


def write_model(name: str, model_class: str, fields: dict[str, Any], calls: dict[str, Call], seed: int) -> int:
    """Run the reference twice, in float32 and float64, and write one file."""
    config = npbert.BertConfig(**{**SIZES, **fields})
    rng = np.random.default_rng(seed)
    blank = reference.build(model_class, config.to_dict())
    weights = {key: weight_values(key, tuple(x.shape), rng) for key, x in blank.named_parameters()}

    tensors: dict[str, np.ndarray] = {f"weights/{key}": array for key, array in weights.items()}
    description: dict[str, Any] = {"class": model_class, "config": {**SIZES, **fields}, "calls": {}}
    for dtype in (np.float32, np.float64):
        model = reference.build(model_class, config.to_dict(), {key: x.astype(dtype) for key, x in weights.items()})
        for index, (call, arguments) in enumerate(calls.items()):
            start = f"calls/{call}"
            description["calls"][call] = {key: x for key, x in arguments.items() if isinstance(x, bool)}
            flat = flatten({key: x for key, x in arguments.items() if not isinstance(x, bool)})
            tensors |= {f"{start}/inputs/{key}": x for key, x in flat.items()}
            with reference.hooked(model) as modules:
                results = reference.run(model, widened(arguments, dtype))
            if arguments.get("use_cache") is False:  # the reference hands its own cache object back all the same
                results = {key: x for key, x in results.items() if not key.startswith("past_key_values")}
            if model_class == "BertLMHeadModel" and "loss" in results and dtype == np.float64:
                logits, labels = torch.from_numpy(results["logits"]), torch.from_numpy(arguments["labels"])
                loss = torch.nn.functional.cross_entropy(
                    logits[:, :-1].reshape(-1, logits.shape[-1]), labels[:, 1:].reshape(-1)
                )
                results["loss"] = loss.numpy()
            tensors |= {f"{start}/{np.dtype(dtype).name}/{key}": x for key, x in results.items()}
            if index == 0 and dtype == np.float64:
                description |= {"modules_of": call, "same_as": {}}
                for position, (key, x) in enumerate(modules.items()):
                    same = [other for other in list(modules)[:position] if np.array_equal(modules[other], x)]
                    if same:
                        description["same_as"][key] = same[0]
                    else:
                        tensors[f"{start}/modules/{key}"] = x
    return write(name, tensors, {**description, "seed": seed})


def weight_values(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Large enough that attention is far from even and that no LayerNorm or bias does nothing."""
    values = rng.uniform(0.5, 1.5, shape) if name.endswith("LayerNorm.weight") else rng.normal(0, 0.4, shape)
    return values.astype(np.float16)


def flatten(arguments: dict[str, Any]) -> dict[str, np.ndarray]:
    """`past_key_values` as `past_key_values.<layer>.<part>`."""
    flat: dict[str, np.ndarray] = {}
    for key, value in arguments.items():
        if key == "past_key_values":
            flat |= {f"{key}.{i}.{j}": x for i, layer in enumerate(value) for j, x in enumerate(layer)}
        else:
            flat[key] = value
    return flat


def widened(arguments: dict[str, Any], dtype: Any) -> dict[str, Any]:
    """The float16 inputs in the model's type."""

    def widen(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(widen(x) for x in value)
        return value.astype(dtype) if isinstance(value, np.ndarray) and value.dtype.kind == "f" else value

    return {key: widen(value) for key, value in arguments.items()}


def write_activations() -> int:
    """Every activation of the reference that has no parameters, on a line of points."""
    from transformers.activations import ACT2FN

    x = np.concatenate([np.linspace(-12, 12, 241), [-1e30, -1e4, -60, -1e-20, 0, 1e-20, 60, 1e4, 1e30]])
    tensors = {"x": x}
    for name in ACT2FN:
        if name not in ("prelu", "xielu"):
            tensors[f"float64/{name}"] = ACT2FN[name](torch.from_numpy(x)).numpy()
    return write("activations", tensors, {})


def write(name: str, tensors: dict[str, np.ndarray], description: dict[str, Any]) -> int:
    """One file, with the versions it was made by."""
    versions = {"transformers": transformers.__version__, "torch": str(torch.__version__), "numpy": np.__version__}
    text = json.dumps({**description, "versions": versions, "python": sys.version.split()[0]}, sort_keys=True)
    path = HERE.parent / "tests" / "data" / "expected" / "forward" / f"{name}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({key: np.array(x, order="C") for key, x in sorted(tensors.items())}, path, metadata={"golden": text})
    return path.stat().st_size


def main() -> None:
    """Write them all."""
    total = write_activations()
    for index, (name, (model_class, fields, calls)) in enumerate(all_cases().items()):
        size = write_model(name, model_class, fields, calls, SEED + index)
        total += size
        print(f"{name:32}{size:10,} bytes")
    print(f"{'together':32}{total:10,} bytes")


if __name__ == "__main__":
    main()
