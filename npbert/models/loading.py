"""From checkpoints to models and back: what `from_pretrained`, `save_pretrained` and `npbert.load` do.

Finding and reading files is `npbert.checkpoints`' part; here their contents become a configuration and weights that fit it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import DTypeLike

from npbert.bert import parameters
from npbert.bert.config import BertConfig
from npbert.checkpoints import distilbert, hub, names, safetensors, shards, tensorflow, torch_pickle, writing
from npbert.errors import FileError, InputError, InputTypeError, listed, shown, warn
from npbert.models.bert import MODELS, BertModel, BertPreTrainedModel, float_type
from npbert.types import Array, StrPath

Model = TypeVar("Model", bound=BertPreTrainedModel)
LoadingInfo: TypeAlias = dict[str, list[Any]]


# What travels with a checkpoint besides configuration and weights: the tokenizer's files and sentence-transformers' settings.
COMPANIONS = (
    "vocab.txt",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "modules.json",
    "sentence_bert_config.json",
    "1_Pooling/config.json",
)
GENERATION = "generation_config.json"

# Each of them takes memory before any weight is looked at, so a file cannot claim just any number. No header that is read has
# room for more layers, and no configuration for the names of many more labels.
MOST = {"num_hidden_layers": 2_000, "num_labels": 100_000}


def load(path_or_id: StrPath, *, dtype: DTypeLike | None = np.float32, **options: Any) -> Any:
    """The model that a checkpoint is, loaded: `npbert.load("bert-base-uncased")`.

    The class is the one that the configuration's `architectures` names; where it names none (Google's own checkpoints), the
    one that has a place for every head in the file, with as many labels as its classifier tells apart. Takes what
    `from_pretrained` takes; with `dtype=None` the model computes in float64 if that is what the file has, else in float32.
    """
    where: dict[str, Any] = {name: options.pop(name) for name in hub.WHERE if name in options}
    config = options.pop("config", None)
    if config is None:
        path = hub.find_config(path_or_id, **where)
        fields = hub.read_json(path)
        if fields.get("model_type") == "encoder-decoder":
            from npbert.models.encoder_decoder import EncoderDecoderModel

            return EncoderDecoderModel.from_pretrained(path_or_id, dtype=dtype, **where, **options)
        config = config_from(fields, path)
    elif not isinstance(config, BertConfig):
        raise InputTypeError(f"config: takes a BertConfig, got {type(config).__name__}")
    found, weights_path = read_weights(path_or_id, **where)
    if config.architectures:
        architecture = config.architectures[0]
    else:  # Google's configurations name no labels either
        architecture = architecture_of(found)
        classifier = found.get("classifier.weight")
        if classifier is not None and classifier.ndim == 2 and len(classifier) != config.num_labels:
            options.setdefault("num_labels", len(classifier))
    if architecture not in MODELS:
        raise InputError(f"{path_or_id}: is a {architecture}; npbert has {', '.join(MODELS)}")
    return build(MODELS[architecture], path_or_id, config, found, weights_path, where, dtype=dtype, **options)


def architecture_of(weights: Iterable[str]) -> str:
    """The model whose heads a file's weights are."""
    parts = {".".join(name.split(".")[:2]) for name in weights} | {name.split(".")[0] for name in weights}
    if "cls.predictions" in parts:
        return "BertForPreTraining" if "cls.seq_relationship" in parts else "BertForMaskedLM"
    if "cls.seq_relationship" in parts:
        return "BertForNextSentencePrediction"
    if "qa_outputs" in parts or "cls.squad" in parts:
        return "BertForQuestionAnswering"
    if "classifier" in parts:
        return "BertForSequenceClassification" if parts & {"pooler.dense", "bert.pooler"} else "BertForTokenClassification"
    return "BertModel"


