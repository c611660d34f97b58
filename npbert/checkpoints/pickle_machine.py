"""Reading pickles without obeying them.

A pickle is a program for a small stack machine, and Python's own `pickle` lets that program import and call anything. This
machine knows the instructions by which numbers, strings, tuples, lists and dictionaries are built. A global is only ever a
name, which its caller may refuse; a call goes to a function of its caller, which gets that name and the arguments. So a pickle
cannot make this module import, run or change anything.

It is iterative, so depth costs no call stack; every length is held against the bytes that are there; and a budget of
instructions bounds time and memory. The instructions are described in the standard library's `pickletools`.
"""

import pickle
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

from npbert.checkpoints.limits import MAX_INSTRUCTIONS, MAX_INTEGER_KEYS, MAX_PICKLE_BYTES
from npbert.errors import FileError, shown
from npbert.types import StrPath


@dataclass(frozen=True)
class Global:
    """The name of something that the pickle would have imported."""

    name: str


class Hooks(NamedTuple):
    """What the machine leaves to its caller. Each function raises FileError for what it does not take."""

    find_global: Callable[[str], Any]  # a full name, such as "collections.OrderedDict" -> what stands for it on the stack
    call: Callable[[Any, tuple[Any, ...]], Any]  # what stands for a global, its arguments -> the result
    load_reference: Callable[[Any], Any]  # a persistent id -> what it refers to


_CONSTANTS = {pickle.NONE: None, pickle.NEWTRUE: True, pickle.NEWFALSE: False, pickle.EMPTY_TUPLE: ()}
_NUMBERS = {pickle.BININT: "<i", pickle.BININT1: "<B", pickle.BININT2: "<H", pickle.BINFLOAT: ">d"}
# Strings, by the width of the length before them. The first two are how Python 2 wrote them.
_STRINGS = {
    pickle.SHORT_BINSTRING: 1,
    pickle.BINSTRING: 4,
    pickle.SHORT_BINUNICODE: 1,
    pickle.BINUNICODE: 4,
    pickle.BINUNICODE8: 8,
}
_INTEGERS = {pickle.LONG1: 1, pickle.LONG4: 4}
_TUPLES = {pickle.TUPLE1: 1, pickle.TUPLE2: 2, pickle.TUPLE3: 3}
_GETS = {pickle.BINGET: 1, pickle.LONG_BINGET: 4}
_PUTS = {pickle.BINPUT: 1, pickle.LONG_BINPUT: 4}


def load(path: StrPath, content: memoryview, start: int, hooks: Hooks) -> tuple[Any, int]:
    """Run the pickle in `content` that begins at byte `start`; its value and where it ends. `path` is for messages."""
    return _Machine(path, content, start, hooks).run()


