"""Every role's defaults and argument spec agree: in names, in types, and in what the spec says the default is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

ROOT = Path(__file__).resolve().parents[3]
ROLES = sorted(path for path in (ROOT / "roles").iterdir() if (path / "tasks").is_dir())


def load(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8")) or {} if path.exists() else {}


def options_of(role: Path) -> dict[str, Any]:
    entries = load(role / "meta" / "argument_specs.yml")["argument_specs"]
    return {name: option for entry in entries.values() for name, option in (entry.get("options") or {}).items()}


def is_template(value: object) -> bool:
    if isinstance(value, Mapping):
        return any(map(is_template, value.values()))
    if isinstance(value, list):
        return any(map(is_template, value))
    return isinstance(value, str) and "{{" in value


def undescribed(options: Mapping[str, Any], path: str = "") -> list[str]:
    found = [f"{path}{name}" for name, option in options.items() if not option.get("description")]
    for name, option in options.items():
        found += undescribed(option.get("options") or {}, f"{path}{name}.")
    return found


def test_there_are_roles() -> None:
    assert len(ROLES) >= 7


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
class TestRole:
    """One role."""

    def test_names_agree(self, role: Path) -> None:
        """What has a default is in the spec, what is in the spec has a default or is required."""
        defaults, options = load(role / "defaults" / "main.yml"), options_of(role)
        required = {name for name, option in options.items() if option.get("required")}
        assert set(defaults) | required == set(options)
        assert not required & set(defaults), "a required variable with a default is never missing"

    def test_names_carry_the_role(self, role: Path) -> None:
        """So that nobody else's variable is meant."""
        assert [name for name in options_of(role) if not name.startswith(f"{role.name}_")] == []

    def test_everything_is_described(self, role: Path) -> None:
        """Every variable and every option of one says what it is."""
        assert undescribed(options_of(role)) == []

    def test_defaults_are_valid(self, role: Path) -> None:
        """A default passes the spec; templates are left to the run."""
        options, defaults = options_of(role), load(role / "defaults" / "main.yml")
        literal = {name: value for name, value in defaults.items() if not is_template(value)}
        spec = {name: option for name, option in options.items() if name in literal}
        result = ArgumentSpecValidator(spec).validate(literal, validate_role_argument_spec=True)
        assert result.error_messages == []

    def test_spec_says_the_default(self, role: Path) -> None:
        """A default in the spec is the one that holds; one that is a template cannot be said."""
        options, defaults = options_of(role), load(role / "defaults" / "main.yml")
        said = {name: option["default"] for name, option in options.items() if "default" in option}
        literal = {name: value for name, value in defaults.items() if not is_template(value)}
        assert said == literal


def test_no_file_of_a_node_changes_with_the_clock_or_the_control_machine() -> None:
    changing = re.compile(r"ansible_managed|\bnow\(|date_time|strftime|template_(host|run_date|uid)")
    found = [str(path) for path in (ROOT / "roles").glob("*/templates/*") if changing.search(path.read_text())]
    assert found == []
