"""What goes wrong in ports of GPT-2 is found and named, from everything that a port dumps, from its layers, from its logits."""

from __future__ import annotations

import itertools
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import npbert
from npbert import golden
from npbert.golden.mistakes import MISTAKES, hypotheses
from npbert.golden.mistakes.gpt2 import NAMES

from . import port
from .builders import build, ids, tiny

DUMPS = {
    "everything": r".*",
    "blocks": r".*(?:attn|mlp|h\.\d+|drop)|transformer|output:logits",
    "layers": r".*(?:h\.\d+|drop)|output:logits",
    "outputs": r"output:logits",
}
PLANTS = (
    "weight-transposed attn.c_proj",
    "weight-transposed attn.c_attn",
    "weight-transposed mlp.c_fc",
    "qkv-cut-wrongly",
    "qkv-rotated",
    "gelu-exact",
    "causal-missing",
    "mask-off-by-one",
    "mask-ignored",
    "scores-not-scaled",
    "post-norm",
    "layernorm-missing ln_1",
    "layernorm-missing ln_2",
    "layernorm-missing ln_f",
    "layernorm-eps",
    "bias-missing",
    "residual-missing",
    "residual-after-norm",
    "positions-shifted",
    "positions-count-padding",
    "positions-skip-padding",
)


Subject = tuple[Any, dict[str, Any], golden.Pack]


def make_subject(path: Path, *, with_positions: bool) -> Subject:
    model = build("GPT2LMHeadModel", tiny(), dtype=np.float32, scale=0.5)
    mask = np.array([[1] * 7, [0] * 2 + [1] * 5, [0] * 4 + [1] * 3])
    inputs = {"input_ids": ids(model.config, 3, 7), "attention_mask": mask}
    if with_positions:
        inputs["position_ids"] = np.where(mask == 0, 1, mask.cumsum(axis=1) - 1)
    golden.export(model, inputs, path, weights=True)
    return model, inputs, golden.read_pack(path)


@pytest.fixture(scope="module")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> tuple[Subject, Subject]:
    """A call whose positions do not count padding, and one that gives none."""
    path = tmp_path_factory.mktemp("packs")
    return make_subject(path / "with", with_positions=True), make_subject(path / "without", with_positions=False)


def test_the_port_is_right(subjects: tuple[Subject, Subject]) -> None:
    for model, inputs, pack in subjects:
        report = golden.compare(pack, port.run(model.config, model.state_dict(), inputs))
        assert report.ok, str(report)
        assert len(report.rows) > 30


def attempts() -> list[tuple[str, str]]:
    """Each mistake in one kind of dump, and a few in the logits alone, which take longest; NPBERT_EXPLORE=1 tries all."""
    if os.environ.get("NPBERT_EXPLORE"):
        return [(mistake, dump) for mistake in PLANTS for dump in DUMPS]
    kinds = itertools.cycle(("everything", "blocks", "layers"))
    outputs = ("qkv-cut-wrongly", "post-norm", "positions-count-padding")
    return [*zip(PLANTS, kinds, strict=False), *((mistake, "outputs") for mistake in outputs)]


@pytest.mark.parametrize(("mistake", "dump"), attempts())
def test_a_mistake_is_named(mistake: str, dump: str, subjects: tuple[Subject, Subject]) -> None:
    model, inputs, pack = subjects[mistake == "positions-skip-padding"]
    values = port.run(model.config, model.state_dict(), inputs, mistake)
    values = {name: x for name, x in values.items() if re.fullmatch(DUMPS[dump], name)}
    assert not golden.compare(pack, values).ok
    suspects = golden.diagnose(pack, values)
    assert mistake.split()[0] in [suspect.mistake for suspect in suspects], "\n".join(map(str, suspects))
    if dump in ("everything", "blocks"):
        assert suspects[0].mistake == mistake.split()[0]


def test_every_name_is_known() -> None:
    found = {hypothesis.mistake for hypothesis in hypotheses(tiny(scale_attn_by_inverse_layer_idx=True))}
    assert set(NAMES) <= found <= set(MISTAKES)
    assert {plant.split()[0] for plant in PLANTS} <= found
    assert len(set(MISTAKES)) == len(MISTAKES)


def test_scores_that_are_not_divided_by_the_number_of_the_layer(tmp_path: Path) -> None:
    """Such a model is run again from its beginning: a layer alone would not know its number."""
    sizes = {"n_layer": 3}
    model = build("GPT2LMHeadModel", tiny(scale_attn_by_inverse_layer_idx=True, **sizes), dtype=np.float32, scale=0.5)
    inputs = {"input_ids": ids(model.config, 3, 7)}
    golden.export(model, inputs, tmp_path / "pack", weights=True)
    with npbert.trace(only=["transformer.drop", "transformer.h.?"]) as values:
        npbert.GPT2LMHeadModel(tiny(**sizes), model.state_dict())(**inputs)
    (suspect,) = golden.diagnose(tmp_path / "pack", dict(values))
    assert (suspect.mistake, suspect.where) == ("wrong-scale", "transformer.h.1.attn:masked_scores")
