"""The data of a comparison's page tell apart what a glance at it must tell apart."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import npbert
from npbert import golden, views
from npbert.cli import main
from npbert.golden.matching import match
from npbert.golden.steps import Steps
from npbert.views import error_maps
from npbert.views.blobs import unpacked_shares
from npbert.views.model_map import place_of

from ..builders import build, tiny
from ..golden.subjects import encoder_inputs
from .conftest import changed

Q = "encoder.layer.1.attention.self.query"
ACTIVATION = "encoder.layer.0.intermediate.intermediate_act_fn"


def data_of(view: views.View) -> dict[str, Any]:
    found = re.search(r'id="data">(.*?)</script>', view.html, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def cells_of(view: views.View) -> dict[str, dict[str, Any]]:
    return {cell["name"]: cell for cell in data_of(view)["cells"]}


def with_change(pack: golden.Pack, name: str, change: Any) -> dict[str, np.ndarray]:
    dump = {other: np.array(x) for other, x in pack.items()}
    dump[name] = change(dump[name])
    return dump


def test_only_the_guilty_step_stays_wrong_on_the_port_s_own_inputs(pack: golden.Pack) -> None:
    report, view = views.comparison(pack, changed(pack, hidden_act="gelu_new"))
    cells = cells_of(view)
    wrong = {name for name, cell in cells.items() if cell["state"] == "wrong"}
    guilty = {name for name, cell in cells.items() if cell.get("own_share") is not None and float(cell["own_share"]) > 1}
    assert guilty == {f"encoder.layer.{layer}.intermediate.intermediate_act_fn" for layer in range(3)}
    assert guilty < wrong
    assert report.first_divergence == ACTIVATION
    assert [name for name, cell in cells.items() if cell["is_first"]] == [ACTIVATION]
    assert data_of(view)["suspects"][0]["mistake"] == "gelu-tanh"
    assert cells[ACTIVATION]["detail"]["input"] == "encoder.layer.0.intermediate.dense"


def test_one_head_and_one_token_are_named(pack: golden.Pack) -> None:
    size = pack.config.head_size

    def spoil_head(x: np.ndarray) -> np.ndarray:
        x[..., size : 2 * size] += 0.1
        return x

    cell = cells_of(views.comparison(pack, with_change(pack, Q, spoil_head)).view)[Q]
    assert "head 1 of 3" in cell["detail"]["where"]

    def spoil_token(x: np.ndarray) -> np.ndarray:
        x[0, 3] += 0.1
        return x

    cell = cells_of(views.comparison(pack, with_change(pack, Q, spoil_token)).view)[Q]
    assert {"text 0 of 3", "token 3 of 7"} <= set(cell["detail"]["where"])


def test_a_permutation_is_found_with_its_order(pack: golden.Pack) -> None:
    order = np.random.default_rng(0).permutation(pack[Q].shape[-1])
    cell = cells_of(views.comparison(pack, with_change(pack, Q, lambda x: x[..., order])).view)[Q]
    assert cell["detail"]["permutation"] == {"axis": "features", "order": np.argsort(order).tolist()}
    cell = cells_of(views.comparison(pack, with_change(pack, Q, lambda x: x + 0.1)).view)[Q]
    assert cell["detail"]["permutation"] is None


def test_padding_decides_nothing_and_is_told(pack: golden.Pack) -> None:
    hidden = ~pack.counted(Q)
    report, view = views.comparison(pack, with_change(pack, Q, lambda x: np.where(hidden, 99.0, x)))
    assert report.ok
    detail = cells_of(view)[Q]["detail"]
    assert detail["uncounted"] == detail["uncounted_differs"] == hidden.sum()
    assert detail["where"] == []


def test_nan_is_a_state_and_what_was_not_dumped_is_open(pack: golden.Pack) -> None:
    def spoil(x: np.ndarray) -> np.ndarray:
        x[0, 1, 2] = np.nan
        return x

    dump = with_change(pack, Q, spoil)
    missing = "encoder.layer.2.attention.self.key"
    del dump[missing]
    cells = cells_of(views.comparison(pack, dump).view)
    assert cells[Q]["state"] == "nan"
    assert cells[missing]["state"] == "open"
    assert "share" not in cells[missing]


def test_rounding_follows_the_line_of_its_precision(pack: golden.Pack) -> None:
    dump = {name: x.astype(np.float16).astype(np.float32) for name, x in pack.items()}
    lines = data_of(views.comparison(pack, dump).view)["lines"]
    assert set(lines["allowed"]) == {"float32", "float16", "bfloat16"}
    assert all(error <= allowed for error, allowed in zip(lines["rms"], lines["allowed"]["float16"], strict=True))
    assert any(error > allowed for error, allowed in zip(lines["rms"], lines["allowed"]["float32"], strict=True))


def test_every_cell_has_one_place_on_the_map(pack: golden.Pack) -> None:
    data = data_of(views.comparison(pack, dict(pack)).view)
    placed = [cell for section in data["sections"] for _, row in section["rows"] for cell in row if cell is not None]
    assert sorted(placed) == list(range(len(data["cells"])))
    layers = next(section for section in data["sections"] if section["title"] == "forward: layers")
    assert [label for label, _ in layers["rows"]] == ["layer 0", "layer 1", "layer 2"]
    assert layers["columns"].index("attention.self.query") < layers["columns"].index("intermediate.dense")


def test_the_numbers_on_the_page_are_the_report_s(pack: golden.Pack) -> None:
    report, view = views.comparison(pack, changed(pack, hidden_act="relu"))
    rows = {row.name: row for row in report.rows}
    for cell in data_of(view)["cells"]:
        if "row" in cell:
            assert cell["row"]["max_abs"] == rows[cell["dumped_as"][0]].max_abs


def test_a_pack_without_weights_says_what_is_missing(pack: golden.Pack, tmp_path: Path) -> None:
    model = npbert.BertModel(pack.config, pack.weights)
    golden.export(model, pack.inputs, tmp_path / "light")
    dump = changed(pack, hidden_act="relu")
    data = data_of(views.comparison(tmp_path / "light", dump).view)
    assert "without weights" in data["remark"]
    assert not data["on_own_inputs"]
    assert data_of(views.comparison(tmp_path / "light", dump, model=model).view)["suspects"]


def test_every_picture_of_a_comparison_is_a_drawing_too(pack: golden.Pack) -> None:
    view = views.comparison(pack, changed(pack, hidden_act="relu")).view
    for own_inputs in (False, True):
        drawing = view.svg("map", own_inputs=own_inputs, theme="dark")
        ElementTree.fromstring(drawing)
        assert "layer 2" in drawing
    assert view.svg("map").count("<path") > view.svg("map", own_inputs=True).count("<path") > 0
    for picture in ("where", "histogram", "curve", "sorted"):
        assert ACTIVATION in view.svg(picture)
        assert view.svg(picture) == view.svg(picture, name=ACTIVATION)
        assert view.svg(picture) != view.svg(picture, name="encoder.layer.1.intermediate.intermediate_act_fn")
        ElementTree.fromstring(view.svg(picture, theme="dark"))
        with pytest.raises(npbert.MissingNameError, match="no 'nothing' in the pack"):
            view.svg(picture, name="nothing")
    assert "url(#hatch)" in view.svg("where")  # padding
    assert view.svg("along").count("<polyline") == 4
    with pytest.raises(npbert.InputError, match=r"no such picture of .*intermediate\.dense: it is right"):
        view.svg("curve", name="encoder.layer.0.intermediate.dense")


def test_the_strip_of_tokens_has_padding_hatched(pack: golden.Pack) -> None:
    def spoil(x: np.ndarray) -> np.ndarray:
        x[0, 3] += 0.1
        return x

    detail = cells_of(views.comparison(pack, with_change(pack, Q, spoil)).view)[Q]["detail"]
    strip = detail["planes"][0]
    assert (strip["title"], strip["rows"]) == ("texts by tokens", ["0", "1", "2"])
    values = unpacked_shares(strip["values"])
    assert np.array_equal(np.isnan(values), pack.inputs["attention_mask"] == 0)
    assert np.argwhere(values > 0).tolist() == [[0, 3]]


def test_each_kind_of_tensor_has_its_maps(pack: golden.Pack) -> None:
    batch, length, _ = pack["encoder.layer.0"].shape
    dump = match(pack, {"encoder.layer.0": pack["encoder.layer.0"]})
    maps = {
        "B N S T": (batch, 2, length, length + 1), "B S D": (batch, length, 12), "B S N*H": (batch, length, 12),
        "M D": (9, 12), "B D": (batch, 12), "V": (7,),
    }  # fmt: skip
    expected = {
        "B N S T": ["heads by tokens", "tokens by keys"], "B S D": ["tokens by features"],
        "B S N*H": ["heads by tokens", "tokens by features"], "M D": ["rows by columns"], "B D": ["texts by features"],
        "V": ["all numbers"],
    }  # fmt: skip
    for axes, shape in maps.items():
        made = error_maps.planes(np.random.default_rng(0).random(shape), axes.split(), dump)
        assert [plane.title for plane in made][-len(expected[axes]) :] == expected[axes]
        for plane in made:
            assert plane.values.shape == (len(plane.rows), len(plane.cols))


def test_a_block_that_holds_padding_and_what_counts_shows_what_counts() -> None:
    plane = error_maps.Plane("", "", "", ["0", "1"], ["0", "1"], np.array([[0.5, np.nan], [np.nan, np.nan]]))
    values = unpacked_shares(error_maps._packed(plane, (2, 1))["values"])
    assert values[0, 0] == pytest.approx(np.log10(0.5), abs=0.04)
    assert np.isnan(values[1, 0])


def glance_at(pack: golden.Pack, dump: Any) -> str:
    return " ".join(data_of(views.comparison(pack, dump).view)["glance"])


def test_a_glance_tells_mistakes_apart(pack: golden.Pack) -> None:
    size, hidden = pack.config.head_size, {name: ~pack.counted(name) for name in pack}

    def in_flight(name: str, change: Any) -> dict[str, np.ndarray]:
        def observer(other: str, x: np.ndarray) -> np.ndarray:
            return change(np.array(x)) if other == name else x

        with npbert.trace() as kept, npbert.tracing.observe(observer):
            npbert.BertModel(pack.config, pack.weights)(**pack.inputs)
        return dict(kept)

    def of_one_head(x: np.ndarray) -> np.ndarray:
        x[..., size : 2 * size] *= 1.5
        return x

    def not_a_number(x: np.ndarray) -> np.ndarray:
        x[0, 1, 2] = np.nan
        return x

    said = glance_at(pack, in_flight("encoder.layer.1.attention.self.value", of_one_head))
    assert said.startswith(
        "From encoder.layer.1.attention.self.value on nearly everything is wrong. Inside it all that is wrong "
    )
    assert "lies in head 1 of 3." in said
    assert said.endswith("On the port's own inputs only attention.self.value is wrong, once.")

    layer = {name: x * 1.01 if name.startswith("encoder.layer.1.") else x for name, x in pack.items()}
    assert glance_at(pack, layer).startswith("Only layer 1 is wrong, in ")
    assert "only intermediate.intermediate_act_fn is wrong, in 3 places" in glance_at(
        pack, changed(pack, hidden_act="gelu_new")
    )
    said = glance_at(pack, in_flight("encoder.layer.1.output.LayerNorm", lambda x: x * 1.01))
    assert said.startswith("From encoder.layer.1.output.LayerNorm on everything is wrong.")
    order = np.random.default_rng(0).permutation(pack[Q].shape[-1])
    said = glance_at(pack, with_change(pack, Q, lambda x: x[..., order]))
    assert said.startswith(
        f"One tensor is wrong: {Q}. Inside it the numbers are right, and the features stand in another order."
    )
    assert "is NaN or infinite" in glance_at(pack, in_flight("encoder.layer.1.intermediate.dense", not_a_number))
    padding = {name: np.where(hidden[name], x + 1, x) for name, x in pack.items()}
    assert glance_at(pack, padding).startswith("Only what does not count differs")
    half = {name: x.astype(np.float16).astype(np.float32) for name, x in pack.items()}
    assert glance_at(pack, half).startswith("Everything is off by no more than rounding to float16")
    assert glance_at(pack, dict(pack)) == "All that was dumped is right."


def test_the_command_writes_the_page(pack: golden.Pack, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "port.npz", **changed(pack, hidden_act="relu"))
    words = ["golden", "compare", str(pack.path), str(tmp_path / "port.npz")]
    assert main([*words, "--html", str(tmp_path / "report.html")]) == 1
    printed = capsys.readouterr().out
    assert main(words) == 1
    assert capsys.readouterr().out == printed
    assert "drawPage" in (tmp_path / "report.html").read_text("utf-8")
    assert main([*words, "--model", "x"]) == 2
    assert "--model goes with --html" in capsys.readouterr().err


def test_gradients_and_steps_have_maps_of_their_own(tmp_path: Path) -> None:
    config = tiny(num_labels=3)
    inputs = encoder_inputs(config) | {"labels": np.array([0, 1, 2])}
    model = build("BertForSequenceClassification", config, dtype=np.float32)
    golden.export(model, inputs, tmp_path / "pack", weights=True, gradients=True, steps=Steps(1))
    pack = golden.read_pack(tmp_path / "pack")
    guilty = "grad:weight:bert.encoder.layer.1.output.dense.weight"
    report, view = views.comparison(pack, with_change(pack, guilty, lambda x: x * np.array([1.0] * 20 + [1.1])))
    data = data_of(view)
    placed = [cell for section in data["sections"] for _, row in section["rows"] for cell in row if cell is not None]
    assert sorted(placed) == list(range(len(data["cells"])))
    titles = [section["title"] for section in data_of(view)["sections"]]
    for title in ("forward: layers", "gradients: layers", "gradients of weights: layers", "after optimizer step 1: layers"):
        assert title in titles
    assert report.first_divergence == guilty
    detail = cells_of(view)[guilty]["detail"]
    assert [plane["title"] for plane in detail["planes"]] == ["rows by columns"]
    assert detail["where"] == ["input 20 of 21"]


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("transformer.h.3.mlp.act", ("forward: layers", "layer 3", "mlp.act")),
        ("grad:transformer.h.0", ("gradients: layers", "layer 0", "the layer's result")),
        ("transformer:sum", ("forward: embeddings", "embeddings", "transformer:sum")),
        ("grad:weight:transformer.wte.weight", ("gradients of weights: embeddings", "embeddings", "wte.weight")),
        ("decoder.bert.encoder.layer.1.crossattention.self", ("forward: decoder's layers", "layer 1", "crossattention.self")),
        ("encoder.encoder.layer.1.output", ("forward: encoder's layers", "layer 1", "output")),
        (
            "grad:weight:bert.embeddings.word_embeddings.weight",
            ("gradients of weights: embeddings", "embeddings", "word_embeddings.weight"),
        ),
        ("embeddings:sum", ("forward: embeddings", "embeddings", "sum")),
        ("bert.embeddings.LayerNorm", ("forward: embeddings", "embeddings", "LayerNorm")),
        ("input:input_ids", ("inputs", "inputs", "input_ids")),
        ("step:2:loss", ("after optimizer step 2: what comes after the layers", "after the layers", "loss")),
    ],
)
def test_each_name_has_its_place(name: str, place: tuple[str, str, str]) -> None:
    assert tuple(place_of(name)) == place
