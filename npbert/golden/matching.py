"""Finding a port's arrays under the pack's names, and in the pack's shapes."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from npbert.errors import InputError, InputTypeError, listed, shown
from npbert.golden import layouts, maps, ports
from npbert.golden.kinds import bare, is_gradient
from npbert.golden.layouts import Reading, Target
from npbert.golden.maps import Names as Names
from npbert.golden.maps import Rule
from npbert.golden.models import part_of, parts_of_config
from npbert.golden.names import axes_of, meaning_of
from npbert.golden.pack import INPUT, OUTPUT, WEIGHT, Pack
from npbert.golden.positions import SOFTMAX_REACH
from npbert.types import Array

BASES = ("bert.", "transformer.")
PREFIXES = ("module.", "model.", *BASES)
"""What frameworks put before the names of a model, and what a model with a head has before those of its base."""


class MatchedDump(NamedTuple):
    """A pack, and what of a port's dump belongs to which of its tensors."""

    pack: Pack
    arrays: dict[str, Callable[[], Array]]  # by the pack's names in the order of execution; each call reads the port's array
    readings: dict[str, list[Reading]]  # how each of them can be read in the pack's shape, the likeliest first
    unusable: dict[str, InputError | InputTypeError]  # by the pack's names, why an array cannot be compared
    own_names: dict[str, str]  # the port's names by the pack's
    not_in_port: list[str]  # names of the pack; a tensor that equals one in the dump is not missing
    not_in_pack: list[str]  # names of the port
    weights: Mapping[str, Array]  # those of the model, where the pack or the caller has them

    def without(self, name: str) -> MatchedDump:
        """The dump without one tensor."""
        arrays = {other: read for other, read in self.arrays.items() if other != name}
        own_names = {other: own for other, own in self.own_names.items() if other != name}
        return self._replace(arrays=arrays, own_names=own_names)

    def truth(self, name: str) -> Array:
        """What the pack holds."""
        return _truth(self.pack, name)

    def value(self, name: str, reading: Reading | None = None) -> Array:
        """What the port dumped, in the pack's shape."""
        x = (reading or self.readings[name][0]).read(self.arrays[name]())
        return _as_zeros_and_ones(x) if name.endswith("attention_mask") else x


def match(pack: Pack, port: ports.Port, names: Names = None, *, allow_unused: bool = False) -> MatchedDump:
    """Match the names of a port with the pack's.

    `names` maps the port's own names to the pack's (`npbert.golden.maps`); names that it does not mention stay as they are.
    Prefixes such as `model.` are seen through, inputs and outputs are found with and without `input:` and `output:`. It is an
    error when most of a dump has names that are in no pack, unless `allow_unused`: then hardly anything would be compared.
    """
    dump = ports.read(port)
    if not dump:
        raise InputError(f"port: {ports.described(port)} holds no arrays")
    rules = maps.read_map(names)
    own_names, unused = match_names({*pack, *pack.input_arrays}, dump, rules)
    if not own_names:
        raise InputError(
            f"port: {ports.described(port)} has none of the pack's names; a map can translate its own, such as "
            f"{listed(unused, most=3)} (npbert golden map proposes one){_told_of_idle(rules, dump)}"
        )
    unknown = [own for own in unused if not _is_known(own)]
    if len(unknown) > len(own_names) and not allow_unused:
        raise InputError(
            f"port: {len(unknown)} of the {len(own_names) + len(unused)} arrays in {ports.described(port)} have names that no "
            f"pack has, such as {listed(unknown, most=3)}: translate them with names= (npbert golden map proposes a map), or "
            f"accept that they are not compared with allow_unused=True{_told_of_idle(rules, dump)}"
        )
    arrays, readings, unusable, errors = {}, {}, {}, []
    for name in (*pack.input_arrays, *pack):
        if name in own_names:
            array = dump[own_names[name]]
            try:
                readings[name] = _readings(pack, name, own_names[name], array(), rules)
                arrays[name] = array
            except (InputError, InputTypeError) as error:
                errors.append(error)
                if name in pack.input_arrays and own_names[name] != name:
                    unused.append(own_names.pop(name))  # a port's own thing that is called as an argument is
                else:
                    unusable[name] = error
    if not arrays:
        raise errors[0]
    contents = {pack.aliases.get(name, name) for name in own_names}
    not_in_port = [name for name in pack if pack.aliases.get(name, name) not in contents]
    not_in_port += _idle(rules, dump)
    return MatchedDump(pack, arrays, readings, unusable, own_names, not_in_port, unused, pack.weights or {})


# ------------------------------------------------------------------------------------------------------------------- names


