"""What the inventory check knows of the hub's classes, against the classes."""

from __future__ import annotations

import json
from typing import Any

import pytest
import traitlets
from ansible_collections.campus.hubs.plugins.plugin_utils.json_schema import violations
from traitlets.config import Config

from tests import hub_traits

SCHEMA = json.loads(hub_traits.FILE.read_text())
CLASSES = hub_traits.classes()
# What people write, of each type, and what is wrong in the next place.
PROBES: list[Any] = [
    *(None, True, False, 0, 1, -1, 7, 1.5, 2**40, "", "x", "7", "2G", "512M", "2Gi", "DEBUG", "safe", "/srv"),
    *([], ["x"], [1], [True], [None], [{}], [["x"]], ["x", 1], {}, {"a": "b"}, {"a": 1}, {"a": None}, {"a": ["b"]}),
    *({"a": {"b": "c"}}, {"a": {}}),
]


def accepted(cls: type[traitlets.HasTraits], name: str, value: object) -> bool:
    """Tell whether a class takes a value from its configuration, as it does when a hub starts."""
    trait = cls.class_traits()[name]
    try:
        trait._validate(traitlets.HasTraits(), Config({"x": value})["x"])
    except (traitlets.TraitError, ImportError, AttributeError, ValueError, TypeError):
        return False
    return True


SETTINGS = [
    pytest.param(cls, name, id=f"{cls.__name__}.{name}")
    for cls in CLASSES
    for name in sorted(cls.class_own_traits(config=True))
]


def test_the_file_is_of_these_versions() -> None:
    assert hub_traits.schema() == SCHEMA, "python tests/hub_traits.py > roles/course_hub/files/hub_traits.json"


@pytest.mark.parametrize(("cls", "name"), SETTINGS)
def test_what_the_check_takes_the_class_takes(cls: type[traitlets.HasTraits], name: str) -> None:
    taken = [value for value in PROBES if not list(violations({cls.__name__: {name: value}}, SCHEMA, SCHEMA))]
    assert [value for value in taken if not accepted(cls, name, value)] == []
    default = cls.class_traits()[name].default_value
    if isinstance(default, (bool, int, float, str)):
        assert not list(violations({cls.__name__: {name: default}}, SCHEMA, SCHEMA)), default
