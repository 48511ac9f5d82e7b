"""A check on the finished lab says that there is nothing to do.

What comes before is shown by molecule's sequence: a check on bare nodes runs to its end, a killed run is completed by
the next, and another apply changes nothing.
"""

from __future__ import annotations

from tests.e2e import playbook


def test_a_check_after_the_apply_reports_nothing() -> None:
    run = playbook.run("site.yml", "--check", "--diff").assert_good()
    assert set(run.recap) == {"cp1", "w1", "w2", "localhost", "python-demo", "stats-demo"}
    assert not run.changed, run.changed_tasks()
