# SPDX-License-Identifier: Apache-2.0
"""Whether loading a file again and again leaves anything behind, whatever is wrong with it."""
