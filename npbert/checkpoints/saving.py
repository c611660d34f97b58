"""Writing a checkpoint: weights, configuration and generation settings."""

from collections.abc import Callable, Mapping
from typing import Any

from npbert.checkpoints import names
from npbert.checkpoints.config_files import CONFIG_FILES, GENERATION_FILE, config_text, json_text
from npbert.checkpoints.reading import UNFINISHED
from npbert.checkpoints.writing import FilesTogether, make_directory, regular_file, system_errors, text_at, write_text
from npbert.types import Array, StrPath

CONFIG_FILE = CONFIG_FILES[0]


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

    Files can only be renamed one after the other, and new weights under the old configuration would load without a word. So
    where a configuration changes, `config.json` is made unreadable first and put in place last: whoever reads a save that died
    in between is told so.
    """
    from npbert.checkpoints import shards

    if fields.get("model_type") == "distilbert":
        arrays = names.arrays_to_distilbert(arrays)
    texts = {GENERATION_FILE: json_text(generation_settings) if generation_settings else None, CONFIG_FILE: config_text(fields)}
    home = make_directory(directory)
    for name in texts:
        regular_file(home / name)  # nothing else is read, replaced or removed
    with FilesTogether() as files:
        contents = shards.write_aside(files, home, arrays, max_shard_size, progress=progress)
        for name, text in texts.items():
            if text is not None:
                with files.opened(home / name) as file:
                    file.write(text.encode())
        if any(text_at(home / name) != text for name, text in texts.items()):
            write_text(home / CONFIG_FILE, UNFINISHED)
        if texts[GENERATION_FILE] is None:
            with system_errors(home / GENERATION_FILE):
                (home / GENERATION_FILE).unlink(missing_ok=True)  # another model's, from an earlier save
        shards.take_index_away(home, contents)
        files.put_in_place()
    shards.remove_what_an_earlier_save_left(home, contents)


def save_config(directory: StrPath, fields: Mapping[str, Any]) -> None:
    """Write a configuration alone into a directory, which is made if need be."""
    text = config_text(fields)
    write_text(make_directory(directory) / CONFIG_FILE, text)