def match_names(known: Collection[str], dump: Collection[str], rules: Sequence[Rule] = ()) -> tuple[dict[str, str], list[str]]:
    """The port's names by the `known` names of a pack, and those that are not in the pack. Names that stand in the pack as they
    are go before those that begin with something else."""
    own_names: dict[str, str] = {}

    def take(own: str, name: str | None) -> None:
        if name in own_names:
            raise InputError(f"names: {shown(own_names[name])} and {shown(own)} of the port are both {shown(name)}")
        if name is not None:
            own_names[name] = own

    _check_rules(known, rules, dump)
    for own in dump:
        take(own, maps.translated(rules, own, lambda name: _name_in_pack(known, name)) or (own if own in known else None))
    used = set(own_names.values())
    for own in dump:
        if own not in used and (name := _name_in_pack(known, own)) not in own_names:
            take(own, name)
    used = set(own_names.values())
    # A pack may be compared with another pack, which holds weights.
    return own_names, [own for own in dump if own not in used and not own.startswith(WEIGHT)]


def _idle(rules: Sequence[Rule], dump: Collection[str]) -> list[str]:
    """The entries of the map that match nothing in the dump."""
    return [rule.own for rule in rules if rule.name is not None and not any(map(rule.matches, dump))]


def _told_of_idle(rules: Sequence[Rule], dump: Collection[str]) -> str:
    idle = _idle(rules, dump)
    return f"; of the map, {listed(idle, most=3)} {'matches' if len(idle) == 1 else 'match'} none of them" if idle else ""


def _check_rules(known: Collection[str], rules: Sequence[Rule], dump: Collection[str]) -> None:
    """Refuse an entry of the map that leads nowhere: it is misspelt."""
    for rule in rules:
        names = [rule.name] if rule.name is not None and not rule.is_pattern else map(rule.translated, dump)
        tried = [name for name in names if name is not None]
        if tried and not any(_name_in_pack(known, name) or _is_known(name) for name in tried):
            nearest = difflib.get_close_matches(tried[0], known, n=1)
            hint = f"; the nearest is {shown(nearest[0])}" if nearest else ""
            raise InputError(
                f"names: maps {shown(rule.own)} to {shown(tried[0])}, which is not in the pack{hint}; it takes {{the port's "
                "name: the pack's}"
            )


def _is_known(name: str) -> bool:
    """Whether a pack may have the name, if not this one: it may hold a part of the values."""
    return any(map(meaning_of, _seen_through(name)))


def _name_in_pack(known: Collection[str], name: str) -> str | None:
    """The pack's name that a name means, with another prefix or none."""
    return next((meant for meant in _seen_through(name) if meant in known), None)


def _seen_through(name: str) -> Iterator[str]:
    """The names that a name may mean, itself first."""
    own = bare(name)
    kind = name.removesuffix(own)  # `grad:`, `grad:weight:`, `step:1:weight:`, or nothing
    yield from (name, INPUT + name, OUTPUT + name, *(kind + base + own for base in BASES))
    for prefix in PREFIXES:
        if own.startswith(prefix):
            yield from _seen_through(kind + own.removeprefix(prefix))


# ------------------------------------------------------------------------------------------------------------------ shapes


def _readings(pack: Pack, name: str, own: str, x: Array, rules: Sequence[Rule]) -> list[Reading]:
    """The ways to read a port's array as the tensor `name`; an error where there is none."""
    if x.dtype.kind not in "biuf":
        hint = "; NumPy has no bfloat16: save it as float32, or as safetensors" if x.dtype.kind == "V" else ""
        raise InputTypeError(f"port: {name} takes numbers, got {x.dtype}{hint}")
    target = target_of(pack, name)
    if x.dtype.kind != "f" and not np.array_equal(np.rint(target.truth), target.truth):  # ids and masks are whole
        raise InputTypeError(f"port: {name} takes floating-point numbers, got {x.dtype}")
    layout = next((layout for layout in maps.layouts(rules, own) if layouts.applies(layout, target)), None)
    found = layouts.readings(x.shape, target, layout)
    if not found:
        said = "" if layout is None else f" in the layout {layouts.written(layout)}"
        raise InputError(f"port: {name} takes shape {list(target.truth.shape)}, got {list(x.shape)}{said}")
    return found


def _as_zeros_and_ones(mask: Array) -> Array:
    """A mask whose zeros let tokens be seen and whose very negative numbers hide others, as one of ones and zeros."""
    is_additive = mask.dtype.kind == "f" and mask.size and mask.min() < 0 and np.all((mask == 0) | (mask <= -SOFTMAX_REACH))
    return (mask == 0).astype(np.int64) if is_additive else mask


def target_of(pack: Pack, name: str) -> Target:
    """A tensor of the pack with what its axes are."""
    truth = _truth(pack, name)
    part = part_of(pack.positions, name)
    head_size = parts_of_config(pack.config)[part].head_size
    is_shared = name.endswith(("token_type_embeddings", "position_embeddings", "position_ids", "token_type_ids"))
    real = np.asarray(pack.positions[part].query)
    return Target(truth, axes_of(name, truth.ndim), head_size, real, is_shared, is_gradient(name))


def _truth(pack: Pack, name: str) -> Array:
    return pack.input_arrays[name] if name in pack.input_arrays else pack[name]
