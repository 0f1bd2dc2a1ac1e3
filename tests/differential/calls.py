# SPDX-License-Identifier: Apache-2.0
"""The calls that a pickle may make, with arguments as their handlers in csrc/core accept them."""

import datetime

import numpy as np

from . import atoms
from .machine import Value
from .storages import LEGACY, STORAGES, UNTYPED

DTYPES = ("float32", "int64", "bfloat16", "float8_e4m3fn", "complex64", "uint16", "bits8", "qint8")
ARRAYS = ("<f8", "<i4", ">i2", "|u1", "|b1", "<f2", "<c8", "|S3", "<U2", "|V4", "<M8[ns]", "<m8[D]")
FACTORIES = ("list", "dict", "int", "float", "str", "tuple", "bool", "set", "frozenset", "bytes")
LAYOUTS = ("torch.strided", "torch.sparse_coo", "torch.jagged")
QSCHEMES = ("per_tensor_affine", "per_channel_affine", "per_channel_symmetric")


class Calls:
    """Phrases that push the result of one call."""

    def __init__(self, generator):
        self.g = generator
        self.m = generator.m
        self.rng = generator.rng

    # --- how a call looks -------------------------------------------------------------------

    def name(self, module, name):
        """Pushes a global."""
        m, g = self.m, self.g
        if self.rng.random() < 0.5:
            index = m.find(lambda v: v.kind == "marker" and v.text == (module, name))
            if index is not None:
                m.get(index)
                return
        if g.torch or self.rng.random() < 0.5:
            m.emit(f"c{module}\n{name}\n".encode())
        else:
            old = g.encoding != "bytes" and self.rng.random() < 0.2
            for text in (module, name):
                g.python2(text.encode()) if old else g.text(text)
                if self.rng.random() < 0.2:
                    m.put()
                m.pop()
            m.emit(b"\x93")
        m.stack.append(Value("marker", text=(module, name)))
        if self.rng.random() < 0.4:
            m.put()

    def call(self, module, name, *pushes, kind="made", items=(), new=False):
        """Pushes what a call of a global returns; each of `pushes` pushes one argument."""
        self.name(module, name)
        arguments = self.g.tuple_of(pushes)
        if self.rng.random() < 0.1 and all(item.kind != "marker" for item in arguments.items):
            self.m.put()
        return self.finish(arguments, kind, items, new)

    def finish(self, arguments, kind, items=(), new=False):
        m = self.m
        m.emit(b"\x81" if new else b"R")
        del m.stack[-2:]
        if isinstance(kind, Value):
            m.stack.append(kind)
        else:
            m.stack.append(Value(kind, items))
        if self.rng.random() < 0.2:
            m.put()
        return arguments

    def builtin(self, name):
        return self.rng.choice(("builtins", "__builtin__")), name

    # --- bytes, numbers -----------------------------------------------------------------------

    def encoded(self, data=None):
        """bytes as protocols 0 to 2 write them."""
        data = atoms.any_blob(self.rng) if data is None else data
        g = self.g
        codec = self.rng.choice(("latin1", "latin1", "latin-1"))
        self.call(
            "_codecs",
            "encode",
            lambda: g.text(data.decode("latin-1")),
            lambda: g.text(codec),
            kind="bytes",
        )
        return self.m.top

    def no_bytes(self):
        self.call(*self.builtin("bytes"), kind="bytes")

    def bytearray(self):
        g, data = self.g, atoms.any_blob(self.rng)
        ways = [
            (),
            (lambda: g.blob(data),),
            (lambda: g.text(data.decode("latin-1")), lambda: g.text("latin-1")),
        ]
        self.call(*self.builtin("bytearray"), *self.rng.choice(ways), kind="bytearray")

    def complex(self):
        def part():
            if self.rng.random() < 0.3:
                return g.small_int(self.rng.choice((0, -1, 7, 2**53 + 1)))
            return g.real()

        g = self.g
        self.call(*self.builtin("complex"), part, part)

    def range(self):
        g, count = self.g, self.rng.randrange(1, 4)
        name = self.rng.choice((("builtins", "range"), ("__builtin__", "xrange")))
        values = [atoms.any_int(self.rng) for _ in range(count)]
        if count == 3:
            values[2] = values[2] or 1
        self.call(*name, *(lambda v=v: g.integer(v) for v in values))

    def slice(self):
        g, count = self.g, self.rng.randrange(1, 4)
        self.call(*self.builtin("slice"), *[g.value] * count, kind="other")

    # --- containers ---------------------------------------------------------------------------

    def copied(self, fits, fallback):
        """Pushes a list, tuple or dict for a call to copy; it is frozen then."""
        value = self.m.top if self.g.known(fits) else fallback()
        value.frozen = True
        return value

    def set(self):
        def items():
            return self.copied(
                lambda v: v.kind in ("list", "tuple") and all(i.is_key for i in v.items),
                lambda: self.rng.choice((g.list_of, g.tuple_of))([g.key] * self.rng.randrange(4)),
            )

        g, frozen = self.g, not self.g.torch and self.rng.random() < 0.5
        pushes = [items] if self.rng.random() < 0.8 else []
        self.call(
            *self.builtin("frozenset" if frozen else "set"),
            *pushes,
            kind="made" if frozen else "other",
        )

    def ordered_dict(self):
        g, way = self.g, self.rng.random()

        def pair():
            maker = self.rng.choice((g.list_of, g.tuple_of))
            return maker([g.key, g.value])

        def source():
            if way < 0.2:
                return self.copied(
                    lambda v: v.kind == "dict", lambda: g.dict_of([(g.key, g.value)])
                )
            maker = self.rng.choice((g.list_of, g.tuple_of))
            return self.copied(lambda v: False, lambda: maker([pair] * self.rng.randrange(4)))

        self.call("collections", "OrderedDict", *[source] * (way < 0.4), kind="odict", items=[])

    def counter(self):
        g = self.g

        def source():
            return self.copied(lambda v: v.kind == "dict", lambda: g.dict_of([(g.key, g.integer)]))

        pushes = [source] * (self.rng.random() < 0.5)
        self.call("collections", "Counter", *pushes, kind="counter", items=[])

    def default_dict(self):
        g = self.g
        ways = (
            lambda: self.name("builtins", self.rng.choice(FACTORIES)),
            lambda: self.name("__builtin__", self.rng.choice(("long", "unicode", "list"))),
            lambda: self.name("collections", self.rng.choice(("OrderedDict", "deque", "Counter"))),
            g.none,
        )
        pushes = [self.rng.choice(ways)] * (self.rng.random() < 0.8)
        self.call("collections", "defaultdict", *pushes, kind="defaultdict", items=[])

    def deque(self):
        g = self.g

        def items():
            return self.copied(
                lambda v: v.kind in ("list", "tuple"),
                lambda: self.rng.choice((g.list_of, g.tuple_of))([g.value] * self.rng.randrange(4)),
            )

        def length():
            return g.none() if self.rng.random() < 0.4 else g.small_int(self.rng.randrange(4))

        pushes = self.rng.choice(((), (items,), (items, length)))
        self.call("collections", "deque", *pushes, kind="deque", items=[])

    # --- attributes ---------------------------------------------------------------------------

    def namespace(self):
        m = self.m
        name = self.rng.choice((("argparse", "Namespace"), ("types", "SimpleNamespace")))
        way = self.rng.random()
        if way < 0.3:
            module = self.rng.choice(("copyreg", "copy_reg"))
            name = ("argparse", "Namespace")
            class_ = (lambda: self.name(*name), lambda: self.name(*self.builtin("object")))
            self.call(module, "_reconstructor", *class_, self.g.none, kind="namespace")
        else:
            self.call(*name, kind="namespace", new=way < 0.7)
        if self.rng.random() < 0.6:
            self.attributes()
        return m.top

    def attributes(self):
        """BUILD of what is on top."""
        g, names = self.g, ("a", "_metadata", "x y", "", "\xe9", "\ud800", "lr")
        pairs = [
            (lambda: g.text(self.rng.choice(names)), g.value) for _ in range(self.rng.randrange(3))
        ]
        g.dict_of(pairs)
        if self.rng.random() < 0.3:
            self.m.put()
        self.m.pop()
        self.m.emit(b"b")

    # --- paths and dates ----------------------------------------------------------------------

    def path(self):
        g = self.g
        name = self.rng.choice(("PosixPath", "PurePosixPath", "PureWindowsPath", "WindowsPath"))
        module = self.rng.choice(("pathlib", "pathlib._local"))
        parts = [
            lambda: g.text(self.rng.choice(("/", "a", "..", "C:\\", "b c", "\xe9", "\ud800", "")))
        ]
        self.call(module, name, *parts * self.rng.randrange(4))

    def state(self, data):
        """Bytes of a date, sometimes as the text of Python 2."""
        g, m = self.g, self.m
        if g.encoding != "utf-8" and self.rng.random() < 0.3:
            g.python2(data)
        else:
            g.blob(data)
        if self.rng.random() < 0.2:
            m.put()

    def date(self):
        day = datetime.date.fromordinal(self.rng.randrange(1, 3_652_060))
        self.call("datetime", "date", lambda: self.state(day.__reduce__()[1][0]))

    def moment(self):
        seconds = self.rng.randrange(0, 250_000_000_000)
        moment = datetime.datetime(1, 1, 1) + datetime.timedelta(seconds=seconds, microseconds=7)
        if self.rng.random() < 0.3:
            moment = moment.replace(fold=1)
        time = self.rng.random() < 0.4
        data = (moment.time() if time else moment).__reduce_ex__(4)[1][0]
        zone = [self.zone] * (self.rng.random() < 0.4)
        self.call("datetime", "time" if time else "datetime", lambda: self.state(data), *zone)

    def difference(self, days=None, seconds=None):
        g, rng = self.g, self.rng
        days = rng.choice((-999999999, -1, 0, 5, 999999999)) if days is None else days
        seconds = rng.choice((0, 1, 86399)) if seconds is None else seconds
        parts = (days, seconds, rng.choice((0, 1, 999999)))
        self.call("datetime", "timedelta", *(lambda part=part: g.small_int(part) for part in parts))

    def zone(self):
        g, seconds = self.g, self.rng.choice((0, 3600, 86399, -1, -86399))

        def offset():
            self.difference(*divmod(seconds, 86400))

        names = [g.text] * (self.rng.random() < 0.5)
        self.call("datetime", "timezone", offset, *names)

    # --- torch's values -----------------------------------------------------------------------

    def size(self):
        g = self.g
        sizes = [self.rng.choice((0, 1, 3, 2**40)) for _ in range(self.rng.randrange(4))]
        if self.rng.random() < 0.2:
            self.call("torch", "Size", kind=Value("tuple", ()))
            return
        self.name("torch", "Size")
        made = g.tuple_of([lambda size=size: g.small_int(size) for size in sizes])
        self.m.pop()
        self.m.stack.append(made)
        if self.rng.random() < 0.3:
            self.m.put()
        self.m.emit(b"\x85")
        self.finish(None, Value("tuple", tuple(made.items)))

    def device(self):
        g = self.g
        kind = self.rng.choice(("cpu", "cuda", "meta"))
        text = self.rng.choice((g.text, lambda text: g.python2(text.encode())))
        if g.torch:
            text = g.text
        if self.rng.random() < 0.5:
            self.call("torch", "device", lambda: text(kind), kind="str")
        else:
            self.call("torch", "device", lambda: text(kind), lambda: g.small_int(1))

    def dtype(self):
        self.name("torch", self.rng.choice(DTYPES))
        self.m.stack[-1] = Value("dtype")

    def scheme(self):
        self.name("torch", self.rng.choice(QSCHEMES))
        self.m.stack[-1] = Value("named")

    def layout(self):
        g, name = self.g, self.rng.choice(LAYOUTS)
        self.call("torch.serialization", "_get_layout", lambda: g.text(name), kind="str")

    def typed(self):
        g, module = self.g, "torch.jit._pickle"
        if self.rng.random() < 0.5:
            pushes = (g.value, lambda: g.text("Dict[str, int]"))
            self.call(module, "restore_type_tag", *pushes, kind="other")
        else:
            pushes = (lambda: g.list_of([lambda: g.small_int(5)] * self.rng.randrange(3)),)
            self.call(module, "build_intlist", *pushes, kind="other")

    # --- tensors ------------------------------------------------------------------------------

    def storage(self, key=None):
        g, rng = self.g, self.rng
        key = rng.choice(tuple(STORAGES)) if key is None else key
        kind, count, _ = STORAGES[key]
        module = "torch.storage" if kind == UNTYPED else "torch"
        parts = (
            lambda: g.text("storage"),
            lambda: self.name(module, kind),
            lambda: g.text(key),
            lambda: g.text(rng.choice(("cpu", "cpu", "cuda:0"))),
            lambda: g.small_int(count),
        )
        g.tuple_of(parts)
        self.m.pop()
        self.m.push_new(b"Q", "other")
        return key

    def tensor(self):
        g, rng = self.g, self.rng
        key = rng.choice(LEGACY)
        count = STORAGES[key][1]
        shape, stride, offset = self.view(count)

        def ints(values):
            return lambda: g.tuple_of([lambda v=v: g.small_int(v) for v in values])

        pushes = [lambda: self.storage(key), lambda: g.small_int(offset), ints(shape), ints(stride)]
        if rng.random() < 0.2:
            self.call("torch._utils", "_rebuild_tensor", *pushes, kind="other")
            return
        grad = STORAGES[key][0] == "FloatStorage" and rng.random() < 0.3
        pushes += [lambda: g.boolean(grad), self.hooks]
        self.call("torch._utils", "_rebuild_tensor_v2", *pushes, kind="other")

    def untyped_tensor(self):
        g, rng = self.g, self.rng
        name, itemsize = rng.choice((("uint16", 2), ("float8_e4m3fn", 1), ("float32", 4)))
        key = next(key for key, value in STORAGES.items() if value[0] == UNTYPED)
        shape, stride, offset = self.view(STORAGES[key][1] // itemsize)

        def dtype():
            self.name("torch", name)
            self.m.stack[-1] = Value("dtype")

        def ints(values):
            return lambda: g.tuple_of([lambda v=v: g.small_int(v) for v in values])

        pushes = [lambda: self.storage(key), lambda: g.small_int(offset), ints(shape), ints(stride)]
        pushes += [lambda: g.boolean(False), self.hooks, dtype]
        self.call("torch._utils", "_rebuild_tensor_v3", *pushes, kind="other")

    def view(self, count):
        """Shape, stride and offset inside `count` elements."""
        rng = self.rng
        shape = [rng.randrange(4) for _ in range(rng.randrange(3))]
        stride = [rng.randrange(3) for _ in shape]
        offset = rng.randrange(count)
        last = offset + sum((n - 1) * s for n, s in zip(shape, stride, strict=True))
        if 0 not in shape and last >= count:
            shape, stride = [count - offset], [1]
        return shape, stride, offset

    def hooks(self):
        if self.rng.random() < 0.3 and not self.g.torch:
            return self.g.none()
        return self.call("collections", "OrderedDict", kind="other")

    def parameter(self):
        g = self.g
        pushes = (self.tensor, lambda: g.boolean(False), self.hooks)
        self.call("torch._utils", "_rebuild_parameter", *pushes, kind="other")

    # --- NumPy --------------------------------------------------------------------------------

    def numpy_dtype(self, dtype):
        """Pushes it; the state comes at once, as NumPy writes it."""
        g, order = self.g, dtype.str[0]
        kind = "V" if dtype.kind == "V" else dtype.kind
        count = dtype.itemsize // 4 if dtype.kind == "U" else dtype.itemsize
        self.call(
            "numpy",
            "dtype",
            lambda: g.text(f"{kind}{count}"),
            lambda: g.boolean(False),
            lambda: g.boolean(True),
        )
        state = dtype.__reduce__()[2]
        dated = dtype.kind in "Mm"
        flexible = dtype.kind in "SUV"
        pushes = [
            lambda: g.small_int(4 if dated else 3),
            lambda: g.text(order),
            *[g.none] * 3,
            lambda: g.small_int(dtype.itemsize if flexible else -1),
            lambda: g.small_int(state[6] if flexible else -1),
            lambda: g.small_int(state[7]),
        ]
        if dated:
            pushes.append(lambda: self.unit(*np.datetime_data(dtype)))
        g.tuple_of(pushes)
        self.m.pop()
        self.m.emit(b"b")
        if self.rng.random() < 0.3:
            self.m.put()

    def unit(self, unit, count):
        g = self.g
        parts = [lambda: g.blob(unit.encode()), lambda: g.small_int(count)]
        parts += [lambda: g.small_int(1)] * 2
        g.tuple_of([lambda: g.dict_of([]), lambda: g.tuple_of(parts)])

    def any_dtype(self):
        self.numpy_dtype(np.dtype(self.rng.choice(ARRAYS)))

    def content(self, data):
        g = self.g
        if g.encoding != "utf-8" and self.rng.random() < 0.2:
            return g.python2(data)
        return g.blob(data)

    def scalar(self):
        dtype = np.dtype(self.rng.choice([name for name in ARRAYS if "V" not in name]))
        data = atoms.elements(self.rng, dtype, 1)
        module = self.rng.choice(("numpy._core.multiarray", "numpy.core.multiarray"))
        self.call(module, "scalar", lambda: self.numpy_dtype(dtype), lambda: self.content(data))

    def array(self):
        g, m = self.g, self.m
        dtype = np.dtype(self.rng.choice(ARRAYS))
        shape = [self.rng.randrange(3) for _ in range(self.rng.randrange(3))]
        data = atoms.elements(self.rng, dtype, int(np.prod(shape, dtype=int)))
        module = self.rng.choice(("numpy._core", "numpy.core"))

        def shaped(values):
            return lambda: g.tuple_of([lambda v=v: g.small_int(v) for v in values])

        if self.rng.random() < 0.4:
            pushes = (lambda: self.content(data), lambda: self.numpy_dtype(dtype), shaped(shape))
            pushes += (lambda: g.text(self.rng.choice("CF")),)
            if g.encoding == "utf-8":
                self.call(f"{module}.numeric", "_frombuffer", *pushes, kind="other")
            return
        pushes = (lambda: self.name("numpy", "ndarray"), shaped([0]), lambda: g.blob(b"b"))
        self.call(f"{module}.multiarray", "_reconstruct", *pushes, kind="other")
        parts = (
            lambda: g.small_int(1),
            shaped(shape),
            lambda: self.numpy_dtype(dtype),
            lambda: g.boolean(self.rng.random() < 0.2),
            lambda: self.content(data),
        )
        g.tuple_of(parts)
        m.pop()
        m.emit(b"b")

    # --- any of them --------------------------------------------------------------------------

    TORCH = (encoded, bytearray, complex, set, ordered_dict, ordered_dict, counter, size, device)
    TORCH += (dtype, scheme, layout)
    ALL = (*TORCH, no_bytes, range, slice, default_dict, deque, namespace, path, date, moment)
    ALL += (difference, zone, typed, tensor, tensor, untyped_tensor, parameter, storage)
    ALL += (any_dtype, scalar, array)

    def any(self):
        """Pushes the result of any call."""
        choices = self.TORCH if self.g.torch else self.ALL
        if self.g.torch and self.rng.random() < 0.1:
            choices = (Calls.tensor, Calls.untyped_tensor, Calls.storage)
        self.rng.choice(choices)(self)
