"""Finding a port's arrays under the pack's names."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

from npbert.checkpoints.reading import read_json
from npbert.errors import InputError, shown
from npbert.golden import ports
from npbert.golden.pack import OUTPUT, WEIGHT, Pack
from npbert.types import Array, StrPath

Names: TypeAlias = "Mapping[str, str] | StrPath | None"


class MatchedDump(NamedTuple):
    """A pack, and what of a port's dump belongs to which of its tensors."""

    pack: Pack
    arrays: dict[str, Callable[[], Array]]  # by the pack's names in the order of execution; each call reads the port's array
    not_in_port: list[str]  # names of the pack; a tensor that equals one in the dump is not missing
    not_in_pack: list[str]  # names of the port

    def truth(self, name: str) -> Array:
        """What the pack holds."""
        inputs = self.pack.input_arrays
        return inputs[name] if name in inputs else self.pack[name]

    def value(self, name: str) -> Array:
        """What the port dumped, in the pack's shape."""
        return ports.in_shape(name, self.arrays[name](), self.truth(name).shape)


def match(pack: Pack, port: ports.Port, names: Names = None) -> MatchedDump:
    """Match the names of a port with the pack's.

    `names` maps the port's own names to the pack's, as a mapping or as a JSON file; names that it does not mention stay as they
    are. Outputs are found with and without `output:`.
    """
    dump = ports.read(port)
    if not dump:
        raise InputError(f"port: {ports.described(port)} holds no arrays")
    renamed = _read_names(names)
    for own, name in renamed.items():
        if _name_in_pack(pack, name) is None:
            raise InputError(
                f"names: maps {shown(own)} to {shown(name)}, which is not in the pack; it takes {{the port's name: the pack's}}"
            )
    own_names: dict[str, str] = {}  # the port's names by the pack's
    not_in_pack: list[str] = []
    for own in dump:
        found = _name_in_pack(pack, renamed.get(own, own))
        if found is None:
            if not own.startswith(WEIGHT):  # a pack may be compared with another pack, which holds weights
                not_in_pack.append(own)
        elif found in own_names:
            raise InputError(f"names: {shown(own_names[found])} and {shown(own)} of the port are both {shown(found)}")
        else:
            own_names[found] = own
    if not own_names:
        few = ", ".join(not_in_pack[:3])
        raise InputError(
            f"port: {ports.described(port)} has none of the pack's names; a map can translate its own, such as {few}"
        )
    arrays = {name: dump[own_names[name]] for name in (*pack.input_arrays, *pack) if name in own_names}
    contents = {pack.aliases.get(name, name) for name in own_names}
    not_in_port = [name for name in pack if pack.aliases.get(name, name) not in contents]
    not_in_port += [own for own in renamed if own not in dump]
    return MatchedDump(pack, arrays, not_in_port, not_in_pack)


def _name_in_pack(pack: Pack, name: str) -> str | None:
    if name in pack or name in pack.input_arrays:
        return name
    return OUTPUT + name if OUTPUT + name in pack else None


def _read_names(names: Names) -> dict[str, str]:
    if names is None:
        return {}
    read = names if isinstance(names, Mapping) else read_json(names)
    if not isinstance(read, Mapping) or not all(isinstance(part, str) for pair in read.items() for part in pair):
        raise InputError(f"names: takes an object that maps the port's names to the pack's, got {json.dumps(read):.80}")
    return dict(read)
