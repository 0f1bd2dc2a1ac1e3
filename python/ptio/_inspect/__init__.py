# SPDX-License-Identifier: Apache-2.0
"""What can be told about a checkpoint: what it is, what is in it, how two of them differ."""
