"""One page in one file: styles, script and data inside, and a policy that forbids every request.

The parts are files of their own in `web/`; this puts them together. Text from outside reaches the page as JSON alone, in which
`<` is written as an escape: no text can end the data and become markup.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from npbert.checkpoints.writing import write_text
from npbert.checks import choice
from npbert.errors import InputError
from npbert.types import StrPath
from npbert.version import __version__
from npbert.views.blobs import plain
from npbert.views.colours import as_hex

LARGEST_INLINE = 2_000_000
"""A notebook gets a page of up to so many bytes, escaped, as it is, and a file and a link for a larger one."""

SHARED_SCRIPTS = ("base.js", "map.js", "chart.js")


class View:
    """A page, and the pictures in it.

    In a notebook it shows itself. `save(path)` writes the page, which opens everywhere and asks no network; `svg(name, ...)`
    is one of its pictures for a paper.
    """

    def __init__(self, title: str, summary: str, page: str, pictures: dict[str, Callable[..., str]]) -> None:
        self.title, self.summary, self.html = title, summary, page
        self._pictures = pictures

    def save(self, path: StrPath) -> Path:
        """Write the page; returns its path. A crash leaves the old page or the new one."""
        write_text(path, self.html)
        return Path(path)

    def svg(self, picture: str, **options: Any) -> str:
        """One of the pictures as SVG. `theme="dark"` is for dark pages; what else can be chosen depends on the picture."""
        if not self._pictures:
            raise InputError("svg: this page has no pictures of this kind")
        return self._pictures[choice("picture", picture, sorted(self._pictures))](**options)

    def __repr__(self) -> str:
        return f"{self.title}\n{self.summary}\n(a page: .save('page.html') writes it; pictures: {', '.join(self._pictures)})"

    def _repr_html_(self) -> str:
        """The page in a frame of its own: it may run its script and nothing else, so it can neither see the notebook nor
        disturb another page in it."""
        escaped = html.escape(self.html)
        note = f"<p>{html.escape(self.title)}. {html.escape(self.summary)}</p>"
        if len(escaped.encode()) > LARGEST_INLINE:
            name = f"npbert-{hashlib.sha256(self.html.encode()).hexdigest()[:12]}.html"
            self.save(name)
            size = f"{len(self.html.encode()):,} bytes"
            link = f'<a href="{name}">{name}</a>'
            return f"{note}<p>The page is too large for a notebook ({size}) and is in a file: {link}</p>"
        frame = (
            f'<iframe sandbox="allow-scripts" width="100%" height="680" style="border:0" title="{html.escape(self.title)}" '
            f'srcdoc="{escaped}"></iframe>'
        )
        return f"{frame}{note}<p>No picture? Trust the notebook, or save the page: <code>.save('page.html')</code>.</p>"


def page(title: str, data: dict[str, Any], scripts: Sequence[str]) -> str:
    """The page: the shared scripts, then these, and `data` for them."""
    styles = _read("page.css")
    script = "\n".join(_read(name) for name in (*SHARED_SCRIPTS, *scripts, "start.js"))
    themes = {theme: {name: as_hex(name, theme) for name in ("sequential", "diverging")} for theme in ("light", "dark")}
    everything = {"npbert": __version__, "title": title, "colours": themes, **data}
    policy = (
        f"default-src 'none'; script-src '{_fingerprint(script)}'; style-src '{_fingerprint(styles)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    parts = {"POLICY": policy, "TITLE": html.escape(title), "STYLES": styles, "DATA": as_json(everything), "SCRIPT": script}
    pieces = _read("page.html").split("%%")  # text, NAME, text, NAME, ... text
    return "".join(parts[piece] if index % 2 else piece for index, piece in enumerate(pieces))


def as_json(value: Any) -> str:
    """JSON that can stand inside a script element, and in UTF-8: half of a UTF-16 pair, which a label may hold, is escaped."""
    text = json.dumps(plain(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return re.sub("[<>&\u2028\u2029\x7f\ud800-\udfff]", lambda sign: f"\\u{ord(sign[0]):04x}", text)


def _fingerprint(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def _read(name: str) -> str:
    return resources.files("npbert.views").joinpath("web").joinpath(name).read_text(encoding="utf-8")
