# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One run by the timer: fetch the inventory, run the playbook, keep the report, tell people.

scheduled_run.py CONFIGURATION (JSON, written by the role scheduled_run). Secrets come as systemd's credentials.
Exit code: 0, all is in sync, or another run is at work; 2, something was not (and was repaired, in mode repair);
4, it failed.
"""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import shlex
import shutil
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any

CLEAN, DRIFT, FAILED = 0, 2, 4
# What is done to courses is in the drift report.
COURSES = "campus.hubs.course_hub"


class RunError(Exception):
    """What went wrong, for people."""


@dataclass(frozen=True)
class Email:
    """Whom to write, and how.

    Attributes:
        security: `tls` from the start, `starttls`, or `none`.
        user: to log in as, with the credential smtp_password; empty for no login.
    """

    to: list[str]
    sender: str
    server: str
    port: int
    security: str
    user: str = ""


@dataclass(frozen=True)
class Configuration:
    """What the role has written; see its variables.

    Attributes:
        program: ansible-playbook.
        playbooks: folder of site.yml and drift.yml.
        inventory: path in the repository.
        signers: file of allowed signers (ssh-keygen(1)); empty if commits need no signature.
        known_hosts: file of SSH host keys; empty if a host is believed the first time.
        state: folder for the inventory and the reports.
        credentials: folder of the secrets that there are.
    """

    program: str
    playbooks: str
    repository: str
    branch: str
    inventory: str
    signers: str
    known_hosts: str
    mode: str
    reports: int
    state: str = field(default_factory=lambda: os.environ["STATE_DIRECTORY"])
    credentials: str = field(default_factory=lambda: os.environ.get("CREDENTIALS_DIRECTORY", "/nowhere"))
    email: Email | None = None

    @classmethod
    def read(cls, path: Path) -> Configuration:
        """Read the file."""
        document = json.loads(path.read_text(encoding="utf-8"))
        email = document.pop("email", None)
        return cls(**document, email=Email(**email) if email else None)

    def credential(self, name: str) -> Path | None:
        """Return the file of a secret; None if it is not given."""
        path = Path(self.credentials) / name
        return path if path.exists() else None

    def ssh(self) -> list[str]:
        """Return ssh's options: which hosts are believed."""
        if self.known_hosts:
            return ["-o", f"UserKnownHostsFile={self.known_hosts}", "-o", "StrictHostKeyChecking=yes"]
        path = Path(self.state) / "known_hosts"
        return ["-o", f"UserKnownHostsFile={path}", "-o", "StrictHostKeyChecking=accept-new"]


def fetch(config: Configuration) -> str:
    """Bring the inventory up to the branch's commit and return that.

    Raises:
        RunError: it cannot be fetched, nobody who may has signed it, or it does not follow the signed commit that was
            used last; the inventory is left as it was.
    """
    folder, last_commit = Path(config.state) / "inventory", Path(config.state) / "last_commit"
    key = config.credential("deploy_key")
    ssh = ["ssh", "-o", "BatchMode=yes", *config.ssh(), *(["-i", str(key), "-o", "IdentitiesOnly=yes"] if key else [])]
    environment = os.environ | {
        "GIT_SSH_COMMAND": shlex.join(ssh),
        "GIT_TERMINAL_PROMPT": "0",
        # Who follows whom is what the commits say.
        "GIT_NO_REPLACE_OBJECTS": "1",
        "LC_ALL": "C",
    }

    def git(*arguments: str) -> str:
        command = ["git", "-c", f"gpg.ssh.allowedSignersFile={config.signers}", *arguments]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode != 0:
            raise RunError(done.stderr.strip() or f"git {arguments[0]} ended with {done.returncode}")
        return done.stdout.strip()

    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Of a git that was killed: nobody else uses this folder, and one run ends before the next.
    for lock in (folder / ".git").rglob("*.lock"):
        lock.unlink()
    try:
        git("init", "--quiet")
        git("fetch", "--quiet", "--no-tags", config.repository, f"+refs/heads/{config.branch}:refs/heads/fetched")
        commit = git("rev-parse", "refs/heads/fetched^{commit}")
    except RunError as error:
        raise RunError(f"The inventory cannot be fetched from {config.repository}: {error}") from error
    if config.signers:
        try:
            git("verify-commit", commit)
        except RunError as error:
            raise RunError(
                f"Commit {commit[:12]} of branch {config.branch} is not signed by any of scheduled_run_allowed_signers "
                f"and is not used ({error}). Have it signed: git commit --amend --no-edit --gpg-sign."
            ) from error
        # An old commit is as well signed as a new one: who can write to the branch and cannot sign must not choose.
        last = last_commit.read_text(encoding="utf-8").strip() if last_commit.exists() else commit
        try:
            git("merge-base", "--is-ancestor", last, commit)
        except RunError as error:
            raise RunError(
                f"Commit {commit[:12]} of branch {config.branch} is signed, but does not follow {last[:12]}, "
                f"which was used last, and is not used: the branch was set back, rewritten or exchanged. "
                f"If that was you, join the two and sign that: "
                f"git merge --strategy=ours --gpg-sign {last[:12]}. Or have the next run take any signed commit: "
                f"rm {last_commit} on {socket.gethostname()}."
            ) from error
    git("checkout", "--quiet", "--force", "--detach", commit)
    git("clean", "-ffdxq")
    if config.signers:
        new = last_commit.with_suffix(".new")
        new.write_text(f"{commit}\n", encoding="utf-8")
        new.replace(last_commit)
    return commit


