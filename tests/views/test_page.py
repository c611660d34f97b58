"""A page is one file that asks for nothing and runs nothing that came from outside."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import zlib
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import npbert
from npbert import views
from npbert.views import blobs, colours, page, pictures


def parts(text: str) -> dict[str, str]:
    found = re.fullmatch(
        r".*<style>(?P<style>.*)</style>.*<script type=\"application/json\" id=\"data\">(?P<data>.*?)</script>\n"
        r"<script>(?P<script>.*)</script>\n</body>\n</html>\n",
        text,
        re.DOTALL,
    )
    assert found is not None
    return found.groupdict()


def test_the_policy_allows_the_page_s_own_script_and_style_alone() -> None:
    text = page.page("a title", {"charts": []}, ["curves.js"])
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in html.unescape(policy[1]).split(";"))
    assert rules["default-src"] == "'none'"
    for rule, part in (("script-src", "script"), ("style-src", "style")):
        digest = base64.b64encode(hashlib.sha256(parts(text)[part].encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"


def test_no_text_ends_the_data_or_the_title() -> None:
    nasty = "</script><script>alert(1)</script><!-- \u2028 & \x00 \"'"
    text = page.page(nasty, {"charts": [], "text": nasty}, ["curves.js"])
    data = parts(text)["data"]
    assert not set("<>&\u2028\x00") & set(data)
    assert json.loads(data)["text"] == nasty
    assert text.count("<script") == 2
    assert html.escape(nasty) in text


def test_a_page_is_written_as_every_file_is(tmp_path: Path) -> None:
    view = views.curves("training", {"half \ud800 a pair": {"training": [(0, 2.0), (1, 1.0)]}})
    (tmp_path / "link.html").symlink_to("page.html")
    assert view.save(tmp_path / "link.html") == tmp_path / "link.html"
    assert (tmp_path / "link.html").is_symlink()
    assert r"half \ud800 a pair" in (tmp_path / "page.html").read_text("utf-8")
    with pytest.raises(npbert.NpbertError, match=r"the directory .* does not exist"):
        view.save(tmp_path / "missing" / "page.html")
    with pytest.raises(npbert.NpbertError, match="path: takes a path, got 5"):
        view.save(5)  # type: ignore[arg-type]


def test_in_a_notebook_a_page_has_a_frame_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    view = views.curves("training <b>", {"loss": {"training": [(0, 2.0), (1, 1.0)]}})
    shown = view._repr_html_()
    assert 'sandbox="allow-scripts"' in shown
    inside = re.search(r'srcdoc="([^"]*)"', shown)
    assert inside is not None
    assert html.unescape(inside[1]) == view.html
    assert "training &lt;b&gt;" in shown
    assert "training <b>" not in shown
    large = page.View("large", "", view.html + " " * page.LARGEST_INLINE, {})
    shown = large._repr_html_()
    assert "srcdoc" not in shown
    (file,) = tmp_path.iterdir()
    assert f'href="{file.name}"' in shown
    assert file.read_text("utf-8") == large.html
    assert view.save(tmp_path / "page.html").read_text("utf-8") == view.html


def test_curves_are_drawn_and_their_errors_are_told() -> None:
    view = views.curves("training", {"loss": {"training": [(0, 2.0), (1, float("nan")), (2, 1.0)], "validation": [(2, 1.5)]}})
    drawing = view.svg("curve", chart="loss", theme="dark")
    ElementTree.fromstring(drawing)
    assert "nan" not in drawing
    assert drawing.count("<polyline") == 2
    with pytest.raises(npbert.InputError, match="chart: takes loss"):
        view.svg("curve", chart="accuracy")
    with pytest.raises(npbert.InputError, match="picture: takes"):
        view.svg("heads")
    with pytest.raises(npbert.InputError, match="takes one chart or more"):
        views.curves("nothing", {})


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_are_even(theme: str) -> None:
    def lightness(name: str) -> np.ndarray:
        rgb = colours.scale(name, theme) / 255
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        luminance = linear @ [0.2126, 0.7152, 0.0722]
        return np.where(luminance > 0.008856, 116 * np.cbrt(luminance) - 16, 903.3 * luminance)

    steps = np.diff(lightness("sequential"))
    assert (steps < 0.2).all() if theme == "light" else (steps > -0.2).all()  # one direction
    assert np.abs(steps).max() < 2.5 * np.abs(steps).mean()
    signed = lightness("diverging")
    assert np.abs(signed - signed[::-1]).max() < 8  # both sides alike
    outwards = -1 if theme == "light" else 1
    assert (outwards * np.diff(signed)[140:] > -0.2).all()


def test_the_square_root_keeps_small_weights() -> None:
    p = np.array([0, 1e-5, 1e-3, 0.01, 0.3, 1.0])
    packed = blobs.probabilities(p)
    back = (np.frombuffer(zlib.decompress(base64.b64decode(packed["blob"])), np.uint8) / 255.0) ** 2
    assert (back[1:] > 0).all()
    assert np.abs(np.sqrt(back) - np.sqrt(p)).max() <= 0.5 / 255 + 1e-9


def test_one_large_number_hides_no_others() -> None:
    x = np.random.default_rng(0).standard_normal((100, 64)).astype(np.float32)
    x[3, 3], x[5] = 1000, np.finfo(np.float32).min
    packed = pictures.picture(x, (100, 64))
    assert 2 < packed["largest"] < 4
    assert packed["numbers"][1] == 1000
    seen = blobs.unpacked_shares(packed["shares"])
    shown = np.abs(x) < packed["largest"]
    assert np.abs(seen - x)[shown].max() < 0.02
    assert seen[3, 3] == packed["largest"]


def test_pooling_keeps_what_is_largest() -> None:
    x = np.zeros((7, 10))
    x[3, 9], x[6, 0] = -5, 2
    small = blobs.pooled(x, (3, 4))
    assert small.shape == (3, 4)
    assert small.min() == -5
    assert small.max() == 2
    assert blobs.pooled(x, (3, 4), "mean").shape == (3, 4)
    assert np.array_equal(blobs.pooled(x, (9, 10)), x)
