# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sizes as JupyterHub and Kubernetes write them."""

from __future__ import annotations

import re
from decimal import Decimal

MEMORY_FORM = "a size in K, M, G or T, such as 512M or 2G"
STORAGE_FORM = "a size in Ki, Mi, Gi or Ti, such as 5Gi"
# ByteSpecification of JupyterHub (jupyterhub/traitlets.py).
_MEMORY = re.compile(r"([0-9]+(?:\.[0-9]+)?)([KMGT])?")
# https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/, without exponents and fractions.
_STORAGE = re.compile(r"([0-9]+(?:\.[0-9]+)?)([kMGT]|[KMGT]i)?")
MOST_CORES = 10_000
_AMOUNT = re.compile(r"((?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]{1,3})?)([A-Za-z]{0,2})")
_UNITS = {
    "": 1.0,
    **{"m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12},
    **{"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40},
}
_POWER = {"K": 1, "M": 2, "G": 3, "T": 4}


def parse_memory(value: object) -> int | None:
    """Return bytes (K, M, G, T are powers of 1024); None if it is no size."""
    number, unit = _split(_MEMORY, value)
    # Half a byte is none.
    if number is None or (not unit and number % 1):
        return None
    return _kept(number * 1024 ** _POWER.get(unit, 0))


def parse_storage(value: object) -> int | None:
    """Return bytes (k, M, G, T are powers of 1000; Ki, Mi, Gi, Ti of 1024); None if it is no size.

    Of 1.7Gi Kubernetes would make 1825361100800m, thousandths of a byte.
    """
    number, unit = _split(_STORAGE, value)
    if number is None:
        return None
    base = 1024 if unit.endswith("i") else 1000
    size = number * base ** _POWER.get(unit[:1].upper(), 0)
    return _kept(size) if size == int(size) else None


def parse_cpu(value: object) -> Decimal | None:
    """Return a number of processors; None if it is none."""
    if isinstance(value, bool) or not re.fullmatch(r"[0-9]+(\.[0-9]+)?", str(value)):
        return None
    number = Decimal(str(value))
    return number if number <= MOST_CORES else None


def parse_amount(value: object) -> float:
    """Return an amount as the API server writes it, such as 100m, 2 or 512Mi; 0 if it is none."""
    match = _AMOUNT.fullmatch(str(value))
    return float(match[1]) * _UNITS.get(match[2], 1.0) if match else 0.0


def _kept(size: Decimal) -> int | None:
    """Return a size that a signed number of 64 bits holds, as Kubernetes keeps it."""
    return int(size) if size < 2**63 else None


def _split(form: re.Pattern[str], value: object) -> tuple[Decimal | None, str]:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None, ""
    match = form.fullmatch(str(value))
    return (Decimal(match[1]), match[2] or "") if match else (None, "")
