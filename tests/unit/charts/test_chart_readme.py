"""The chart's README.md against its values and their schema."""

from __future__ import annotations

from tests import readmes

SCHEMA = {
    "required": ["size", "hosts"],
    "properties": {
        "size": {"$ref": "#/$defs/size", "description": "Of it."},
        "hosts": {"description": "Hosts.", "type": "array", "minItems": 1, "items": {"$ref": "#/$defs/host"}},
        "names": {"description": "Names.", "type": "object", "additionalProperties": {"$ref": "#/$defs/host"}},
        "a": {"description": "A.", "type": "object", "properties": {"b": {"description": "B|C.", "type": "boolean"}}},
    },
    "$defs": {
        "number": {"type": ["string", "integer"], "minLength": 1},
        "size": {"$ref": "#/$defs/number", "description": "In bytes."},
        "host": {
            "type": "object",
            "required": ["name"],
            "properties": {
                "name": {"description": "Name.", "type": "string"},
                "kind": {"description": "Kind.", "enum": ["x", "y"]},
            },
        },
    },
}
VALUES = """\
# For all.
#
# - It is **so**.

# Not this.
size: 1Gi
hosts: []
names: {}
a: {b: true}
"""


def test_readme_is_of_these_values() -> None:
    path = readmes.CHART / "README.md"
    assert path.read_text(encoding="utf-8") == readmes.readmes()[path], "make docs"


def test_readme_has_it_all() -> None:
    made = readmes.chart_readme({"name": "it", "description": "Does it"}, SCHEMA, VALUES)
    assert "# it\n\nDoes it.\n\nFor all.\n\n- It is **so**.\n\n## Values\n" in made
    assert [line for line in made.splitlines() if line.startswith("| `")] == [
        "| `size` | string or integer | `1Gi` | Of it. In bytes. |",
        "| `hosts` | array of object | required | Hosts. |",
        "| `hosts[].name` | string | required | Name. |",
        "| `hosts[].kind` | string | | Kind. One of `x`, `y`. |",
        "| `names` | object of object | `{}` | Names. |",
        "| `names.*.name` | string | required | Name. |",
        "| `names.*.kind` | string | | Kind. One of `x`, `y`. |",
        "| `a` | object | | A. |",
        "| `a.b` | boolean | `true` | B\\|C. |",
    ]
