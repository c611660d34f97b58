"""Golden packs of GPT-2: exported, compared, every name explained, mistakes found."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import npbert
from npbert import golden
from npbert.golden.names import GPT2_MEANINGS, as_table, meaning_of

from .builders import CLASSES, build, ids, tiny

README = Path(npbert.__file__).parent / "gpt2" / "README.md"


def inputs_for(model: Any, *, batch: int = 2, length: int = 6) -> dict[str, Any]:
    tokens = ids(model.config, batch, length)
    mask = np.ones_like(tokens)
    mask[-1, :2] = 0
    inputs = {"input_ids": tokens, "attention_mask": mask}
    if model.config.add_cross_attention:
        inputs["encoder_hidden_states"] = np.random.default_rng(5).normal(size=(batch, 4, 12)).astype(np.float32)
        inputs["encoder_attention_mask"] = np.array([[1, 1, 1, 0], [1, 1, 1, 1]])
    return inputs


def dump_of(model: Any, inputs: dict[str, Any]) -> dict[str, np.ndarray]:
    with npbert.trace() as kept:
        out = model(**inputs)
    named = {f"output:{name}": x for name, x in out.items() if isinstance(x, np.ndarray)}
    return dict(kept) | named


CASES: list[tuple[str, dict[str, Any]]] = [
    *[(name, {}) for name in CLASSES],
    ("GPT2LMHeadModel", {"add_cross_attention": True, "scale_attn_by_inverse_layer_idx": True}),
]


@pytest.mark.parametrize(("model_class", "fields"), CASES)
def test_a_right_port_is_right_and_a_wrong_one_is_not(model_class: str, fields: dict[str, Any], tmp_path: Path) -> None:
    model = build(model_class, tiny(**fields), dtype=np.float32)
    inputs = inputs_for(model)
    golden.export(model, inputs, tmp_path / "pack.safetensors", weights=True)
    pack = golden.read_pack(tmp_path / "pack.safetensors")
    dump = dump_of(model, inputs)
    base = "" if model_class == "GPT2Model" else "transformer."
    for sum_, terms in (("h.1.attn:residual", ("h.0", "h.1.attn")), ("h.1", ("h.1.attn:residual", "h.1.mlp"))):
        if not fields:  # a sum is allowed what its terms are allowed
            allowed = {name: pack.tolerances[base + name]["float32"].max_abs for name in (sum_, *terms)}
            assert allowed[sum_] >= max(allowed.values())
    report = golden.compare(pack, dump)
    assert report.ok, str(report)
    assert {row.name for row in report.rows} == set(dump) == set(pack)
    layer = next(name for name in dump if name.endswith("h.1.mlp.act"))
    wrong = golden.compare(pack, dump | {layer: dump[layer] * 1.001})
    assert wrong.first_divergence == layer
    padding = {name: x.copy() for name, x in dump.items()}
    padding[layer.replace("mlp.act", "attn.c_proj")][1, :2] = 1e6  # a port may hold anything where padding stands
    assert golden.compare(pack, padding).ok
    bare = {name.removeprefix("transformer."): x for name, x in dump.items()}
    assert golden.compare(pack, bare).ok


def test_every_name_has_a_meaning_and_every_meaning_a_name() -> None:
    met = set()
    for model_class, fields in CASES:
        model = build(model_class, tiny(**fields))
        for line in golden.names(model).splitlines()[:-2]:
            name, _, text = re.fullmatch(r"(\S+) +\[(.*?)\] +(\S.*)", line).groups()  # type: ignore[union-attr]
            assert "{" not in text
            met.add(meaning_of(name).name.replace("crossattention", "attn"))  # type: ignore[union-attr]
    unused = {meaning.name for meaning in GPT2_MEANINGS} - met
    assert {name for name in unused if "crossattention" not in name} == {":token_types"}
    by_name = {line.split()[0]: line for line in golden.names(build("GPT2Model", tiny())).splitlines() if line}
    assert "gelu_new" in by_name["h.0.mlp.act"]
    assert "1e-05" in by_name["h.0.ln_1"]
    assert meaning_of("transformer:sum") == meaning_of(":sum") is not None


def test_the_readme_shows_the_table() -> None:
    assert as_table(GPT2_MEANINGS) in README.read_text("utf-8")


def test_gradients_in_a_pack(tmp_path: Path) -> None:
    model = build("GPT2LMHeadModel", tiny(), dtype=np.float32)
    inputs = inputs_for(model)
    inputs["labels"] = np.where(inputs["attention_mask"] == 1, inputs["input_ids"], -100)
    golden.export(model, inputs, tmp_path / "pack.safetensors", gradients=True)
    pack = golden.read_pack(tmp_path / "pack.safetensors")
    with npbert.trace() as kept:
        _, gradients = model.gradients(**inputs)
    dump = dict(kept) | {f"grad:weight:{name}": x for name, x in gradients.items()}
    report = golden.compare(pack, {name: x for name, x in dump.items() if name in pack})
    assert report.ok, str(report)
    assert sum(row.name.startswith("grad:weight:") for row in report.rows) == len(gradients)
