"""Module: where a function of the architecture stands in the model.

Each module of the reference (`encoder.layer.0.attention.output`) is one function here, and the function's first argument is
the Module: it knows the module's weights by name, the model's configuration, and whether dropout happens. So a function of
the architecture reads as the formula that it is:

    def add_and_norm(m, x, residual):
        x = m.dropout(m.linear("dense", x))                       # [B, S, D]
        return m.layer_norm(m.keep(":residual", x + residual))    # [B, S, D]

Every operation below keeps its own result under the module's name, so that a trace sees it (`npbert.tracing`).

The same Modules are what a reader walks through. `model.encoder.layer[0].attention.self.query.weight` is an array,
`model.pooler` is a Module, and calling it runs that module's function alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np

from npbert import checks, ops, tracing
from npbert.backward import Gradients, Record
from npbert.errors import InputError, MissingAttributeError, MissingNameError, NpbertError, listed
from npbert.ops.shares import in_shares
from npbert.types import Array, Rng
from npbert.weights import Weights, join

Functions: TypeAlias = dict[str, Callable[..., Any]]
"""The function of each module, by the last part of the module's path. `layer.*` is for every member of the list `layer`, and
`pooler.activation` for a module without weights, so that no other name tells that it is there."""


class Module:
    """One module of a model: its path in the tree of names, and what a pass brings along."""

    __slots__ = ("_parts", "config", "functions", "gradients", "path", "record", "rng", "weights")

    def __init__(
        self,
        weights: Weights,
        config: Any,
        functions: Functions,
        *,
        path: str = "",
        rng: Rng = None,
        record: Record | None = None,
        gradients: Gradients | None = None,
    ) -> None:
        # Assigned below `__setattr__`, which is for weights: a pass makes many Modules.
        assign = object.__setattr__
        assign(self, "weights", weights)  # of the whole model, under their full names
        assign(self, "config", config)
        assign(self, "functions", functions)
        assign(self, "path", path)
        assign(self, "rng", rng)  # dropout happens when there is one
        assign(self, "record", record)  # in a backward pass, what the forward pass kept
        assign(self, "gradients", gradients)  # in a backward pass, the gradients by the weights so far
        assign(self, "_parts", {})  # the modules below that somebody has asked for

    def at(self, path: str) -> Module:
        """The module at another path of the same model, in the same pass."""
        return Module(
            self.weights,
            self.config,
            self.functions,
            path=path,
            rng=self.rng,
            record=self.record,
            gradients=self.gradients,
        )

    def part(self, name: str) -> Module:
        """A part of this module; "" is the module itself."""
        return getattr(self, name) if name else self

    # ------------------------------------------------------------------------------------ what functions compute with

    def keep(self, name: str, x: Array) -> Array:
        """Let an observer, if there is one, see x under its full name; the pass goes on with what the observer returns.

        `name` is relative to the module: "query", ":probs" for a value inside the module, "" for the module's own output.
        """
        observer = tracing.current_observer()
        return x if observer is None else observer(join(self.path, name), x)

    @property
    def is_observed(self) -> bool:
        """Whether anybody looks at the values of the pass. If not, steps may be computed in place."""
        return tracing.current_observer() is not None

    def linear(self, name: str, x: Array) -> Array:
        """Apply the linear map `name`, with its bias if it has one."""
        path = join(self.path, name)
        return self.keep(name, ops.linear(x, self.weights[f"{path}.weight"], self.weights.get(f"{path}.bias")))

    def linear_backward(self, name: str, dy: Array, x: Array) -> Array:
        """The gradient by x; those by the weight and the bias are added up under their names."""
        dy = self.keep_gradient(name, dy)
        if self.wants(f"{name}.weight") or self.wants(f"{name}.bias"):
            dweight, dbias = ops.linear_weight_backward(dy, x)
            self.add_gradient(f"{name}.weight", dweight)
            self.add_gradient(f"{name}.bias", dbias)
        return ops.linear_backward(dy, self.parameter(f"{name}.weight"))

    def conv1d(self, name: str, x: Array) -> Array:
        """Apply the linear map `name`, whose weight lies the other way: `[in, out]`, `x @ weight + bias`.

        OpenAI wrote GPT-2's maps as convolutions of width 1; the shape of their weights and this name are what is left of it.
        """
        return self.keep(name, ops.linear(x, self.parameter(f"{name}.weight").T, self.parameter(f"{name}.bias")))

    def conv1d_backward(self, name: str, dy: Array, x: Array) -> Array:
        """The gradient by x; those by the weight and the bias are added up under their names."""
        dy = self.keep_gradient(name, dy)
        if self.wants(f"{name}.weight") or self.wants(f"{name}.bias"):
            dweight, dbias = ops.linear_weight_backward(dy, x)
            self.add_gradient(f"{name}.weight", dweight.T)
            self.add_gradient(f"{name}.bias", dbias)
        return ops.linear_backward(dy, self.parameter(f"{name}.weight").T)

    def embedding(self, name: str, ids: Array) -> Array:
        """Look ids up in the table `name`."""
        return self.keep(name, ops.embedding(ids, self.parameter(f"{name}.weight")))

    def embedding_backward(self, name: str, dy: Array, ids: Array, *, padding_idx: int | None = None) -> None:
        """Add up the gradient by the table. Where one row of ids serves all sequences, their gradients are summed first."""
        if dy.shape[:2] != ids.shape:
            dy = dy.sum(axis=0, keepdims=True)  # [1, S, D]
        dy = self.keep_gradient(name, dy)
        table = f"{name}.weight"
        if self.wants(table):
            self.add_gradient(table, ops.embedding_backward(dy, ids, len(self.parameter(table)), padding_idx=padding_idx))

    def layer_norm(self, x: Array, name: str = "LayerNorm") -> Array:
        """Apply the LayerNorm `name`."""
        path = join(self.path, name)
        weight, bias = self.weights[f"{path}.weight"], self.weights[f"{path}.bias"]
        return self.keep(name, ops.layer_norm(x, weight, bias, eps=self.config.layer_norm_eps))

    def layer_norm_backward(self, dy: Array, x: Array, name: str = "LayerNorm") -> Array:
        """The gradient by x; those by the weight and the bias are added up under their names."""
        dy = self.keep_gradient(name, dy)
        eps = self.config.layer_norm_eps
        if self.wants(f"{name}.weight") or self.wants(f"{name}.bias"):
            dweight, dbias = ops.layer_norm_weight_backward(dy, x, eps=eps)
            self.add_gradient(f"{name}.weight", dweight)
            self.add_gradient(f"{name}.bias", dbias)
        return ops.layer_norm_backward(dy, x, self.parameter(f"{name}.weight"), eps=eps)

    def dropout(self, x: Array, probability: float | None = None, name: str = "dropout") -> Array:
        """Apply dropout, if the pass has a generator; `probability` is by default the configuration's for hidden states."""
        if probability is None:
            probability = self.config.hidden_dropout_prob
        if self.rng is not None and probability > 0:
            mask = self.keep(f":{name}_mask", ops.dropout_mask(x.shape, probability, self.rng))
            x = ops.apply_dropout(x, mask, probability)
        return self.keep(name, x)

    def dropout_backward(self, dy: Array, probability: float | None = None, name: str = "dropout") -> Array:
        """The gradient by x: through the mask that the forward pass drew, if it drew one."""
        if probability is None:
            probability = self.config.hidden_dropout_prob
        dy = self.keep_gradient(name, dy)
        mask = self.kept(f":{name}_mask") if self.has_kept(f":{name}_mask") else None
        return dy if mask is None else ops.dropout_backward(dy, mask, probability)

    def in_chunks(self, function: Callable[[Array], Array], x: Array, size: int) -> Array:
        """`function(x)` for `size` positions at a time; 0 means all at once."""
        if not size:
            return function(x)
        return ops.apply_in_chunks(tracing.in_pieces(function), x, size, axis=tracing.PIECES_AXIS)

    def in_shares(
        self, function: Callable[..., Any], hidden: Array, *, mask: Array | None, positions: bool, **options: Any
    ) -> Any:
        """`function(self, hidden, mask=mask, **options)`, where each core takes sequences of its own, or some `positions` if
        those may be computed apart.

        Not where dropout draws for all of them, where a backward pass follows, or where another array goes by sequences.
        """
        holds_arrays = any(isinstance(value, np.ndarray | tuple | list) and len(value) > 0 for value in options.values())
        if self.rng is not None or self.record is not None or holds_arrays:
            return function(self, hidden, mask=mask, **options)
        return in_shares(
            lambda hidden, mask: function(self, hidden, mask=mask, **options),
            hidden,
            mask,
            apart=not self.is_observed,
            positions=positions,
        )

    def activation_backward(self, function: Callable[[Array], Array], dy: Array, x: Array) -> Array:
        """The gradient by x of an activation function."""
        backward = ops.ACTIVATIONS_BACKWARD.get(function) or getattr(function, "backward", None)
        if backward is None:
            remedy = "give the function an attribute backward(dy, x) that returns dx"
            raise InputError(f"hidden_act: {function!r} has no known gradient; {remedy}")
        dx: Array = backward(dy, x)
        return dx

    def parameter(self, name: str) -> Array:
        """The weight `name` of this module or of a part of it."""
        return self.weights[join(self.path, name)]

    # ------------------------------------------------------------------------------------- what a backward pass reads

    def kept(self, name: str) -> Array:
        """What the forward pass kept under a name relative to the module; "" is the module's output."""
        assert self.record is not None
        return self.record[join(self.path, name)]

    def has_kept(self, name: str) -> bool:
        """Whether the forward pass kept a value of this name."""
        return self.record is not None and join(self.path, name) in self.record

    def compute_again(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> None:
        """Run the module's function once more, so that what was forgotten is kept again; dropout draws what it drew before."""
        assert self.record is not None
        again = self.at(self.path)
        again.rng = self.record.generator_before(self.path)
        with tracing.observe(self.record.keep, alone=True):
            function(again, *arguments, **options)

    def forget(self) -> None:
        """Let go what the forward pass kept inside the module."""
        assert self.record is not None
        self.record.forget(self.path)

    def keep_gradient(self, name: str, gradient: Array) -> Array:
        """Let an observer see the gradient of the loss by the value `name`; the pass goes on with what the observer returns."""
        observer = tracing.current_observer()
        return gradient if observer is None else observer(tracing.GRADIENT + join(self.path, name), gradient)

    def wants(self, name: str) -> bool:
        """Whether the gradient by a weight is wanted."""
        return self.gradients is not None and self.gradients.is_wanted(join(self.path, name))

    @property
    def wants_any(self) -> bool:
        """Whether the gradient by any weight of the module is wanted."""
        return self.gradients is not None and self.gradients.is_wanted_within(self.path)

    def add_gradient(self, name: str, gradient: Array) -> None:
        """Add to the gradient by a weight, if it is wanted."""
        if self.gradients is not None:
            self.gradients.add(join(self.path, name), gradient)

    # ---------------------------------------------------------------------------------------------- walking the tree

    def __getattr__(self, name: str) -> Any:
        if name in Module.__slots__ or name.startswith("__"):  # asked for while a copy is being made
            raise AttributeError(name)
        if name in self._parts:
            return self._parts[name]
        full = join(self.path, name)
        if full in self.weights.tree or f"{self.path.rpartition('.')[2]}.{name}" in self.functions:
            return self._parts.setdefault(name, self.at(full))
        if full in self.weights:
            return self.weights[full]
        if name.startswith("register_") and name.endswith("_hook"):
            remedy = "see every value with npbert.trace(), or change it with npbert.tracing.observe(...)"
            raise MissingAttributeError(f"{self.path or 'the model'} has no {name!r}: {remedy}")
        raise MissingAttributeError(f"{self.path or 'the model'} has no {name!r}; it has {listed(self.children(), most=20)}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name in Module.__slots__:
            object.__setattr__(self, name, value)
            return
        full = join(self.path, name)
        if full not in self.weights:
            raise MissingAttributeError(f"{self.path or 'the model'} has no weight {name!r} that could be assigned")
        old = self.weights[full]
        self.weights.replace({full: checks.with_shape(full, checks.numbers(full, value, old.dtype), old.shape)})

    def __contains__(self, name: str) -> bool:
        """Whether the module has a part or a weight of this name."""
        full = join(self.path, name)
        return full in self.weights.tree or full in self.weights

    def __getitem__(self, index: int) -> Module:
        """A member of a list of modules: `encoder.layer[0]`; negative numbers count from the end."""
        if index in self._parts:
            return self._parts[index]
        members = self.weights.tree[self.path]
        checks.whole_number(f"{self.path}[index]", index, least=-len(members), most=len(members) - 1)
        return self._parts.setdefault(index, self.at(join(self.path, members[index])))

    def __len__(self) -> int:
        return len(self.weights.tree[self.path])

    def __iter__(self) -> Iterator[Module]:
        return (self[index] for index in range(len(self)))

    def children(self) -> list[str]:
        """The names of the module's parts and weights, in the order of the checkpoint."""
        return self.weights.tree.get(self.path, [])

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.children()]

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """This module and every module with weights below it, each with its path."""
        yield self.path, self
        for name in self.children():
            part = getattr(self, name)
            if isinstance(part, Module):
                yield from part.named_modules()

    def get_submodule(self, name: str) -> Module:
        """The module at a path below this one: `encoder.layer.0.attention`."""
        found: Any = self
        for part in checks.text("name", name).split(".") if name else ():
            found = getattr(found, part, None) if isinstance(found, Module) else None
        if not isinstance(found, Module):
            owner, parts = self.path or "the model", listed(self.children(), most=20)
            raise MissingNameError(f"{owner}: no module {name!r}; its parts are {parts}")
        return found

    # ------------------------------------------------------------------------------------------ running it on its own

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Run the module's function alone, on arrays."""
        arrays = [checks.as_array(self.path, x) if isinstance(x, list) else x for x in arguments]
        try:
            return self._function()(self, *arrays, **options)
        except (IndexError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, NpbertError):
                raise
            raise InputError(f"{self.path}: cannot be called with these arguments: {error}") from error

    def _function(self) -> Callable[..., Any]:
        """What the table of functions has for the module, or else what its weights are for."""
        parent, _, own_name = self.path.rpartition(".")
        owner = parent.rpartition(".")[2]
        for name in (f"{owner}.*" if own_name.isdecimal() else own_name, f"{owner}.{own_name}"):
            if name in self.functions:
                return self.functions[name]
        weights = {name: self.weights[join(self.path, name)].ndim for name in ("weight", "bias") if name in self}
        above = self.at(parent)
        if weights == {"weight": 2, "bias": 1}:
            return lambda m, x: above.linear(own_name, x)
        if weights == {"weight": 1, "bias": 1}:
            return lambda m, x: above.layer_norm(x, own_name)
        if weights == {"weight": 2}:
            return lambda m, ids: above.embedding(own_name, ids)
        raise InputError(f"{self.path}: does nothing of its own; call one of its parts: {listed(self.children())}")

    def __repr__(self) -> str:
        return "\n".join([f"Module {self.path}", *tree_lines(self, depth=1)])


def tree_lines(module: Module, *, depth: int = 0) -> list[str]:
    """The module as an indented tree: each part below its owner, each weight with its shape, alike layers once."""
    indent = "  " * depth
    weights = [f"{name} {list(x.shape)}" for name in module.children() if not isinstance(x := getattr(module, name), Module)]
    lines = [f"{indent}{', '.join(weights)}"] if weights else []
    groups: list[tuple[list[str], list[str]]] = []  # names of neighbours that are alike, and the lines below them
    for name in module.children():
        part = getattr(module, name)
        if not isinstance(part, Module):
            continue
        inner = tree_lines(part, depth=depth + 1)
        if name.isdecimal() and groups and groups[-1][1] == inner:
            groups[-1][0].append(name)
        else:
            groups.append(([name], inner))
    for names, inner in groups:
        title = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}, {len(names)} alike"
        if len(inner) == 1 and ":" not in inner[0]:  # weights and nothing else
            lines.append(f"{indent}{title}: {inner[0].strip()}")
        else:
            lines += [f"{indent}{title}", *inner]
    return lines
