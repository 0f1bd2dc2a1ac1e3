# SPDX-License-Identifier: Apache-2.0
"""Time and memory of ptio beside other tools. `python -m benchmarks` runs them all."""
