"""From checkpoints to models and back: the work behind `from_pretrained` and `save_pretrained`.

Finding and reading files is `npbert.checkpoints`' part; here their contents become a configuration and weights that fit it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import DTypeLike

from npbert import checkpoints, checks
from npbert.checkpoints import Checkpoint, names
from npbert.checkpoints.limits import MAX_FRESH_ELEMENTS, MAX_FRESH_SHARE
from npbert.errors import FileError, InputError, InputTypeError, listed, shown, warn
from npbert.models import fitting
from npbert.types import Array, StrPath
from npbert.weights import Parameters, initialize

LoadingInfo: TypeAlias = dict[str, list[Any]]
"""Under `missing_keys`, `unexpected_keys` and `mismatched_keys`, what did not match when a checkpoint was loaded."""


class InMemory(NamedTuple):
    """Weights that are at hand, in the place of a checkpoint."""

    arrays: Mapping[str, Any]
    arrays_path: str = "state_dict"  # for messages
    name: str = ""
    generation_settings: Mapping[str, Any] = MappingProxyType({})


def from_pretrained(cls: Any, path_or_id: Any, *, state_dict: Any = None, **options: Any) -> Any:
    """The work behind `BertModel.from_pretrained` and its like; see there."""
    if state_dict is None:
        location = {name: options.pop(name) for name in checkpoints.LOCATION_OPTIONS if name in options}
        return from_checkpoint(cls, checkpoints.find(path_or_id, **location), **options)
    if path_or_id is not None or options.get("config") is None:
        raise InputError("state_dict: takes None in the place of a checkpoint's name, and the configuration as config=")
    if not isinstance(state_dict, Mapping):
        raise InputTypeError(f"state_dict: takes a mapping from names to arrays, got {shown(state_dict)}")
    arrays = {name: checks.as_array(f"state_dict: {name}", array).copy() for name, array in state_dict.items()}
    return from_checkpoint(cls, InMemory(arrays), **options)


def from_checkpoint(
    cls: Any,
    checkpoint: Checkpoint | InMemory,
    *,
    config: Any = None,
    dtype: DTypeLike | None = np.float32,
    torch_dtype: Any = None,
    output_loading_info: bool = False,
    ignore_mismatched_sizes: bool = False,
    **overrides: Any,
) -> Any:
    """A model of the class with a checkpoint's weights. `overrides` are fields of the configuration.

    `torch_dtype` is the reference's older name for `dtype`.
    """
    dtype = dtype if torch_dtype is None else torch_dtype
    dtype = None if isinstance(dtype, str) and dtype == "auto" else dtype
    overrides = _without_effect(f"{cls.__name__}.from_pretrained", overrides)
    if config is None:
        assert isinstance(checkpoint, Checkpoint)
        config = cls.config_class.from_file_fields(checkpoint.fields, checkpoint.fields_path)
    elif not isinstance(config, cls.config_class):
        raise InputTypeError(f"config: takes {cls.config_class.described()}, got {type(config).__name__}")
    own = {name: overrides.pop(name) for name in cls.construction_options if name in overrides}
    model = cls.without_weights(config.overridden(f"{cls.__name__}.from_pretrained", overrides), **own)
    model.name_or_path = checkpoint.name
    if hasattr(cls, "generate"):
        model.generation_config = checkpoint.generation_settings
    info = fill(
        model,
        checkpoint,
        dtype=dtype,
        ignore_mismatched_sizes=ignore_mismatched_sizes,
        architectures=getattr(config, "architectures", None),
    )
    return (model, info) if output_loading_info else model


WITHOUT_EFFECT: dict[str, tuple[Any, ...]] = {
    "attn_implementation": (None, "eager"),
    "device_map": (None, "cpu", "auto"),
    "low_cpu_mem_usage": (None, True, False),
    "trust_remote_code": (None, True, False),
    "use_safetensors": (None, True, False),
    "from_tf": (None, True, False),
    "from_flax": (None, False),
    "force_download": (None, False),
}
"""Options of the reference that say how to load, and the values with which npbert loads the same numbers anyway."""


def _without_effect(function: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options without those of the reference that change nothing here; a value that would change something is refused."""
    for name, values in WITHOUT_EFFECT.items():
        if options.get(name) not in values:
            taken = " or ".join(repr(value) for value in values if value is not None)
            raise InputError(f"{function}: {name}: npbert takes {taken}, got {shown(options[name])}")
    return {name: value for name, value in options.items() if name not in WITHOUT_EFFECT}


