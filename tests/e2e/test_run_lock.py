"""Two runs that change things exclude each other, from one machine and from two; a check is always possible."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import playbook
from tests.e2e.cluster import Cluster
from tests.e2e.nodes import kubectl
from tests.e2e.waiting import wait_for


def lease_holder() -> str:
    """Return who has the Lease; empty if nobody has."""
    return kubectl(
        "kubectl get lease/campus-hubs-run --ignore-not-found --output=jsonpath={.spec.holderIdentity}", "kube-system"
    )


@pytest.fixture
def first(cluster: Cluster) -> Iterator[subprocess.Popen[str]]:
    """Start a run and stop its clock as soon as it has the lock."""
    del cluster  # there is one
    run = playbook.start("playbooks/courses.yml")
    assert run.stdout
    assert any("Compare all courses" in line for line in run.stdout)
    run.send_signal(signal.SIGSTOP)
    yield run
    run.kill()
    run.wait()


@pytest.mark.parametrize("machine", ["same", "another"])
def test_the_second_run_refuses_and_the_first_goes_on(
    machine: str, first: subprocess.Popen[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert f"@{os.uname().nodename} (process {first.pid})" in lease_holder()
    if machine == "another":  # it has no file that is locked
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    second = playbook.run("site.yml", "--limit=cp1")
    assert second.returncode != 0
    assert "Another run is under way: " in second.output
    assert f"(process {first.pid}), since 20" in second.output
    assert not second.changed
    assert "Acquire the run lock" in second.output.rpartition("TASK [")[2]
    if machine == "same":
        playbook.run("playbooks/courses.yml", "--check").assert_good()
    first.send_signal(signal.SIGCONT)
    output, _ = first.communicate(timeout=600)
    assert first.returncode == 0, output[-3000:]
    wait_for("the end of the Lease", lambda: lease_holder() == "", 10)


def test_a_run_that_was_killed_is_in_nobodys_way(first: subprocess.Popen[str]) -> None:
    first.kill()
    first.wait()
    wait_for("the end of the Lease", lambda: lease_holder() == "", 10)
    playbook.run("playbooks/courses.yml").assert_good()
