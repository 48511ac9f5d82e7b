"""Write the README.md of each role and of the chart: `python tests/readmes.py`, or `make docs`.

A role's is made of its argument spec and its defaults, the chart's of its values.schema.json and its values.yaml. Unit
tests compare the files with what this makes.
"""

from __future__ import annotations

import itertools
import json
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).resolve().parents[1]
ROLES: Final = ROOT / "roles"
CHART: Final = ROOT / "charts" / "course-hub"
COLLECTION: Final = "campus.hubs"
WIDTH: Final = 150
# Ansible's markup: the older macros end at the first parenthesis, the semantic ones can escape it.
_CODE: Final = re.compile(r"\b(?:C\(([^)]*)\)|[EOV]\(((?:\\.|[^\\)])*)\))")
_PLUGIN: Final = re.compile(rf"\bP\({re.escape(COLLECTION)}\.(\w+)#role\)")

Options = Mapping[str, Mapping[str, Any]]
Schema = Mapping[str, Any]


def markdown(text: str) -> str:
    """Return a description with Ansible's markup as Markdown; roles of the collection become links.

    Args:
        text: one paragraph.

    """
    linked = _PLUGIN.sub(r"[`\1`](../\1/README.md)", text)
    return _CODE.sub(lambda match: _code(match[1] or re.sub(r"\\(.)", r"\1", match[2] or "")), linked)


def _code(text: str) -> str:
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def paragraphs(description: str | Sequence[str]) -> list[str]:
    """Return a description's paragraphs, each on one line; the spec may have a text or a list."""
    parts = [description] if isinstance(description, str) else description
    return [markdown(" ".join(part.split())) for part in parts]


def value(default: object) -> str:
    """Return a default as an inventory has it: YAML on one line, a template as it stands."""
    if isinstance(default, str) and "{{" in default:
        return _code(" ".join(default.split()))
    if default == "":
        return '`""`'
    text = yaml.safe_dump(default, default_flow_style=True, width=10**6, sort_keys=False)
    return _code(text.removesuffix("...\n").strip())


def type_of(option: Mapping[str, Any]) -> str:
    """Return an option's type, and that of a list's elements."""
    name = option.get("type", "str")
    return f"{name} of {option['elements']}" if "elements" in option else str(name)


def rows(options: Options, defaults: Mapping[str, object], path: str = "") -> Iterator[list[str]]:
    """Return the cells of each variable and, below it, of each of its options.

    Args:
        options: of an argument spec.
        defaults: of the role, by variable; options of a variable have theirs in the spec.
        path: of the variable that these are options of, with a dot at the end.

    """
    for name, option in options.items():
        known = option if path else {**option, **({"default": defaults[name]} if name in defaults else {})}
        default = "required" if option.get("required") else value(known["default"]) if "default" in known else ""
        words = paragraphs(option["description"])
        if choices := option.get("choices"):
            words.append(f"One of {', '.join(map(value, choices))}.")
        yield [f"`{path}{name}`", type_of(option), default, " ".join(words)]
        yield from rows(option.get("options") or {}, {}, f"{path}{name}.")


def table(first: str, lines: Iterable[Sequence[str]]) -> list[str]:
    """Return a Markdown table as lines.

    Args:
        first: heading of the first column.
        lines: the cells of each.

    """
    made = [f"| {first} | type | default | description |", "|---|---|---|---|"]
    for cells in lines:
        made.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |".replace("|  |", "| |"))
    return made


def role_readme(name: str, spec: Mapping[str, Any], defaults: Mapping[str, object]) -> str:
    """Return a role's README.md.

    Args:
        name: of the role.
        spec: content of its meta/argument_specs.yml.
        defaults: content of its defaults/main.yml.

    """
    lines = ["<!-- Written by `make docs` from meta/argument_specs.yml and defaults/main.yml. -->", ""]
    written: dict[str, Options] = {}
    for entry, content in spec["argument_specs"].items():
        options: Options = content.get("options") or {}
        title = f"# {COLLECTION}.{name}" if entry == "main" else f"## Task file `{entry}`"
        lines += [title, "", f"{markdown(content['short_description'])}.", ""]
        for part in paragraphs(content.get("description") or []):
            lines += textwrap.wrap(
                part, WIDTH, initial_indent="- ", subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
            )
        same = next((other for other, known in written.items() if known == options), "")
        if same:
            lines += ["", f"It takes the variables of `{same}`.", ""]
        else:
            lines += ["", *(["## Variables", ""] if entry == "main" else [])]
            lines += [*table("variable", rows(options, defaults)), ""]
        written[entry] = options
    lines.append("Where the role stands among the others: [docs/architecture.md](../../docs/architecture.md).")
    return "\n".join(lines) + "\n"


