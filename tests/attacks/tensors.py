# SPDX-License-Identifier: Apache-2.0
"""Tensors and storages whose metadata does not fit the stored bytes."""

import struct

from support import pickle_asm as asm

from . import attack, file_of

SMALL = 16  # bytes in the record


@attack(4, "Bounds", says="declares 4000000 bytes, the record has 16")
def storage_larger_than_its_record():
    big = asm.storage(numel=1_000_000)
    yield file_of(asm.tensor(big, size=(1_000_000,)))


@attack(4, "Bounds")
def storage_that_is_not_its_record():
    for numel in (0, 3, 5, 40, 2**31, 2**61, 2**62, 2**63 - 1):
        yield file_of(asm.tensor(asm.storage(numel=numel), size=(1,)))
        yield file_of(asm.storage(numel=numel))
    yield file_of(asm.storage("DoubleStorage"))
    yield file_of(asm.storage("UntypedStorage", module="torch.storage"))


@attack(6, "Bounds|Malformed")
def offset_outside():
    for offset in (1, 1000, -1, 2**62, 2**63 - 1, 2**63, 2**64, -(2**63)):
        yield file_of(asm.tensor(offset=offset))
    yield file_of(asm.tensor(offset=5, size=(0,)))


@attack(7, "Bounds|Malformed")
def strides_outside():
    for size, stride in [
        ((2, 2), (2**61, 1)),
        ((2,) * 5, (2**62,) * 5),
        ((2,), (-1,)),
        ((2, 2), (1,)),
        ((2,), (1, 1)),
        ((2,), (True,)),
        ((True,), (1,)),
        ((3,), (2**63 - 1,)),
        ((2,), (2**64 + 1,)),
        ((5,), (1,)),
        ((2, 2), (3, 1)),
        ((4, 2), (1, 1)),
    ]:
        yield file_of(asm.tensor(size=size, stride=stride))
    yield file_of(asm.tensor(size=(2,), stride=asm.tuple_of(asm.number(1.0))))
    yield file_of(asm.tensor(size=asm.tuple_of(asm.text("2")), stride=(1,)))
    yield file_of(asm.tensor(size=asm.list_of(asm.number(2)), stride=(1,)))


@attack(8, "Bounds|Limit|Malformed")
def sizes_that_overflow():
    for size, stride in [
        ((-4,), (1,)),
        ((2**32, 2**32), (2**32, 1)),
        ((2**62, 4), (4, 1)),
        ((2**33, 2**31, 2), (1, 1, 1)),
        ((1,) * 65, (1,) * 65),
        ((1,) * 100_000, (1,) * 100_000),
        ((2**63,), (1,)),
    ]:
        yield file_of(asm.tensor(size=size, stride=stride))


@attack(8, "loads|Bounds|Limit")
def empty_by_one_dimension():
    yield file_of(asm.tensor(size=(0, 2**62, 2**62), stride=(1, 1, 1)))
    yield file_of(asm.tensor(size=(2**62, 0), stride=(2**62, 1)))


@attack(9, "Bounds")
def one_key_as_two_storages():
    double = asm.storage("DoubleStorage", numel=400)
    yield file_of(asm.list_of(asm.tensor(), asm.tensor(double, size=(400,))))
    yield file_of(asm.list_of(asm.tensor(double, size=(400,)), asm.tensor()))
    yield file_of(asm.list_of(asm.tensor(), asm.tensor(asm.storage(numel=3), size=(3,))))


QTENSOR = asm.global_("torch._utils", "_rebuild_qtensor")
PER_TENSOR = asm.global_("torch", "per_tensor_affine")
PER_CHANNEL = asm.global_("torch", "per_channel_affine")


def _quantized(size, stride, params, offset=0, numel=16):
    stored = asm.storage("QInt8Storage", numel=numel)
    parts = (asm.number(offset), asm.ints(*size), asm.ints(*stride), params, asm.number(False))
    return asm.call(QTENSOR, stored, *parts, asm.ordered_dict())


def _per_tensor(scale=0.5, zero=0):
    return asm.tuple_of(PER_TENSOR, asm.number(scale), asm.number(zero))


def _channels(count, axis, scale_of=0):
    scales = asm.tensor(asm.storage("DoubleStorage", "1", numel=4), size=(count,))
    points = asm.tensor(asm.storage("LongStorage", "2", numel=4), size=(count,))
    return asm.tuple_of(PER_CHANNEL, scales, points, asm.number(axis))


QUANTIZED_STORAGES = {"0": bytes(16), "1": struct.pack("<4d", 1, 2, 3, 4), "2": bytes(32)}


def _quantized_file(*arguments, **options):
    return file_of(_quantized(*arguments, **options), storages=QUANTIZED_STORAGES)


def sound_quantized():
    """Without any defect."""
    return _quantized_file((4, 4), (4, 1), _channels(4, 0))


