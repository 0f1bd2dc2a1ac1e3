# SPDX-License-Identifier: Apache-2.0
"""scan: what broken pickles name, as far as any reader of pickles could follow them.

The core stops at the first thing that is wrong with a pickle; other readers mind other things
and go on. So here nothing is proven: opcodes are followed with a stack on which only texts have
a value, until one comes that no reader knows.
"""

from __future__ import annotations

import re
from codecs import escape_decode, raw_unicode_escape_decode  # no codec is imported by its name
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from ptio import _core
from ptio._checkpoint import read_leniently

_LONGEST_NAME = 512
_BYTES_OF_NAME = 400  # of memory, beside its text
_STACK = 100_000  # what lies deeper is never named
_MARK = object()
_IDENTIFIERS = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


class Named(NamedTuple):
    """A global as a pickle names it."""

    module: str
    name: str
    offset: int

    @property
    def whole(self) -> str:
        return f"{self.module}.{self.name}"

    @property
    def is_plausible(self) -> bool:
        """Whether Python could import it: what is read out of other bytes is not."""
        return bool(_IDENTIFIERS.fullmatch(self.module) and _IDENTIFIERS.fullmatch(self.name))


@dataclass
class Budget:
    """What looking at one file may cost where nothing is proven.

    Attributes:
        opcodes: that are followed.
        nbytes: that are read or inflated.
        names: bytes of memory for distinct names.
        places: where a pickle may begin.
        spent: whether one of them was not enough.
    """

    opcodes: int
    nbytes: int
    places: int
    names: int = 16 << 20
    spent: bool = False

    @classmethod
    def for_file(cls, nbytes: int) -> Budget:
        """A fraction of a second, and of another one for each 10 MB."""
        return cls(200_000 + nbytes // 32, (32 << 20) + 2 * nbytes, 5_000 + nbytes // 1_000)

    def take(self, nbytes: int) -> bool:
        """One more place, of so many bytes."""
        if self.places <= 0 or self.nbytes < nbytes:
            self.spent = True
            return False
        self.places -= 1
        self.nbytes -= nbytes
        return True


@dataclass
class Walk:
    """Where following a pickle led.

    Attributes:
        names: of globals, in order, each once.
        called: offset of the last opcode that calls something; -1 for none.
        end: offset where it ended.
        cut: whether more bytes were needed.
    """

    names: list[Named] = field(default_factory=list)
    called: int = -1
    end: int = 0
    cut: bool = False

    def calls(self) -> list[Named]:
        """Plausible names that something is called after: those of other bytes than pickles."""
        return [n for n in self.names if n.offset < self.called and n.is_plausible]


def _opcodes() -> tuple[dict[int, int], dict[int, int], dict[int, int]]:
    """Bytes of fixed arguments, bytes of sizes, numbers of lines, by opcode."""
    fixed = dict.fromkeys(b"(.012NQR)]}abdelostu", 0)
    fixed |= dict.fromkeys(b"\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x92\x93\x94\x97\x98", 0)
    fixed |= dict.fromkeys(b"Khq\x80\x82", 1) | dict.fromkeys(b"M\x83", 2)
    fixed |= dict.fromkeys(b"Jjr\x84", 4) | dict.fromkeys(b"G\x95", 8)
    sized = dict.fromkeys(b"UC\x8a\x8c", 1) | dict.fromkeys(b"TXB\x8b", 4)
    sized |= dict.fromkeys(b"\x8d\x8e\x96", 8)
    return fixed, sized, dict.fromkeys(b"FILPSVgp", 1) | dict.fromkeys(b"ci", 2)


_FIXED, _SIZED, _LINES = _opcodes()
_TEXTS = frozenset(b"STUVX\x8c\x8d")
_TO_MARK = dict.fromkeys(b"tldo\x91", 1) | dict.fromkeys(b"eu1\x90", 0)
_POPS = {ord("a"): (1, 0), ord("b"): (1, 0), ord("s"): (2, 0), ord("R"): (2, 1), ord("0"): (1, 0)}
_POPS |= {0x81: (2, 1), 0x85: (1, 1), 0x86: (2, 1), 0x87: (3, 1), 0x92: (3, 1)}
_NOTHING = frozenset((0x80, 0x95, 0x98, ord("Q")))


def walk(data: bytes, budget: Budget, start: int = 0) -> Walk:
    """Follows the pickles that begin at `start`, one behind the other."""
    return _Walker(data, budget, start).walk()


class _Walker:
    def __init__(self, data: bytes, budget: Budget, start: int) -> None:
        self._data = data
        self._budget = budget
        self._at = start
        self._stack: list[object] = []
        self._memo: dict[int, object] = {}
        self._found = Walk()
        self._seen: set[tuple[str, str]] = set()

    def walk(self) -> Walk:
        data, found, size = self._data, self._found, len(self._data)
        left = self._budget.opcodes
        while self._at < size and left > 0 and self._budget.names > 0:
            left -= 1
            found.end = self._at
            opcode = data[self._at]
            argument = self._argument(opcode)
            if argument is None:
                break
            self._do(opcode, argument, found.end)
            if opcode == 0x2E and data[self._at : self._at + 2] == b"PK":
                break  # the next member of an archive
        if left <= 0 or self._budget.names <= 0:
            self._budget.spent = True
        self._budget.opcodes = left
        return found

    def _argument(self, opcode: int) -> bytes | None:
        """Moves behind an opcode and its argument; None where it does not end."""
        data, at = self._data, self._at + 1
        fixed = _FIXED.get(opcode)
        if fixed is not None:
            end = at + fixed
        elif opcode in _SIZED:
            begin = at + _SIZED[opcode]
            end = begin + int.from_bytes(data[at:begin], "little")
            at = begin
        elif opcode in _LINES:
            end = at
            for _ in range(_LINES[opcode]):
                end = data.find(b"\n", end) + 1
                if end == 0:
                    self._found.cut = True
                    return None
        else:
            return None
        if end > len(data):
            self._found.cut = True
            return None
        self._at = end
        return data[at : min(end, at + 2 * _LONGEST_NAME + 2)]

    def _do(self, opcode: int, argument: bytes, offset: int) -> None:
        stack = self._stack
        if opcode in _TEXTS:
            stack.append(_value(opcode, argument))
        elif opcode in b"ci":
            first, _, second = argument.partition(b"\n")
            self._name(_text(first), _text(second.rstrip(b"\n")), offset)
            if opcode == 0x69:
                self._to_mark(1, offset)
            else:
                stack.append(None)
        elif opcode == 0x93:
            name, module = self._pop(), self._pop()
            self._name(_known(module), _known(name), offset)
            stack.append(None)
        elif opcode in _TO_MARK:
            self._to_mark(_TO_MARK[opcode], offset if opcode == 0x6F else None)
        elif opcode in _POPS:
            self._pops(opcode, offset)
        elif opcode in b"pqr\x94gjh2":
            self._memo_or_copy(opcode, argument)
        elif opcode == 0x2E:
            stack.clear()
            self._memo.clear()
        elif opcode not in _NOTHING:
            stack.append(_MARK if opcode == 0x28 else None)
        if len(stack) > _STACK:
            del stack[: _STACK // 2]

    def _name(self, module: str, name: str, offset: int) -> None:
        if (module, name) in self._seen:
            return
        self._seen.add((module, name))
        self._budget.names -= _BYTES_OF_NAME + 4 * (len(module) + len(name))
        self._found.names.append(Named(module, name, offset))

    def _pop(self) -> object:
        return self._stack.pop() if self._stack else None

    def _pops(self, opcode: int, offset: int) -> None:
        stack, (pops, pushes) = self._stack, _POPS[opcode]
        if opcode in b"Rb\x81\x92" and len(stack) >= 2:
            self._found.called = offset
        del stack[-pops:]
        if pushes:
            stack.append(None)

    def _to_mark(self, pushes: int, calls: int | None) -> None:
        while self._stack:
            if self._stack.pop() is _MARK:
                if calls is not None:
                    self._found.called = calls + 1  # INST names and calls at once
                break
        self._stack += [None] * pushes

    def _memo_or_copy(self, opcode: int, argument: bytes) -> None:
        stack, memo = self._stack, self._memo
        if opcode == 0x32:
            stack.append(stack[-1] if stack else None)
            return
        if opcode == 0x94:
            index = len(memo)
        elif opcode in b"pg":
            digits = argument.strip()
            index = int(digits) if digits.isdigit() and len(digits) < 20 else -1
        else:
            index = int.from_bytes(argument, "little")
        if opcode in b"gjh":
            stack.append(memo.get(index))
        else:
            memo[index] = stack[-1] if stack else None


def _value(opcode: int, argument: bytes) -> str:
    """The text that an opcode pushes."""
    if opcode == 0x56:
        return raw_unicode_escape_decode(argument.rstrip(b"\n"), "replace")[0]
    if opcode == 0x53:
        with suppress(ValueError):
            return _text(bytes(escape_decode(argument.strip(b" \t\r\n")[1:-1])[0]))
    return _text(argument)


def _text(data: bytes) -> str:
    return data[: _LONGEST_NAME + 1].decode("utf-8", "replace")


def _known(value: object) -> str:
    return value if isinstance(value, str) else "?"


# --- what the loader says of names


def verdicts(names: Sequence[Named], allow: Iterable[str] = ()) -> list[str]:
    """ "allowed", "data" or "unknown", as the core says for a load with this `allow`."""
    plain = [n for n in names if _is_plain(n.module) and _is_plain(n.name)]
    parts = [b"\x80\x04"]
    for n in plain:
        for text in (n.module.encode(), n.name.encode()):
            parts.append(b"X" + len(text).to_bytes(4, "little") + text)
        parts.append(b"\x930")
    core = read_leniently(
        _core.Source.from_bytes(b"", 0),
        limits=None,
        inert=True,
        members=(b"".join([*parts, b"N."]), []),
    )
    rows, *_ = core.globals(tuple(allow), len(plain), len(plain))
    known = {(module, name): verdict for module, name, verdict, *_ in rows}
    return [known.get(n[:2], "unknown") for n in names]


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable() and 0 < len(text) <= _LONGEST_NAME
