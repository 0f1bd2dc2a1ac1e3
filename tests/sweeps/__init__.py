# SPDX-License-Identifier: Apache-2.0
"""Deterministic sweeps: every truncation of small files, every value of every byte, and pairs of
header fields set to the numbers at which arithmetic breaks. `make sweep` runs all of it."""
