"""The timer on an ops host: a commit with a new course and edits by hand are both in effect after its next tick.

The host is a container of the lab, `lab/lab ops`. It has the inventory's repository, too, which all reach by SSH.
"""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from selenium import webdriver
from selenium.webdriver.common.by import By

from tests.e2e import playbook
from tests.e2e.cluster import Cluster
from tests.e2e.conftest import LTI11_COURSE
from tests.e2e.lti import Lms
from tests.e2e.nodes import kubectl, on_node
from tests.e2e.waiting import wait_for
from tests.webhook import Webhook

COURSE, EDITED = "scheduled-demo", LTI11_COURSE
LAB = str(playbook.ROOT / "lab/lab")
OPS, ADDRESS = "ops1", "10.89.7.7"
# The machine's address on the lab's network.
HERE = "10.89.7.1"
REPOSITORY = f"git@{ADDRESS}:inventory.git"
UNIT, REPORTS = "campus-hubs-run", "/var/lib/campus-hubs/reports"
CLEAN, DRIFT = 0, 2
RUN_TIMEOUT = 900.0  # seconds from one run's end to the next one's, on a busy machine
# The person may push, the deploy key only fetch.
GIT_SERVER = """
apt-get update -qq
apt-get install -qq --no-install-recommends git >/dev/null
useradd --system --create-home --shell=/usr/bin/git-shell git
install -d -m 700 -o git -g git ~git/.ssh
cat >~git/.ssh/authorized_keys <<KEYS
restrict {person}
restrict,command="git-upload-pack 'inventory.git'" {deploy_key}
KEYS
runuser -u git -- git init --quiet --bare --initial-branch=main ~git/inventory.git
"""


@dataclass(frozen=True)
class Report:
    """What one run has left.

    Attributes:
        name: of its folder.
        run: run.json.
        drift: drift.json.
        page: drift.html.
    """

    name: str
    run: dict[str, Any]
    drift: dict[str, Any]
    page: str


