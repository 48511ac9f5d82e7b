"""The playbooks do the same whatever an admin's ansible.cfg says."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

PLAYBOOKS = sorted((Path(__file__).parents[3] / "playbooks").glob("*.yml"))


@pytest.mark.parametrize("path", PLAYBOOKS, ids=lambda path: path.stem)
def test_every_play_says_whether_it_gathers_facts(path: Path) -> None:
    """With `gathering = explicit`, those that say nothing have none."""
    plays = [play for play in yaml.safe_load(path.read_text()) if "hosts" in play]
    assert [play["name"] for play in plays if "gather_facts" not in play] == []
