"""The timer's program: real git and signatures, real mail and web servers; only ansible-playbook is a stand-in."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.plugins.deployment import render
from tests.unit.roles.role_variables import ROOT, compute
from tests.webhook import Webhook

PROGRAM = Path(__file__).resolve().parents[3] / "roles/scheduled_run/files/scheduled_run.py"
CLEAN, DRIFT, FAILED = 0, 2, 4
ENTRY = {"kind": "Deployment", "name": "hub", "what": "changed", "path": "$.spec.replicas"}
DRIFTED = {
    "clean": False,
    "courses": [{"course": "python-demo", "state": "drifted", "entries": [ENTRY]}],
    "certificates": [],
}
IN_SYNC: dict[str, Any] = {"clean": True, "courses": [], "certificates": []}
CERTIFICATE = {"course": "python-demo", "name": "python-tls", "ends": "2026-12-01T00:00:00+00:00", "soon": True}
ENDING = {"clean": False, "courses": [], "certificates": [CERTIFICATE, {**CERTIFICATE, "course": "", "soon": False}]}


class Mailbox(socketserver.ThreadingTCPServer):
    """Takes mail (RFC 5321, as far as a client without TLS needs it)."""

    def __init__(self) -> None:
        """Listen."""
        super().__init__(("127.0.0.1", 0), _Mail)
        self.lines: list[str] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Mail(socketserver.StreamRequestHandler):
    server: Mailbox

    def say(self, line: str) -> None:
        """Answer."""
        self.wfile.write(f"{line}\r\n".encode())

    def handle(self) -> None:
        """Take all lines of one session."""
        self.say("220 here")
        in_data = False
        for raw in self.rfile:
            line = raw.decode().rstrip("\r\n")
            self.server.lines.append(line)
            if in_data and line != ".":
                continue
            in_data = line.upper() == "DATA"
            if line.upper().startswith("EHLO"):
                self.say("250-here")
                self.say("250 AUTH PLAIN")
            else:
                answers = {"DATA": "354 go on", "QUIT": "221 bye", "AUTH": "235 welcome"}
                self.say(answers.get(line.partition(" ")[0].upper(), "250 well"))


class Ops:
    """A host with the timer's program, a repository, and people who are told."""

    def __init__(self, folder: Path) -> None:
        """Make it; the repository has one commit."""
        self.folder, self.state, self.repository = folder, folder / "state", folder / "repository"
        self.credentials = folder / "credentials"
        self.credentials.mkdir()
        self.state.mkdir()
        self.hook, self.mailbox = Webhook(), Mailbox()
        self.secret_path = "/hooks/T0P-S3CRET"
        (self.credentials / "webhook_url").write_text(f"http://127.0.0.1:{self.hook.server_port}{self.secret_path}\n")
        self.git("init", "--quiet", "--initial-branch=main", str(self.repository), cwd=folder)
        self.commit("hosts.yml", "all: {}\n")
        self.configuration: dict[str, Any] = {
            "program": str(folder / "ansible-playbook"),
            "playbooks": str(folder),
            "repository": str(self.repository),
            "branch": "main",
            "inventory": ".",
            "signers": "",
            "known_hosts": "",
            "mode": "repair",
            "reports": 3,
        }
        self.playbook(IN_SYNC)

    def git(self, *arguments: str, cwd: Path | None = None) -> str:
        """Run git as a person would, with no settings but these."""
        settings = ["-c", "user.name=Anna", "-c", "user.email=anna@example.edu"]
        done = subprocess.run(  # noqa: S603
            ["git", *settings, *arguments],  # noqa: S607
            cwd=cwd or self.repository,
            env=os.environ | {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    def commit(self, name: str, text: str, key: Path | None = None) -> str:
        """Commit a file, signed if there is a key, and return the commit."""
        (self.repository / name).write_text(text)
        self.git("add", "--all")
        signing = ["-c", "gpg.format=ssh", "-c", f"user.signingKey={key}"] if key else []
        self.git(*signing, "commit", "--quiet", "--message=Change", *(["--gpg-sign"] if key else ["--no-gpg-sign"]))
        return self.git("rev-parse", "HEAD")

    def key(self, name: str) -> Path:
        """Make an SSH key."""
        path = self.folder / name
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)  # noqa: S603, S607
        return path

    def sign_for(self, *keys: Path) -> None:
        """Let only these sign."""
        lines = [f"anna@example.edu {key.with_suffix('.pub').read_text().strip()}" for key in keys]
        (self.folder / "signers").write_text("\n".join(lines) + "\n")
        self.configuration["signers"] = str(self.folder / "signers")

    def playbook(
        self, report: dict[str, Any] | None, code: int = 0, events: list[dict[str, str]] | None = None
    ) -> None:
        """Say what ansible-playbook does. It notes how it was called."""
        lines = ["#!/bin/sh", f'printf "%s\\n" "$@" > {self.folder}/called', f"env > {self.folder}/environment"]
        lines += [f"cp -r {self.state}/inventory {self.folder}/seen-$$", "echo well"]
        written = "".join(json.dumps(event) + "\n" for event in events or [])
        lines += [f'printf %s {shlex.quote(written)} > "$CAMPUS_HUBS_RUN_EVENTS"'] if events else []
        if report:
            find = 'folder=$(printf "%s" "$5" | sed \'s/.*"drift_report": "//; s/".*//\')'
            lines += [find, f'printf %s {shlex.quote(json.dumps(report))} > "$folder/drift.json"']
        program = self.folder / "ansible-playbook"
        program.write_text("\n".join([*lines, f"exit {code}"]) + "\n")
        program.chmod(0o755)

    def start(self) -> subprocess.Popen[str]:
        """Start the program as the unit does."""
        path = self.folder / "configuration.json"
        path.write_text(json.dumps(self.configuration))
        return subprocess.Popen(  # noqa: S603
            [sys.executable, str(PROGRAM), str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"STATE_DIRECTORY": str(self.state), "CREDENTIALS_DIRECTORY": str(self.credentials)},
        )

    def run(self) -> tuple[int, str]:
        """Run it to its end; nothing secret may be in what it says."""
        run = self.start()
        output, _ = run.communicate(timeout=60)
        assert "S3CRET" not in output
        return run.returncode, output

    @property
    def called(self) -> list[str]:
        """Arguments of ansible-playbook, empty if it was not called."""
        path = self.folder / "called"
        return path.read_text().splitlines() if path.exists() else []

    def reports(self) -> list[str]:
        """Names of the reports, the oldest first."""
        return sorted(path.name for path in (self.state / "reports").iterdir() if not path.is_symlink())


@pytest.fixture
def ops(tmp_path: Path) -> Iterator[Ops]:
    made = Ops(tmp_path)
    yield made
    for server in (made.hook, made.mailbox):
        server.shutdown()
        server.server_close()


def test_all_is_as_wanted(ops: Ops) -> None:
    assert ops.run() == (CLEAN, "well\nAll courses are in sync.\n")
    assert ops.called[2].endswith("/site.yml")
    assert (ops.state / "inventory/hosts.yml").read_text() == "all: {}\n"
    (name,) = ops.reports()
    assert (ops.state / "reports/latest").resolve().name == name
    assert json.loads((ops.state / "reports/latest/drift.json").read_text()) == IN_SYNC
    assert json.loads((ops.state / "reports/latest/run.json").read_text())["commit"] == ops.git("rev-parse", "HEAD")
    assert ops.hook.posted == []


@pytest.mark.parametrize(
    ("mode", "report", "code", "expected"),
    [
        ("repair", DRIFTED, 0, DRIFT),
        ("repair", DRIFTED, 2, FAILED),
        ("repair", IN_SYNC, 2, FAILED),
        ("repair", ENDING, 0, DRIFT),
        ("repair", None, 0, FAILED),
        ("report", IN_SYNC, 0, CLEAN),
        ("report", DRIFTED, 2, DRIFT),
        ("report", ENDING, 2, DRIFT),
        ("report", IN_SYNC, 2, FAILED),
        ("report", DRIFTED, 4, FAILED),
        ("report", None, 4, FAILED),
    ],
)
def test_exit_codes(ops: Ops, mode: str, report: dict[str, Any] | None, code: int, expected: int) -> None:
    ops.configuration["mode"] = mode
    ops.playbook(report, code)
    assert ops.run()[0] == expected
    assert Path(ops.called[2]).name == ("site.yml" if mode == "repair" else "drift.yml")
    assert [document["code"] for _, document in ops.hook.posted] == ([] if expected == CLEAN else [expected])


def changed(host: str, role: str, task: str, delegate_to: str = "") -> dict[str, str]:
    """Return what the callback plugin writes of a task."""
    return {"event": "changed", "host": host, "role": role, "task": task, "delegate_to": delegate_to}


EVENTS = [
    changed("w1", "campus.hubs.node", "Load kernel modules and set kernel parameters"),
    changed("w2", "campus.hubs.node", "Load kernel modules and set kernel parameters"),
    changed("w1", "campus.hubs.containerd", "Restart containerd"),
    changed("w1", "campus.hubs.containerd", "Restart containerd"),
    changed("cp1", "campus.hubs.kubeadm", "Export the admin kubeconfig", "localhost"),
    changed("python-demo", "", "Update the rosters of courses in sync"),
    changed("python-demo", "campus.hubs.course_hub", "Deploy the release"),
]


def test_what_was_put_right_on_servers_is_told(ops: Ops) -> None:
    ops.playbook(IN_SYNC, events=EVENTS)
    code, _ = ops.run()
    assert code == DRIFT
    ((_, document),) = ops.hook.posted
    assert document["text"].splitlines() == [
        "Found drift, repaired what a run can:",
        "w1: node : Load kernel modules and set kernel parameters",
        "w2: node : Load kernel modules and set kernel parameters",
        "w1: containerd : Restart containerd",
    ]


@pytest.mark.parametrize("mode", ["repair", "report"])
def test_a_certificate_that_ends_soon_is_told(ops: Ops, mode: str) -> None:
    ops.configuration["mode"] = mode
    ops.playbook(ENDING, DRIFT if mode == "report" else 0)
    assert ops.run()[0] == DRIFT
    ((_, document),) = ops.hook.posted
    (line,) = document["text"].splitlines()[1:]
    assert line == "python-demo: certificate python-tls ends 2026-12-01T00:00:00+00:00, renew it"


def test_the_inventory_follows_the_branch(ops: Ops) -> None:
    ops.commit("gone.yml", "x\n")
    ops.run()
    (ops.state / "kubeconfig").write_text("of the run before\n")
    (ops.state / "inventory/by_hand.yml").write_text("all: {}\n")
    ops.git("rm", "--quiet", "gone.yml")
    ops.git("commit", "--quiet", "--amend", "--allow-empty", "--message=Written anew", "--no-gpg-sign")
    ops.commit("hosts.yml", "all: {hosts: {server1: }}\n")
    assert ops.run()[0] == CLEAN
    found = {path.name for path in (ops.state / "inventory").iterdir()}
    assert found == {".git", "hosts.yml"}
    assert (ops.state / "kubeconfig").read_text() == "of the run before\n"
    assert "server1" in (ops.state / "inventory/hosts.yml").read_text()


def test_only_signed_commits(ops: Ops) -> None:
    mine, other = ops.key("mine"), ops.key("other")
    ops.sign_for(mine)
    ops.commit("hosts.yml", "all: {vars: {signed: true}}\n", mine)
    assert ops.run()[0] == CLEAN
    good = (ops.state / "inventory/hosts.yml").read_text()
    (ops.folder / "called").unlink()
    for key in (None, other):
        commit = ops.commit("hosts.yml", f"all: {{vars: {{signed_by: {key}}}}}\n", key)
        code, output = ops.run()
        assert code == FAILED
        assert f"Commit {commit[:12]} of branch main is not signed by any of scheduled_run_allowed_signers" in output
        assert ops.called == []
        assert (ops.state / "inventory/hosts.yml").read_text() == good
    ops.sign_for(mine, other)
    assert ops.run()[0] == CLEAN


@pytest.mark.parametrize(
    "how", ["set back", "written anew", "another history", "sibling of the last", "tag of the branch's name"]
)
def test_no_way_back_to_another_signed_commit(ops: Ops, how: str) -> None:
    """Who can write to the branch and cannot sign may choose among what was ever signed."""
    key = ops.key("mine")
    ops.sign_for(key)
    old = ops.commit("hosts.yml", "all: {vars: {age: old}}\n", key)
    ops.git("branch", "sibling")
    used = ops.commit("hosts.yml", "all: {vars: {age: new}}\n", key)
    assert ops.run()[0] == CLEAN
    if how == "set back":
        ops.git("reset", "--quiet", "--hard", old)
    elif how == "written anew":
        ops.git("reset", "--quiet", "--hard", old)
        ops.commit("hosts.yml", "all: {vars: {age: other}}\n", key)
    elif how == "another history":
        ops.git("checkout", "--quiet", "--orphan", "elsewhere")
        ops.commit("hosts.yml", "all: {vars: {age: elsewhere}}\n", key)
        ops.git("branch", "--force", "main", "elsewhere")
    elif how == "sibling of the last":
        ops.git("checkout", "--quiet", "sibling")
        ops.commit("hosts.yml", "all: {vars: {age: sibling}}\n", key)
        ops.configuration["branch"] = "sibling"
    else:
        ops.git("tag", "main", old)
        ops.git("checkout", "--quiet", "--detach", "refs/heads/main")
        ops.git("branch", "--delete", "--force", "main")
    (ops.folder / "called").unlink()
    code, output = ops.run()
    assert code == FAILED
    assert ops.called == []
    assert "age: new" in (ops.state / "inventory/hosts.yml").read_text()
    assert ops.hook.posted[-1][1]["title"] == "failed"
    if how != "tag of the branch's name":
        assert f"does not follow {used[:12]}, which was used last" in output


@pytest.mark.parametrize("way", ["merge", "forget"])
def test_ways_out_after_a_branch_was_set_back(ops: Ops, way: str) -> None:
    key = ops.key("mine")
    ops.sign_for(key)
    old = ops.commit("hosts.yml", "all: {vars: {age: old}}\n", key)
    used = ops.commit("hosts.yml", "all: {vars: {age: new}}\n", key)
    assert ops.run()[0] == CLEAN
    ops.git("reset", "--quiet", "--hard", old)
    _, output = ops.run()
    if way == "merge":
        (command,) = re.findall(r"git (merge .*?)\. Or", output)
        ops.git("-c", "gpg.format=ssh", "-c", f"user.signingKey={key}", *command.split())
    else:
        (path,) = re.findall(r"rm (\S+) on", output)
        Path(path).unlink()
    assert ops.run()[0] == CLEAN
    assert "age: old" in (ops.state / "inventory/hosts.yml").read_text()
    # From there on as before.
    ops.git("reset", "--quiet", "--hard", used if way == "merge" else f"{old}~1")
    assert ops.run()[0] == FAILED


def test_a_signed_branch_goes_on(ops: Ops) -> None:
    key = ops.key("mine")
    ops.commit("hosts.yml", "all: {vars: {age: unsigned}}\n")
    assert ops.run()[0] == CLEAN
    ops.sign_for(key)
    for number in range(3):
        # The middle one is a merge.
        ops.git("checkout", "--quiet", "-B", "side")
        ops.commit("hosts.yml", f"all: {{vars: {{age: {number}}}}}\n", key)
        ops.git("checkout", "--quiet", "main")
        signing = ["-c", "gpg.format=ssh", "-c", f"user.signingKey={key}"]
        ops.git(*signing, "merge", "--quiet", *(["--no-ff", "--gpg-sign"] if number == 1 else ["--ff-only"]), "side")
        assert ops.run()[0] == CLEAN
        assert ops.run()[0] == CLEAN, "the same commit twice"
        assert f"age: {number}" in (ops.state / "inventory/hosts.yml").read_text()


def test_no_repository(ops: Ops) -> None:
    ops.configuration["branch"] = "mian"
    code, output = ops.run()
    assert code == FAILED
    assert "The inventory cannot be fetched from" in output
    assert "mian" in output
    assert ops.called == []
    assert ops.hook.posted[0][1]["title"] == "failed"


def test_another_run_is_at_work(ops: Ops) -> None:
    busy = {"event": "busy", "host": "cp1", "role": "", "task": "Acquire the run lock"}
    busy |= {"holder": "anna@desk (process 7)", "since": "2026-11-25T17:04:51Z"}
    ops.playbook(None, 2, [busy])
    code, output = ops.run()
    assert code == CLEAN
    assert "Nothing was done: another run is at work: anna@desk (process 7), since 2026-11-25T17:04:51Z." in output
    assert ops.hook.posted == []
    assert ops.reports() == []


def test_only_the_last_reports_are_kept(ops: Ops) -> None:
    names = []
    for _ in range(5):
        ops.run()
        names.append(ops.reports()[-1])
    assert ops.reports() == names[-3:]
    assert (ops.state / "reports/latest").resolve().name == names[-1]


def test_people_are_told(ops: Ops) -> None:
    ops.playbook(DRIFTED)
    ops.configuration["email"] = {
        "to": ["ops@example.edu", "anna@example.edu"],
        "sender": "campus@example.edu",
        "server": "127.0.0.1",
        "port": ops.mailbox.server_address[1],
        "security": "none",
        "user": "campus",
    }
    (ops.credentials / "smtp_password").write_text("S3CRET")
    code, output = ops.run()
    assert code == DRIFT, output
    ((path, document),) = ops.hook.posted
    assert path == ops.secret_path
    assert (document["title"], document["mode"], document["code"]) == ("drift repaired", "repair", DRIFT)
    assert "python-demo: drifted\n  Deployment hub: changed $.spec.replicas" in document["text"]
    mail = ops.mailbox.lines
    assert any(line.startswith("AUTH PLAIN ") for line in mail)
    assert [line.lower() for line in mail if line.lower().startswith("rcpt")] == [
        "rcpt to:<ops@example.edu>",
        "rcpt to:<anna@example.edu>",
    ]
    assert any(line.startswith("Subject: campus.hubs on ") and line.endswith(": drift repaired") for line in mail)
    assert "  Deployment hub: changed $.spec.replicas" in mail


def test_nobody_can_be_told(ops: Ops) -> None:
    ops.playbook(DRIFTED)
    ops.hook.status = 500
    code, output = ops.run()
    assert code == FAILED
    assert "The webhook could not be sent: HTTPError." in output


def test_a_webhook_that_is_down_keeps_no_mail_back(ops: Ops) -> None:
    ops.playbook(DRIFTED)
    ops.hook.status = 500
    ops.configuration["email"] = {
        "to": ["ops@example.edu"],
        "sender": "campus@example.edu",
        "server": "127.0.0.1",
        "port": ops.mailbox.server_address[1],
        "security": "none",
    }
    code, output = ops.run()
    assert code == FAILED
    assert "The webhook could not be sent: HTTPError." in output
    assert "  Deployment hub: changed $.spec.replicas" in ops.mailbox.lines


def test_locks_of_a_git_that_was_killed(ops: Ops) -> None:
    assert ops.run()[0] == CLEAN
    repository = ops.state / "inventory/.git"
    for lock in (repository / "index.lock", repository / "refs/heads/fetched.lock"):
        lock.touch()
    ops.commit("hosts.yml", "all: {hosts: {a: }}\n")
    assert ops.run()[0] == CLEAN


def test_a_program_that_is_gone_is_told(ops: Ops) -> None:
    ops.configuration["program"] = str(ops.folder / "nothing")
    code, output = ops.run()
    assert code == FAILED
    assert "The run could not be started, or left what cannot be read: FileNotFoundError" in output
    assert ops.hook.posted[0][1]["title"] == "failed"
    assert (ops.state / "reports/latest/run.json").exists()


def test_a_report_without_its_parts_is_told(ops: Ops) -> None:
    ops.playbook({"clean": True})
    code, output = ops.run()
    assert code == FAILED
    assert "left what cannot be read: KeyError" in output
    assert ops.hook.posted[0][1]["title"] == "failed"


def test_secrets_are_handed_on_as_files(ops: Ops) -> None:
    for name in ("ssh_key", "vault_password", "kubeconfig"):
        (ops.credentials / name).write_text(f"S3CRET {name}")
    assert ops.run()[0] == CLEAN
    assert "S3CRET" not in "".join(ops.called)
    environment = (ops.folder / "environment").read_text()
    assert "S3CRET" not in environment
    assert f"ANSIBLE_PRIVATE_KEY_FILE={ops.credentials}/ssh_key\n" in environment
    assert f"ANSIBLE_VAULT_PASSWORD_FILE={ops.credentials}/vault_password\n" in environment
    kubeconfig = ops.state / "kubeconfig"
    assert kubeconfig.read_text() == "S3CRET kubeconfig"
    assert kubeconfig.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("stopped", [False, True])
def test_the_lock_is_free_before_it_ends(ops: Ops, stopped: bool) -> None:
    lock = ops.state / "cache/campus-hubs/run-0.lock"
    lock.parent.mkdir(parents=True)
    program = ops.folder / "ansible-playbook"
    # As campus.hubs.run_lock: what holds the lock ends some time after the run.
    lines = [f"flock {lock} sh -c 'echo > {ops.folder}/locked; sleep 3; echo > {ops.folder}/free' >/dev/null 2>&1 &"]
    lines += [f"until [ -e {ops.folder}/locked ]; do sleep 0.1; done", "exec sleep 60" if stopped else "exit 0"]
    program.write_text("\n".join(["#!/bin/sh", *lines]) + "\n")
    run = ops.start()
    if stopped:
        end = time.monotonic() + 20
        while not (ops.folder / "locked").exists():
            assert time.monotonic() < end
            time.sleep(0.05)
        run.send_signal(signal.SIGTERM)
    run.communicate(timeout=30)
    assert (ops.folder / "free").exists()


def test_a_run_that_is_stopped_says_so(ops: Ops) -> None:
    program = ops.folder / "ansible-playbook"
    program.write_text(f"#!/bin/sh\necho $$ > {ops.folder}/pid\nexec sleep 60\n")
    run = ops.start()
    end = time.monotonic() + 20
    while not (ops.folder / "pid").exists() or not (ops.folder / "pid").read_text().strip():
        assert time.monotonic() < end
        time.sleep(0.05)
    run.send_signal(signal.SIGTERM)
    output, _ = run.communicate(timeout=20)
    assert run.returncode == FAILED
    assert "scheduled_run_time_limit_seconds" in output
    assert not Path(f"/proc/{(ops.folder / 'pid').read_text().strip()}").exists()
    assert ops.hook.posted[0][1]["title"] == "failed"


def test_the_runs_have_the_zone_of_the_machine_that_set_them_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the inventory names no zone, courses would change with each run from another machine."""
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    assert "Environment=TZ=Asia/Kolkata" in render("scheduled_run", "campus-hubs-run.service.j2", {}).splitlines()


def test_a_number_of_reports_that_is_text_as_on_the_command_line() -> None:
    given = {"scheduled_run_reports": "30", "scheduled_run_email": {}, "_scheduled_run_folder": "/opt/x"}
    assert (
        compute("scheduled_run", "_scheduled_run_configuration.reports", given | {"_scheduled_run_collection": ""})
        == 30
    )
    tasks = yaml.safe_load((ROOT / "roles/scheduled_run/tasks/preflight.yml").read_text())
    (that,) = [task["ansible.builtin.assert"]["that"] for task in tasks if "mail" in task["name"]]
    assert [compute("scheduled_run", one, given) for one in that] == [True, True]