def convert(
    source: StrPath, target: StrPath, *, dtype: DTypeLike | None = None, max_shard_size: int | str = "5GB"
) -> list[Path]:
    """Write a checkpoint of any format as `config.json` and `model.safetensors`, with the files that travel with it.

    Nothing that the model has is lost, float64 included; what else the checkpoint holds is left out with a warning that lists
    it (bert-base-uncased is a masked language model by its configuration, and has another head in its file). Returns the files.
    """
    from tqdm import tqdm

    model, info = load(source, dtype=dtype, output_loading_info=True)
    if info["unexpected_keys"]:
        warn(f"{source}: left out, because a {type(model).__name__} has none of them: {listed(info['unexpected_keys'])}")
    total = sum(array.nbytes for _, array in model.named_parameters())
    with tqdm(total=total, unit="B", unit_scale=True, desc="writing", disable=None) as bar:  # None: on a terminal only
        model.save_pretrained(target, max_shard_size=max_shard_size, progress=bar.update)
    companions = []
    for name in COMPANIONS:
        path, copy = hub.find_file(source, name), Path(target) / name
        if path is None:
            continue
        companions.append(copy)
        if path.resolve() != copy.resolve():
            copy.parent.mkdir(exist_ok=True)
            with writing.replacing(copy) as file:
                file.write(path.read_bytes())
    own = re.compile(r"(generation_)?config\.json|model(-\d{5}-of-\d{5})?\.safetensors(\.index\.json)?")
    return sorted(path for path in Path(target).iterdir() if own.fullmatch(path.name)) + companions


def config_from(fields: Mapping[str, Any], path: StrPath) -> BertConfig:
    """The configuration in a checkpoint's `config.json`: BERT's, or DistilBERT's in BERT's words."""
    model_type = fields.get("model_type", "bert")
    if model_type == "distilbert":
        fields = distilbert.config_from_distilbert(fields)
    elif model_type != "bert":
        raise FileError(f"{path}: has the model_type {model_type!r}; npbert reads bert, distilbert and encoder-decoder")
    check_fields(fields, path)
    try:
        return BertConfig.from_dict(fields)
    except (InputError, InputTypeError) as error:
        raise FileError(f"{path}: {error}") from None


def check_fields(fields: Mapping[str, Any], path: StrPath) -> None:
    """Refuse what a configuration may say where a program writes it, and not where a file of unknown origin does."""
    for name, value in fields.items():
        if name == "self" or name.startswith("__"):  # Python's own, which must not be overwritten
            raise FileError(f"{path}: has the field {shown(name)}, which no configuration can have")
        if name in MOST and isinstance(value, int) and value > MOST[name]:
            raise FileError(f"{path}: {name} takes at most {MOST[name]} in a file, got {shown(value)}")


def read_weights(
    path_or_id: StrPath,
    *,
    revision: str | None = None,
    cache_dir: StrPath | None = None,
    local_files_only: bool = False,
    token: str | bool | None = None,
) -> tuple[dict[str, Array], Path]:
    """Every array of a checkpoint, under the names that Hugging Face's BERT has for them; and the file it was found in."""
    found = hub.find_weights(path_or_id, revision=revision, cache_dir=cache_dir, local_files_only=local_files_only, token=token)
    if found.format == "tensorflow":
        try:
            return names.from_tensorflow(tensorflow.read(found.path)), found.path
        except InputError as error:
            raise FileError(f"{found.path}: {error}") from None
    read_file = safetensors.read if found.format.startswith("safetensors") else torch_pickle.read
    read = shards.read(found.path, read_file) if found.format.endswith("shards") else read_file(found.path)
    return distilbert.from_distilbert(read), found.path


def from_pretrained(
    cls: type[Model],
    path_or_id: StrPath,
    *,
    config: BertConfig | None = None,
    revision: str | None = None,
    cache_dir: StrPath | None = None,
    local_files_only: bool = False,
    token: str | bool | None = None,
    **options: Any,
) -> Any:
    """The work behind `BertModel.from_pretrained` and its like; see there."""
    where = {"revision": revision, "cache_dir": cache_dir, "local_files_only": local_files_only, "token": token}
    if config is None:
        config_path = hub.find_config(path_or_id, **where)  # type: ignore[arg-type]
        config = config_from(hub.read_json(config_path), config_path)
    elif not isinstance(config, BertConfig):
        raise InputTypeError(f"config: takes a BertConfig, got {type(config).__name__}")
    found, weights_path = read_weights(path_or_id, **where)  # type: ignore[arg-type]
    return build(cls, path_or_id, config, found, weights_path, where, **options)


