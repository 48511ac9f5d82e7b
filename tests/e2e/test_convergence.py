"""The whole of site.yml on the finished lab changes nothing, and a check says so too.

That a check runs to its end on bare nodes, and that apply completes it, is shown before by molecule's sequence.
"""

from __future__ import annotations

import pytest

from tests.e2e import playbook

HOSTS = {"cp1", "w1", "w2", "localhost", "python-demo", "stats-demo"}


@pytest.mark.parametrize("options", [("--check",), ("--check", "--diff")], ids=["check", "check-diff"])
def test_a_check_after_the_apply_reports_nothing(options: tuple[str, ...]) -> None:
    run = playbook.run("site.yml", *options).assert_good()
    assert set(run.recap) == HOSTS
    assert not run.changed, run.changed_tasks()


def test_another_apply_changes_nothing() -> None:
    run = playbook.run("site.yml").assert_good()
    assert set(run.recap) == HOSTS
    assert not run.changed, run.changed_tasks()
