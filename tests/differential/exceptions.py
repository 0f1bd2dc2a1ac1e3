# SPDX-License-Identifier: Apache-2.0
"""Where an oracle may differ from ptio, each with its reason. Everything else is a defect."""


def may_refuse(case, oracle, error):
    """Why this oracle refuses what ptio reads; None if it must not."""
    return None


def may_differ(case, oracle, found):
    return False