@attack(10, "Bounds|Unsupported|Malformed")
def quantized():
    yield _quantized_file((4,), (2**61,), _per_tensor())
    yield _quantized_file((17,), (1,), _per_tensor())
    yield _quantized_file((4,), (1,), _per_tensor(), offset=13)
    yield _quantized_file((4,), (1,), _per_tensor(scale=float("inf")))
    yield _quantized_file((4,), (1,), _per_tensor(scale=float("nan")))
    yield _quantized_file((4,), (1,), _per_tensor(zero=1.5))
    for axis in (7, -1, 2):
        yield _quantized_file((4, 4), (4, 1), _channels(4, axis))
    yield _quantized_file((4, 4), (4, 1), _channels(3, 0))
    yield _quantized_file((4, 4), (4, 1), asm.op("EMPTY_TUPLE"))
    yield _quantized_file((4, 4), (4, 1), asm.op("NONE"))


@attack(10, "Bounds|Unsupported|Malformed")
def packed_quantized():
    """Two or four elements a byte: the storage holds bytes, the shape counts elements."""
    for kind, count in (("QUInt4x2Storage", 33), ("QUInt2x4Storage", 65)):
        stored = asm.storage(kind, numel=16)
        parts = (asm.number(0), asm.ints(count), asm.ints(1), _per_tensor(), asm.number(False))
        yield file_of(asm.call(QTENSOR, stored, *parts, asm.ordered_dict()))


SPARSE = asm.global_("torch._utils", "_rebuild_sparse_tensor")


def _layout(name):
    get = asm.global_("torch.serialization", "_get_layout")
    return asm.call(get, asm.text(f"torch.sparse_{name}"))


def _sparse(layout, indices, size, values=1, plain=None):
    """indices (and plain) are flat lists; values a number of ones."""
    storages = {"0": struct.pack(f"<{values}f", *[1.0] * values)}
    parts = []
    for key, numbers in (("1", indices), ("2", plain)):
        if numbers is not None:
            storages[key] = struct.pack(f"<{len(numbers)}q", *numbers)
            shape = (1, len(numbers)) if layout == "coo" else (len(numbers),)
            stride = (len(numbers), 1)[-len(shape) :]
            stored = asm.storage("LongStorage", key, numel=len(numbers))
            parts.append(asm.tensor(stored, size=shape, stride=stride))
    parts.append(asm.tensor(asm.storage(numel=values), size=(values,)))
    shape = asm.call(asm.global_("torch", "Size"), asm.ints(*size))
    return file_of(
        asm.call(SPARSE, _layout(layout), asm.tuple_of(*parts, shape)), storages=storages
    )


def sound_sparse():
    """Without any defect."""
    return _sparse("csr", [0, 1], (1, 4), plain=[3])


@attack(11, "Bounds|Malformed|Unsupported")
def sparse():
    yield _sparse("coo", [2**40], (4,))
    yield _sparse("coo", [-1], (4,))
    yield _sparse("coo", [4], (4,))
    yield _sparse("coo", [0, 1], (4,))
    yield _sparse("coo", [0], (4, 4))
    yield _sparse("coo", [0], (-4,))
    yield _sparse("csr", [0, 1 << 20], (1, 4), plain=[0])
    yield _sparse("csr", [0, 1, 0], (2, 4), plain=[0])
    yield _sparse("csr", [0, 1], (1, 4), plain=[4])
    yield _sparse("csr", [0, 1], (1, 4), plain=[-1])
    yield _sparse("csr", [0, 1], (5, 4), plain=[0])
    yield _sparse("csr", [1, 1], (1, 4), plain=[0])
    yield _sparse("csc", [0, 1], (4, 1), plain=[4])
    yield _sparse("bsr", [0, 1], (1, 4), plain=[0])
    yield _sparse("mystery", [0], (4,))


def _nested(size, stride, offset):
    """One component, of which a row of each array tells."""
    parts, storages = [asm.tensor()], {"0": bytes(range(16))}
    for key, numbers, shape in (("1", size, (1, 2)), ("2", stride, (1, 2)), ("3", (offset,), (1,))):
        stored = asm.storage("LongStorage", key, numel=len(numbers))
        parts.append(asm.tensor(stored, size=shape, stride=(2, 1)[-len(shape) :]))
        storages[key] = struct.pack(f"<{len(numbers)}q", *numbers)
    rebuild = asm.global_("torch._utils", "_rebuild_nested_tensor")
    return file_of(asm.call(rebuild, *parts), storages=storages)


def sound_nested():
    """Without any defect."""
    return _nested((2, 2), (2, 1), 0)


@attack(11, "Bounds|Malformed|Unsupported")
def nested():
    """Components that leave the buffer."""
    yield _nested((2, 3), (3, 1), 0)
    yield _nested((1, 2), (1, 2**62), 3)
    yield _nested((-1, 1), (1, 1), 0)
    yield _nested((2, 2), (2, 1), -1)
    yield _nested((1, 1), (1, 1), 4)
    yield _nested((2**62, 4), (4, 1), 0)


