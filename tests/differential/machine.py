# SPDX-License-Identifier: Apache-2.0
"""A writer of pickles that keeps the stack, the marks and the memo that a reader would have.

It knows of each value only what decides which opcodes may follow: its kind, what it holds, and
whether it can be a key.
"""

import struct

KEY_DEPTH = 8  # tuples nested in a key
KEY_WEIGHT = 400  # values that hashing a key visits

_PLAIN_KEYS = frozenset(
    ("none", "bool", "int", "big", "float", "str", "bytes", "py2", "dtype", "named", "made")
)


class Value:
    """What is known of an object on the stack."""

    __slots__ = (
        "arguments",
        "attributes",
        "frozen",
        "items",
        "key_depth",
        "kind",
        "text",
        "weight",
    )

    def __init__(self, kind, items=(), text=None):
        self.kind = kind
        self.items = items  # values of a list, tuple or set; keys and values of a dict
        self.text = text
        self.frozen = False  # a call has copied its items
        self.weight = 1 + sum(item.weight for item in items)
        self.key_depth = 0 if kind in _PLAIN_KEYS else None
        if kind in ("tuple", "frozenset") and all(i.key_depth is not None for i in items):
            depth = 1 + max((item.key_depth for item in items), default=-1)
            if depth <= KEY_DEPTH and self.weight <= KEY_WEIGHT:
                self.key_depth = depth

    @property
    def is_key(self):
        return self.key_depth is not None


class Machine:
    """Opcodes so far, as `ops`, and the state of whoever reads them."""

    def __init__(self, rng, protocol, only=None):
        self.rng = rng
        self.protocol = protocol
        self.puts, self.gets = ("qr", "hj") if only else ("pqr", "ghj")
        if not only and (protocol or 0) >= 4:
            self.puts += "mmm"
        self.ops = []
        self.stack = []
        self.marks = []  # heights of the stack
        self.memo = {}
        self.memo_of = {}  # id of a value -> its index

    # --- state ---------------------------------------------------------------------------

    @property
    def fence(self):
        return self.marks[-1] if self.marks else 0

    @property
    def free(self):
        """Values above the innermost mark."""
        return len(self.stack) - self.fence

    @property
    def top(self):
        return self.stack[-1]

    def emit(self, op):
        self.ops.append(op)

    def push(self, op, value):
        self.ops.append(op)
        self.stack.append(value)
        return value

    def push_new(self, op, kind, items=(), text=None):
        return self.push(op, Value(kind, items, text))

    def pop(self):
        return self.stack.pop()

    # --- marks -----------------------------------------------------------------------------

    def mark(self):
        self.emit(b"(")
        self.marks.append(len(self.stack))

    def take_marked(self):
        """The values above the innermost mark, which goes."""
        begin = self.marks.pop()
        items = self.stack[begin:]
        del self.stack[begin:]
        return items

    # --- memo --------------------------------------------------------------------------------

    def put(self):
        """Puts the top into the memo, by any opcode that can."""
        rng, value = self.rng, self.top
        way = rng.choice(self.puts)
        index = len(self.memo)
        if way == "m":
            self.emit(b"\x94")  # where indices have gaps, it overwrites one
        else:
            if rng.random() < 0.1:
                # CPython's C unpickler allocates by the largest index.
                index = rng.choice((0, 1, 255, 256, rng.randrange(2000)))
            if way == "q" and index > 255:
                way = "r"
            self.emit(_index_op(way, index))
        old = self.memo.get(index)
        if old is not None and self.memo_of.get(id(old)) == index:
            del self.memo_of[id(old)]
        self.memo[index] = value
        self.memo_of[id(value)] = index

    def get(self, index):
        way = self.rng.choice(self.gets)
        if way == "h" and index > 255:
            way = "j"
        return self.push(_index_op(way, index), self.memo[index])

    def find(self, fits):
        """The index of a random value of the memo that fits, or None."""
        if not self.memo:
            return None
        indices = list(self.memo)
        for _ in range(3):
            index = self.rng.choice(indices)
            if fits(self.memo[index]):
                return index
        return None

    # --- the whole ----------------------------------------------------------------------------

    def finish(self):
        """The opcodes, with PROTO in front and frames around some of them."""
        head = [] if self.protocol is None or self.protocol < 2 else [bytes((0x80, self.protocol))]
        ops = [*head, *self.ops, b"."]
        if self.protocol is None or self.protocol < 4 or self.rng.random() < 0.3:
            return ops
        return head + frame(self.rng, ops[len(head) :])


def _index_op(way, index):
    if way in "gp":
        return f"{way}{index}\n".encode()
    if way in "hq":
        return way.encode() + bytes((index,))
    return way.encode() + struct.pack("<I", index)


def frame(rng, ops):
    """Puts frames around runs of opcodes."""
    framed, at = [], 0
    while at < len(ops):
        count = rng.choice((0, 1, 3, 10, 1000))
        run = ops[at : at + count]
        at += count
        if rng.random() < 0.7 and (run or rng.random() < 0.2):
            framed.append(b"\x95" + struct.pack("<Q", sum(map(len, run))))
        framed += run
    return framed
