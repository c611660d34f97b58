"""The element types of checkpoints: what each format calls them, how they lie in a file, and what npbert makes of them.

Types go by NumPy's names; `bfloat16`, which NumPy lacks, is the upper half of a float32 and becomes one.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

# What the files of each format call the types that npbert reads.
SAFETENSORS = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}
TORCH_STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}
TORCH_DTYPES = {
    name: name
    for name in ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint64", "uint32", "uint16")
} | {"uint8": "uint8", "bool": "bool"}

_COMPLEX = "complex numbers, which no part of BERT computes with"
_EIGHT_BIT = "floats of 8 bits or fewer, which mean nothing without the scales their quantizer keeps elsewhere"
_QUANTIZED = "quantized integers, which mean nothing without their scales"

# Types that are known, and refused with the reason.
REFUSED = {
    "C64": _COMPLEX,
    "C128": _COMPLEX,
    "ComplexFloatStorage": _COMPLEX,
    "ComplexDoubleStorage": _COMPLEX,
    "complex32": _COMPLEX,
    "complex64": _COMPLEX,
    "complex128": _COMPLEX,
    "F8_E4M3": _EIGHT_BIT,
    "F8_E5M2": _EIGHT_BIT,
    "F8_E8M0": _EIGHT_BIT,
    "F6_E2M3": _EIGHT_BIT,
    "F6_E3M2": _EIGHT_BIT,
    "F4": _EIGHT_BIT,
    "float8_e4m3fn": _EIGHT_BIT,
    "float8_e4m3fnuz": _EIGHT_BIT,
    "float8_e5m2": _EIGHT_BIT,
    "float8_e5m2fnuz": _EIGHT_BIT,
    "float8_e8m0fnu": _EIGHT_BIT,
    "float4_e2m1fn_x2": _EIGHT_BIT,
    "QInt8Storage": _QUANTIZED,
    "QInt32Storage": _QUANTIZED,
    "QUInt8Storage": _QUANTIZED,
    "QUInt4x2Storage": _QUANTIZED,
    "QUInt2x4Storage": _QUANTIZED,
}


def stored_dtype(name: str, byteorder: str = "little") -> np.dtype[Any]:
    """The NumPy type that the bytes of elements called `name` have in a file; bfloat16 as bare 16-bit patterns."""
    return np.dtype("uint16" if name == "bfloat16" else name).newbyteorder("<" if byteorder == "little" else ">")


def decode(stored: NDArray[Any], name: str) -> NDArray[Any]:
    """`stored` elements, of `stored_dtype(name)`, as a read-only array of this machine's own type.

    The array given comes back where it serves as it is. Three things need new memory: bfloat16, bytes in the other order, and
    elements that do not lie at a multiple of their size, which NumPy would otherwise copy again in every multiplication.
    """
    result = stored
    if name == "bfloat16":
        bits = stored.astype(np.uint32)
        bits <<= 16
        result = bits.view(np.float32)
    elif not stored.dtype.isnative:
        result = stored.astype(stored.dtype.newbyteorder("="))
    elif not stored.flags.aligned:
        result = stored.copy()
    result.flags.writeable = False
    return result


def holds_truth_values(stored: NDArray[Any]) -> bool:
    """Whether every byte of a stored bool array is 0 or 1. NumPy's arithmetic is undefined for any other."""
    return stored.size == 0 or int(stored.view(np.uint8).max()) <= 1
