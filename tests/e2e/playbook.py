"""Runs playbooks as a person would and reads their recaps."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
INVENTORY = ROOT / os.environ.get("LAB_INVENTORY", "inventories/lab")
# As inventories/lab names it (kubeadm_kubeconfig).
KUBECONFIG = Path.home() / ".kube/campus-hubs/lab"
ARTIFACTS = Path(os.environ.get("ARTIFACTS", ROOT / "tests/output"))
_RECAP = re.compile(r"^(\S+)\s+: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.MULTILINE)


@dataclass(frozen=True)
class HostRecap:
    """One line of the recap."""

    ok: int
    changed: int
    unreachable: int
    failed: int


@dataclass(frozen=True)
class Run:
    """What a run of ansible-playbook left: its output, its code, its duration."""

    output: str
    returncode: int
    seconds: float

    @property
    def recap(self) -> dict[str, HostRecap]:
        """The recap by host; empty when the run did not get that far."""
        tail = self.output.rpartition("PLAY RECAP")[2]
        return {match[1]: HostRecap(*map(int, match.groups()[1:])) for match in _RECAP.finditer(tail)}

    @property
    def changed(self) -> dict[str, int]:
        """Hosts on which something changed, with the number of tasks."""
        return {host: line.changed for host, line in self.recap.items() if line.changed}

    def changed_tasks(self) -> list[str]:
        """Names of the tasks that changed something, for messages."""
        task, found = "", []
        for line in self.output.splitlines():
            if line.startswith(("TASK [", "RUNNING HANDLER [")):
                task = line.split("[", 1)[1].split("]", 1)[0]
            elif line.startswith("changed:"):
                found.append(f"{line.split('[', 1)[1].split(']', 1)[0]}: {task}")
        return found

    def assert_good(self) -> Run:
        """Raise with the end of the output unless all hosts went well."""
        bad = [host for host, line in self.recap.items() if line.failed or line.unreachable]
        tail = "\n".join(self.output.splitlines()[-60:])
        assert self.returncode == 0 and self.recap and not bad, f"code {self.returncode}, failed: {bad}\n{tail}"  # noqa: PT018
        return self


def command(playbook: str, *options: str, inventory: Path = INVENTORY) -> list[str]:
    """Return the command line that runs a playbook on an inventory."""
    return [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(inventory), playbook, *options]


def run(playbook: str, *options: str, inventory: Path = INVENTORY, timeout: float = 1800) -> Run:
    """Run a playbook from the checkout; keep its output as an artifact."""
    begin = time.monotonic()
    done = subprocess.run(  # noqa: S603
        command(playbook, *options, inventory=inventory),
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=timeout,
        check=False,
    )
    result = Run(done.stdout, done.returncode, time.monotonic() - begin)
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    with (ARTIFACTS / "playbooks.log").open("a") as log:
        log.write(f"==> {playbook} {' '.join(options)} ({result.seconds:.0f} s)\n{result.output}\n")
    return result


def remove_course(course: str, inventory: Path) -> Run:
    """Remove a course with all its data."""
    options = (f"--limit={course}", f"--extra-vars=course_hub_delete_data={course}")
    return run("playbooks/remove_course.yml", *options, inventory=inventory)


def start(
    playbook: str,
    *options: str,
    inventory: Path = INVENTORY,
    **more: Any,  # noqa: ANN401 - of Popen
) -> subprocess.Popen[str]:
    """Start a run as `run` does, and return the process, whose output can be read as it comes.

    Args:
        playbook: path in the checkout.
        options: of ansible-playbook.
        inventory: its file or folder.
        more: for `subprocess.Popen`.
    """
    return subprocess.Popen(  # noqa: S603
        command(playbook, *options, inventory=inventory),
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        **more,
    )


def inventory_with(folder: Path, course: str, settings: Mapping[str, Any] | None = None) -> Path:
    """Copy the lab's inventory into a folder and add a course; return the copy.

    Args:
        folder: where `inventory` is made.
        course: its id.
        settings: its variables; None for a course of one line.
    """
    copy = folder / "inventory"
    shutil.copytree(INVENTORY, copy)
    hosts = yaml.safe_load((copy / "hosts.yml").read_text())
    hosts["all"]["children"]["courses"]["hosts"][course] = settings
    (copy / "hosts.yml").write_text(yaml.safe_dump(hosts))
    return copy


def environment() -> dict[str, str]:
    """Return an environment that makes the output easy to read, whatever the person's own settings are."""
    plain = {"ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_NOCOLOR": "1", "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    return os.environ | plain | {"ANSIBLE_STDOUT_CALLBACK": "default", "PYTHONUNBUFFERED": "1"}


def helm(course: str, command: str, *arguments: str) -> list[str]:
    """Return a command line for a course's release, of the helm that the role has put into its cache."""
    cache = Path(os.environ.get("CAMPUS_HUBS_CACHE") or Path.home() / ".cache/campus-hubs")
    program = max(cache.glob("helm/*/helm"))
    return [
        str(program),
        f"--kubeconfig={KUBECONFIG}",
        f"--namespace=course-{course}",
        *command.split(),
        course,
        *arguments,
    ]
