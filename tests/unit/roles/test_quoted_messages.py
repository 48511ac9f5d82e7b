"""What docs/troubleshooting.md and docs/moodle.md quote is what the programs say."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
FOLDERS = ("roles", "plugins", "playbooks", "charts", "images")
QUOTED = re.compile(r'"([^"\n]+)"')
# Dots stand for what differs; sentences may come from different places.
BREAKS = re.compile(r"\.{3}|(?<=[.:]) ")
LEAST = 3


def constants(text: str) -> list[str]:
    """Return the texts of a Python file, those that are written in several parts as one."""
    nodes = ast.walk(ast.parse(text))
    return [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def said() -> str:
    """Return all that programs may say, each text on a line of its own."""
    found: list[str] = []
    for path in (path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*"))):
        if path.suffix == ".py":
            found += constants(path.read_text(encoding="utf-8"))
        elif path.suffix in {".yml", ".html"} and path.parent.name != "meta":
            found.append(path.read_text(encoding="utf-8"))
    return "\n".join(" ".join(text.split()) for text in found)


def fragments(text: str) -> list[str]:
    """Return the parts of all quotations that stand in the programs as they are."""
    parts = [part.strip() for quoted in QUOTED.findall(text) for part in BREAKS.split(quoted)]
    return sorted({part for part in parts if len(part) >= LEAST})


SAID = said()


@pytest.mark.parametrize(
    ("page", "least"), [("troubleshooting.md", 90), ("moodle.md#When it does not work", 6)], ids=str
)
def test_quotations_are_what_programs_say(page: str, least: int) -> None:
    name, _, section = page.partition("#")
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    quoted = fragments(text.partition(f"## {section}\n")[2] if section else text)
    assert len(quoted) >= least
    assert [part for part in quoted if part not in SAID] == []


def test_a_quotation_that_nobody_says_is_found() -> None:
    assert fragments('"The inventory has ... mistakes, all in all"') == ["The inventory has", "mistakes, all in all"]
    assert "The inventory has" in SAID
    assert "mistakes, all in all" not in SAID