@dataclass
class Played:
    """What a run of ansible-playbook has left.

    Attributes:
        code: its exit code.
        busy: who is at work if that is why it did nothing.
        changed: host, role and name of each task that changed a server or the cluster.
    """

    code: int = FAILED
    busy: str = ""
    changed: list[str] = field(default_factory=list)


def play(config: Configuration, report: Path) -> Played:
    """Run the playbook, whose words go where this program's go, and read what it has done.

    Raises:
        RunError: it was stopped.
    """
    inventory = Path(config.state) / "inventory" / config.inventory
    if not inventory.exists():
        raise RunError(f"{config.inventory} (scheduled_run_inventory) is not in the repository.")
    # Written by the run itself in mode repair, which a credential cannot be.
    kubeconfig = Path(config.state) / "kubeconfig"
    if given := config.credential("kubeconfig"):
        kubeconfig.unlink(missing_ok=True)
        kubeconfig.touch(mode=0o600)
        kubeconfig.write_bytes(given.read_bytes())
    environment = os.environ | {
        "HOME": config.state,
        "XDG_CACHE_HOME": str(Path(config.state) / "cache"),
        # The folder of ansible_collections.
        "ANSIBLE_COLLECTIONS_PATH": str(Path(config.playbooks).parents[3]),
        # As in ansible.cfg of a checkout.
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "1",
        "ANSIBLE_PIPELINING": "1",
        "ANSIBLE_SSH_ARGS": shlex.join(["-o", "ControlMaster=auto", "-o", "ControlPersist=60s", *config.ssh()]),
        "ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml",
        "ANSIBLE_CALLBACKS_ENABLED": "campus.hubs.run_events",
        "CAMPUS_HUBS_RUN_EVENTS": str(report / "events.jsonl"),
        "ANSIBLE_NOCOLOR": "1",
        "PYTHONUNBUFFERED": "1",
    }
    for variable, name in (("ANSIBLE_PRIVATE_KEY_FILE", "ssh_key"), ("ANSIBLE_VAULT_PASSWORD_FILE", "vault_password")):
        if path := config.credential(name):
            environment[variable] = str(path)
    playbook = "site.yml" if config.mode == "repair" else "drift.yml"
    command = [config.program, "-i", str(inventory), str(Path(config.playbooks) / playbook)]
    command += ["--extra-vars", json.dumps({"drift_report": str(report), "kubeadm_kubeconfig": str(kubeconfig)})]
    sys.stdout.flush()
    run = subprocess.Popen(command, env=environment, cwd=config.playbooks, stderr=subprocess.STDOUT)  # noqa: S603
    try:
        return read_events(report / "events.jsonl", run.wait())
    except RunError:
        # What ansible-playbook has begun is completed by the next run.
        run.terminate()
        run.wait()
        raise
    finally:
        wait_for_lock(Path(environment["XDG_CACHE_HOME"]) / "campus-hubs")


def read_events(path: Path, code: int) -> Played:
    """Read what the callback plugin `campus.hubs.run_events` has written.

    Args:
        path: of the file; it is not there if nothing was changed.
        code: ansible-playbook's exit code.
    """
    played = Played(code)
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        event = json.loads(line)
        if event["event"] == "busy":
            played.busy = f"{event['holder']}, since {event['since']}"
        # What is done elsewhere than on the host changes no server.
        elif event["role"].startswith("campus.hubs.") and event["role"] != COURSES and not event["delegate_to"]:
            played.changed.append(f"{event['host']}: {event['role'].removeprefix('campus.hubs.')} : {event['task']}")
    return played


def wait_for_lock(folder: Path, seconds: float = 15) -> None:
    """Wait until the run's lock is free: systemd kills what is left with this program, and then the Lease would stay.

    Args:
        folder: of the locked file.
        seconds: so long at most.
    """
    end = time.monotonic() + seconds
    for path in folder.glob("run-*.lock"):
        with path.open("rb") as file:
            while time.monotonic() < end:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    time.sleep(0.1)


