# SPDX-License-Identifier: Apache-2.0
"""What is made of one checkpoint or several: converted, slimmed, merged, repaired, taken out."""