class Ops:
    """The ops host, and a person with a clone of the inventory."""

    def __init__(self, folder: Path) -> None:
        """Make the keys and the repository."""
        self.folder, self.inventory = folder, folder / "repository"
        self.cache = Path(program(LAB, "cache").strip())
        self.hook = Webhook(HERE)
        self.hook_path = f"/hooks/{secrets.token_hex(16)}"
        self.vault_password = folder / "vault_password"
        self.vault_password.write_text(secrets.token_hex(16))
        program("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "deploy_key"))
        keys = {"person": self.cache / "id_lab.pub", "deploy_key": folder / "deploy_key.pub"}
        script = GIT_SERVER.format(**{name: path.read_text().strip() for name, path in keys.items()})
        on_node(OPS, "bash -eu", stdin=script)

    def write_inventory(self, images: dict[str, str]) -> None:
        """Write the lab's inventory as it has to be for an ops host, and publish it."""
        shutil.copytree(playbook.INVENTORY, self.inventory)
        hosts = yaml.safe_load((self.inventory / "hosts.yml").read_text())
        # For the timer localhost is the ops host, which builds no images: nobody is root there.
        children = hosts["all"]["children"]
        children["image_builders"]["hosts"]["localhost"] |= {"ansible_become": False, "course_images_refs": images}
        settings = {
            "scheduled_run_repository": REPOSITORY,
            "scheduled_run_known_hosts": (self.cache / "known_hosts").read_text().splitlines(),
            "scheduled_run_calendar": "minutely",
            "scheduled_run_random_delay_seconds": 0,
            "scheduled_run_pip_index_url": "http://10.89.7.5:8080/ops/pypi",
        }
        children["ops"] = {"hosts": {OPS: {"ansible_host": ADDRESS, "ansible_user": "root"}}, "vars": settings}
        self.write("hosts.yml", hosts)
        # Keys and host keys are for everyone who uses the inventory to give.
        cluster = yaml.safe_load((self.inventory / "group_vars/cluster.yml").read_text())
        everywhere = yaml.safe_load((self.inventory / "group_vars/all.yml").read_text())
        self.write("group_vars/all.yml", {**everywhere, "lab_source": "build"})
        theirs = ("ansible_ssh_private_key_file", "ansible_ssh_common_args", "_lab_list_keys")
        shared = {name: cluster[name] for name in cluster if name not in theirs}
        self.write("group_vars/cluster.yml", {**shared, "_lab_key": self.package_key()})
        credentials = {
            "deploy_key": (self.folder / "deploy_key").read_text(),
            "ssh_key": (self.cache / "id_lab").read_text(),
            "vault_password": self.vault_password.read_text(),
            "webhook_url": f"http://{HERE}:{self.hook.server_port}{self.hook_path}",
        }
        path = self.write("group_vars/ops.yml", {"scheduled_run_credentials": credentials})
        vault = str(Path(sys.executable).with_name("ansible-vault"))
        program(vault, "encrypt", f"--vault-password-file={self.vault_password}", str(path))
        self.git("init", "--quiet", "--initial-branch=main")
        self.push("Begin")

    def package_key(self) -> str:
        """Return the fingerprint of the key that signs the mirror's packages."""
        listed = program("gpg", f"--homedir={self.cache}/gnupg", "--batch", "--with-colons", "--list-keys")
        return next(line for line in listed.splitlines() if line.startswith("fpr:")).split(":")[9]

    def write(self, name: str, document: object) -> Path:
        """Write a file of the inventory."""
        path = self.inventory / name
        path.write_text(yaml.safe_dump(document))
        return path

    def git(self, *arguments: str) -> str:
        """Run git in the clone as the person."""
        ssh = f"ssh -i {self.cache}/id_lab -o IdentitiesOnly=yes -o UserKnownHostsFile={self.cache}/known_hosts"
        settings = {"user.name": "Anna", "user.email": "anna@example.edu", "core.sshCommand": ssh}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return program("git", "-C", str(self.inventory), *options, *arguments).strip()

    def push(self, message: str) -> str:
        """Publish the clone as it is and return the commit."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--no-gpg-sign", f"--message={message}")
        self.git("push", "--quiet", REPOSITORY, "main")
        return self.git("rev-parse", "HEAD")

    def add_course(self) -> str:
        """Publish the new course's line and return the commit."""
        hosts = yaml.safe_load((self.inventory / "hosts.yml").read_text())
        hosts["all"]["children"]["courses"]["hosts"][COURSE] = None
        self.write("hosts.yml", hosts)
        return self.push("Add a course")

    def install(self) -> playbook.Run:
        """Run the playbook that has the timer, as the person does."""
        return playbook.run(
            "playbooks/scheduled_run.yml",
            f"--private-key={self.cache}/id_lab",
            f"--ssh-common-args=-o UserKnownHostsFile={self.cache}/known_hosts",
            f"--vault-password-file={self.vault_password}",
            inventory=self.inventory,
        ).assert_good()

    def stop_timer(self) -> str:
        """Stop the timer, wait until no run is at work, and return the name of the last report."""
        on_node(OPS, f"systemctl stop {UNIT}.timer")
        state = f"systemctl show --property=ActiveState --value {UNIT}"
        wait_for("the end of a run", lambda: on_node(OPS, state) in ("inactive\n", "failed\n"), RUN_TIMEOUT, pause=2)
        return self.latest()

    def start_timer(self) -> None:
        """Start the timer."""
        on_node(OPS, f"systemctl start {UNIT}.timer")

    def latest(self) -> str:
        """Return the name of the last report; empty if there is none."""
        return on_node(OPS, f"readlink {REPORTS}/latest || true").strip()

    def report_after(self, before: str) -> Report:
        """Wait for the end of the next run, and return its report."""
        wait_for("a report", lambda: self.latest() != before, RUN_TIMEOUT, pause=2)
        name = self.latest()
        files = ("run.json", "drift.json", "drift.html")
        run, drift, page = (on_node(OPS, f"cat {REPORTS}/{name}/{file} || true") for file in files)
        return Report(name, json.loads(run), json.loads(drift or "{}"), page)

    def journal(self) -> str:
        """Return all that the runs have said."""
        return on_node(OPS, f"journalctl --unit={UNIT} --output=cat --no-pager")

    def secrets(self) -> list[str]:
        """Return what nobody may read anywhere."""
        keys = [path.read_text().splitlines()[1] for path in (self.cache / "id_lab", self.folder / "deploy_key")]
        return [*keys, self.vault_password.read_text(), self.hook_path]


def program(*command: str) -> str:
    """Run a program and return what it prints.

    Its errors go nowhere that programs have in common: ssh makes that non-blocking, and Ansible then refuses to start.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, f"{' '.join(command)}: code {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture
def inventory(lms: Lms, tmp_path: Path) -> Iterator[Path]:
    """Copy the lab's inventory with the new course, for the LMS; afterwards nothing of the course is left."""
    del lms  # it must have been started
    copy = playbook.inventory_with(tmp_path, COURSE)
    yield copy
    playbook.remove_course(COURSE, copy).assert_good()
    playbook.run("lab/lms.yml").assert_good()


@pytest.fixture
def ops(cluster: Cluster, tmp_path: Path, artifacts: Path) -> Iterator[Ops]:
    """Have an ops host, and the inventory in its repository; afterwards the host is gone."""
    program(LAB, "ops")
    try:
        made = Ops(tmp_path)
        made.write_inventory(cluster.core.read_namespaced_config_map("course-images", "campus-hubs").data)
        yield made
        on_node(OPS, f"systemctl stop {UNIT}.timer {UNIT}")
        (artifacts / "scheduled.log").write_text(made.journal())
        made.hook.shutdown()
    finally:
        program(LAB, "ops", "--remove")


@pytest.fixture
def shown(browser: webdriver.Chrome, artifacts: Path, tmp_path: Path) -> Callable[[Report, str], str]:
    """Show a report's page in the browser, keep a picture of it, and return its text."""

    def show(report: Report, name: str) -> str:
        path = tmp_path / f"{name}.html"
        path.write_text(report.page)
        browser.get(path.as_uri())
        browser.save_screenshot(str(artifacts / f"{name}.png"))
        return browser.find_element(By.TAG_NAME, "body").text

    return show


@pytest.mark.full
def test_a_commit_and_edits_by_hand_are_in_effect_after_the_next_tick(
    lms: Lms, inventory: Path, ops: Ops, shown: Callable[[Report, str], str]
) -> None:
    ops.install()
    before = ops.stop_timer()
    commit = ops.add_course()
    kubectl("kubectl set env deployment/exchange BY_HAND=1", f"course-{EDITED}")
    kubectl("kubectl delete networkpolicy/sandbox", f"course-{EDITED}")
    ops.start_timer()

    drift = ops.report_after(before)
    assert (drift.run["code"], drift.run["commit"]) == (DRIFT, commit), drift.run["text"]
    found = {course["course"]: course for course in drift.drift["courses"]}
    assert {name: (found[name]["state"], found[name]["action"]) for name in found} == {
        COURSE: ("absent", "deploy"),
        EDITED: ("drifted", "repair"),
    }
    entries = {f"{entry['kind']} {entry['name']}": entry for entry in found[EDITED]["entries"]}
    assert set(entries) == {"Deployment exchange", "NetworkPolicy sandbox"}
    assert "env[?@.name=='BY_HAND']" in entries["Deployment exchange"]["path"]
    assert entries["Deployment exchange"]["manager"] == "kubectl-set"
    assert entries["NetworkPolicy sandbox"]["what"] == "missing"
    page = shown(drift, "scheduled-drift")
    for words in (COURSE, "Deployment exchange", "BY_HAND", "kubectl-set", "NetworkPolicy sandbox", "is missing"):
        assert words in page

    look = "kubectl get deployment/exchange --output=jsonpath={..env[*].name}; kubectl get networkpolicy/sandbox"
    assert "BY_HAND" not in kubectl(look, f"course-{EDITED}")
    playbook.run("lab/lms.yml", inventory=inventory).assert_good()
    assert lms.enter_lab(COURSE, "student-1").name

    # The next tick has nothing to do, also on the servers, and tells nobody.
    quiet = ops.report_after(drift.name)
    assert (quiet.run["code"], quiet.run["commit"]) == (CLEAN, commit), quiet.run["text"]
    assert "All courses are in sync." in shown(quiet, "scheduled-clean")
    journal = ops.journal()
    assert not playbook.Run(journal, 0, 0).changed, journal[-3000:]
    # The lock's holder has ended by itself, and so has freed it.
    assert "(python3) with signal SIGKILL" not in journal
    ((path, told),) = ops.hook.posted
    assert path == ops.hook_path
    assert (told["title"], told["host"], told["commit"]) == ("drift repaired", OPS, commit)
    assert f"{COURSE}: absent" in told["text"]
    assert "Deployment exchange: changed" in told["text"]
    everything = "\n".join([json.dumps([told, drift.run, drift.drift]), drift.page, journal])
    assert [secret for secret in ops.secrets() if secret in everything] == []
