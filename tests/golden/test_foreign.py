"""BERTs that others wrote, held against packs under their own names: a right one is right, a wrong one is wrong where it is."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from npbert import golden

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

PACK = Path(__file__).parent / "packs" / "encoder.safetensors"
LAYER = "bert.encoder.layer"


@pytest.fixture
def pack() -> golden.Pack:
    return golden.read_pack(PACK)


def tensors(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    import torch

    return {name: torch.from_numpy(x.copy()) for name, x in arrays.items()}


def caught(model: Any, call: Any) -> dict[str, np.ndarray]:
    """What every module of a torch model puts out in one call."""
    import torch

    dump: dict[str, np.ndarray] = {}
    for name, module in model.named_modules():

        def catch(_module: Any, _arguments: Any, result: Any, name: str = name) -> None:
            result = result[0] if isinstance(result, tuple) else result
            if name and isinstance(result, torch.Tensor):
                dump[name] = result.detach().clone().numpy()

        module.register_forward_hook(catch)
    with torch.no_grad():
        call(model)
    return dump


# ------------------------------------------------------------------------------------------------------ curated-transformers


def curated(pack: golden.Pack, **fields: Any) -> dict[str, np.ndarray]:
    """The dump of curated-transformers' encoder with the pack's weights."""
    pytest.importorskip("curated_transformers", reason="needs curated-transformers")
    from curated_transformers.layers import AttentionMask
    from curated_transformers.models import BERTConfig, BERTEncoder
    from curated_transformers.models.bert._hf import HF_PARAM_KEY_TRANSFORMS
    from curated_transformers.models.hf_hub.conversion import state_dict_from_hf

    config = pack.config
    theirs = BERTConfig(
        embedding_width=config.hidden_size,
        hidden_width=config.hidden_size,
        intermediate_width=config.intermediate_size,
        n_attention_heads=config.num_attention_heads,
        n_hidden_layers=config.num_hidden_layers,
        n_pieces=config.vocab_size,
        n_types=config.type_vocab_size,
        n_positions=config.max_position_embeddings,
        model_max_length=config.max_position_embeddings,
        layer_norm_eps=config.layer_norm_eps,
        **fields,
    )
    assert pack.weights is not None
    base = {name: x for name, x in pack.weights.items() if name.startswith("bert.") and "pooler" not in name}
    encoder = BERTEncoder(theirs).eval()
    encoder.load_state_dict(state_dict_from_hf(tensors(base), HF_PARAM_KEY_TRANSFORMS))
    inputs = tensors(pack.inputs)
    mask = AttentionMask(inputs["attention_mask"].bool())
    return caught(encoder, lambda model: model(inputs["input_ids"], mask, type_ids=inputs["token_type_ids"]))


def test_curated_transformers_is_right(pack: golden.Pack) -> None:
    dump = curated(pack)
    proposal = golden.propose_map(pack, dump)
    report = golden.compare(pack, dump, names=proposal.names)
    assert report.ok, report
    right = {row.name for row in report.rows}
    for part in ("attention.self.query", "attention.output.dense", "attention.output.LayerNorm", "intermediate.dense"):
        assert f"{LAYER}.1.{part}" in right
    assert len(right) >= 20


def test_another_activation_in_curated_transformers_is_found(pack: golden.Pack) -> None:
    pytest.importorskip("curated_transformers", reason="needs curated-transformers")
    from curated_transformers.layers import Activation

    names = golden.propose_map(pack, curated(pack)).names
    report = golden.compare(pack, curated(pack, activation=Activation.ReLU), names=names)
    assert report.first_divergence == f"{LAYER}.0.output.dense" or "intermediate" in str(report.first_divergence)
    assert not report.dump_at_fault


# ---------------------------------------------------------------------------------------------------------------- onnxruntime


def export_graph(pack: golden.Pack, path: Path) -> None:
    """Write the reference as a graph that onnxruntime runs."""
    pytest.importorskip("onnx", reason="needs onnx")
    import torch
    import transformers

    fields = {name: x for name, x in pack.config.to_dict().items() if name != "architectures"}
    port = transformers.BertForSequenceClassification(transformers.BertConfig(**fields, attn_implementation="eager")).eval()
    assert pack.weights is not None
    port.load_state_dict(tensors(pack.weights))

    class Outputs(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.port = port

        def forward(self, *arrays: Any) -> Any:
            return self.port(**dict(zip(pack.inputs, arrays, strict=True))).logits

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        arguments = tuple(tensors(pack.inputs).values())
        torch.onnx.export(Outputs(), arguments, str(path), input_names=list(pack.inputs), output_names=["logits"], dynamo=False)


def values_of(path: Path, pack: golden.Pack) -> dict[str, np.ndarray]:
    """Every value of a graph, under the names of its nodes."""
    onnx = pytest.importorskip("onnx", reason="needs onnx")
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    graph = onnx.load(str(path))
    inner = [name for node in graph.graph.node for name in node.output if name != "logits"]
    graph.graph.output.extend(onnx.ValueInfoProto(name=name) for name in inner)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    values = dict(zip(names, session.run(names, dict(pack.inputs)), strict=True))
    return {name: x for name, x in values.items() if x.dtype == np.float32}


def test_onnxruntime_is_right(pack: golden.Pack, tmp_path: Path) -> None:
    export_graph(pack, tmp_path / "port.onnx")
    dump = values_of(tmp_path / "port.onnx", pack)
    proposal = golden.propose_map(pack, dump)
    report = golden.compare(pack, dump, names=proposal.names, allow_unused=True)  # a graph has many values between two names
    assert report.ok, report
    right = {pack.aliases.get(row.name, row.name) for row in report.rows}
    content = {pack.aliases.get(name, name) for name in pack}
    assert len(right) >= 0.8 * len(content), content - right


QUANTIZED = {
    "int8": {"op_types_to_quantize": ["MatMul"]},
    "int8-per-row": {"op_types_to_quantize": ["MatMul"], "per_channel": True},
    "int8-tables": {},
}


@pytest.mark.parametrize("precision", QUANTIZED)
def test_onnxruntime_in_int8_is_right(pack: golden.Pack, tmp_path: Path, precision: str) -> None:
    """Weights without a sign: with one, onnxruntime adds up in 16 bits on processors without VNNI, and sums overflow."""
    quantization = pytest.importorskip("onnxruntime.quantization", reason="needs onnxruntime")
    graph, quantized = tmp_path / "port.onnx", tmp_path / "quantized.onnx"
    export_graph(pack, graph)
    plain = values_of(graph, pack)
    names = golden.propose_map(pack, plain).names  # the graph keeps its names
    quantization.quantize_dynamic(graph, quantized, weight_type=quantization.QuantType.QUInt8, **QUANTIZED[precision])
    dump = {name: x for name, x in values_of(quantized, pack).items() if name in plain}
    report = golden.compare(pack, dump, names=names, precision=precision, allow_unused=True)
    assert report.ok, report
    assert len(report.rows) >= 40
    first_line = str(golden.compare(pack, dump, names=names, allow_unused=True)).splitlines()[0]
    assert first_line == f"right as {precision}, not as float32: compare with precision={precision!r}"
