"""The old names of what is now `npbert.checkpoints.find(...)`: delete with the last caller."""

from pathlib import Path
from typing import Any

from npbert.checkpoints.checkpoint import LOCATION_OPTIONS, find
from npbert.checkpoints.reading import read_json_object
from npbert.checkpoints.weight_files import WeightsFile
from npbert.types import StrPath

WHERE = LOCATION_OPTIONS
read_json = read_json_object


def find_config(path_or_id: StrPath, **options: Any) -> Path:
    """`find(...).fields_path`."""
    return find(path_or_id, **options).fields_path


def find_weights(path_or_id: StrPath, **options: Any) -> WeightsFile:
    """`find(...).weights_file`."""
    return find(path_or_id, **options).weights_file


def find_file(path_or_id: StrPath, filename: str, **options: Any) -> Path | None:
    """`find(...).file(filename)`."""
    return find(path_or_id, **options).file(filename)
