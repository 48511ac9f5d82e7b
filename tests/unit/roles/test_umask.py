"""Servers with a strict umask (077 or 027, as hardening guides want it): what others use, they may read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.unit.roles.role_variables import ROOT, flat

# Stands for the Python that makes an environment, and for pip in it.
PYTHON = """#!/bin/sh
mkdir --parents "$3/bin"
printf '#!/bin/sh\\nmkdir "%s/lib" && touch "%s/lib/installed"\\n' "$3" "$3" > "$3/bin/pip"
chmod u+x "$3/bin/pip"
"""
# Nothing of a file is a template, and its last line ends.
TEXT = '{"é": "{{ x }}"}\n\n'


def run(tmp_path: Path, tasks: Path, names: list[str], variables: dict[str, Any]) -> None:
    """Run some of a file's tasks on this machine, with umask 077."""
    chosen = [task for task in flat(yaml.safe_load(tasks.read_text())) if task.get("name") in names]
    assert len(chosen) == len(names)
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "vars": variables, "tasks": chosen}
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    done = subprocess.run(  # noqa: S603 (our own arguments)
        [sys.executable, "-m", "ansible.cli.playbook", "-i", "localhost,", str(tmp_path / "play.yml")],
        capture_output=True,
        text=True,
        check=False,
        umask=0o077,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def unreadable(folder: Path) -> list[Path]:
    """Return what others than its owner may not read, or not pass."""
    wanted = {path: 0o055 if path.is_dir() else 0o044 for path in folder.rglob("*")}
    assert wanted
    return [path for path, mode in wanted.items() if path.stat().st_mode & mode != mode]


def test_an_image_has_readable_folders_and_files(tmp_path: Path) -> None:
    source = tmp_path / "images" / "hub" / "etc"
    source.mkdir(parents=True)
    kernel = source / "kernel.json"
    kernel.write_text(TEXT)
    # As git leaves it where the control machine has such an umask too.
    for path in (source.parent, source, kernel):
        path.chmod(0o700 if path.is_dir() else 0o600)
    run(
        tmp_path,
        ROOT / "roles/course_images/tasks/missing.yml",
        ["Copy the image directories to the builder"],
        {
            "_course_images_source": str(tmp_path / "images"),
            "_course_images_build_directory": str(tmp_path / "build"),
            "_course_images_missing": ["hub"],
            "_course_images_directories": {"hub": ["hub"]},
            "_course_images_files": {
                "files": [{"path": str(path)} for path in (kernel, tmp_path / "images/proxy/Containerfile")]
            },
        },
    )
    assert [path for path in (tmp_path / "build").rglob("*") if path.is_file()] == [
        tmp_path / "build/images/hub/etc/kernel.json"
    ]
    assert (tmp_path / "build/images/hub/etc/kernel.json").read_text() == TEXT
    assert unreadable(tmp_path / "build") == []


def test_the_timers_user_can_run_what_is_installed(tmp_path: Path) -> None:
    (tmp_path / "python").write_text(PYTHON)
    (tmp_path / "python").chmod(0o755)
    tasks = ROOT / "roles/scheduled_run/tasks/version.yml"
    names = [task["name"] for task in yaml.safe_load(tasks.read_text())]
    run(
        tmp_path,
        tasks,
        names[names.index("Create the Python virtual environment") : names.index("Mark the version complete")],
        {
            "scheduled_run_python": str(tmp_path / "python"),
            "scheduled_run_pip_index_url": "",
            "_scheduled_run_folder": str(tmp_path / "installed"),
            "_scheduled_run_collection": "",
        },
    )
    (tmp_path / "installed").chmod(0o755)
    assert unreadable(tmp_path / "installed") == []
    assert (tmp_path / "installed/venv/bin/pip").stat().st_mode & 0o055 == 0o055
