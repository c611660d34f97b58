"""Small drawings as SVG, for papers and for README: text, boxes, maps of numbers."""

from __future__ import annotations

import base64
import html
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from npbert.checks import choice
from npbert.types import Array

INK = {"light": "#1b1b22", "dark": "#ececf2"}
QUIET = {"light": "#5c5c68", "dark": "#a4a4b2"}
PAGE = {"light": "#ffffff", "dark": "#15151b"}
LINE = {"light": "#d9d9e0", "dark": "#3a3a46"}
WRONG = {"light": "#b3261e", "dark": "#ff8a80"}
TONES = {"light": ("#0b57d0", "#b25000", "#14693a"), "dark": ("#8ab4ff", "#ffb067", "#7fd6a0")}

MARGIN = 8
LETTER = 6.6
"""About as wide as a letter of the text is, in pixels."""


class Drawing:
    """Pieces of SVG, and how much room they take."""

    def __init__(self, theme: str) -> None:
        self.theme = choice("theme", theme, ("light", "dark"))
        self.pieces: list[str] = []
        self.width = self.height = 0.0
        self._has_hatch = False

    def add(self, tag: str, content: str = "", **attributes: Any) -> None:
        """One element; `_` in the name of an attribute is written as `-`."""
        written = "".join(f' {name.rstrip("_").replace("_", "-")}="{_written(value)}"' for name, value in attributes.items())
        self.pieces.append(f"<{tag}{written}>{content}</{tag}>" if content else f"<{tag}{written}/>")

    def text(self, x: float, y: float, words: str, *, quiet: bool = False, **attributes: Any) -> None:
        """One line of text, whose baseline starts at (x, y)."""
        fill = (QUIET if quiet else INK)[self.theme]
        self.add("text", html.escape(printable(words)), **{"x": x, "y": y, "fill": fill, **attributes})
        if "transform" not in attributes:
            self.reach(x if attributes.get("text_anchor") else x + LETTER * len(words), y + 4)

    def reach(self, x: float, y: float) -> None:
        """The drawing is at least so large."""
        self.width, self.height = max(self.width, x), max(self.height, y)

    def map(self, x: float, y: float, colours: Array, size: float, high: float | None = None) -> None:
        """A map whose cells have the colours `[rows, columns, 3]`, each `size` pixels wide and as high, or `high`."""
        rows, columns, _ = colours.shape
        high = size if high is None else high
        data = base64.b64encode(png(colours)).decode("ascii")
        place = {"x": x, "y": y, "width": columns * size, "height": rows * high}
        self.add(
            "image",
            **place,
            preserveAspectRatio="none",
            style="image-rendering:pixelated",
            href=f"data:image/png;base64,{data}",
        )
        self.add("rect", **place, fill="none", stroke=LINE[self.theme])
        self.reach(x + columns * size, y + rows * high)

    def hatched(self, x: float, y: float, wide: float, high: float) -> None:
        """A box of slanted lines over the page's colour: there is no number here."""
        if not self._has_hatch:
            line = f'<path d="M0 6L6 0" stroke="{QUIET[self.theme]}"/>'
            self.pieces.insert(0, f'<pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse">{line}</pattern>')
            self._has_hatch = True
        for fill in (PAGE[self.theme], "url(#hatch)"):
            self.add("rect", x=x, y=y, width=wide, height=high, fill=fill)

    def legend(self, x: float, y: float, colours: Array, low: str, high: str, what: str) -> None:
        """A bar of colours with its ends."""
        self.text(x, y + 10, low)
        start = x + LETTER * len(low) + 6
        data = base64.b64encode(png(colours[None])).decode("ascii")
        self.add("image", x=start, y=y, width=110, height=12, preserveAspectRatio="none", href=f"data:image/png;base64,{data}")
        self.text(start + 116, y + 10, f"{high}  {what}")

    def finished(self, title: str) -> str:
        """The whole file."""
        width, height = round(self.width + 2 * MARGIN), round(self.height + 2 * MARGIN)
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="{-MARGIN} {-MARGIN} {width} {height}" '
            'font-family="system-ui, sans-serif" font-size="12" role="img">'
        )
        ground = f'<rect x="{-MARGIN}" y="{-MARGIN}" width="{width}" height="{height}" fill="{PAGE[self.theme]}"/>'
        return "\n".join([head, f"<title>{html.escape(printable(title))}</title>", ground, *self.pieces, "</svg>", ""])


def printable(text: str) -> str:
    """The text without what XML cannot hold."""
    return "".join(sign if sign >= " " and sign not in "\ufffe\uffff" else chr(0x2400 + ord(sign)) for sign in text)


def _written(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else html.escape(str(value))


def png(colours: Array) -> bytes:
    """An image of 8-bit colours `[rows, columns, 3]` as a PNG file."""
    rows, columns, _ = colours.shape
    lines = np.concatenate([np.zeros((rows, 1), np.uint8), colours.reshape(rows, -1).astype(np.uint8)], axis=1)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", columns, rows, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines.tobytes(), 9)) + chunk(b"IEND", b"")
    )


def longest(texts: Sequence[str]) -> float:
    """About how wide the longest of the texts is, in pixels."""
    return LETTER * max(map(len, texts), default=0)
