# SPDX-License-Identifier: Apache-2.0
"""python -m ptio is the ptio command."""

from ptio.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
