# SPDX-License-Identifier: Apache-2.0
"""What the tests need to make checkpoints without torch and to compare what comes back."""
