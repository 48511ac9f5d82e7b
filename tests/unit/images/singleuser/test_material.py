"""Teaching material: real repositories, real git; whatever goes wrong, the server starts and its user is told."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from campus_hubs_lab import material

from tests.unit.images.singleuser.grading_lab import SOURCE

PROBLEM = ".campus-hubs/material-problem"


def git(folder: Path, *arguments: str) -> None:
    command = ["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@example.edu", *arguments]
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "material.git"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    for number in range(3):
        commit(folder, "intro.txt", f"version {number}\nmiddle\nend\n")
    return folder


def commit(folder: Path, name: str, content: str) -> None:
    (folder / name).write_text(content)
    git(folder, "add", name)
    git(folder, "commit", "-q", "-m", name)


def fetch(home: Path, url: str, **environment: str) -> str:
    """Run it as the pod does; return the problem that the user reads, '' if there is none."""
    home.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "campus_hubs_lab.material"],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(SOURCE),
            "HOME": str(home),
            "MATERIAL_GIT": url,
            **environment,
        },
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    note = home / PROBLEM
    return note.read_text() if note.exists() else ""


def test_clone_then_merge_what_both_have_changed(repository: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    url = f"file://{repository}"
    assert fetch(home, url) == ""
    folder = home / "material"
    assert (folder / "intro.txt").read_text() == "version 2\nmiddle\nend\n"
    log = subprocess.run(["git", "-C", str(folder), "log", "--oneline"], check=True, capture_output=True, text=True)  # noqa: S603, S607
    assert len(log.stdout.splitlines()) == 1
    (folder / "intro.txt").write_text("version 2\nmiddle\nmine\n")
    commit(repository, "second.txt", "new")
    commit(repository, "intro.txt", "version 3\nmiddle\nend\n")
    assert fetch(home, url) == ""
    assert (folder / "second.txt").read_text() == "new"
    assert "mine" in (folder / "intro.txt").read_text()


def test_branch_and_folder(repository: Path, tmp_path: Path) -> None:
    git(repository, "checkout", "-q", "-b", "winter")
    commit(repository, "winter.txt", "cold")
    git(repository, "checkout", "-q", "main")
    home = tmp_path / "home"
    assert fetch(home, f"file://{repository}", MATERIAL_BRANCH="winter", MATERIAL_DIR="week1/notes") == ""
    assert (home / "week1/notes/winter.txt").exists()


def test_nothing_is_wanted(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / ".campus-hubs").mkdir(parents=True)
    (home / PROBLEM).write_text("of yesterday")
    assert fetch(home, "") == ""


def test_a_problem_is_said_and_goes_away(repository: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    url = f"file://{repository}"
    assert "its branch is not there" in fetch(home, url, MATERIAL_BRANCH="summer")
    moved = repository.rename(tmp_path / "elsewhere.git")
    assert "the repository is not there" in fetch(home, url)
    moved.rename(repository)
    assert fetch(home, url) == ""


def test_a_server_that_never_answers(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://user:secret-word@127.0.0.1:{silent.getsockname()[1]}/m.git?token=secret-word"
        began = time.monotonic()
        problem = fetch(tmp_path / "home", url, MATERIAL_SECONDS="2")
    assert "it took too long" in problem
    assert time.monotonic() - began < 20
    assert "secret-word" not in problem


def test_a_folder_of_the_user_s_own(repository: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "material").mkdir(parents=True)
    (home / "material" / "mine.txt").write_text("mine")
    assert "could not be updated" in fetch(home, f"file://{repository}")
    assert (home / "material" / "mine.txt").read_text() == "mine"


def test_only_into_the_home(repository: Path, tmp_path: Path) -> None:
    assert "would not lie in your home" in fetch(tmp_path / "home", f"file://{repository}", MATERIAL_DIR="../out")
    assert not (tmp_path / "out").exists()


def test_a_deploy_key_is_used_and_only_known_hosts_are_trusted(tmp_path: Path) -> None:
    keys, place = tmp_path / "keys", tmp_path / "place"
    keys.mkdir()
    place.mkdir()
    assert material.ssh_command(keys, place) is None
    (keys / "ssh-privatekey").write_text("KEY\r")
    command = material.ssh_command(keys, place)
    assert command
    assert (place / "key").read_text() == "KEY\n"
    assert (place / "key").stat().st_mode & 0o777 == 0o600
    assert "StrictHostKeyChecking=yes" in command
    assert f"UserKnownHostsFile={keys / 'known_hosts'}" in command


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://git.example.edu/python/material.git", "material"),
        ("git@git.example.edu:python/notes.git", "notes"),
        ("https://git.example.edu/python/material/", "material"),
        ("https://git.example.edu/..", "material"),
    ],
)
def test_the_folder_s_name(url: str, name: str) -> None:
    assert material.folder_name(url) == name


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://u:p@git.example.edu/m.git?private_token=x", "https://git.example.edu/m.git"),
        ("git@git.example.edu:m.git", "git.example.edu:m.git"),
    ],
)
def test_no_secrets_are_shown(url: str, shown: str) -> None:
    assert material.shown_url(url) == shown
    assert material.without_secrets(f"fatal: unable to access '{url}'").count(":p@") == 0
