# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The one form of all refusals: what is meant, what was found there, what is expected, and how to fix it."""

from __future__ import annotations


def difference(name: str, found: object, expected: object) -> str:
    """Return `NAME: found X, expected Y`, for what is no refusal or stands within a sentence.

    Args:
        name: what is meant, such as a variable, an option, or a field of an object.
        found: what is there, or a word in its place, such as (hidden); empty if there is nothing to say of it.
        expected: what could be there.
    """
    return f"{name}: found {found}, expected {expected}" if found != "" else f"{name}: expected {expected}"


def refusal(name: str, found: object, expected: object, fix: str = "") -> str:
    """Return a whole refusal, `NAME: found X, expected Y. Fix: Z` with a full stop.

    Args:
        name: see `difference`.
        found: see `difference`.
        expected: see `difference`.
        fix: what to do, in the imperative, without a full stop; empty if that is clear. A guess is a question (`Did you
            mean X?`), which speaks for itself.
    """
    said = f"{difference(name, found, expected)}."
    if not fix:
        return said
    return f"{said} {fix}" if fix.endswith("?") else f"{said} Fix: {fix}."
