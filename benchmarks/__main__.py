# SPDX-License-Identifier: Apache-2.0
import sys

from benchmarks.run import main

sys.exit(main())
