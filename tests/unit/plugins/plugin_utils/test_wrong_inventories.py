"""Wrong inventories are refused with the messages that their heads want, and right ones are not."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.campus.hubs.plugins.plugin_utils.inventory_model import report

from tests.unit.plugins.inventories import ROOT, WRONG, mistakes_of

INVENTORIES = sorted(WRONG.glob("*.yml"))
SMALLEST = """
all:
  children:
    control_plane: {hosts: {one: {ansible_host: 192.0.2.1}}}
    cluster: {children: {control_plane: {}}, vars: {load_balancer_addresses: [192.0.2.8/30]}}
    courses: {hosts: {python-ws26: }}
"""
OWN_GROUPS = """
    gpu_workers: {hosts: {two: {ansible_host: 192.0.2.2}}}
    workers: {children: {gpu_workers: {}}}
    cluster: {children: {control_plane: {}, workers: {}}, vars: {load_balancer_addresses: [192.0.2.8/30]}}
    courses_ws26: {hosts: {python-ws26: }}
"""


def test_there_are_enough() -> None:
    assert len(INVENTORIES) >= 45


@pytest.mark.parametrize("path", INVENTORIES, ids=lambda path: path.stem)
def test_wrong_inventory_is_refused(path: Path) -> None:
    wanted = [
        line.removeprefix("# Refused: ") for line in path.read_text().splitlines() if line.startswith("# Refused: ")
    ]
    text = report(mistakes_of(path))
    first, *lines, last = text.splitlines()
    assert last == "Nothing was changed."
    assert first.startswith(f"The inventory has {len(wanted)} mistake"), text
    assert wanted
    for words in wanted:
        assert any(words in line for line in lines), f"{words}\nis not in\n{text}"


@pytest.mark.parametrize("name", ["example", "lab"])
def test_right_inventory_passes(name: str) -> None:
    found = mistakes_of(ROOT / "inventories" / name)
    assert not found, report(found)


def test_smallest_inventory_passes(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text(SMALLEST)
    found = mistakes_of(tmp_path / "hosts.yml")
    assert not found, report(found)


def test_groups_of_ones_own_pass(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text(SMALLEST.replace("    cluster:", "    others:") + OWN_GROUPS)
    found = mistakes_of(tmp_path / "hosts.yml")
    assert not found, report(found)