def fill(
    model: Any,
    checkpoint: Checkpoint | InMemory,
    *,
    dtype: DTypeLike | None,
    ignore_mismatched_sizes: bool,
    architectures: Any = None,
) -> LoadingInfo:
    """Give a model its weights from those of a checkpoint: renamed, checked, and completed where the checkpoint lacks some.

    `architectures` are the classes that the checkpoint's configuration names.
    """
    expected, tied, path = model.expected_parameters(), model.tied(), checkpoint.arrays_path
    source = checkpoint.name or path
    renamed = names.fit_to([*expected, *tied], checkpoint.arrays, tied=model.head_config.tie_word_embeddings)
    try:
        fit = fitting.fit(expected, tied, renamed.weights, where=str(path))
    except InputTypeError as error:
        raise FileError(str(error)) from None
    if expected and not fit.arrays:
        raise FileError(f"{path}: holds no weight of {type(model).__name__}; it has {listed(sorted(checkpoint.arrays))}")
    if not ignore_mismatched_sizes:
        for name, shape in fit.mismatched.items():
            raise InputError(f"{path}: {name} takes shape {list(shape)}, the file has {list(fit.arrays[name].shape)}")
    found = {name: array for name, array in fit.arrays.items() if name not in fit.mismatched}
    kind = fitting.common_type(fit.arrays.values()) if dtype is None else fitting.float_type(dtype)
    fresh = {name: parameter for name, parameter in expected.items() if name not in found}
    if fresh:
        _refuse_invention(path, fresh, found)
        warn(f"{type(model).__name__}: newly initialized, because {source} does not have them: {', '.join(fresh)}")
    if unused := _unused(model, renamed.unexpected, architectures):
        warn(f"{source}: left out, because {type(model).__name__} has none of them: {listed(unused, 20)}")
    arrays = initialize(fresh, np.random.default_rng(), kind, std=model.head_config.initializer_range)
    arrays |= {name: array.astype(kind, copy=False) for name, array in found.items()}
    model.weights.replace({name: arrays[name] for name in expected})
    return {
        "missing_keys": [name for name in renamed.missing if tied.get(name) not in fit.arrays],
        "unexpected_keys": renamed.unexpected,
        "mismatched_keys": [(name, fit.arrays[name].shape, shape) for name, shape in fit.mismatched.items()],
        "error_msgs": [],
    }


def _unused(model: Any, unexpected: Sequence[str], architectures: Any) -> list[str]:
    """The weights that a user must be told of because the model has no place for them.

    As in the reference, that is everything where the class is the one that the checkpoint was saved from. Another class leaves
    heads out as a matter of course, and with them the pooler where it has none, but not layers or tables. A pooler that was
    asked to be left out is missed by nobody.
    """
    is_the_same = type(model).__name__ in (architectures or ())
    asked_for_none = type(model).has_pooler and not model.has_pooler
    if asked_for_none or (not is_the_same and not model.has_pooler):
        unexpected = [name for name in unexpected if not _OF_A_POOLER.search(name)]
    return [name for name in unexpected if is_the_same or _OF_A_BASE_MODEL.search(name)]


_OF_A_POOLER = re.compile(r"(?:^|\.)pooler\.")
_OF_A_BASE_MODEL = re.compile(r"(?:^|\.)(?:embeddings|encoder\.layer|pooler|wte|wpe|h|ln_f)\.")


def _refuse_invention(path: StrPath, fresh: Parameters, found: Mapping[str, Array]) -> None:
    """Refuse to draw more weights at random than the checkpoint's own can account for."""
    elements = sum(math.prod(parameter.shape) for parameter in fresh.values())
    most = MAX_FRESH_ELEMENTS + MAX_FRESH_SHARE * sum(array.size for array in found.values())
    if elements > most:
        raise FileError(
            f"{path}: lacks weights of {elements} elements in all, such as {next(iter(fresh))}; beside what the file holds, at "
            f"most {most} are drawn at random. For a new model, make one of the configuration and call load_state_dict"
        )


def save_pretrained(
    model: Any, directory: StrPath, *, max_shard_size: int | str, progress: Callable[[int], object] | None
) -> None:
    """The work behind `model.save_pretrained`; see there."""
    model.check_config()
    fields = {**model.config.to_dict(), "torch_dtype": model.dtype.name}
    fields.pop("dtype", None)  # the same field by its later name, as the checkpoint had it that the model came from
    checkpoints.save(
        directory,
        fields,
        dict(model.named_parameters()),
        generation_settings=model.generation_config,
        max_shard_size=max_shard_size,
        progress=progress,
    )
