"""The pages in a real browser: what they draw, what clicks and keys do, what they ask the network for (nothing)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import npbert
from npbert import golden, views

from ..builders import build, tiny
from .browser import Browser, Tab
from .conftest import NASTY, changed
from .images import read_png
from .test_look import TEXT, large_model, long_text, traced

pytestmark = pytest.mark.browser

TABS = ("pieces", "heads", "number", "walk", "stream", "lens", "mattered")


def opened(browser: Browser, view: views.View, folder: Path, selection: str = "", **options: Any) -> Tab:
    path = view.save(folder / "page.html")
    tab = browser.open(path, selection=selection, **options)
    tab.ready()
    tab.settle()
    return tab


def is_quiet(tab: Tab) -> None:
    """No complaint in the console, and no request but the page itself."""
    assert tab.complaints() == []
    assert [address.partition("#")[0][:8] for address in tab.requests()] == ["file:///"]


def text_of(tab: Tab, selector: str) -> str:
    return str(tab.run(f"document.querySelector({selector!r}).innerText"))


def last_number(text: str) -> float:
    return float(text.replace("(nothing is hidden here)", "").split("=")[-1])


@pytest.fixture(scope="module")
def view(models: dict[str, Any], tokenizer: npbert.BertTokenizer) -> views.View:
    return views.look(models["masked"], tokenizer, TEXT, other_text="the mat [MASK] on cats")


@pytest.mark.parametrize("kind", ["masked", "causal", "classifier", "relative", "base", "two", "answers", "gpt2"])
def test_every_tab_opens(
    kind: str, browser: Browser, models: dict[str, Any], tokenizer: npbert.BertTokenizer, tmp_path: Path
) -> None:
    tab = opened(browser, views.look(models[kind], tokenizer, TEXT, "the mat" if kind == "two" else None), tmp_path)
    for name in TABS:
        tab.click(f"#tab-{name}")
        assert tab.run("location.hash").startswith(f"#tab={name}")
        assert len(text_of(tab, "#panel")) > 200
        if name not in ("lens", "mattered"):
            assert tab.run("document.querySelectorAll('#panel canvas.map').length") > 0
        assert tab.run("document.documentElement.scrollWidth <= innerWidth")
    is_quiet(tab)
    tab.close()


def test_the_arithmetic_on_the_page_is_that_of_the_pass(
    browser: Browser, view: views.View, models: dict[str, Any], tokenizer: npbert.BertTokenizer, tmp_path: Path
) -> None:
    kept = traced(models["masked"], tokenizer)
    tab = opened(browser, view, tmp_path, "tab=number&layer=1&head=2&from=3&to=5")
    path = "bert.encoder.layer.1.attention.self"
    for part, name in (("score", ":scores"), ("masked", ":masked_scores"), ("probability", ":probs")):
        shown = last_number(text_of(tab, f"[data-number={part}]"))
        assert shown == pytest.approx(float(kept[path + name][0, 2, 3, 5]), rel=2e-5)
    context = text_of(tab, "[data-number=context]").removeprefix("first three:").split(",")
    assert [float(x) for x in context] == pytest.approx(kept[path][0, 3, 8:11].tolist(), rel=1e-4)
    assert f"{path}:scores [2, 3, 5]" in text_of(tab, "#panel")
    tab.run(
        "(() => { const choice = document.getElementById('choose-layer-and-head'); choice.focus(); choice.value = '0.1'; "
        "choice.dispatchEvent(new Event('change')); })()"
    )
    assert f"{path.replace('1', '0')}:scores [1, 3, 5]" in text_of(tab, "#panel")
    assert tab.run("document.activeElement.id") == "choose-layer-and-head"
    tab.close()


def test_a_head_opens_is_pinned_and_is_in_the_address(browser: Browser, view: views.View, tmp_path: Path) -> None:
    tab = opened(browser, view, tmp_path, "tab=heads")
    tab.click('[data-at="1.2"]')
    assert "Layer 1, head 2" in text_of(tab, "#opened")
    assert tab.run("document.activeElement.dataset.at") == "1.2"
    tab.click("#pin")
    tab.press("Tab")
    assert "pins=1.2" in tab.run("location.hash")
    tab.click('[data-at="0.0"]')
    captions = "[...document.querySelectorAll('#panel figcaption')].map((one) => one.innerText)"
    assert sum(caption.startswith("layer 1, head 2") for caption in tab.run(captions)) == 1
    address = tab.run("location.hash").removeprefix("#")
    tab.close()
    tab = opened(browser, view, tmp_path, address)
    assert "Layer 0, head 0" in text_of(tab, "#opened")
    is_quiet(tab)
    tab.close()


def test_arrow_keys_move_and_the_text_below_follows(
    browser: Browser, view: views.View, models: dict[str, Any], tokenizer: npbert.BertTokenizer, tmp_path: Path
) -> None:
    kept = traced(models["masked"], tokenizer)
    tab = opened(browser, view, tmp_path, "tab=heads&layer=1&head=1")
    tab.run("document.querySelector('#opened canvas.map').focus()")
    for key in ("ArrowDown", "ArrowDown", "ArrowRight"):
        tab.press(key)
    readout = text_of(tab, "#opened .readout")
    assert readout.startswith("query cat · key the · about ")
    weight = float(kept["bert.encoder.layer.1.attention.self:probs"][0, 1, 2, 1])
    assert float(readout.rpartition(" ")[2]) == pytest.approx(weight, abs=0.005)
    tab.run("document.querySelector('#opened details.table').open = true")
    tab.settle()
    cell = text_of(tab, "#opened details.table tbody tr:nth-child(3) td:nth-child(3)")
    assert float(cell.rpartition(" ")[2]) == pytest.approx(weight, abs=0.005)
    tab.run("document.querySelector('[role=tab][aria-selected=true]').focus()")
    tab.press("ArrowRight")
    assert tab.run("location.hash").startswith("#tab=number")
    tab.close()


def test_the_difference_of_two_passes(
    browser: Browser, view: views.View, models: dict[str, Any], tokenizer: npbert.BertTokenizer, tmp_path: Path
) -> None:
    tab = opened(browser, view, tmp_path, "tab=heads&pass=difference&layer=0&head=1")
    tab.run("document.querySelector('#opened canvas.map').focus()")
    tab.press("ArrowDown")
    name = "bert.encoder.layer.0.attention.self:probs"
    here, other = traced(models["masked"], tokenizer)[name], traced(models["masked"], tokenizer, "the mat [MASK] on cats")[name]
    shown = float(text_of(tab, "#opened .readout").rpartition(" ")[2])
    assert shown == pytest.approx(float(here[0, 1, 1, 0] - other[0, 1, 1, 0]), abs=0.01)
    tab.close()
    longer = views.look(models["masked"], tokenizer, TEXT, other_text="the mat")
    tab = opened(browser, longer, tmp_path, "tab=heads&pass=difference")
    assert "different numbers of pieces" in text_of(tab, "#opened")
    is_quiet(tab)
    tab.close()


def test_bars_add_up_on_the_page(browser: Browser, view: views.View, tmp_path: Path) -> None:
    tab = opened(browser, view, tmp_path, "tab=mattered")
    script = "[...document.querySelectorAll('.bars [role=cell]')].map((cell) => Number(cell.innerText))"
    *parts, output = tab.run(script)
    assert sum(parts) == pytest.approx(output, abs=1e-3)
    tab.click("#aside")
    *fewer, output = tab.run(script)
    assert len(fewer) < len(parts)
    assert sum(fewer) == pytest.approx(output, abs=1e-3)
    is_quiet(tab)
    tab.close()


def test_nothing_in_a_text_is_run(
    browser: Browser, models: dict[str, Any], tokenizer: npbert.BertTokenizer, tmp_path: Path
) -> None:
    config = models["base"].config.to_dict() | {"vocab_size": len(tokenizer)}
    model = npbert.BertForMaskedLM(npbert.BertConfig.from_dict(config), rng=np.random.default_rng(0))
    tab = opened(browser, views.look(model, tokenizer, " ".join([*NASTY, "中 ש < script > \u202e \x07"])), tmp_path)
    for name in TABS:
        tab.click(f"#tab-{name}")
        if name == "pieces":
            shown = text_of(tab, "table.pieces")
            assert all(text in shown for text in (*NASTY, "中", "ש"))
    assert tab.run("document.title").startswith("npbert look: ")
    assert tab.run("document.querySelectorAll('img, #panel script').length") == 0
    is_quiet(tab)
    tab.close()


def test_a_comparison_opens_what_is_clicked(browser: Browser, pack: golden.Pack, tmp_path: Path) -> None:
    tab = opened(browser, views.comparison(pack, changed(pack, hidden_act="gelu_new")).view, tmp_path)
    assert "encoder.layer.0.intermediate.intermediate_act_fn" in text_of(tab, "#detail h3")
    assert "gelu-tanh" in text_of(tab, ".sum")
    labels = "[...document.querySelectorAll('.modelmap')].map((m) => [...m.querySelectorAll('button')].map((b) => b.ariaLabel))"
    as_dumped, own = [sum(label.endswith("wrong") for label in found) for found in tab.run(labels)]
    assert as_dumped > 20
    assert own == 3
    assert tab.run("document.querySelectorAll('.modelmap .first').length") == 2
    tab.click('.modelmap button[aria-label^="encoder.layer.2.attention.self:scores"]')
    assert "encoder.layer.2.attention.self:scores" in text_of(tab, "#detail h3")
    before = tab.run("document.activeElement.dataset.cell")
    tab.press("ArrowRight")
    assert int(tab.run("document.activeElement.dataset.cell")) > int(before)
    assert tab.run("document.querySelectorAll('#detail svg').length") >= 3
    is_quiet(tab)
    tab.close()


def test_curves_of_a_training(browser: Browser, tmp_path: Path) -> None:
    points = [(step, 2.0 / (1 + step)) for step in range(50)]
    tab = opened(browser, views.curves("training", {"loss": {"training": points, "validation": points[::10]}}), tmp_path)
    assert tab.run("document.querySelectorAll('svg polyline').length") == 2
    is_quiet(tab)
    tab.close()


def test_two_views_live_on_one_notebook_page(browser: Browser, view: views.View, tmp_path: Path) -> None:
    other = views.curves("training", {"loss": {"training": [(0, 2.0), (1, 1.0)]}})
    page = tmp_path / "notebook.html"
    page.write_text(f"<!DOCTYPE html><meta charset=utf-8>{view._repr_html_()}{other._repr_html_()}", encoding="utf-8")
    tab = browser.open(page, height=1700)
    drawn = [tab.frame(number) for number in range(2)]
    for frame in drawn:
        frame.wait("document.documentElement.dataset.ready === 'yes'")
    assert drawn[0].run("document.querySelectorAll('[role=tab]').length") == len(TABS)
    assert drawn[1].run("document.querySelectorAll('polyline').length") == 1
    drawn[0].run("document.querySelector('#tab-heads').click()")
    assert drawn[0].run("document.querySelectorAll('.heads button').length") == 6
    with pytest.raises(AssertionError, match="SecurityError"):
        drawn[0].run("parent.document.title")
    assert tab.complaints() == []
    tab.close()


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 1300])
def test_pictures_are_drawn_where_they_belong(
    dark: bool, width: int, browser: Browser, view: views.View, pack: golden.Pack, tmp_path: Path
) -> None:
    comparison = views.comparison(pack, changed(pack, hidden_act="relu")).view
    for shown, selection, part in ((view, "tab=heads", "#opened canvas.map"), (comparison, "", ".modelmap table.model")):
        tab = opened(browser, shown, tmp_path, selection, dark=dark, width=width, height=900)
        x, y, wide, high = tab.box(part)
        corner = read_png(tab.screenshot((0, 0, 4, 4)))
        assert (corner < 60).all() if dark else (corner > 200).all()
        wide, high = min(wide, width - x), min(high, 600)
        assert wide > 100
        assert high > 60
        image = read_png(tab.screenshot((x, y, wide, high)))
        assert len(np.unique(image.reshape(-1, 3), axis=0)) > 12
        assert tab.run("document.documentElement.scrollWidth") <= width
        is_quiet(tab)
        tab.close()


def test_one_token_is_enough(browser: Browser, tokenizer: npbert.BertTokenizer, tmp_path: Path) -> None:
    config = {
        "vocab_size": len(tokenizer),
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "intermediate_size": 4,
    }
    model = npbert.BertLMHeadModel(npbert.BertConfig(**config, is_decoder=True), rng=np.random.default_rng(0))
    bare = npbert.BertTokenizer(tokenizer.vocab_file) if hasattr(tokenizer, "vocab_file") else tokenizer
    tab = opened(browser, views.look(model, bare, ""), tmp_path)
    for name in TABS:
        tab.click(f"#tab-{name}")
    is_quiet(tab)
    tab.close()


@pytest.mark.parametrize(("tokens", "most_bytes"), [(128, 4_000_000), (512, 15_000_000)])
def test_a_page_of_base_size_opens_soon(
    tokens: int, most_bytes: int, browser: Browser, tokenizer: npbert.BertTokenizer, tmp_path: Path
) -> None:
    model = large_model(hidden_size=768, intermediate_size=64, max_position_embeddings=512)
    view = views.look(model, tokenizer, long_text(tokens - 2))
    assert len(view.html.encode()) < most_bytes
    tab = opened(browser, view, tmp_path, "tab=heads&layer=11&head=3")
    assert tab.seconds_worked() < 3
    tab.run("document.querySelector('#opened canvas.map').focus()")
    tab.press("ArrowDown")
    assert text_of(tab, "#opened .readout").startswith("query ")
    is_stated = tab.run("document.querySelector('#panel .limit')?.innerText ?? ''")
    assert bool(is_stated) == (tokens == 512)
    if is_stated:
        assert "larger than 15 MB. Whole are the layers 0, " in is_stated
        assert "96 by 96 cells" in is_stated
    tab.click("#tab-number")
    assert f"stays below {most_bytes // 1_000_000} MB, it has the numbers of " in text_of(tab, "#panel .limit")
    assert text_of(tab, "[data-number=probability]")
    is_quiet(tab)
    tab.close()


def test_a_model_of_another_shape_is_compared_where_it_can_be(
    browser: Browser, models: dict[str, Any], tokenizer: npbert.BertTokenizer, tmp_path: Path
) -> None:
    other = build("BertForMaskedLM", tiny(num_hidden_layers=1, num_attention_heads=1), dtype=np.float32)
    view = views.look(models["masked"], tokenizer, TEXT, gradients=False, other_model=other)
    tab = opened(browser, view, tmp_path, "tab=heads&pass=other&layer=1&head=2")
    assert tab.run("document.querySelectorAll('.heads button').length") == 1
    assert "Layer 0, head 0" in text_of(tab, "#opened")
    tab.run("select({ pass: 'difference', layer: 1, head: 2 })")
    assert "The other model has no such head" in text_of(tab, "#opened")
    tab.click('[data-at="0.0"]')
    assert "this pass minus the other" in text_of(tab, "#opened figcaption")
    is_quiet(tab)
    tab.close()


def test_a_difference_names_both_words(
    browser: Browser, models: dict[str, Any], tokenizer: npbert.BertTokenizer, tmp_path: Path
) -> None:
    view = views.look(models["masked"], tokenizer, "the cat sat", gradients=False, other_text="the mat sat")
    tab = opened(browser, view, tmp_path, "tab=heads&pass=difference")
    tab.run("document.querySelector('#opened canvas.map').focus()")
    tab.press("ArrowDown")
    tab.press("ArrowDown")
    assert text_of(tab, "#opened .readout").startswith("query cat / mat · key [CLS] · ")
    tab.close()


def test_every_map_has_keys_a_readout_a_table_and_a_focus_that_is_seen(
    browser: Browser, view: views.View, pack: golden.Pack, tmp_path: Path
) -> None:
    pages = [(view, name) for name in ("pieces", "heads", "number", "walk", "stream")]
    pages.append((views.comparison(pack, changed(pack, hidden_act="relu")).view, ""))
    for shown, name in pages:
        tab = opened(browser, shown, tmp_path, f"tab={name}")
        count = tab.run("document.querySelectorAll('canvas.map').length")
        assert count > 0
        for number in range(count):
            tab.run(f"window.map = document.querySelectorAll('canvas.map')[{number}]; map.focus()")
            tab.press("ArrowRight")
            tab.run("map = document.activeElement; window.box = map.closest('figure')")  # a map may have been drawn again
            assert tab.run("box.querySelector('output[aria-live=polite]').innerText.length") > 3
            assert tab.run("box.querySelector('.legend canvas') !== null")
            tab.run("box.querySelector('details.table').open = true")
            tab.settle()
            rows, columns = (int(part) for part in tab.run("map.ariaLabel.match(/(\\d+) rows by (\\d+) columns/).slice(1)"))
            assert tab.run("box.querySelectorAll('details.table tbody tr').length") == min(rows, 64)
            assert tab.run("box.querySelectorAll('details.table tbody tr:first-child td').length") == min(columns, 64)
        tab.run("document.querySelector('canvas.map').focus()")
        tab.press("Tab")
        assert tab.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        is_quiet(tab)
        tab.close()


def test_a_comparison_says_at_a_glance_what_is_wrong_and_hatches_padding(
    browser: Browser, pack: golden.Pack, tmp_path: Path
) -> None:
    tab = opened(browser, views.comparison(pack, changed(pack, hidden_act="gelu_new")).view, tmp_path)
    assert "only intermediate.intermediate_act_fn is wrong, in 3 places" in text_of(tab, ".glance")
    assert tab.run("document.querySelector('#detail canvas.map').ariaLabel").startswith("Where: texts by tokens: 3 rows by 7")
    tab.run("document.querySelector('#detail canvas.map').focus()")
    for _ in range(2):
        tab.press("ArrowDown")
    tab.press("End")
    length = int(pack.inputs["attention_mask"][2].sum())
    is_padding = length < pack.inputs["attention_mask"].shape[1]
    assert text_of(tab, "#detail .readout").endswith("does not count") == is_padding
    is_quiet(tab)
    tab.close()
