"""Write each role's README.md from its argument spec and its defaults: `python tests/role_readmes.py`, or `make docs`.

A unit test compares the files with what this makes.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).resolve().parents[1]
ROLES: Final = ROOT / "roles"
COLLECTION: Final = "campus.hubs"
WIDTH: Final = 150
# Ansible's markup: the older macros end at the first parenthesis, the semantic ones can escape it.
_CODE: Final = re.compile(r"\b(?:C\(([^)]*)\)|[EOV]\(((?:\\.|[^\\)])*)\))")
_PLUGIN: Final = re.compile(rf"\bP\({re.escape(COLLECTION)}\.(\w+)#role\)")

Options = Mapping[str, Mapping[str, Any]]


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


def table(options: Options, defaults: Mapping[str, object]) -> list[str]:
    """Return a table of variables as lines."""
    lines = ["| variable | type | default | description |", "|---|---|---|---|"]
    for cells in rows(options, defaults):
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |".replace("|  |", "| |"))
    return lines


def readme(name: str, spec: Mapping[str, Any], defaults: Mapping[str, object]) -> str:
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
            lines += ["", *(["## Variables", ""] if entry == "main" else []), *table(options, defaults), ""]
        written[entry] = options
    lines.append("Where the role stands among the others: [docs/architecture.md](../../docs/architecture.md).")
    return "\n".join(lines) + "\n"


def readmes() -> dict[Path, str]:
    """Return what each role's README.md has to hold, by its path."""
    found = {}
    for path in sorted(ROLES.glob("*/meta/argument_specs.yml")):
        role = path.parents[1]
        spec, defaults = (
            yaml.safe_load(file.read_text(encoding="utf-8")) or {} for file in (path, role / "defaults" / "main.yml")
        )
        found[role / "README.md"] = readme(role.name, spec, defaults)
    return found


if __name__ == "__main__":
    for file, text in readmes().items():
        file.write_text(text, encoding="utf-8")
