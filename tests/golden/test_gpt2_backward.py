"""Naming mistakes of training in ports of GPT-2, whose order of steps is another than BERT's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import npbert
from npbert import golden

from ..gpt2.builders import build, ids, tiny
from . import gpt2_training_port
from .subjects import spoiled

LAYER = "grad:transformer.h.1."
WEIGHT = "grad:weight:transformer."
DUMPS = {
    "everything": r".*",
    "layers": r"(?:grad:)?(?:.*h\.\d+|.*drop|output:.*)",
    "weights": r"grad:weight:.*",
}


class Lesson(NamedTuple):
    """A model, what it is called with, and its pack with gradients."""

    model: Any
    inputs: dict[str, Any]
    pack: golden.Pack

    def dump(self, mistake: str = "") -> dict[str, np.ndarray]:
        return gpt2_training_port.train(self.model.config, self.model.state_dict(), self.inputs, mistake)


@pytest.fixture(scope="module")
def lesson(tmp_path_factory: pytest.TempPathFactory) -> Lesson:
    model = build("GPT2LMHeadModel", tiny(), dtype=np.float32)
    tokens = ids(model.config, 3, 6)
    tokens[0, 3], tokens[2, 1] = tokens[0, 1], tokens[0, 1]
    mask = np.array([[1] * 6, [1] * 5 + [0], [1] * 3 + [0] * 3])
    inputs = {"input_ids": tokens, "attention_mask": mask, "labels": np.where(mask == 1, tokens, -100)}
    path = tmp_path_factory.mktemp("gpt2") / "pack"
    golden.export(model, inputs, path, weights=True, gradients=True)
    return Lesson(model, inputs, golden.read_pack(path))


def test_the_port_is_right(lesson: Lesson) -> None:
    report = golden.compare(lesson.pack, lesson.dump())
    assert report.ok, report
    assert golden.diagnose(lesson.pack, lesson.dump()) == []


PLANTS = [
    ("loss-sum-for-mean", "output:loss", "weights"),
    ("loss-labels-not-shifted", "output:loss", "layers"),
    ("layernorm-backward-mean-term-missing ln_f", LAYER[:-1], "layers"),
    ("layernorm-backward-variance-term-missing ln_2", LAYER + "attn:residual", "layers"),
    ("layernorm-backward-variance-term-missing ln_1", "grad:transformer.h.0", "layers"),
    ("softmax-backward-diagonal-only", LAYER + "attn:masked_scores", "layers"),
    ("attention-scale-missing-in-backward", LAYER + "attn:scores", "layers"),
    ("gelu-derivative-of-another", LAYER + "mlp.c_fc", "layers"),
    ("residual-gradient-missing attention", "grad:transformer.h.0", "layers"),
    ("residual-gradient-missing attention/past", "grad:transformer.h.0", "layers"),
    ("residual-gradient-missing feed-forward", LAYER + "attn:residual", "layers"),
    ("residual-gradient-missing feed-forward/past", LAYER + "attn:residual", "layers"),
    ("weight-gradient-transposed c_attn", WEIGHT + "h.1.attn.c_attn.weight", "weights"),
    ("bias-gradient-missing c_fc", WEIGHT + "h.1.mlp.c_fc.bias", "weights"),
    ("bias-gradient-averaged mlp.c_proj", WEIGHT + "h.1.mlp.c_proj.bias", "weights"),
    ("embedding-gradient-overwritten", WEIGHT + "wte.weight", "weights"),
    ("tied-gradient-one-use head", WEIGHT + "wte.weight", "weights"),
    ("tied-gradient-one-use table", WEIGHT + "wte.weight", "weights"),
    ("position-gradient-not-summed", "grad:transformer.wpe", "weights"),
    ("position-gradient-not-summed mean", "grad:transformer.wpe", "weights"),
    ("gradient-accumulated-twice", WEIGHT + "ln_f.weight", "weights"),
]


@pytest.mark.parametrize(("mistake", "where", "less"), PLANTS, ids=[plant[0] for plant in PLANTS])
def test_a_mistake_is_named(lesson: Lesson, mistake: str, where: str, less: str) -> None:
    """From everything, and from fewer values."""
    for which in ("everything", less):
        dump = {name: x for name, x in lesson.dump(mistake).items() if re.fullmatch(DUMPS[which], name)}
        found = golden.diagnose(lesson.pack, dump)
        assert found[0].mistake == mistake.partition(" ")[0], str(found[0])
        assert len(found) == 1 or "tell these mistakes apart" in found[0].evidence.tie
        if which == "everything":
            assert found[0].where == where


@pytest.mark.parametrize(
    ("name", "how"),
    [
        (LAYER + "attn:residual", "noise"),
        (LAYER[:-1], "scaled by 1.01"),
        (LAYER + "attn:scores", "negated"),
        (LAYER + "mlp.c_fc", "permuted"),
        ("grad:transformer.wpe", "scaled by 0.99"),
        (WEIGHT + "wte.weight", "shifted"),
        (WEIGHT + "h.0.attn.c_attn.weight", "permuted"),
    ],
)
def test_other_mistakes_are_unknown(lesson: Lesson, name: str, how: str) -> None:
    dump, names = lesson.dump(), list(lesson.pack)
    dump = {other: dump[other] for other in names[: names.index(name)] if other in dump} | {name: spoiled(dump[name], how)}
    (suspect,) = golden.diagnose(lesson.pack, dump)
    assert (suspect.mistake, suspect.where) == ("unknown", name)


@pytest.mark.parametrize("forgets", [False, True], ids=["scale", "mask"])
def test_dropout(tmp_path: Path, forgets: bool) -> None:
    """What goes wrong behind the feed-forward's dropout, which npbert's own pass shows."""
    model = build("GPT2LMHeadModel", tiny(resid_pdrop=0.5, attn_pdrop=0.5, embd_pdrop=0.5), dtype=np.float32)
    tokens = ids(model.config, 2, 5)
    golden.export(model, {"input_ids": tokens, "labels": tokens}, tmp_path / "pack", gradients=True, dropout_seed=3)
    pack = golden.read_pack(tmp_path / "pack")
    for place, mask in (("h.1.mlp", ":dropout_mask"), ("h.1.attn", ":resid_dropout_mask"), ("", ":drop_mask")):
        module = f"transformer.{place}".rstrip(".")
        behind, before = (
            (f"grad:{module}.c_proj", f"grad:{module}") if place else ("grad:transformer:sum", "grad:transformer.drop")
        )
        names = list(pack)
        dump = {name: pack[name] for name in names[: names.index(behind)]}
        kept = pack[f"{module}{mask}"] != 0
        dump[behind] = pack[before] / np.float32(0.5) if forgets else pack[before] * kept
        (suspect,) = golden.diagnose(pack, dump, model=model)
        expected = "dropout-mask-not-repeated" if forgets else "dropout-not-scaled-in-backward"
        assert (suspect.mistake, suspect.where) == (expected, behind)


def test_a_classifier_and_a_base_model(tmp_path: Path) -> None:
    """Other beginnings of a backward pass: the last token's logits, and gradients that are given."""
    tokens = ids(tiny(), 2, 5)
    given = {"last_hidden_state": np.random.default_rng(0).normal(size=(2, 5, 12)).astype(np.float32)}
    for name, inputs, options in (
        ("GPT2ForSequenceClassification", {"labels": np.array([1, 0])}, {}),
        ("GPT2Model", {}, {"output_gradients": given}),
    ):
        model = build(name, tiny(), dtype=np.float32)
        golden.export(model, {"input_ids": tokens, **inputs}, tmp_path / name, weights=True, gradients=True, **options)
        with npbert.trace() as kept:
            model.gradients(input_ids=tokens, **inputs, **options)
        pack, prefix = golden.read_pack(tmp_path / name), "" if name == "GPT2Model" else "transformer."
        scores, scaled = f"grad:{prefix}h.1.attn:scores", f"grad:{prefix}h.1.attn:masked_scores"
        dump = {path: x for path, x in kept.items() if path in pack and not path.startswith("grad:weight:")}
        later = list(pack)[list(pack).index(scores) + 1 :]
        dump = {path: x for path, x in dump.items() if path not in later} | {scores: dump[scaled]}
        (suspect,) = golden.diagnose(pack, dump)
        assert (suspect.mistake, suspect.where) == ("attention-scale-missing-in-backward", scores)