@attack(24, "Malformed|Bounds|Forbidden")
def persistent_ids():
    pid = asm.op("BINPERSID")
    good = [asm.text("storage"), asm.global_("torch", "FloatStorage"), asm.text("0")]
    good += [asm.text("cpu"), asm.number(4)]
    yield file_of(asm.number(3), pid)
    yield file_of(asm.text("storage"), pid)
    yield file_of(asm.tuple_of(*good[:4]), pid)
    yield file_of(asm.tuple_of(*good, asm.op("NONE"), asm.op("NONE")), pid)
    yield file_of(asm.list_of(*good), pid)
    yield file_of(asm.tuple_of(asm.text("module"), *good[1:]), pid)
    for kind in (asm.text("FloatStorage"), asm.global_("torch", "Size"), asm.op("NONE")):
        yield file_of(asm.tuple_of(good[0], kind, *good[2:]), pid)
    for key in ("../../x", "0\0", "", "0/1", "x" * 1_000_000, "\u0660", "0 ", "..", "."):
        yield file_of(asm.storage(key=key))
    yield file_of(asm.tuple_of(*good[:2], asm.number(0), *good[3:]), pid)
    for count in (True, 1.0, -1, 2**62, 2**64):
        yield file_of(asm.storage(numel=asm.number(count)))


@attack(24, "Malformed")
def missing_record():
    yield file_of(asm.storage(key="7"))
    yield file_of(asm.tensor(asm.storage(key="00")))
    yield file_of(asm.tensor(), storages={})


@attack(24, "Malformed|Bounds|Unsupported|Forbidden")
def rebuild_arguments():
    """T7: exact types of requires_grad, hooks and metadata."""
    none = asm.op("NONE")
    yield file_of(asm.tensor(grad=1))
    yield file_of(asm.tensor(grad=asm.text("yes")))
    yield file_of(asm.tensor(hooks=asm.number(3)))
    yield file_of(asm.tensor(hooks=asm.op("EMPTY_LIST")))
    filled = asm.ordered_dict() + asm.number(1) + none + asm.op("SETITEM")
    yield file_of(asm.tensor(hooks=filled))
    yield file_of(asm.tensor(extra=asm.number(3)))
    yield file_of(asm.tensor(extra=asm.dict_of(asm.text("conj"), asm.number(1))))
    yield file_of(asm.tensor(extra=none + none + none))
    yield file_of(asm.tensor(of=none))
    yield file_of(asm.tensor(of=asm.global_("torch", "FloatStorage")))


@attack(24, "Malformed|Bounds|Unsupported|Forbidden")
def untyped_storage_in_the_old_rebuild_and_the_reverse():
    v3 = asm.global_("torch._utils", "_rebuild_tensor_v3")
    float8 = asm.global_("torch", "float8_e5m2")
    rest = (asm.number(0), asm.ints(4), asm.ints(1), asm.number(False), asm.ordered_dict())
    yield file_of(asm.call(v3, asm.storage(), *rest))
    yield file_of(
        asm.call(v3, asm.storage("UntypedStorage", numel=16, module="torch.storage"), *rest)
    )
    untyped = asm.storage("UntypedStorage", numel=16, module="torch.storage")
    wide = (asm.number(0), asm.ints(17), asm.ints(1), asm.number(False), asm.ordered_dict())
    yield file_of(asm.call(v3, untyped, *wide, float8))
    bits16 = asm.global_("torch", "bits16")
    yield file_of(asm.call(v3, untyped, *wide[:1], asm.ints(9), *wide[2:], bits16))


@attack(6, "Bounds|Malformed|Unsupported|Limit")
def numpy_arrays():
    """Arrays whose bytes do not fill their shape, or hold pointers."""
    multiarray = "numpy._core.multiarray"
    ndarray, none = asm.global_("numpy", "ndarray"), asm.op("NONE")
    made = asm.call(
        asm.global_(multiarray, "_reconstruct"),
        ndarray,
        asm.ints(0),
        asm.op("SHORT_BINBYTES", b"b"),
    )

    def dtype(code):
        plain = asm.call(
            asm.global_("numpy", "dtype"), asm.text(code), asm.number(False), asm.number(True)
        )
        state = asm.tuple_of(
            *(asm.number(3), asm.text("|" if code[0] in "OV" else "<"), none, none, none),
            *(asm.number(-1), asm.number(-1), asm.number(63 if code == "O8" else 0)),
        )
        return plain + state + asm.op("BUILD")

    for shape, code, data in [
        ((5,), "f4", bytes(16)),
        ((3,), "f4", bytes(16)),
        ((-1,), "f4", bytes(16)),
        ((2**62, 4), "f4", b""),
        ((2**32, 2**32), "f4", b""),
        ((2,), "O8", b"\x41" * 16),
        ((1,) * 65, "f4", bytes(4)),
    ]:
        state = asm.tuple_of(
            *(asm.number(1), asm.ints(*shape), dtype(code), asm.number(False)),
            asm.op("SHORT_BINBYTES", data),
        )
        yield file_of(made + state + asm.op("BUILD"), protocol=3)


@attack(47, "loads|Limit|Bounds")
def a_zero_stride_view_of_terabytes():
    yield file_of(asm.tensor(size=(2**40,), stride=(0,)))
    yield file_of(asm.tensor(size=(2**31, 2**31), stride=(0, 0)))
