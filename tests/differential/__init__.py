# SPDX-License-Identifier: Apache-2.0
"""Differential tests of reading pickles: ptio beside Python's unpicklers and torch's.

`machine` writes streams while it simulates what a reader does, `generator` and `objects` choose
what they say, `mutations` break them. `oracles` read them, and `cases` compares. `python -m
differential` runs as many as asked and adds the counts to log.tsv.
"""
