"""Sizes and processors, as JupyterHub and Kubernetes read them."""

from __future__ import annotations

from decimal import Decimal

import pytest
from ansible_collections.campus.hubs.plugins.plugin_utils.quantities import (
    parse_amount,
    parse_cpu,
    parse_memory,
    parse_storage,
)


@pytest.mark.parametrize(
    ("text", "size"), [("512M", 512 * 1024**2), ("1.5G", 3 * 1024**3 // 2), ("2T", 2 * 1024**4), (1024, 1024), ("7", 7)]
)
def test_memory(text: object, size: int) -> None:
    assert parse_memory(text) == size


@pytest.mark.parametrize("text", ["2Gi", "2 G", "2g", "-1G", "", "G", None, True, [], -1])
def test_no_memory(text: object) -> None:
    assert parse_memory(text) is None


@pytest.mark.parametrize(
    ("text", "size"),
    [("5Gi", 5 * 1024**3), ("5G", 5 * 1000**3), ("1Ki", 1024), ("1k", 1000), ("1.5Mi", 3 * 1024**2 // 2)],
)
def test_storage(text: object, size: int) -> None:
    assert parse_storage(text) == size


@pytest.mark.parametrize("text", ["5GB", "5 Gi", "5gi", "1ki", "1.7Gi", "0.0001k", "", None, False, {}])
def test_no_storage(text: object) -> None:
    assert parse_storage(text) is None


@pytest.mark.parametrize(("value", "number"), [(2, Decimal(2)), (0.1, Decimal("0.1")), ("0.5", Decimal("0.5"))])
def test_cpu(value: object, number: Decimal) -> None:
    assert parse_cpu(value) == number


@pytest.mark.parametrize("value", ["500m", "half", "-1", "", None, True])
def test_no_cpu(value: object) -> None:
    assert parse_cpu(value) is None


@pytest.mark.parametrize(
    ("written", "number"),
    [
        *(
            ("100m", 0.1),
            ("2", 2.0),
            ("512Mi", 2.0**29),
            ("1G", 1e9),
            (2, 2.0),
            ("1e3", 1000.0),
            (".5", 0.5),
            ("2.", 2.0),
        ),
        *((text, 0.0) for text in ("", None, "1.2.3", ".", "\u0661", "1e9999")),
    ],
)
def test_amounts(written: object, number: float) -> None:
    assert parse_amount(written) == pytest.approx(number)
