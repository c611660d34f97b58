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

from npbert import checks, ops, tracing
from npbert.errors import InputError, MissingAttributeError, MissingNameError, NpbertError, listed
from npbert.types import Array, Rng
from npbert.weights import Weights, join

Functions: TypeAlias = dict[str, Callable[..., Any]]
"""The function of each module, by the last part of the module's path. `layer.*` is for every member of the list `layer`, and
`pooler.activation` for a module without weights, so that no other name tells that it is there."""


class Module:
    """One module of a model: its path in the tree of names, and what a pass brings along."""

    __slots__ = ("config", "functions", "path", "rng", "weights")

    def __init__(self, weights: Weights, config: Any, functions: Functions, *, path: str = "", rng: Rng = None) -> None:
        self.weights = weights  # of the whole model, under their full names
        self.config = config
        self.functions = functions
        self.path = path
        self.rng = rng  # dropout happens when there is one

    # ------------------------------------------------------------------------------------ what functions compute with

    def keep(self, name: str, x: Array) -> Array:
        """Let an observer, if there is one, see x under its full name; the pass goes on with what the observer returns.

        `name` is relative to the module: "query", ":probs" for a value inside the module, "" for the module's own output.
        """
        observer = tracing.current_observer()
        return x if observer is None else observer(join(self.path, name), x)

    def linear(self, name: str, x: Array) -> Array:
        """Apply the linear map `name`."""
        weight, bias = self.weights[join(self.path, f"{name}.weight")], self.weights[join(self.path, f"{name}.bias")]
        return self.keep(name, ops.linear(x, weight, bias))

    def embedding(self, name: str, ids: Array) -> Array:
        """Look ids up in the table `name`."""
        return self.keep(name, ops.embedding(ids, self.weights[join(self.path, f"{name}.weight")]))

    def layer_norm(self, x: Array, name: str = "LayerNorm") -> Array:
        """Apply the LayerNorm `name`."""
        weight, bias = self.weights[join(self.path, f"{name}.weight")], self.weights[join(self.path, f"{name}.bias")]
        return self.keep(name, ops.layer_norm(x, weight, bias, eps=self.config.layer_norm_eps))

    def dropout(self, x: Array, probability: float | None = None) -> Array:
        """Apply dropout, if the pass has a generator; `probability` is by default the configuration's for hidden states."""
        if probability is None:
            probability = self.config.hidden_dropout_prob
        return self.keep("dropout", ops.dropout(x, probability, self.rng))

    def in_chunks(self, function: Callable[[Array], Array], x: Array, size: int) -> Array:
        """`function(x)` for `size` positions at a time; 0 means all at once."""
        return ops.apply_in_chunks(tracing.in_pieces(function), x, size, axis=tracing.PIECES_AXIS)

    # ---------------------------------------------------------------------------------------------- walking the tree

    def __getattr__(self, name: str) -> Any:
        full = join(self.path, name)
        if full in self.weights.tree or f"{self.path.rpartition('.')[2]}.{name}" in self.functions:
            return Module(self.weights, self.config, self.functions, path=full, rng=self.rng)
        if full in self.weights:
            return self.weights[full]
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
        members = self.weights.tree[self.path]
        checks.whole_number(f"{self.path}[index]", index, least=-len(members), most=len(members) - 1)
        return Module(self.weights, self.config, self.functions, path=join(self.path, members[index]), rng=self.rng)

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
        above = Module(self.weights, self.config, self.functions, path=parent, rng=self.rng)
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
