"""`config.json`: found, read, checked and written. Its fields are a plain dictionary, in BERT's words."""

import json
from collections.abc import Mapping
from typing import Any

from npbert.checkpoints import names
from npbert.checkpoints.limits import MAX_CONFIG_NUMBERS
from npbert.checkpoints.reading import read_json_object
from npbert.errors import FileError, InputError, InputTypeError, shown
from npbert.types import StrPath

CONFIG_FILES = ("config.json", "bert_config.json")  # the second one is Google's
GENERATION_FILE = "generation_config.json"

_PARTS = ("encoder", "decoder")  # an encoder-decoder's configuration holds two others


def read_config_file(path: StrPath) -> dict[str, Any]:
    """The fields in a `config.json`, DistilBERT's in BERT's words."""
    fields = read_json_object(path)
    if fields.get("model_type") == "distilbert":
        fields = names.fields_from_distilbert(fields)
    check_all_fields(path, fields)
    return fields


def check_all_fields(path: StrPath, fields: Mapping[str, Any]) -> None:
    """`check_fields` of a configuration and of its parts."""
    for part in (fields, *(fields.get(name) for name in _PARTS)):
        if isinstance(part, dict):
            check_fields(path, part)


def check_fields(path: StrPath, fields: Mapping[str, Any]) -> None:
    """Refuse what a program may set and a file of unknown origin may not."""
    for name, value in fields.items():
        if name == "self" or name.startswith("__"):  # Python's own, which must not be overwritten
            raise FileError(f"{path}: has the field {shown(name)}, which no configuration can have")
        if name in MAX_CONFIG_NUMBERS and isinstance(value, int) and value > MAX_CONFIG_NUMBERS[name]:
            raise FileError(f"{path}: {name} takes at most {MAX_CONFIG_NUMBERS[name]} in a file, got {shown(value)}")


def config_text(fields: Mapping[str, Any]) -> str:
    """The text of a `config.json` with these fields, DistilBERT's in its own words."""
    for name in _PARTS:
        if isinstance(part := fields.get(name), Mapping):
            try:
                config_text(part)
            except InputTypeError as error:
                raise InputTypeError(f"{name}: {error}") from None
    if callable(activation := fields.get("hidden_act")):
        raise InputTypeError(f"config: hidden_act is a function ({activation!r}) and cannot be written to a file")
    if fields.get("model_type") == "distilbert":
        fields = names.fields_to_distilbert(fields)
    try:
        return json_text(fields)
    except (InputError, InputTypeError) as error:
        raise type(error)(f"config: {error}") from None


def json_text(value: object) -> str:
    """A value as the text of a JSON file, the same for the same value. Half a UTF-16 pair, which UTF-8 does not have, is
    written in ASCII, as the reference writes everything."""
    options: dict[str, Any] = {"indent": 2, "sort_keys": True, "allow_nan": False, "default": _refuse}
    try:
        text = json.dumps(value, ensure_ascii=False, **options)
        if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
            text = json.dumps(value, ensure_ascii=True, **options)
    except InputTypeError:
        raise
    except TypeError as error:  # keys that JSON does not have, or that cannot be sorted
        raise InputTypeError(f"cannot be written as JSON: {error}") from None
    except ValueError as error:  # infinity, or a list that holds itself
        raise InputError(f"cannot be written as JSON: {error}") from None
    except RecursionError:
        raise InputError("cannot be written as JSON: it is nested too deeply") from None
    return text + "\n"


def _refuse(value: object) -> None:
    raise InputTypeError(f"a field holds {shown(value)}, which cannot be written to a file")
