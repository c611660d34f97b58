"""What every configuration can do: keep its fields, known and unknown, check their types, and be read and written.

A class of configurations declares its fields as annotated attributes with their defaults. Any other field is kept as well, as
an attribute, and saved again.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, TypeVar

from npbert.errors import FileError, InputError, InputTypeError, listed, shown, warn
from npbert.fields import KINDS, check_number_of_labels, integer_keys, is_list_of, label, plain
from npbert.types import StrPath

PROBLEM_TYPES = ("regression", "single_label_classification", "multi_label_classification")
SomeConfiguration = TypeVar("SomeConfiguration", bound="Configuration")


class Configuration:
    """The fields of a `config.json`."""

    _model_types: tuple[str, ...] = ()  # the `model_type` of the files that hold such a configuration
    _kept: dict[str, Any]  # fields whose names are names of methods, so that they cannot be attributes

    def __init__(self, **fields: Any) -> None:
        not_fields = {*dir(type(self)), "_kept"} - type(self).__annotations__.keys()
        self._kept = {name: fields.pop(name) for name in [*fields] if name in not_fields}
        for name, value in fields.items():
            setattr(self, name, value)
        self.validate()

    def validate(self) -> None:
        """Refuse what no model can be built from. Models call this too, since fields may be set at any time."""
        for name, kind in type(self).__annotations__.items():
            accepts = KINDS.get(kind)
            if accepts is not None and not accepts(getattr(self, name)):
                raise InputTypeError(f"config: {name} takes {kind}, got {shown(getattr(self, name))}")

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, plain(value))

    @classmethod
    def described(cls) -> str:
        """The class for a message: `a BertConfig`."""
        return f"{'an' if cls.__name__[0] in 'AEIOU' else 'a'} {cls.__name__}"

    # ----------------------------------------------------------------------------------------- as plain values and text

    def to_dict(self) -> dict[str, Any]:
        """Every field, known or not, as plain values."""
        known = {name: getattr(self, name) for name in type(self).__annotations__ if hasattr(self, name)}
        others = {name: value for name, value in vars(self).items() if name != "_kept"}
        return copy.deepcopy(known | others | self._kept)

    @classmethod
    def from_dict(cls: type[SomeConfiguration], fields: Mapping[str, Any], **overrides: Any) -> SomeConfiguration:
        """A configuration from the contents of a `config.json`; overrides win."""
        return cls(**{**fields, **overrides})

    def overridden(self: SomeConfiguration, function: str, overrides: Mapping[str, Any]) -> SomeConfiguration:
        """The same with some fields replaced; `function` is who was handed them, for the message about unknown ones."""
        if not overrides:
            return self
        fields = self.to_dict()
        for name in overrides:
            if name not in fields and name not in (*type(self).__annotations__, "num_labels"):
                raise InputTypeError(f"{function}: unknown argument {shown(name)}, and no field of the config")
        return self.from_dict(fields, **overrides)

    def to_json_string(self) -> str:
        """The text of `config.json`."""
        from npbert import checkpoints  # here and below, so that a program which reads no file imports no reader

        return checkpoints.config_text(self.to_dict())

    # ------------------------------------------------------------------------------------------------------------ files

    @classmethod
    def from_pretrained(
        cls: type[SomeConfiguration], pretrained_model_name_or_path: StrPath, **options: Any
    ) -> SomeConfiguration:
        """The configuration of a checkpoint; `revision`, `cache_dir`, `local_files_only`, `token`, `subfolder` and `proxies`
        as for models, everything else overrides a field that the configuration has."""
        from npbert import checkpoints

        location = {name: options.pop(name) for name in checkpoints.LOCATION_OPTIONS if name in options}
        checkpoint = checkpoints.find(pretrained_model_name_or_path, **location)
        config = cls.from_file_fields(checkpoint.fields, checkpoint.fields_path)
        return config.overridden(f"{cls.__name__}.from_pretrained", options)

    @classmethod
    def from_json_file(cls: type[SomeConfiguration], path: StrPath) -> SomeConfiguration:
        """The configuration in a file."""
        from npbert import checkpoints

        return cls.from_file_fields(checkpoints.read_config_file(path), path)

    @classmethod
    def from_file_fields(cls: type[SomeConfiguration], fields: Mapping[str, Any], path: StrPath) -> SomeConfiguration:
        """The configuration that a file holds; what is wrong with it is the fault of the file at `path`."""
        model_type = fields.get("model_type", cls._model_types[0])
        if model_type not in cls._model_types:
            taken = " or ".join(map(repr, cls._model_types))
            raise FileError(f"{path}: has the model_type {shown(model_type)}; {cls.described()} takes {taken}")
        try:
            return cls.from_dict(fields)
        except (InputError, InputTypeError) as error:
            raise FileError(f"{path}: {error}") from None

    def to_json_file(self, path: StrPath) -> None:
        """Write the text of `config.json` to a file of any name."""
        from npbert.checkpoints.writing import write_text

        write_text(path, self.to_json_string())

    def save_pretrained(self, directory: StrPath) -> None:
        """Write `config.json` into a directory, which is made if need be."""
        from npbert import checkpoints

        checkpoints.save_config(directory, self.to_dict())

    # --------------------------------------------------------------------------------------------------------- equality

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]  # fields may be set at any time

    def __repr__(self) -> str:
        changed = {name: value for name, value in self.to_dict().items() if value != getattr(type(self), name, None)}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in changed.items())})"


class ModelConfiguration(Configuration):
    """What the configurations of single models have in common: labels with names, and heads that may have been pruned.

    The fields themselves are declared by the class of each architecture, so that all of them stand in one place.
    """

    # What every model's code reads of its configuration, as a field or as a property.
    vocab_size: Any
    type_vocab_size: Any
    hidden_size: Any
    num_hidden_layers: Any
    num_attention_heads: Any
    intermediate_size: Any
    max_position_embeddings: Any
    position_embedding_type: Any
    layer_norm_eps: Any
    is_causal: Any  # whether a token sees only those before it
    add_cross_attention: Any
    pad_token_id: Any
    problem_type: Any
    id2label: Any
    label2id: Any
    pruned_heads: Any
    architectures: Any
    return_dict: Any

    def __init__(self, **fields: Any) -> None:
        fields = plain(fields)
        names = integer_keys("id2label", fields.pop("id2label", None))
        number = fields.pop("num_labels", None)
        if number is not None:
            check_number_of_labels(number)
        if names:  # they count, as in the reference
            if number is not None and number != len(names):
                warn(f"config: num_labels is {shown(number)}, but id2label names {len(names)} labels, which count")
            self.id2label = {index: label(index, name) for index, name in names.items()}
            self.label2id = {label: index for index, label in self.id2label.items()}
            if unnamed := [index for index in range(len(names)) if index not in names]:
                missing = listed([str(index) for index in unnamed])
                warn(f"config: id2label has no name for {missing}; such a label is called LABEL_{unnamed[0]}")
        else:
            self.num_labels = 2 if number is None else number
        if fields.get("label2id", 0) is None:  # as the reference writes it where no label has a name
            del fields["label2id"]
        self.pruned_heads = {
            layer: sorted(set(heads)) if is_list_of(heads, int) or isinstance(heads, set) else heads
            for layer, heads in integer_keys("pruned_heads", fields.pop("pruned_heads", None)).items()
        }
        super().__init__(**fields)

    @classmethod
    def from_dict(cls: type[SomeConfiguration], fields: Mapping[str, Any], **overrides: Any) -> SomeConfiguration:
        """A configuration from the contents of a `config.json`; overrides win."""
        names = fields.get("id2label")
        if "num_labels" in overrides and not (isinstance(names, Mapping) and len(names) == overrides["num_labels"]):
            # The names that the file has for its labels no longer fit.
            fields = {name: value for name, value in fields.items() if name not in ("id2label", "label2id")}
        return cls(**{**fields, **overrides})

    @property
    def num_labels(self) -> int:
        """How many labels a classifier tells apart; setting it names them LABEL_0, LABEL_1, ..."""
        return len(self.id2label)

    @num_labels.setter
    def num_labels(self, number: int) -> None:
        check_number_of_labels(number)
        self.id2label = {index: f"LABEL_{index}" for index in range(number)}
        self.label2id = {label: index for index, label in self.id2label.items()}

    @property
    def label_names(self) -> list[str]:
        """The names of the labels in the order of a classifier's outputs; where `id2label` has a gap, LABEL_1, say."""
        return [self.id2label.get(index, f"LABEL_{index}") for index in range(self.num_labels)]

    @property
    def use_return_dict(self) -> bool:
        """The same as `return_dict`, by the name that the reference's code reads."""
        return bool(self.return_dict)

    @property
    def head_size(self) -> int:
        """H: the hidden size that one head works in."""
        return int(self.hidden_size // self.num_attention_heads)

    def num_heads(self, layer: int) -> int:
        """How many heads the self-attention of a layer has left after pruning."""
        return int(self.num_attention_heads - len(self.pruned_heads.get(layer, ())))

    def validate(self) -> None:
        """Refuse what no model can be built from. Models call this too, since fields may be set at any time."""
        super().validate()
        if self.problem_type is not None and self.problem_type not in PROBLEM_TYPES:
            raise InputError(f"config: problem_type takes {', '.join(PROBLEM_TYPES)} or None, got {shown(self.problem_type)}")

    def _check_least(self, least: int, *names: str) -> None:
        for name in names:
            if getattr(self, name) < least:
                raise InputError(f"config: {name} takes {least} or more, got {getattr(self, name)}")

    def _check_probabilities(self, *names: str) -> None:
        for name in names:
            if not 0 <= (getattr(self, name) or 0) <= 1:
                raise InputError(f"config: {name} takes a probability from 0 to 1, got {getattr(self, name)}")

    def _check_heads(self, size: str, number: str) -> None:
        """Check that the hidden size can be divided, and which heads are gone; `size` and `number` are the fields' names."""
        if self.hidden_size % self.num_attention_heads:
            raise InputError(f"config: {size} {self.hidden_size} cannot be divided among {number} {self.num_attention_heads}")
        self._number_pruned_layers()
        for layer, heads in self.pruned_heads.items():
            if not 0 <= layer < self.num_hidden_layers:
                raise InputError(f"config: pruned_heads names layer {layer}, the model has {self.num_hidden_layers}")
            if not is_list_of(heads, int) or not all(0 <= head < self.num_attention_heads for head in heads):
                raise InputError(
                    f"config: pruned_heads takes lists of heads, 0 to {self.num_attention_heads - 1}, got {shown(heads)}"
                )

    def _number_pruned_layers(self) -> None:
        """Give layers of `pruned_heads` that count from the end, -1 and so on, their own numbers."""
        if all(layer >= 0 for layer in self.pruned_heads):
            return
        numbered: dict[int, Any] = {}
        for layer, heads in self.pruned_heads.items():
            own = layer + self.num_hidden_layers if -self.num_hidden_layers <= layer < 0 else layer
            numbered[own] = sorted({*numbered.get(own, ()), *heads}) if is_list_of(heads, int) else heads
        self.pruned_heads = numbered

    def _check_pad_token(self) -> None:
        if self.pad_token_id is not None and not 0 <= self.pad_token_id < self.vocab_size:
            raise InputError(f"config: pad_token_id takes 0 to {self.vocab_size - 1}, got {self.pad_token_id}")


def same_field(field: str) -> Any:
    """An attribute that is another name of a field."""

    def get(self: Any) -> Any:
        return getattr(self, field)

    def set_(self: Any, value: Any) -> None:
        setattr(self, field, value)

    return property(get, set_, doc=f"The same as `{field}`.")
