"""Each role's README.md against its argument spec and defaults."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import readmes

ROLES = sorted(path.parent for path in readmes.ROLES.glob("*/tasks"))
SPEC = {
    "argument_specs": {
        "main": {
            "short_description": "Do it",
            "description": ["Uses C(tool).", "After P(campus.hubs.node#role)."],
            "options": {
                "it_size": {
                    "description": ["Of O(it_size).", "V(a|b\\)) or E(HOME)."],
                    "type": "dict",
                    "options": {"unit": {"description": "Its unit.", "choices": ["Mi", "Gi"], "default": "Mi"}},
                },
                "it_names": {"description": "Names.", "type": "list", "elements": "str", "required": True},
            },
        },
        "again": {"short_description": "Do it again", "options": {}},
    }
}


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_readme_is_of_this_spec(role: Path) -> None:
    path = role / "README.md"
    assert path.exists(), "make docs"
    assert path.read_text(encoding="utf-8") == readmes.readmes()[path], "make docs"


def test_readme_has_it_all() -> None:
    made = readmes.role_readme("it", SPEC, {"it_size": {"unit": "Gi"}})
    assert "# campus.hubs.it\n\nDo it.\n\n- Uses `tool`.\n- After [`node`](../node/README.md).\n" in made
    assert "| `it_size` | dict | `{unit: Gi}` | Of `it_size`. `a\\|b)` or `HOME`. |\n" in made
    assert "| `it_size.unit` | str | `Mi` | Its unit. One of `Mi`, `Gi`. |\n" in made
    assert "| `it_names` | list of str | required | Names. |\n" in made
    assert "## Task file `again`\n\nDo it again.\n" in made


@pytest.mark.parametrize(
    ("default", "written"),
    [
        ("", '`""`'),
        ([], "`[]`"),
        (False, "`false`"),
        ("1.36.3", "`1.36.3`"),
        ("*-*-* 03:15:00", "`'*-*-* 03:15:00'`"),
        ("{{ a\n  | b }}", "`{{ a | b }}`"),
        ([80, 443], "`[80, 443]`"),
    ],
)
def test_defaults_are_as_in_an_inventory(default: object, written: str) -> None:
    assert readmes.value(default) == written
