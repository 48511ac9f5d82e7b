# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The part of JSON Schema (draft 2020-12) that our own schemas use.

A library for it would be one more package on each control machine. A keyword that is not known here is an error, so
that no schema is half checked. Messages say what a schema's `title` says; `description` is for people's documentation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.campus.hubs.plugins.plugin_utils.inventory_model import did_you_mean

Schema = Mapping[str, Any]

_TYPES: dict[str, tuple[str, tuple[type, ...]]] = {
    "object": ("a dictionary", (Mapping,)),
    "array": ("a list", (list, tuple)),
    "string": ("text", (str,)),
    "integer": ("a whole number", (int,)),
    "number": ("a number", (int, float)),
    "boolean": ("true or false", (bool,)),
    "null": ("nothing", (type(None),)),
}
MOST = 2**53
MOST_NAMES = 40
_KNOWN = frozenset(
    {"$schema", "$defs", "$ref", "type", "enum", "anyOf", "title", "description"}
    | {"properties", "required", "additionalProperties", "propertyNames"}
    | {"items", "minItems", "maxItems", "pattern", "minLength", "maxLength"}
    | {"minimum", "maximum", "exclusiveMinimum"}
)


class Violation(NamedTuple):
    """Where a value is not as its schema has it.

    Attributes:
        path: keys and indexes from the root.
        found: the value there, or a word for what is wrong with it.
        expected: in words.
        fix: see `refusal`.
    """

    path: tuple[str | int, ...]
    found: object
    expected: str
    fix: str = ""


class Word(str):
    """What is said in place of a value."""

    __slots__ = ()


def violations(value: object, schema: Schema, root: Schema, path: tuple[str | int, ...] = ()) -> Iterator[Violation]:
    """Find what is wrong with a value.

    Args:
        value: anything that JSON can hold.
        schema: what holds for it.
        root: the document with `$defs`.
        path: where the value is.

    Raises:
        ValueError: the schema has a keyword that is not known here.
    """
    if unknown := set(schema) - _KNOWN:
        message = f"keywords that are not checked: {', '.join(sorted(unknown))}"
        raise ValueError(message)
    if "$ref" in schema:
        yield from violations(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root, path)
    if "anyOf" in schema:
        yield from _check_any(value, schema, root, path)
    types = schema.get("type") or ()
    types = [types] if isinstance(types, str) else types
    if types and not any(_is(name, value) for name in types):
        yield Violation(path, value, in_words(schema, root))
        return
    if "enum" in schema and not _is_one_of(value, schema["enum"]):
        expected = f"one of {', '.join(str(option) for option in schema['enum'])}"
        yield Violation(path, value, expected, did_you_mean(str(value), [str(option) for option in schema["enum"]]))
    elif isinstance(value, str):
        yield from _check_text(value, schema, path)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield from _check_number(value, schema, path)
    elif isinstance(value, Mapping):
        yield from _check_object(value, schema, root, path)
    elif isinstance(value, (list, tuple)):
        yield from _check_array(value, schema, root, path)


def _check_any(value: object, schema: Schema, root: Schema, path: tuple[str | int, ...]) -> Iterator[Violation]:
    found = [list(violations(value, part, root, path)) for part in schema["anyOf"]]
    if all(found):
        # Where one of them only has something against a part of the value, that one is meant.
        inner = [wrong for wrong in found if all(len(one.path) > len(path) for one in wrong)]
        yield from inner[0] if len(inner) == 1 else [Violation(path, value, in_words(schema, root))]


def _is_one_of(value: object, options: Sequence[object]) -> bool:
    # To Python true is 1.
    return any(option == value and isinstance(option, bool) is isinstance(value, bool) for option in options)


def in_words(schema: Schema, root: Schema) -> str:
    """Return what a schema wants, for a message."""
    if "$ref" in schema:
        return in_words(root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root)
    if "enum" in schema:
        return f"one of {', '.join(str(option) for option in schema['enum'])}"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(in_words(part, root) for part in schema["anyOf"]))
    types = schema.get("type") or ()
    types = [types] if isinstance(types, str) else types
    words = " or ".join(_TYPES[name][0] for name in types)
    if "title" in schema:
        return str(schema["title"])
    if schema.get("properties") and types == ["object"]:
        return f"a dictionary with {', '.join(sorted(schema['properties']))}"
    return words or "something else"


def _is(name: str, value: object) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    if name == "integer" and isinstance(value, (int, float)):
        # Beyond that, what reads numbers as floating point (helm does) changes them.
        return float(value).is_integer() and abs(value) <= MOST
    return isinstance(value, _TYPES[name][1])


def _check_text(value: str, schema: Schema, path: tuple[str | int, ...]) -> Iterator[Violation]:
    least, most = schema.get("minLength", 0), schema.get("maxLength")
    if len(value) < least or (most is not None and len(value) > most):
        yield Violation(path, value, "text that is not empty" if least == 1 else f"{least} to {most} characters")
    # In Python $ stands for the place before a line's end as well, not in JSON Schema (ECMA-262).
    elif "pattern" in schema and not re.search(re.sub(r"(?<!\\)\$", r"\\Z", schema["pattern"]), value, re.ASCII):
        yield Violation(path, value, schema.get("title") or f"text of the form {schema['pattern']}")


def _check_number(value: float, schema: Schema, path: tuple[str | int, ...]) -> Iterator[Violation]:
    if value < schema.get("minimum", value):
        yield Violation(path, value, f"at least {schema['minimum']}")
    elif value > schema.get("maximum", value):
        yield Violation(path, value, f"at most {schema['maximum']}")
    elif "exclusiveMinimum" in schema and value <= schema["exclusiveMinimum"]:
        yield Violation(path, value, f"more than {schema['exclusiveMinimum']}")


def _check_object(
    value: Mapping[str, Any], schema: Schema, root: Schema, path: tuple[str | int, ...]
) -> Iterator[Violation]:
    known = schema.get("properties") or {}
    others = schema.get("additionalProperties", True)
    hints = set()
    for name, part in value.items():
        if name in known:
            yield from violations(part, known[name], root, (*path, name))
        elif others is False:
            hints.add(hint := did_you_mean(str(name), known))
            yield Violation((*path, name), Word("an unknown name"), _names(known), hint)
        elif isinstance(others, Mapping):
            yield from violations(part, others, root, (*path, name))
        for wrong in violations(str(name), schema.get("propertyNames") or {}, root):
            yield Violation((*path, name), Word("a name that cannot be there"), wrong.expected)
    for name in schema.get("required") or ():
        if name not in value and f"Did you mean {name}?" not in hints:
            yield Violation((*path, name), Word("nothing"), in_words(known.get(name) or {}, root))


def _names(known: Mapping[str, object]) -> str:
    return f"one of {', '.join(sorted(known))}" if len(known) <= MOST_NAMES else f"one of the {len(known)} names there"


def _check_array(
    value: Sequence[Any], schema: Schema, root: Schema, path: tuple[str | int, ...]
) -> Iterator[Violation]:
    least, most = schema.get("minItems", 0), schema.get("maxItems")
    if len(value) < least:
        yield Violation(path, value, f"at least {least} in the list")
    elif most is not None and len(value) > most:
        yield Violation(path, value, f"at most {most} in the list")
    for index, item in enumerate(value):
        yield from violations(item, schema.get("items") or {}, root, (*path, index))