class _Machine:
    """One run. A class because some forty instructions share a stack, a memo and a position."""

    def __init__(self, path: StrPath, content: memoryview, start: int, hooks: Hooks) -> None:
        self.path = path
        self.content = content[: start + MAX_PICKLE_BYTES]
        self.position = start
        self.hooks = hooks
        self.stack: list[Any] = []
        self.marks: list[int] = []  # the heights of the stack at the MARKs still open
        self.memo: list[Any] = []
        self.instructions = 0
        self.integer_keys = 0

    def fail(self, reason: str) -> NoReturn:
        raise FileError(f"{self.path}: its pickle is damaged or hostile: {reason} (before byte {self.position})")

    def run(self) -> tuple[Any, int]:
        while (code := self.take(1)) != pickle.STOP:
            self.instructions += 1
            if self.instructions > MAX_INSTRUCTIONS:
                self.fail(f"it has more than {MAX_INSTRUCTIONS} instructions, which no checkpoint needs")
            self.step(code)
        if len(self.stack) != 1 or self.marks:
            self.fail(f"it ends with {len(self.stack)} values where one is due")
        return self.stack[0], self.position

    def step(self, code: bytes) -> None:
        if code in _CONSTANTS:
            self.stack.append(_CONSTANTS[code])
        elif code in _STRINGS:
            self.stack.append(self.text(self.number(_STRINGS[code])))
        elif code in _GETS:
            self.get(self.number(_GETS[code]))
        elif code in _PUTS:
            self.put(self.number(_PUTS[code]))
        elif code == pickle.MEMOIZE:
            self.put(len(self.memo))
        elif code in _NUMBERS:
            layout = _NUMBERS[code]
            self.stack.append(struct.unpack(layout, self.take(struct.calcsize(layout)))[0])
        elif code in _INTEGERS:
            length = self.number(_INTEGERS[code])
            if length > 255:
                self.fail(f"it has an integer of {length} bytes")
            self.stack.append(int.from_bytes(self.take(length), "little", signed=True))
        elif code in _TUPLES:
            self.stack.append(tuple(self.pop(_TUPLES[code])))
        elif code == pickle.MARK:
            self.marks.append(len(self.stack))
        elif code == pickle.TUPLE:
            self.stack.append(tuple(self.pop_mark()))
        elif code == pickle.EMPTY_DICT:
            self.stack.append({})
        elif code == pickle.EMPTY_LIST:
            self.stack.append([])
        elif code == pickle.SETITEM:
            self.set_items(self.pop(2))
        elif code == pickle.SETITEMS:
            self.set_items(self.pop_mark())
        elif code == pickle.APPEND:
            self.extend(self.pop(1))
        elif code == pickle.APPENDS:
            self.extend(self.pop_mark())
        elif code == pickle.GLOBAL:
            module, name = self.line(), self.line()
            self.find_global(module, name)
        elif code == pickle.STACK_GLOBAL:
            self.find_global(*self.pop(2))
        elif code == pickle.REDUCE:
            function, arguments = self.pop(2)
            if not isinstance(function, Global) or type(arguments) is not tuple:
                self.fail(f"it calls {shown(function)} with {shown(arguments)}")
            self.stack.append(self.hooks.call(function, arguments))
        elif code == pickle.BUILD:
            self.build()
        elif code == pickle.BINPERSID:
            self.stack.append(self.hooks.load_reference(self.pop(1)[0]))
        elif code == pickle.PROTO:
            if (version := self.number(1)) > 5:
                self.fail(f"it is of protocol {version}")
        elif code == pickle.FRAME:
            # A frame lets a reader fetch its bytes in one piece; here they all lie in memory already.
            if (length := self.number(8)) > len(self.content) - self.position:
                self.fail(f"it has a frame of {length} bytes and no more than {len(self.content) - self.position} left")
        else:
            self.fail(f"it has the instruction {code!r}, which no checkpoint needs")

    def take(self, count: int) -> bytes:
        if count > len(self.content) - self.position:
            limit = f" within {MAX_PICKLE_BYTES} bytes" if len(self.content) >= MAX_PICKLE_BYTES else ""
            self.fail(f"it wants {count} bytes and has {len(self.content) - self.position} left{limit}")
        self.position += count
        return bytes(self.content[self.position - count : self.position])

    def number(self, width: int) -> int:
        return int.from_bytes(self.take(width), "little")

    def text(self, length: int) -> str:
        try:
            return self.take(length).decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            self.fail("it has a string that is not UTF-8")

    def line(self) -> str:
        piece = bytes(self.content[self.position : self.position + 256])
        end = piece.find(b"\n")
        if end < 0:
            self.fail("it has a global whose name does not end")
        self.position += end + 1
        try:
            return piece[:end].decode("utf-8")
        except UnicodeDecodeError:
            self.fail("it has a global whose name is not UTF-8")

    def pop(self, count: int) -> list[Any]:
        """The `count` values on top, none of them from below the last MARK."""
        floor = self.marks[-1] if self.marks else 0
        if len(self.stack) - floor < count:
            self.fail("it takes a value from an empty stack")
        values = self.stack[-count:]
        del self.stack[-count:]
        return values

    def pop_mark(self) -> list[Any]:
        if not self.marks:
            self.fail("it goes back to a mark that it has not set")
        height = self.marks.pop()
        values = self.stack[height:]
        del self.stack[height:]
        return values

    def top(self) -> Any:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            self.fail("it looks at a value on an empty stack")
        return self.stack[-1]

    def put(self, index: int) -> None:
        value = self.top()
        # Picklers count their memos up, so none can be numbered higher than the instructions so far.
        if index > self.instructions:
            self.fail(f"it memoizes value {index} after {self.instructions} instructions")
        self.memo.extend([_NOTHING] * (index + 1 - len(self.memo)))
        self.memo[index] = value

    def get(self, index: int) -> None:
        value = self.memo[index] if index < len(self.memo) else _NOTHING
        if value is _NOTHING:
            self.fail(f"it recalls value {index}, which it has not memoized")
        self.stack.append(value)

    def set_items(self, items: list[Any]) -> None:
        target = self.top()
        if type(target) is not dict or len(items) % 2:
            self.fail(f"it sets {len(items)} keys and values on {shown(target)}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            self.set_item(target, key, value)

    def set_item(self, target: dict[Any, Any], key: Any, value: Any) -> None:
        if type(key) is int:
            self.integer_keys += 1
            if self.integer_keys > MAX_INTEGER_KEYS:
                self.fail(f"it has more than {MAX_INTEGER_KEYS} integer keys")
        elif type(key) is not str:  # not even a tuple: hashing one that is nested deeply overflows the stack
            self.fail(f"it uses {shown(key)} as the key of a dictionary")
        if key in target:
            self.fail(f"it has the key {shown(key)} twice in one dictionary")
        target[key] = value

    def extend(self, values: list[Any]) -> None:
        target = self.top()
        if type(target) is not list:
            self.fail(f"it appends to {shown(target)}")
        target.extend(values)

    def find_global(self, module: Any, name: Any) -> None:
        if type(module) is not str or type(name) is not str:
            self.fail("it names a global by something other than strings")
        self.stack.append(self.hooks.find_global(f"{module}.{name}"))

    def build(self) -> None:
        """Attributes for the object on top. Only ordered dictionaries have any: `_metadata`, the versions of the modules whose
        parameters they hold, which say nothing about the parameters themselves."""
        (state,) = self.pop(1)
        if type(self.top()) is not dict or type(state) is not dict:
            self.fail(f"it sets attributes of {shown(self.top())}")


_NOTHING = Global("nothing: this place of the memo is free")
