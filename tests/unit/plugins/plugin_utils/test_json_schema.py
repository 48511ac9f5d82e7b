"""Our reading of JSON Schema, against a library's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import yaml
from ansible.utils.vars import merge_hash
from ansible_collections.campus.hubs.plugins.plugin_utils.json_schema import violations

from tests.unit.plugins.inventories import ROOT

CHART = ROOT / "charts" / "course-hub"
FILES = {
    "chart": CHART / "values.schema.json",
    "traits": ROOT / "roles" / "course_hub" / "files" / "hub_traits.json",
}
SCHEMAS: dict[str, dict[str, Any]] = {name: json.loads(path.read_text()) for name, path in FILES.items()}
OTHERS: list[Any] = [None, True, 0, 1, -1, 1.5, 1.0, "", "a", "2G", "/a", [], [1], ["a"], {}, {"a": 1}]


def schemas_in(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a schema and all schemas in it."""
    yield schema
    for word in ("properties", "$defs"):
        for inner in schema.get(word, {}).values():
            yield from schemas_in(inner)
    for word in ("items", "additionalProperties", "propertyNames"):
        if isinstance(schema.get(word), dict):
            yield from schemas_in(schema[word])
    for inner in schema.get("anyOf", ()):
        yield from schemas_in(inner)


def places(value: object) -> Iterator[tuple[Any, Any]]:
    """Yield all places in a value: their container and their key."""
    if not isinstance(value, (dict, list)):
        return
    for key in value if isinstance(value, dict) else range(len(value)):
        yield value, key
        yield from places(value[key])


@pytest.mark.parametrize("name", SCHEMAS)
def test_all_parts_judge_as_the_library_does(name: str) -> None:
    root = SCHEMAS[name]
    for part in schemas_in(root):
        library = jsonschema.Draft202012Validator({"$defs": root["$defs"], **part})
        for value in OTHERS:
            assert (not list(violations(value, part, root))) == library.is_valid(value), (part, value)


@pytest.mark.parametrize("values", ["full", "internal"])
def test_whole_values_judge_as_the_library_does(values: str) -> None:
    schema = SCHEMAS["chart"]
    library = jsonschema.Draft202012Validator(schema)
    whole = yaml.safe_load((CHART / "values.yaml").read_text())
    more = yaml.safe_load((ROOT / "tests" / "unit" / "charts" / "values" / f"{values}.yaml").read_text())
    whole = merge_hash(whole, more)
    assert not list(violations(whole, schema, schema))
    found = list(places(whole))
    assert len(found) > 100
    for container, key in found:
        before = container[key]
        for value in (None, True, -1, 1.5, "x y", [1], {"unknown": 1}):
            container[key] = value
            assert (not list(violations(whole, schema, schema))) == library.is_valid(whole), (key, value)
        container[key] = before


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "integer"}, 1e308),
        ({"type": "integer"}, True),
        ({"type": "integer"}, float("inf")),
        ({"type": "string", "pattern": "^[a-z]+$"}, "a\n"),
        ({"type": "string", "pattern": "^\\d$"}, "٣"),
        ({"enum": [1]}, True),
    ],
)
def test_what_python_takes_and_others_do_not(schema: dict[str, Any], value: object) -> None:
    assert list(violations(value, schema, schema))


def test_an_unknown_keyword_is_an_error() -> None:
    with pytest.raises(ValueError, match="oneOf"):
        list(violations(1, {"oneOf": []}, {}))
