# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Units of Kubernetes and JupyterHub."""

from __future__ import annotations

import re
from decimal import Decimal

_BYTES = re.compile(r"(\d+(?:\.\d+)?)([KkMGT]i?)?")
_CPU = re.compile(r"(\d+(?:\.\d+)?)(m?)")
_POWER = {"K": 1, "M": 2, "G": 3, "T": 4}
BYTES_FORM = "a size such as 512M, 2G or 10Gi"
CPU_FORM = "processors such as 0.5, 2 or 500m"


def parse_bytes(value: object) -> int | None:
    """Return a size in bytes.

    JupyterHub's ByteSpecification counts K, M, G, T in powers of 1024, Kubernetes those in powers of 1000 and Ki, Mi,
    Gi, Ti in powers of 1024. Here all are powers of 1024: what is compared are sizes of one and the same form.

    Args:
        value: number of bytes, or text.

    Returns:
        None if it is no size.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        return int(value) if value >= 0 else None
    match = _BYTES.fullmatch(value) if isinstance(value, str) else None
    if not match:
        return None
    number, unit = match.groups()
    return int(Decimal(number) * 1024 ** _POWER[unit[0].upper()]) if unit else int(Decimal(number))


def parse_cpu(value: object) -> Decimal | None:
    """Return a number of processors; None if it is none.

    Args:
        value: number, or text as Kubernetes has it (`500m` is half a processor).
    """
    if isinstance(value, bool):
        return None
    text = str(value) if isinstance(value, (int, float)) else value
    match = _CPU.fullmatch(text) if isinstance(text, str) else None
    if not match:
        return None
    return Decimal(match[1]) / 1000 if match[2] else Decimal(match[1])
