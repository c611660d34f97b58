"""Writing a checkpoint: weights, configuration and generation settings."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from npbert.checkpoints import names
from npbert.checkpoints.config_files import CONFIG_FILES, GENERATION_FILE, config_text
from npbert.checkpoints.writing import make_directory, write_text
from npbert.types import Array, StrPath


def save(
    directory: StrPath,
    fields: Mapping[str, Any],
    arrays: Mapping[str, Array],
    *,
    generation_settings: Mapping[str, Any],
    max_shard_size: int | str = "5GB",
    progress: Callable[[int], object] | None = None,
) -> None:
    """Write a checkpoint into a directory, which is made if need be: safetensors files and JSON files.

    Where the `model_type` is distilbert, the files get DistilBERT's names. Weights are split into files of at most
    `max_shard_size`. `progress`, such as the `update` of a progress bar, is told the bytes of each array that has been written.
    """
    from npbert.checkpoints import shards

    if fields.get("model_type") == "distilbert":
        fields, arrays = names.fields_to_distilbert(fields), names.arrays_to_distilbert(arrays)
    text = config_text(fields)  # what cannot be written comes out before the work
    shards.write(directory, arrays, max_shard_size, progress=progress)
    write_text(Path(directory) / CONFIG_FILES[0], text)
    generation_file = Path(directory) / GENERATION_FILE
    if generation_settings:
        write_text(generation_file, json.dumps(generation_settings, indent=2, sort_keys=True) + "\n")
    else:
        generation_file.unlink(missing_ok=True)  # another model's, from an earlier save


def save_config(directory: StrPath, fields: Mapping[str, Any]) -> None:
    """Write a configuration alone into a directory, which is made if need be."""
    text = config_text(fields)
    write_text(make_directory(directory) / CONFIG_FILES[0], text)
