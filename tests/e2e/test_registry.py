"""The small registry that role course_images sets up where a campus has none."""

from __future__ import annotations

from tests.e2e import playbook

PLAYBOOK = "tests/integration/registry.yml"


def test_own_registry_takes_pushes_with_an_account_from_its_node_only_and_settles() -> None:
    playbook.run(PLAYBOOK).assert_good()
    try:
        again = playbook.run(PLAYBOOK).assert_good()
        assert not again.changed, again.changed_tasks()
        check = playbook.run(PLAYBOOK, "--check").assert_good()
        assert not check.changed, check.changed_tasks()
    finally:
        playbook.run(PLAYBOOK, "--tags", "cleanup").assert_good()