def resolved(part: Schema, root: Schema) -> Schema:
    """Return a schema together with the one that it refers to; of two descriptions the nearer one comes first.

    Args:
        part: of a JSON Schema.
        root: the document with `$defs`.

    """
    if "$ref" not in part:
        return part
    target = resolved(root["$defs"][part["$ref"].removeprefix("#/$defs/")], root)
    words = " ".join(each["description"] for each in (part, target) if "description" in each)
    return {**target, **part, "description": words}


def json_type(part: Schema, root: Schema) -> str:
    """Return a value's type in JSON's words, and that of what is in it; choices are text."""
    kinds = part.get("type", "string")
    name = kinds if isinstance(kinds, str) else " or ".join(kinds)
    inner = part.get("items") or part.get("additionalProperties")
    return f"{name} of {json_type(resolved(inner, root), root)}" if inner else name


def default_of(known: Schema, default: Any, *, needed: bool) -> str:  # noqa: ANN401 - a value can be anything
    """Return a value's default as an inventory has it.

    Args:
        known: its schema.
        default: as in values.yaml; None: none.
        needed: whether it has to be there.

    Returns:
        `required` where the default is none, or shorter than the schema takes; nothing for an object of known values,
        which have theirs.

    """
    if default is None:
        return "required" if needed else ""
    least = known.get("minLength", known.get("minItems", 0))
    if least and len(default) < least:
        return "required"
    return "" if "properties" in known else value(default)


def value_rows(part: Schema, root: Schema, defaults: Mapping[str, Any], path: str = "") -> Iterator[list[str]]:
    """Return the cells of each value and, below it, of each value in it.

    Args:
        part: schema of the values.
        root: the document with `$defs`.
        defaults: as in values.yaml.
        path: of the object that has these values, with a dot at the end; `[]` is each item of a list, `*` any name.

    """
    for name, given in part.get("properties", {}).items():
        known = resolved(given, root)
        words = [known.get("description", "")]
        choices = known.get("enum") or known.get("items", {}).get("enum") or []
        if choices:
            words.append(f"One of {', '.join(map(value, choices))}.")
        default = default_of(known, defaults.get(name), needed=name in part.get("required", ()))
        yield [f"`{path}{name}`", json_type(known, root), default, " ".join(words)]
        yield from value_rows(known, root, defaults.get(name) or {}, f"{path}{name}.")
        for word, sign in (("items", "[]"), ("additionalProperties", ".*")):
            if known.get(word):
                yield from value_rows(resolved(known[word], root), root, {}, f"{path}{name}{sign}.")


def chart_readme(about: Mapping[str, Any], schema: Schema, values: str) -> str:
    """Return a chart's README.md.

    Args:
        about: content of its Chart.yaml.
        schema: content of its values.schema.json.
        values: text of its values.yaml; the comment at its top is Markdown, and what comes before the table.

    """
    intro = itertools.takewhile(lambda line: line.startswith("#"), values.splitlines())
    lines = ["<!-- Written by `make docs` from values.schema.json and values.yaml. -->", ""]
    lines += [f"# {about['name']}", "", f"{about['description']}.", ""]
    lines += [line.removeprefix("#").removeprefix(" ") for line in intro]
    lines += ["", "## Values", "", *table("value", value_rows(schema, schema, yaml.safe_load(values))), ""]
    lines.append(
        "What an inventory says of a course, and how it becomes these values: [docs/courses.md](../../docs/courses.md)."
    )
    return "\n".join(lines) + "\n"


def readmes() -> dict[Path, str]:
    """Return what each README.md has to hold, by its path."""
    found = {}
    for path in sorted(ROLES.glob("*/meta/argument_specs.yml")):
        role = path.parents[1]
        spec, defaults = (
            yaml.safe_load(file.read_text(encoding="utf-8")) or {} for file in (path, role / "defaults" / "main.yml")
        )
        found[role / "README.md"] = role_readme(role.name, spec, defaults)
    about, schema, values = (
        (CHART / name).read_text(encoding="utf-8") for name in ("Chart.yaml", "values.schema.json", "values.yaml")
    )
    found[CHART / "README.md"] = chart_readme(yaml.safe_load(about), json.loads(schema), values)
    return found


if __name__ == "__main__":
    for file, text in readmes().items():
        file.write_text(text, encoding="utf-8")
