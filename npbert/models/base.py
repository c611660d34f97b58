"""What all models have in common: a configuration, weights under their checkpoint names, and the operations on both."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
from numpy.typing import DTypeLike

from npbert import checks
from npbert.backward import Gradients, Record
from npbert.configuration import Configuration
from npbert.errors import InputError, InputTypeError, MissingNameError, listed
from npbert.generation.settings import StoredSettings, as_fields
from npbert.models import familiar, fitting
from npbert.models.arrays import OutputArray
from npbert.models.familiar import FamiliarMethods
from npbert.models.surgery import Changeable
from npbert.models.trainable import Trainable
from npbert.module import Functions, Module, tree_lines
from npbert.types import Array, Rng
from npbert.weights import Weights, initialize

_TABLE = re.compile(r"(?:^|\.)(?:\w+_embeddings|wte|wpe)\.weight$")  # looked up by ids, not multiplied

SomeModel = TypeVar("SomeModel", bound="PreTrainedModel")


class IncompatibleKeys(NamedTuple):
    """What did not match when weights were loaded."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class PreTrainedModel(Trainable, Changeable, FamiliarMethods):
    """A configuration and a flat mapping of weights.

    `weights` are your own arrays under the checkpoint's names; they are used as they are, not copied. Without them the model
    starts from random weights, drawn from `rng`.

    A model is also the root of its tree of modules: `model.encoder.layer[0].attention.self.query.weight` is an array,
    `model.encoder.layer[0](hidden)` runs one layer, `print(model)` shows the tree.
    """

    config_class: ClassVar[type[Configuration]]
    functions: ClassVar[Functions]  # what calling a module of this model runs: see npbert.module
    base_model_prefix: str = ""
    main_input_name: ClassVar[str] = "input_ids"
    word_table: ClassVar[str] = "embeddings.word_embeddings.weight"  # in the base model
    position_table: ClassVar[str] = "embeddings.position_embeddings.weight"
    construction_options: ClassVar[tuple[str, ...]] = ()  # what construction takes beside the configuration and the weights
    has_pooler: bool = False
    _plain: Module | None = None  # the tree of modules that plain passes share
    _agreed: dict[str, Any] | None = None  # the configuration's fields when the weights were last held against them

    def __init__(self, config: Any, weights: Mapping[str, Any] | None = None, *, rng: Rng = None) -> None:
        self._begin(config)
        checks.generator("rng", rng)
        if weights is None:
            rng = np.random.default_rng() if rng is None else rng
            self.weights.replace(initialize(self.expected_parameters(), rng, np.float32, std=self.config.initializer_range))
        elif rng is not None:
            raise InputError("rng: draws the weights of a new model, but weights were given")
        else:
            self.load_state_dict(weights)

    def _begin(self, config: Any) -> None:
        """Everything but the weights."""
        if not isinstance(config, self.config_class):
            raise InputTypeError(f"config: takes {self.config_class.described()}, got {type(config).__name__}")
        config.validate()
        self.config: Any = copy.deepcopy(config)
        self.config.architectures = [type(self).__name__]
        self.name_or_path = ""  # where the checkpoint came from
        self.generation_config = {}  # what its generation_config.json says
        self._make_parts()
        self._use(Weights({}, ties=self.tied()))

    @property
    def generation_config(self) -> StoredSettings:
        """How the checkpoint says to generate: a dictionary whose settings are attributes too."""
        return self._generation_config

    @generation_config.setter
    def generation_config(self, settings: Any) -> None:
        self._generation_config = as_fields(settings)

    def _make_parts(self) -> None:
        """Make the models that this one consists of, if there are any."""

    def _use(self, weights: Weights) -> None:
        """Let the model read its weights from here."""
        self.weights = weights

    @classmethod
    def without_weights(cls: type[SomeModel], config: Any, **options: Any) -> SomeModel:
        """A model that has its configuration and is still to be given its weights (`load_state_dict`)."""
        model = cls.__new__(cls)
        model._begin(config, **options)
        return model

    def with_weights(self: SomeModel, weights: Mapping[str, Array], config: Any = None) -> SomeModel:
        """The same kind of model reading other weights from a mapping, as they are: nothing is copied and nothing checked.

        `config` takes the place of the configuration.
        """
        model = copy.copy(self)
        model.config = copy.deepcopy(self.config if config is None else config)
        model._use(Weights(weights, ties=model.tied()))
        model._note_agreement()
        return model

    def check_config(self) -> None:
        """Refuse a configuration that the weights contradict, for its fields may be set at any time.

        Shapes show every size and how many layers there are. They do not show how many heads a layer has, so another
        `num_attention_heads` that divides the hidden size is believed, as is all that no weight depends on.
        """
        if self._agreed == vars(self.config):
            return
        self.config.validate()
        expected, tied = self.expected_parameters(), self.tied()
        for name, parameter in expected.items():
            if name not in self.weights:
                raise InputError(f"config: asks for the weight {name}, which this {type(self).__name__} does not have")
            if self.weights[name].shape != parameter.shape:
                has = list(self.weights[name].shape)
                raise InputError(f"config: asks for {name} of shape {list(parameter.shape)}, and the model has {has}")
        if left := [name for name in self.weights if name not in expected and name not in tied]:
            raise InputError(f"config: has no place for weights that this {type(self).__name__} has: {listed(left)}")
        self._note_agreement()

    def _note_agreement(self) -> None:
        """Take the configuration, as it stands now, for that of the weights."""
        self._agreed = copy.deepcopy(vars(self.config))

    # ------------------------------------------------------------------------------------------------------- checkpoints

    @classmethod
    def from_pretrained(cls: type[SomeModel], pretrained_model_name_or_path: Any, **options: Any) -> Any:
        """The model with a checkpoint's weights.

        The checkpoint is a directory, a file of weights with its configuration beside it, or an id on the Hugging Face hub; or
        None, with `config` and `state_dict`: a configuration and weights by their names, which are read as if from a file.
        Options: `dtype` (float32 or float64; "auto" is the checkpoint's own, and `torch_dtype` another name for it), `config`
        (instead of the checkpoint's), `subfolder`, `revision`, `cache_dir`, `local_files_only`, `token`, `proxies`,
        `ignore_mismatched_sizes`, `output_loading_info` (returns the model and a dictionary of missing, unexpected and
        mismatched names), and any field of the configuration, which then overrides the checkpoint's.

        Weights that the checkpoint lacks start at random, with one warning that lists them. Another lists what the checkpoint
        holds and this class has no place for; only heads that belong to another class are left out without a word.
        """
        from npbert.models import loading  # here and below, so that a program which reads no file imports no reader

        return loading.from_pretrained(cls, pretrained_model_name_or_path, **options)

    def save_pretrained(
        self,
        directory: Any,
        *,
        max_shard_size: int | str = "5GB",
        safe_serialization: bool = True,
        progress: Callable[[int], object] | None = None,
    ) -> None:
        """Write `config.json` and `model.safetensors`, as the reference reads them; in several files above `max_shard_size`.

        Each file is written aside and put in place at the end: a crash leaves the old one or the new one. `progress` is told
        the bytes of each tensor as it is written. `safe_serialization` may be given: there is no other way.
        """
        if safe_serialization is not True:
            raise InputError(
                f"safe_serialization: npbert writes safetensors and no pickles; it takes True, got {safe_serialization!r}"
            )
        from npbert.models import loading

        loading.save_pretrained(self, directory, max_shard_size=max_shard_size, progress=progress)

    # -------------------------------------------------------------------------------------------------------- parameters

    def tied(self) -> dict[str, str]:
        """The names that share another parameter's array: `{name: name of the parameter}`."""
        return {}

    @property
    def head_config(self) -> Any:
        """The configuration of the part that has the head: the model's own, or of two models as one the decoder's."""
        return self.config

    @property
    def dtype(self) -> np.dtype[Any]:
        """What the model computes in: float32 or float64."""
        return self.weights[next(name for name in self.weights if name.endswith(("LayerNorm.weight", "ln_f.weight")))].dtype

    def parameters(self) -> Iterator[Array]:
        """Every parameter once, as a view that answers what a tensor would, or says what to use."""
        return (array.view(OutputArray) for _, array in self.named_parameters())

    def named_parameters(self) -> Iterator[tuple[str, Array]]:
        """Every parameter once, with its name."""
        return ((name, self.weights[name]) for name in self.expected_parameters() if name in self.weights)

    def num_parameters(self, only_trainable: bool = False, exclude_embeddings: bool = False) -> int:
        """How many numbers the model has learned; a tied table counts once. `only_trainable` leaves frozen weights out, and
        `exclude_embeddings` the tables."""
        skipped = self.frozen if checks.flag("only_trainable", only_trainable, False) else ()
        without_tables = checks.flag("exclude_embeddings", exclude_embeddings, False)
        return sum(
            array.size
            for name, array in self.named_parameters()
            if name not in skipped and not (without_tables and _TABLE.search(name))
        )

    def state_dict(self) -> dict[str, Array]:
        """The arrays under all their names, tied ones under both. They are the model's own, not copies."""
        return dict(self.named_parameters()) | {name: self.weights[name] for name in self.tied()}

    def load_state_dict(self, mapping: Mapping[str, Any], strict: bool = True) -> IncompatibleKeys:
        """Take the model's weights from a mapping. Arrays of the model's own type are used as they are, not copied; the
        first weights decide that type: float64 if one of them is, else float32.

        With `strict` every parameter must be there and nothing else; without it the others keep their values and the
        result says what was missing and what was not expected. A wrong shape is always an error, and after an error the
        model is as it was.
        """
        fit = fitting.fit(self.expected_parameters(), self.tied(), mapping)
        is_new = not len(self.weights)
        if strict and (fit.missing or fit.unexpected):
            raise MissingNameError(
                f"weights: for {type(self).__name__}, missing: {listed(fit.missing)}; unexpected: {listed(fit.unexpected)}"
            )
        if fit.missing and is_new:
            raise MissingNameError(f"weights: missing: {listed(fit.missing)}")
        for name, shape in fit.mismatched.items():
            raise InputError(f"weights: {name} takes shape {list(shape)}, got {list(fit.arrays[name].shape)}")
        dtype = fitting.common_type(fit.arrays.values()) if is_new else self.dtype
        self.weights.replace({name: array.astype(dtype, copy=False) for name, array in fit.arrays.items()})
        return IncompatibleKeys(fit.missing, fit.unexpected)

    def astype(self: SomeModel, dtype: DTypeLike) -> SomeModel:
        """The same model computing in float32 or float64; weights that have that type already are shared."""
        kind = fitting.float_type(dtype)
        return self.with_weights({name: array.astype(kind, copy=False) for name, array in self.named_parameters()})

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Run the model. Each class says what it takes and what it puts out."""
        raise NotImplementedError

    # ----------------------------------------------------------------------------------------------- the tree of modules

    def module(self, rng: Rng = None, *, record: Record | None = None, gradients: Gradients | None = None) -> Module:
        """The root of the tree of modules; with a generator, dropout happens in whatever it computes.

        A backward pass needs a record of the forward pass and a place for the gradients. A plain pass needs nothing, so all
        plain passes share one tree.
        """
        if rng is not None or record is not None or gradients is not None:
            return Module(self.weights, self.config, self.functions, rng=rng, record=record, gradients=gradients)
        plain = self._plain
        if plain is None or plain.weights is not self.weights or plain.config is not self.config:
            plain = self._plain = Module(self.weights, self.config, self.functions)
        return plain

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_plain"}  # a copy has a tree of its own

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """Every module that has weights, with its path; the model's own is ""."""
        return self.module().named_modules()

    def get_submodule(self, name: str) -> Module:
        """The module at a path: `model.get_submodule("encoder.layer.0.attention")`."""
        return self.module().get_submodule(name)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name in ("weights", "config"):
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        familiar.missing(type(self).__name__, name)
        return getattr(self.module(), name)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *dir(self.module())]

    def __repr__(self) -> str:
        head = f"{type(self).__name__}({self.num_parameters():,} parameters, {self.dtype}, {self.config!r})"
        return "\n".join([head, *tree_lines(self.module(), depth=1)])
