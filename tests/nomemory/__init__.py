# SPDX-License-Identifier: Apache-2.0
"""Work during which Python's allocations fail one by one."""