def build(
    cls: type[Model],
    path_or_id: StrPath,
    config: BertConfig,
    found: Mapping[str, Array],
    path: Path,
    where: Mapping[str, Any],
    *,
    dtype: DTypeLike | None = np.float32,
    output_loading_info: bool = False,
    ignore_mismatched_sizes: bool = False,
    **config_overrides: Any,
) -> Any:
    """A model from a configuration and the weights found in a file: renamed, checked, completed."""
    add_pooling_layer = config_overrides.pop("add_pooling_layer", None) if issubclass(cls, BertModel) else None
    fields = config.to_dict()
    for name in config_overrides:
        if name not in fields and name not in (*BertConfig.__annotations__, "num_labels"):
            raise InputTypeError(f"{cls.__name__}.from_pretrained: unknown argument {name!r}, and no field of the config")
    if "num_labels" in config_overrides:  # the labels' names that the checkpoint came with no longer fit
        fields = {name: value for name, value in fields.items() if name not in ("id2label", "label2id")}
    model = cls.without_weights(BertConfig.from_dict(fields, **config_overrides))
    if add_pooling_layer is not None and isinstance(model, BertModel):
        model._has_pooler = add_pooling_layer
    model.name_or_path = os.fspath(path_or_id)
    if hasattr(model, "generate"):
        model.generation_config = read_generation_config(path_or_id, **where)
    info = fill(model, found, path, dtype=dtype, ignore_mismatched_sizes=ignore_mismatched_sizes)
    return (model, info) if output_loading_info else model


def fill(
    model: BertPreTrainedModel,
    found: Mapping[str, Array],
    path: Path,
    *,
    dtype: DTypeLike | None,
    ignore_mismatched_sizes: bool,
) -> LoadingInfo:
    """Give a model its weights from those found in a file: renamed, checked, and completed where the file lacks some."""
    config = getattr(model.config, "decoder", model.config)  # of two BERTs as one, the one that has a head
    wanted, tied = model.parameters(), model.tied()
    fit = names.fit_to([*wanted, *tied], found, tied=config.tie_word_embeddings)
    weights = {name: fit.weights[alias] for alias, name in tied.items() if alias in fit.weights}
    weights |= {name: fit.weights[name] for name in wanted if name in fit.weights}
    if wanted and not weights:
        raise FileError(f"{path}: holds no weight of {type(model).__name__}; it has {listed(sorted(found))}")
    wrong = {name: array for name, array in weights.items() if array.shape != wanted[name].shape}
    for name, array in weights.items():
        if name in wrong and not ignore_mismatched_sizes:
            raise InputError(f"{path}: {name} takes shape {list(wanted[name].shape)}, the file has {list(array.shape)}")
        if array.dtype.kind != "f":
            raise FileError(f"{path}: {name} takes floats, the file has {array.dtype}")
    if dtype is None:
        dtype = np.result_type(np.float32, *(array.dtype for array in weights.values()))
    dtype = float_type(dtype)

    fresh = {name: parameter for name, parameter in wanted.items() if name not in weights or name in wrong}
    if fresh:
        text = f"newly initialized, because {model.name_or_path} does not have them: {', '.join(fresh)}"
        warn(f"{type(model).__name__}: {text}")
    arrays = parameters.initialize(fresh, np.random.default_rng(), dtype, std=config.initializer_range)
    arrays |= {name: weights[name].astype(dtype, copy=False) for name in wanted if name not in fresh}
    model.load_state_dict(arrays)
    return {
        "missing_keys": [name for name in fit.missing if tied.get(name) not in weights],
        "unexpected_keys": fit.unexpected,
        "mismatched_keys": [(name, array.shape, wanted[name].shape) for name, array in wrong.items()],
        "error_msgs": [],
    }


def read_generation_config(path_or_id: StrPath, **where: Any) -> dict[str, Any]:
    """What a checkpoint's `generation_config.json` says; nothing where there is none."""
    path = hub.find_file(path_or_id, GENERATION, **where)
    return {} if path is None else hub.read_json(path)


def save_pretrained(
    model: BertPreTrainedModel,
    directory: StrPath,
    *,
    max_shard_size: int | str = "5GB",
    progress: Callable[[int], object] | None = None,
) -> None:
    """The work behind `model.save_pretrained`; see there. `progress` is told the bytes of each tensor as it is written."""
    fields = {**model.config.to_dict(), "torch_dtype": model.dtype.name}
    fields.pop("dtype", None)  # the same field by its later name, as the checkpoint had it that the model came from
    arrays = dict(model.named_parameters())
    if model.config.model_type == "distilbert":
        fields, arrays = distilbert.config_to_distilbert(fields), distilbert.to_distilbert(arrays)
    text = model.config.as_json(fields)
    safetensors.write_sharded(directory, arrays, max_shard_size, progress=progress)
    with writing.replacing(Path(directory) / "config.json") as file:
        file.write(text.encode("utf-8"))
    if not model.generation_config:
        (Path(directory) / GENERATION).unlink(missing_ok=True)  # another model's, from an earlier save
    else:
        with writing.replacing(Path(directory) / GENERATION) as file:
            file.write((json.dumps(model.generation_config, indent=2, sort_keys=True) + "\n").encode("utf-8"))
