"""The check as people meet it: the real command, the real site.yml, and nothing runs after a refusal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.constants import DEFAULT_VAULT_ID_MATCH
from ansible.parsing.vault import VaultLib, VaultSecret

from tests.unit.plugins.inventories import ROOT, WRONG

PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")
HANDFUL = ["control_plane_empty", "group_misspelt", "platform_misspelt", "pool_over_a_node", "many_at_once"]


def play(playbook: str, inventory: Path, arguments: Sequence[str] = ()) -> tuple[int, dict[str, Any]]:
    """Run a playbook of the checkout; return the exit status and what the json callback says."""
    environment = {**os.environ, "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json", "ANSIBLE_FORCE_COLOR": "0"}
    command = [str(PLAYBOOK), "-i", str(inventory), *arguments, playbook]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)  # noqa: S603
    assert "{" in done.stdout, done.stdout + done.stderr
    return done.returncode, json.loads(done.stdout[done.stdout.index("{") :])


def tasks(result: dict[str, Any]) -> list[str]:
    return [task["task"]["name"] for one in result["plays"] for task in one["tasks"]]


@pytest.mark.parametrize("name", HANDFUL)
@pytest.mark.parametrize("arguments", [[], ["--check", "--diff"]], ids=["apply", "check"])
def test_nothing_runs_after_a_refusal(name: str, arguments: list[str]) -> None:
    path = WRONG / f"{name}.yml"
    wanted = [
        line.removeprefix("# Refused: ") for line in path.read_text().splitlines() if line.startswith("# Refused: ")
    ]
    status, result = play("site.yml", path, arguments)
    assert status != 0
    assert tasks(result)[1:] == ["Validate every host's variables"]
    (host,) = result["plays"][0]["tasks"][-1]["hosts"].values()
    assert host["failed"]
    assert not host["changed"]
    for words in wanted:
        assert words in host["msg"]
    assert host["msg"].endswith("Nothing was changed.")
    assert sum(one["changed"] for one in result["stats"].values()) == 0
    assert sum(one["failures"] for one in result["stats"].values()) == 1


@pytest.mark.parametrize(
    "content", ["", "all:\n", "all: {children: {courses: {}}}\n"], ids=["nothing", "all", "courses"]
)
def test_an_empty_inventory_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "hosts.yml").write_text(content)
    status, result = play("site.yml", tmp_path / "hosts.yml")
    assert status != 0
    (host,) = result["plays"][0]["tasks"][-1]["hosts"].values()
    assert "group control_plane: found no server, expected one, or" in host["msg"]


@pytest.mark.parametrize("arguments", [["--tags", "courses"], ["--skip-tags", "courses"]], ids=" ".join)
@pytest.mark.parametrize("playbook", ["site.yml", "playbooks/drift.yml"])
def test_tags_are_refused(playbook: str, arguments: list[str]) -> None:
    status, result = play(playbook, ROOT / "inventories" / "example", arguments)
    assert status != 0
    assert tasks(result) == ["Validate --tags and --skip-tags"]
    assert "--tags or --skip-tags: found courses, expected neither" in json.dumps(result)


def test_every_playbook_refuses_tags_first() -> None:
    for path in (ROOT / "playbooks").glob("*.yml"):
        first = yaml.safe_load(path.read_text())[0]
        tasks_of = first.get("pre_tasks") or first.get("tasks")
        assert "import_playbook" in first or tasks_of[0]["ansible.builtin.import_tasks"] == "tasks/tags.yml", path.name


def test_right_inventory_passes_even_if_no_host_answers() -> None:
    status, result = play("playbooks/check_inventory.yml", ROOT / "inventories" / "example")
    assert status == 0
    (host,) = result["plays"][0]["tasks"][-1]["hosts"].values()
    assert host["msg"] == "The variables of 5 hosts are as they have to be."
    assert not host["changed"]


def test_limit_does_not_hide_a_mistake_elsewhere() -> None:
    status, result = play("playbooks/check_inventory.yml", WRONG / "many_at_once.yml", ["--limit", "python-ws26"])
    assert status != 0
    (host,) = result["plays"][0]["tasks"][-1]["hosts"].values()
    assert "stats-ws26: course_hub_hom_size: found an unknown variable" in host["msg"]


def test_command_line_counts_and_is_checked() -> None:
    inventory = ROOT / "inventories" / "example"
    assert play("playbooks/check_inventory.yml", inventory, ["-e", "course_hub_show_secret=true"])[0] == 0
    status, result = play(
        "playbooks/check_inventory.yml", inventory, ["-e", '{"course_hub_memory": {"guarantee": "1G"}}']
    )
    assert status != 0
    (host,) = result["plays"][0]["tasks"][-1]["hosts"].values()
    assert "course_hub_memory.limit: found nothing" in host["msg"]


@pytest.mark.parametrize("known", [True, False], ids=["with password", "without password"])
def test_encrypted_values_are_not_shown(tmp_path: Path, *, known: bool) -> None:
    cipher = VaultLib([(DEFAULT_VAULT_ID_MATCH, VaultSecret(b"pw"))]).encrypt("hunter2").decode()
    lines = "\n".join(f"            {line}" for line in cipher.splitlines())
    _refused, _newline, text = (WRONG / "course_variable_misspelt.yml").read_text().partition("\nall:")
    text = text.replace("course_hub_memmory: {limit: 2G}", f"course_hub_home_token: !vault |\n{lines}")
    (tmp_path / "hosts.yml").write_text(f"all:{text}")
    (tmp_path / "password").write_text("pw")
    arguments = ["--vault-password-file", str(tmp_path / "password")] if known else []
    status, result = play("playbooks/check_inventory.yml", tmp_path / "hosts.yml", arguments)
    assert status != 0
    assert "hunter2" not in json.dumps(result)
    (host,) = result["plays"][0]["tasks"][-1]["hosts"].values()
    assert "course_hub_home_token: found an unknown variable" in host["msg"]
    assert ("expression that fails" in host["msg"]) is not known
