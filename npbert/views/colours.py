"""The two scales of colours that all pictures share.

Both are straight lines in OKLab, so equal steps of a value are equal steps of lightness. Magnitudes go from the page's own
colour to its opposite: pale yellow to dark blue on white, dark blue to pale yellow on black. Signed values go from blue over
the page's colour, which is 0, to orange: two hues that colour-blind readers tell apart, and lightness says how large.

OKLab: B. Ottosson, "A perceptual color space for image processing", 2020.
"""

from __future__ import annotations

import numpy as np

from npbert.types import Array

STEPS = 256

_TO_CUBE_ROOTS = np.array(
    [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.2914855480]]
)
_TO_LINEAR_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)

# Lightness, chroma, hue in degrees, at equal distances along the scale.
_ANCHORS = {
    "light": {
        "sequential": [(0.985, 0.015, 100), (0.78, 0.10, 160), (0.57, 0.11, 220), (0.37, 0.12, 262), (0.20, 0.09, 285)],
        "diverging": [(0.30, 0.12, 260), (0.64, 0.11, 250), (0.985, 0.0, 60), (0.64, 0.14, 55), (0.30, 0.09, 40)],
    },
    "dark": {
        "sequential": [(0.21, 0.03, 280), (0.37, 0.11, 262), (0.57, 0.11, 220), (0.78, 0.11, 160), (0.97, 0.07, 105)],
        "diverging": [(0.90, 0.07, 240), (0.60, 0.13, 250), (0.21, 0.01, 280), (0.62, 0.14, 55), (0.92, 0.08, 80)],
    },
}


def scale(name: str, theme: str = "light") -> Array:
    """The colours of a scale, `[STEPS, 3]` whole numbers from 0 to 255."""
    lightness, chroma, hue = np.array(_ANCHORS[theme][name]).T
    angle = np.unwrap(np.deg2rad(hue))
    lab = np.stack([lightness, chroma * np.cos(angle), chroma * np.sin(angle)], axis=1)  # [anchors, 3]
    at, given = np.linspace(0, 1, STEPS), np.linspace(0, 1, len(lab))
    lab = np.stack([np.interp(at, given, lab[:, axis]) for axis in range(3)], axis=1)  # [STEPS, 3]
    linear = np.clip((lab @ _TO_CUBE_ROOTS.T) ** 3 @ _TO_LINEAR_RGB.T, 0, 1)
    rgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.round(255 * rgb).astype(np.uint8)


def as_hex(name: str, theme: str = "light") -> str:
    """The colours of a scale as one text, six letters each: as a page carries them."""
    return scale(name, theme).tobytes().hex()


def magnitude(x: Array, largest: float, theme: str = "light") -> Array:
    """The colours of values from 0 to `largest`, `[..., 3]`."""
    place = np.clip(np.nan_to_num(x / (largest or 1.0)), 0, 1)
    return scale("sequential", theme)[np.round(place * (STEPS - 1)).astype(np.int64)]


def signed(x: Array, largest: float, theme: str = "light") -> Array:
    """The colours of values from -`largest` to `largest`, `[..., 3]`; 0 has the page's colour."""
    place = (np.clip(np.nan_to_num(x / (largest or 1.0)), -1, 1) + 1) / 2
    return scale("diverging", theme)[np.round(place * (STEPS - 1)).astype(np.int64)]