def judge(mode: str, played: Played, report: Path) -> tuple[int, str]:
    """Derive exit code and words from what ansible-playbook has left.

    Args:
        mode: `repair` or `report`.
        played: what came of it.
        report: folder of the drift report.
    """
    code = played.code
    try:
        document = json.loads((report / "drift.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return FAILED, f"ansible-playbook has written no report and ended with {code}."
    lines = [line for course in document["courses"] for line in describe(course)]
    for end in document["certificates"]:
        if end["soon"]:
            lines.append(f"{end['course'] or 'the cluster'}: certificate {end['name']} ends {end['ends']}, renew it")
    lines += dict.fromkeys(played.changed)
    if mode == "report" and code == DRIFT and not document["clean"]:
        return DRIFT, "\n".join(["Found drift:", *lines])
    if code != 0:
        return FAILED, "\n".join([f"ansible-playbook ended with {code}. It had found:", *(lines or ["nothing"])])
    if not lines:
        return CLEAN, "All courses are in sync."
    return DRIFT, "\n".join(["Found drift, repaired what a run can:", *lines])


def describe(course: dict[str, Any]) -> list[str]:
    """Return some lines on a course of the drift report."""
    things = [f"  {entry['kind']} {entry['name']}: {entry['what']} {entry['path']}" for entry in course["entries"]]
    return [f"{course['course']}: {course['state']}", *(line.rstrip() for line in things)]


def keep(report: Path, number: int) -> None:
    """Link the newest report as `latest`, and remove all but the last ones."""
    folder = report.parent
    link = folder / ".latest"
    link.unlink(missing_ok=True)
    link.symlink_to(report.name)
    link.rename(folder / "latest")
    for old in sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())[:-number]:
        shutil.rmtree(old)


def notify(config: Configuration, code: int, text: str, commit: str, report: Path) -> list[str]:
    """Tell people by all the ways that are given; return which of them have failed, in words."""
    failed = []
    for name, tell in (("webhook", post), ("e-mail", mail)):
        try:
            tell(config, code, text, commit, report)
        # smtplib's errors are OSErrors.
        except (OSError, ValueError, http.client.HTTPException) as error:
            # Not what it says: that may hold the address, which is a secret.
            failed.append(f"The {name} could not be sent: {type(error).__name__}.")
    return failed


def title_of(config: Configuration, code: int) -> str:
    """Say in two words what a run has come to."""
    return "failed" if code == FAILED else "drift repaired" if config.mode == "repair" else "drift found"


def post(config: Configuration, code: int, text: str, commit: str, report: Path) -> None:
    """Send the webhook, if there is one."""
    del report
    if secret := config.credential("webhook_url"):
        host, title = socket.gethostname(), title_of(config, code)
        document = {"title": title, "host": host, "mode": config.mode, "code": code, "commit": commit, "text": text}
        request = urllib.request.Request(  # noqa: S310
            secret.read_text(encoding="utf-8").strip(),
            json.dumps(document).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30):  # noqa: S310
            pass


def mail(config: Configuration, code: int, text: str, commit: str, report: Path) -> None:
    """Send the e-mail, if there are people for it."""
    host = socket.gethostname()
    if email := config.email:
        message = EmailMessage()
        message["Subject"] = f"campus.hubs on {host}: {title_of(config, code)}"
        message["From"], message["To"] = email.sender, ", ".join(email.to)
        lines = [text, "", f"Inventory: commit {commit or 'none'}", f"Report: {host}:{report}"]
        message.set_content("\n".join([*lines, "All that was said: journalctl --unit=campus-hubs-run"]))
        tls = ssl.create_default_context()
        server = (
            smtplib.SMTP_SSL(email.server, email.port, timeout=30, context=tls)
            if email.security == "tls"
            else smtplib.SMTP(email.server, email.port, timeout=30)
        )
        with server:
            if email.security == "starttls":
                server.starttls(context=tls)
            if email.user and (secret := config.credential("smtp_password")):
                server.login(email.user, secret.read_text(encoding="utf-8").rstrip("\n"))
            server.send_message(message)


def run(config: Configuration) -> int:
    """Do all of it and return the exit code."""
    report = Path(config.state) / "reports" / datetime.now(UTC).strftime("%Y-%m-%dT%H%M%S.%fZ")
    report.mkdir(mode=0o700, parents=True)
    commit = ""
    try:
        commit = fetch(config)
        played = play(config, report)
        if played.busy:
            shutil.rmtree(report)
            print(f"Nothing was done: another run is at work: {played.busy}.", flush=True)
            return CLEAN
        result, text = judge(config.mode, played, report)
    except RunError as error:
        result, text = FAILED, str(error)
    # A full disk, a program that is gone, a report that was cut off: people are told of that, too.
    except (OSError, ValueError, LookupError, TypeError) as error:
        result, text = (
            FAILED,
            f"The run could not be started, or left what cannot be read: {type(error).__name__}: {error}",
        )
    document = {"code": result, "text": text, "commit": commit, "mode": config.mode}
    try:
        (report / "run.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        keep(report, config.reports)
    except OSError as error:
        result, text = FAILED, f"{text}\nThe report cannot be kept: {error}"
    print(text, flush=True)
    if result != CLEAN and (failed := notify(config, result, text, commit, report)):
        print("\n".join(failed), flush=True)
        return FAILED
    return result


def stop(*_: object) -> None:
    """Say why the run ends before its time."""
    raise RunError("The run was stopped, by a person or because it took longer than scheduled_run_time_limit_seconds.")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop)
    sys.exit(run(Configuration.read(Path(sys.argv[1]))))
