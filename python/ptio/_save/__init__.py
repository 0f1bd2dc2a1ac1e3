# SPDX-License-Identifier: Apache-2.0
"""From objects of Python and NumPy to a new archive, as torch.save writes it."""
