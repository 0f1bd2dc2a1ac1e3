# SPDX-License-Identifier: Apache-2.0
"""Files for the fuzzer of the glue to start from: small good ones, and every hostile one."""

import attacks
from support import small_files

LARGEST = 1 << 14


def files():
    """(name, bytes), in an order of its own each time the same."""
    for name, data in small_files.all_files().items():
        yield name, data
    for attack in attacks.load_all():
        for name, data in attack.files():
            if len(data) <= LARGEST:
                yield name, data
