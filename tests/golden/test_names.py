"""The table of names: every name of every model is in it, and the README of the room shows it as it is."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import npbert
from npbert import golden
from npbert.golden.names import MEANINGS, as_table, axes_of, meaning_of

from ..builders import CLASSES, build, tiny

README = Path(npbert.golden.__file__).parent / "README.md"


def models() -> list[object]:
    fields = [{}, {"position_embedding_type": "relative_key"}, {"is_decoder": True, "add_cross_attention": True}]
    found: list[object] = [
        build(name, tiny(**more)) for name in CLASSES for more in fields if not more.get("is_decoder") or "LM" in name
    ]
    rng = np.random.default_rng(0)
    decoder = npbert.BertLMHeadModel(tiny(is_decoder=True, add_cross_attention=True, hidden_size=24), rng=rng)
    found.append(npbert.EncoderDecoderModel(encoder=npbert.BertModel(tiny(), rng=rng), decoder=decoder))
    return found


@pytest.mark.filterwarnings("ignore:BertLMHeadModel without is_decoder")
def test_every_name_of_every_model_has_a_meaning_and_a_shape() -> None:
    met = set()
    for model in models():
        lines = golden.names(model).splitlines()[:-2]
        for line in lines:
            name, shape, text = re.fullmatch(r"(\S+) +\[(.*?)\] +(\S.*)", line).groups()  # type: ignore[union-attr]
            meaning = meaning_of(name)
            assert meaning is not None, name
            assert "{" not in text
            axes = axes_of(name, len(shape.split(", ")))
            assert not axes[0].isdigit() or axes[0] == "1", name
            assert [size for size in shape.split(", ") if size.isalpha()] == [axis for axis in axes if axis in "BSTE"]
            met.add(meaning.name.replace("crossattention", "attention"))
    unused = {meaning.name for meaning in MEANINGS} - met
    assert {name for name in unused if not name.startswith("input:") and "crossattention" not in name} == {"output:loss"}


def test_what_is_no_name() -> None:
    for name in ("blocks.0", "encoder.layer.x", "encoder.layer.0.attention.self:q", "weight:embeddings", "queries"):
        assert meaning_of(name) is None


def test_a_meaning_speaks_of_the_checkpoint() -> None:
    lines = golden.names(build("BertModel", tiny(hidden_act="relu", layer_norm_eps=0.25))).splitlines()
    by_name = {line.split()[0]: line for line in lines if line}
    assert "relu" in by_name["encoder.layer.0.intermediate.intermediate_act_fn"]
    assert "0.25" in by_name["embeddings.LayerNorm"]
    assert "sqrt(4)" in by_name["encoder.layer.1.attention.self:masked_scores"]
    assert "before the scale" in by_name["encoder.layer.1.attention.self:scores"]


def test_the_readme_shows_the_table() -> None:
    assert as_table() in README.read_text("utf-8")
