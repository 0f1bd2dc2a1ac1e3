# SPDX-License-Identifier: Apache-2.0
"""A random walk over what ptio's pickle machine accepts: every step emits opcodes that are
allowed where they stand. Nothing that it writes may be refused."""

from . import atoms, calls
from .machine import Machine, Value

# What torch's weights_only unpickler knows.
TORCH_OPCODES = frozenset(b"\x80.(cR\x81bae" + b"sutK\x85\x86\x87)]}\x8fN\x88\x89JMX\x8aGUhjqrQ")
ENCODINGS = ("utf-8", "utf-8", "utf-8", "latin-1", "bytes")

APPENDED = ("list", "deque")
MAPPED = ("dict", "odict", "counter", "defaultdict")


class Generator:
    """One stream. `torch`: only of what torch's weights_only unpickler knows."""

    def __init__(self, rng, torch=False):
        self.rng = rng
        self.torch = torch
        self.encoding = "utf-8" if torch else rng.choice(ENCODINGS)
        protocol = rng.choice((None, 2, 2)) if torch else rng.choice((None, 0, 1, 2, 3, 4, 4, 5, 5))
        self.m = Machine(rng, protocol, only=TORCH_OPCODES if torch else None)
        self.calls = calls.Calls(self)

    # --- single values: each pushes one -----------------------------------------------------

    def way(self, ways):
        """Pushes a value in one of several ways."""
        if self.torch:
            ways = [way for way in ways if way[0][0] in TORCH_OPCODES]
        op, kind = self.rng.choice(ways)
        return self.m.push_new(op, kind)

    def integer(self, value=None):
        value = atoms.any_int(self.rng) if value is None else value
        if self.torch and value.bit_length() > 2000:
            value = 7  # torch knows no LONG4
        spare = self.rng.choice((0, 0, 0, 1, 3)) if abs(value) < 2**2000 else 0
        return self.way(atoms.int_ways(value, spare))

    def small_int(self, value):
        """An int that ptio acts on: no opcode pads it beyond 64 bits."""
        return self.way(atoms.int_ways(value))

    def real(self):
        return self.way(atoms.float_ways(self.rng, text=not self.torch))

    def text(self, text=None):
        text = atoms.any_text(self.rng) if text is None else text
        value = self.way(atoms.text_ways(text))
        value.text = text if value.kind == "str" else None
        return value

    def blob(self, data=None):
        data = atoms.any_blob(self.rng) if data is None else data
        if self.torch:
            return self.calls.encoded(data)
        return self.way(atoms.blob_ways(data))

    def python2(self, data=None):
        if data is None:
            data = atoms.any_blob(self.rng)
            if self.encoding == "utf-8":
                data = data.decode("utf-8", "ignore").encode()
        return self.way(atoms.python2_ways(data[:200] if self.torch else data))

    def constant(self):
        ways = [(b"N", "none"), (b"\x88", "bool"), (b"\x89", "bool")]
        return self.way([*ways, (b"I00\n", "bool"), (b"I01\n", "bool")])

    def boolean(self, value):
        ways = [(b"\x88", "bool"), (b"I01\n", "bool")] if value else [(b"\x89", "bool")]
        return self.way(ways)

    def none(self):
        return self.m.push_new(b"N", "none")

    def buffer(self):
        data = atoms.any_blob(self.rng)
        if self.torch:
            return self.calls.bytearray()
        op = b"\x96" + len(data).to_bytes(8, "little") + data
        return self.way([(op, "bytearray")])

    def empty(self):
        ways = [(b"]", "list"), (b"}", "dict"), (b"\x8f", "set"), (b")", "tuple")]
        op, kind = self.rng.choice(ways)
        return self.m.push_new(op, kind, () if kind == "tuple" else [])

    def atom(self):
        """A value that can be a key."""
        makers = (self.integer, self.real, self.text, self.text, self.blob, self.python2)
        return self.rng.choice((*makers, self.constant))()

    def known(self, fits):
        """Pushes a value from the memo; False if there is none that fits."""
        index = self.m.find(fits)
        if index is None:
            return False
        self.m.get(index)
        return True

    def value(self):
        """Any value: from the memo, or a new one."""
        choice = self.rng.random()
        if choice < 0.3 and self.known(lambda v: v.kind != "marker"):
            return self.m.top
        if choice < 0.5:
            return self.empty()
        if choice < 0.55:
            return self.buffer()
        return self.atom()

    def key(self):
        choice = self.rng.random()
        if choice < 0.3 and self.known(lambda v: v.is_key):
            return self.m.top
        if choice < 0.4:
            return self.tuple_of([self.atom for _ in range(self.rng.randrange(4))])
        return self.atom()

    def tuple_of(self, pushes):
        """A tuple of what each of these pushes, by any opcode that makes one."""
        m, count = self.m, len(pushes)
        marked = count > 3 or self.rng.random() < 0.3
        if count == 0 and not marked:
            return m.push_new(b")", "tuple", ())
        if marked:
            m.mark()
        for push in pushes:
            push()
        if marked:
            return m.push_new(b"t", "tuple", m.take_marked())
        items = m.stack[-count:]
        del m.stack[-count:]
        return m.push_new(bytes((0x84 + count,)), "tuple", items)

    def list_of(self, pushes):
        """A list of what each of these pushes."""
        m = self.m
        made = m.push_new(b"]", "list", [])
        if pushes:
            m.mark()
            for push in pushes:
                push()
            made.items += m.take_marked()
            m.emit(b"e")
        return made

    def dict_of(self, pairs):
        m = self.m
        made = m.push_new(b"}", "dict", [])
        for push_key, push_value in pairs:
            push_key()
            push_value()
            made.items += m.stack[-2:]
            del m.stack[-2:]
            m.emit(b"s")
        return made

    # --- steps of the walk --------------------------------------------------------------------

    def step_push(self):
        self.value()

    def step_call(self):
        self.calls.any()

    def step_mark(self):
        if len(self.m.marks) < 6:
            self.m.mark()

    def step_close(self):
        """Ends the innermost mark in one of the ways that its items allow."""
        m, rng = self.m, self.rng
        if not m.marks:
            return
        items = m.stack[m.fence :]
        keyed = all(item.is_key for item in items)
        ways = ["tuple", "tuple"]
        target = m.stack[m.fence - 1] if self._has_target() else None
        if target is not None and not target.frozen:
            if target.kind in APPENDED:
                ways += ["append"] * 3
            if target.kind in MAPPED and self._are_pairs(items):
                ways += ["set"] * 3
            if target.kind == "set" and keyed and not self.torch:
                ways += ["add"] * 3
        if not self.torch:
            ways += ["list", "drop"] + ["frozenset"] * keyed
            ways += ["dict"] * self._are_pairs(items)
        self._close(rng.choice(ways), target)

    def _has_target(self):
        m = self.m
        below = m.marks[-2] if len(m.marks) > 1 else 0
        return m.fence > below

    @staticmethod
    def _are_pairs(items):
        return len(items) % 2 == 0 and all(item.is_key for item in items[::2])

    def _close(self, way, target):
        m = self.m
        items = m.take_marked()
        if way == "tuple":
            m.push_new(b"t", "tuple", items)
        elif way == "list":
            m.push_new(b"l", "list", items)
        elif way == "dict":
            m.push_new(b"d", "dict", items)
        elif way == "frozenset":
            m.push_new(b"\x91", "frozenset", items)
        elif way == "drop":
            m.emit(b"1")
        else:
            m.emit({"append": b"e", "set": b"u", "add": b"\x90"}[way])
            target.items += items

    def step_tuple(self):
        m = self.m
        count = self.rng.choice((1, 2, 2, 3))
        if m.free >= count:
            items = m.stack[-count:]
            del m.stack[-count:]
            m.push_new(bytes((0x84 + count,)), "tuple", items)

    def step_fill(self):
        """One item into the container on top."""
        m = self.m
        if m.free < 1 or m.top.frozen:
            return
        target = m.top
        if target.kind in APPENDED:
            self.value()
            target.items.append(m.pop())
            m.emit(b"a")
        elif target.kind in MAPPED:
            self.key()
            self.value()
            target.items += m.stack[-2:]
            del m.stack[-2:]
            m.emit(b"s")
        elif target.kind == "set" and not self.torch:
            m.mark()
            self.key()
            target.items += m.take_marked()
            m.emit(b"\x90")
        elif target.kind in ("odict", "namespace"):
            self.calls.attributes()

    def step_attributes(self):
        m = self.m
        if m.free >= 1 and m.top.kind in ("odict", "namespace"):
            self.calls.attributes()

    def step_put(self):
        if self.m.free >= 1:
            self.m.put()

    def step_get(self):
        self.known(lambda v: v.kind != "marker")

    def step_dup(self):
        if self.m.free >= 1 and not self.torch:
            self.m.push(b"2", self.m.top)

    def step_pop(self):
        m = self.m
        if self.torch:
            return
        if m.free >= 1:
            m.emit(b"0")
            m.pop()
        elif m.marks:  # POP takes a mark that is on top
            m.emit(b"0")
            m.take_marked()

    STEPS = (
        *[step_push] * 6,
        *[step_call] * 4,
        *[step_put] * 5,
        *[step_fill] * 5,
        *[step_close] * 3,
        *[step_mark] * 2,
        *(step_tuple, step_get, step_get, step_dup, step_pop, step_attributes),
    )

    # --- the whole ----------------------------------------------------------------------------

    def run(self):
        """The opcodes of one stream, as a list of bytes."""
        for _ in range(self.rng.choice((1, 3, 8, 20, 40))):
            self.rng.choice(self.STEPS)(self)
        self._gather()
        return self.m.finish()

    def _gather(self):
        """Makes one value of what is on the stack."""
        m = self.m
        while m.marks:
            self.step_close()
        if not m.stack:
            self.value()
        if len(m.stack) > 3 and not self.torch and self.rng.random() < 0.5:
            while len(m.stack) > 3:
                m.emit(b"0")
                m.pop()
        while len(m.stack) > 1:
            count = min(3, len(m.stack))
            items = m.stack[-count:]
            del m.stack[-count:]
            m.push_new(bytes((0x84 + count,)), "tuple", items)


def generate(rng, torch=False):
    """(opcodes, encoding) of a stream that ptio must read."""
    generator = Generator(rng, torch)
    return generator.run(), generator.encoding


__all__ = ["TORCH_OPCODES", "Value", "generate"]
