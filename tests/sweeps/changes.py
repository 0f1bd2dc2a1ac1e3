# SPDX-License-Identifier: Apache-2.0
"""The changed forms of a file, in one order: a case has a number."""

import itertools

_EDGES = (0, 1, -1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63)


def truncations(data):
    for end in range(len(data)):
        yield data[:end]


def bytes_changed(data, values=range(256), step=1, first=0):
    for at in range(first, len(data), step):
        for value in values:
            if data[at] != value:
                yield data[:at] + bytes([value]) + data[at + 1 :]


def _edges(width):
    """The numbers at which arithmetic breaks, as the bytes of a field."""
    wide = {value for value in _EDGES if -1 <= value < 1 << 8 * width}
    wide |= {(1 << 8 * width - 1) - 1, 1 << 8 * width - 1}
    return sorted({(v % (1 << 8 * width)).to_bytes(width, "little") for v in wide})


def fields_changed(data, places):
    """Each field, then each pair of them."""
    edges = [_edges(width) for _, width in places]
    for (at, _), values in zip(places, edges, strict=True):
        for value in values:
            yield _set(data, (at, value))
    for one, other in itertools.combinations(range(len(places)), 2):
        for pair in itertools.product(edges[one], edges[other]):
            yield _set(data, (places[one][0], pair[0]), (places[other][0], pair[1]))


def _set(data, *changes):
    changed = bytearray(data)
    for at, value in changes:
        changed[at : at + len(value)] = value
    return bytes(changed)


def everything(seed):
    yield from truncations(seed.data)
    yield from bytes_changed(seed.data)
    yield from fields_changed(seed.data, seed.fields(seed.data))


def number_of(seed):
    """How many cases `everything` gives."""
    edges = [len(_edges(width)) for _, width in seed.fields(seed.data)]
    pairs = (sum(edges) ** 2 - sum(n * n for n in edges)) // 2
    return len(seed.data) * 256 + sum(edges) + pairs
