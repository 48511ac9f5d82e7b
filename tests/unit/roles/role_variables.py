"""A role's tasks, and what its own variables come to with given facts, computed by Ansible's templating."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

ROOT = Path(__file__).resolve().parents[3]


def _templar(role: str, variables: dict[str, Any]) -> Templar:
    loader = DataLoader()
    loader.set_basedir(str(ROOT / "roles" / role / "templates"))  # for what a template includes
    known: dict[str, Any] = {"role_path": str(ROOT / "roles" / role)}
    for folder in ("defaults", "vars"):
        for path in sorted((ROOT / "roles" / role / folder).rglob("*.yml")):
            known |= loader.load_from_file(str(path), trusted_as_template=True)
    return Templar(loader=loader, variables=known | variables)


def compute(role: str, expression: str, variables: dict[str, Any]) -> Any:  # noqa: ANN401 (a variable can be anything)
    """Return an expression's value with the role's defaults and internal variables, and with others above them."""
    return _templar(role, variables).template(trust_as_template(f"{{{{ {expression} }}}}"))


def render(role: str, template: str, variables: dict[str, Any]) -> str:
    """Return a role's template, with variables as for `compute`."""
    text = (ROOT / "roles" / role / "templates" / template).read_text()
    return str(_templar(role, variables).template(trust_as_template(text)))


def flat(tasks: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Return the tasks of a file, those in blocks too."""
    for task in tasks:
        yield task
        for part in ("block", "rescue", "always"):
            yield from flat(task.get(part, []))
