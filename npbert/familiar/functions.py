"""The helper functions that articles about BERT explain, on arrays."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import numpy as np

from npbert import checkpoints, checks, ops
from npbert.errors import FileError, InputError, InputTypeError, listed, shown, warn
from npbert.models.base import PreTrainedModel
from npbert.types import Array, StrPath

ACT2FN: Mapping[str, Callable[[Array], Array]] = ops.ACTIVATIONS
"""The activation functions by name: `ACT2FN["gelu"](x)`."""


class LinearLayer(NamedTuple):
    """A linear map on its own: `layer(x)` is `x @ weight.T + bias`."""

    weight: Array
    bias: Array | None = None

    def __call__(self, x: Array) -> Array:
        return ops.linear(x, self.weight, self.bias)


def apply_chunking_to_forward(forward_fn: Callable[..., Array], chunk_size: int, chunk_dim: int, *input_tensors: Any) -> Array:
    """`forward_fn(*input_tensors)`, for `chunk_size` positions of the axis `chunk_dim` at a time; 0 means all at once.

    As in the reference the length must be a multiple of `chunk_size`. (`npbert.ops.apply_in_chunks` takes any length.)
    """
    if not input_tensors:
        raise InputError("input_tensors: takes one array or more, got none")
    arrays = [checks.as_array("input_tensors", x) for x in input_tensors]
    if chunk_size <= 0:
        return forward_fn(*arrays)
    lengths = {x.shape[chunk_dim] for x in arrays}
    if len(lengths) > 1:
        raise InputError(f"input_tensors: all take the same length along axis {chunk_dim}, got {sorted(lengths)}")
    (length,) = lengths
    if length % chunk_size:
        raise InputError(f"chunk_size: takes a divisor of the length {length}, got {chunk_size}")
    pieces = [np.split(x, length // chunk_size, axis=chunk_dim) for x in arrays]
    return np.concatenate([forward_fn(*piece) for piece in zip(*pieces, strict=True)], axis=chunk_dim)


def find_pruneable_heads_and_indices(
    heads: Collection[int], n_heads: int, head_size: int, already_pruned_heads: Collection[int]
) -> tuple[set[int], Array]:
    """Which of the heads are still there, and the rows `[kept * head_size]` of query, key and value that stay without them.

    `n_heads` is how many heads are left; heads are numbered as in the unpruned model.
    """
    pruned = set(heads) - set(already_pruned_heads)
    stays = np.ones((n_heads, head_size), np.bool_)
    for head in pruned:
        stays[head - sum(gone < head for gone in already_pruned_heads)] = False
    return pruned, np.flatnonzero(stays)


def prune_linear_layer(layer: Any, index: Any, dim: int = 0) -> LinearLayer:
    """A linear map without some of its outputs (`dim` 0) or inputs (`dim` 1); `index` says which ones stay.

    `layer` is anything with a `weight` `[out, in]` and a `bias`, such as `model.encoder.layer[0].attention.self.query`.
    """
    kept = checks.integers("index", index, 1)
    weight = np.take(layer.weight, kept, axis=checks.choice("dim", dim, (0, 1)))
    bias = getattr(layer, "bias", None)
    return LinearLayer(weight, bias if bias is None or dim == 1 else bias[kept])


def load_tf_weights_in_bert(model: Any, config: Any, tf_checkpoint_path: StrPath) -> Any:
    """Give a model the weights of one of Google's TensorFlow checkpoints, and return it. `from_pretrained` reads them too.

    As in the reference, weights that the checkpoint lacks stay as they are, here with a warning that lists them, and `config`
    is not read: the model has its own.
    """
    if not isinstance(model, PreTrainedModel):
        raise InputTypeError(f"model: takes a model of npbert, got {shown(model)}")
    arrays = checkpoints.find(tf_checkpoint_path).arrays
    every = [*model.expected_parameters(), *model.tied()]
    fitting = checkpoints.names.fit_to(every, arrays, tied=model.head_config.tie_word_embeddings).weights
    if not fitting:
        raise FileError(f"{tf_checkpoint_path}: holds no weight of {type(model).__name__}; it has {listed(sorted(arrays))}")
    if missing := model.load_state_dict(fitting, strict=False).missing_keys:
        warn(f"{tf_checkpoint_path}: does not have {listed(missing)}, which stay as they are")
    return model
