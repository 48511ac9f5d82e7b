# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Variables against the roles' argument specs."""

from __future__ import annotations

import datetime
import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.common.parameters import DEFAULT_TYPE_VALIDATORS
from ansible_collections.campus.hubs.plugins.plugin_utils.inventory_files import QUOTES
from ansible_collections.campus.hubs.plugins.plugin_utils.inventory_model import (
    CLUSTER,
    CONTROL_PLANE,
    COURSES,
    IMAGE_BUILDERS,
    OPS,
    WORKERS,
    Host,
    Inventory,
    Mistake,
    did_you_mean,
    show,
)
from ansible_collections.campus.hubs.plugins.plugin_utils.variable_forms import SWITCHES

Spec = Mapping[str, Any]

_NODES = frozenset({CLUSTER, CONTROL_PLANE, WORKERS})
# Whose variables a role reads.
ROLE_GROUPS: dict[str, frozenset[str]] = {
    "node": _NODES,
    "containerd": _NODES,
    "kubeadm": _NODES,
    "calico": frozenset({CONTROL_PLANE}),
    "storage": frozenset({CONTROL_PLANE}),
    "load_balancer": frozenset({CONTROL_PLANE}),
    "course_images": frozenset({CONTROL_PLANE, IMAGE_BUILDERS}),
    "course_hub": frozenset({COURSES}),
    "scheduled_run": frozenset({CONTROL_PLANE, OPS}),
}
# These words begin other people's variables as well (node_exporter_version): only what looks like ours is refused.
COMMON_WORDS = frozenset({"node", "storage"})
# A variable without our words is somebody else's, unless it is one of ours but for a letter (kubadm_version).
NEARLY_THE_SAME = 0.92
# Old name to new name; an entry stays for one major release.
RENAMED: dict[str, str] = {}
# Decisions for one run. In a file they would be taken on every run.
COMMAND_LINE_ONLY: dict[str, str] = {
    "course_hub_confirm_removals": "it lets half a course leave, on every run if it is in a file",
    "course_hub_delete_data": "it deletes people's work, on every run if it is in a file",
    "course_hub_show_secret": "it prints shared secrets, on every run if it is in a file",
}
_TYPES = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list",
    "dict": "a dictionary",
    "path": "a path",
}
# What 64 bits hold, as Jinja writes it into YAML, which takes 010 for 8.
_FORMS = {
    "int": r"[-+]?(0|[1-9][0-9]{0,17})",
    "float": r"[-+]?((0|[1-9][0-9]{0,17})(\.[0-9]{0,18})?|\.[0-9]{1,18})",
}
_CLASSES = {"str": (str, int, float), "path": (str, int, float), "list": (list, tuple), "dict": (Mapping,)}
# A line of a file at the longest; a process takes no longer text as argument or environment variable (execve(2)).
LONGEST = 100_000
_LINES = (
    *("course_hub_ca_certificates", "node_ca_certificates"),
    *("scheduled_run_allowed_signers", "scheduled_run_known_hosts"),
)
QUOTED_NAME = "use another name, or quotes: on, yes, null, numbers and dates are no names to YAML without them"


@dataclass(frozen=True)
class RoleSpec:
    """One role's argument spec.

    Attributes:
        name: the role, without the collection's name.
        options: variable to its spec, of all entry points.
        required: variables without which the main entry point fails.
    """

    name: str
    options: Mapping[str, Spec]
    required: frozenset[str] = field(default_factory=frozenset)

    @classmethod
    def parse(cls, name: str, document: Mapping[str, Any]) -> RoleSpec:
        """Read the content of a role's `meta/argument_specs.yml`."""
        entries = document["argument_specs"]
        options: dict[str, Spec] = {}
        for entry in reversed(list(entries.values())):
            options.update(entry.get("options") or {})
        main = (entries.get("main") or {}).get("options") or {}
        options.update(main)
        return cls(name, options, frozenset(var for var, spec in main.items() if spec.get("required")))


def check_variables(inventory: Inventory, roles: Iterable[RoleSpec]) -> Iterator[Mistake]:
    """Find unknown, renamed, misplaced, missing and malformed variables of all hosts."""
    specs = sorted(roles, key=lambda role: len(role.name), reverse=True)
    known = [name for role in specs for name in role.options]
    # course-hub-title and COURSE_HUB_TITLE are nobody else's.
    plain = {name: re.sub(r"\W", "_", name).lower() for host in inventory.hosts for name in host.others}
    hints = {
        name: f"Did you mean {word}?" if word in known else did_you_mean(name, known, NEARLY_THE_SAME)
        for name, word in plain.items()
    }
    for host in inventory.hosts:
        for name in sorted(host.names):
            odd = list(_check_parts(host.name, name, host.given.get(name, "")))
            yield from odd or _check_variable(host, name, specs)
        for name in sorted(host.others):
            if hints[name]:
                yield Mistake(host.name, name, "an unknown variable", "a variable of this collection", hints[name])
        for role in specs:
            if host.groups & ROLE_GROUPS.get(role.name, frozenset()):
                for name in sorted(role.required - host.names - set(host.defaults)):
                    expected = _expected(role.options[name])
                    yield Mistake(
                        host.name, name, "nothing", expected, f"set it, as role {role.name} cannot do without"
                    )


def _check_variable(host: Host, name: str, specs: list[RoleSpec]) -> Iterator[Mistake]:
    if name in RENAMED:
        yield Mistake(host.name, name, "an old name", RENAMED[name], "rename it")
        return
    if name in COMMAND_LINE_ONLY and name not in host.extra and host.given.get(name) not in (False, None, ""):
        why = COMMAND_LINE_ONLY[name]
        fix = f"remove it from the inventory, as {why}"
        yield Mistake(host.name, name, "a value in the inventory", f"-e {name}=... on the command line", fix)
    for role in specs:
        if name in role.options:
            if name in host.given:
                yield from _check_value(host.name, name, host.given[name], role.options[name])
            return
    for role in specs:
        if name.startswith(f"_{role.name}_"):
            yield Mistake(host.name, name, "a value", "none", f"remove it, as it is internal to role {role.name}")
            return
        if name.startswith(f"{role.name}_"):
            hint = did_you_mean(name, role.options)
            if hint or role.name not in COMMON_WORDS:
                fix = hint or f"look it up (ansible-doc -t role campus.hubs.{role.name})"
                yield Mistake(host.name, name, "an unknown variable", f"a variable of role {role.name}", fix)
            return


def _check_parts(host: str, path: str, value: object) -> Iterator[Mistake]:
    """Find what neither JSON nor a file can take, at any depth."""
    if isinstance(value, Mapping):
        for name, part in value.items():
            if not isinstance(name, str):
                yield Mistake(host, f"{path}.{name}", "a name that is no text", "text", QUOTED_NAME)
            yield from _check_parts(host, f"{path}.{name}", name if isinstance(name, str) else "")
            yield from _check_parts(host, f"{path}.{name}", part)
    elif isinstance(value, (list, tuple)):
        for index, part in enumerate(value):
            yield from _check_parts(host, f"{path}[{index}]", part)
    elif isinstance(value, str):
        yield from _check_text(host, path, value)
    elif isinstance(value, float) and not math.isfinite(value):
        yield Mistake(host, path, str(value), "a number, or text in quotes")
    elif not isinstance(value, (int, float)) and value is not None:
        kinds = {datetime.date: "a date", datetime.time: "a time", set: "a set", frozenset: "a set", bytes: "binary"}
        kind = next((words for cls, words in kinds.items() if isinstance(value, cls)), type(value).__name__)
        yield Mistake(host, path, kind, "text, a number, true or false, a list or a dictionary", QUOTES)


def _check_text(host: str, path: str, value: str) -> Iterator[Mistake]:
    # YAML takes no U+FFFE and U+FFFF either.
    control = {letter for letter in value if unicodedata.category(letter) in ("Cc", "Cs") or letter in "\ufffe\uffff"}
    odd = sorted(control - set("\n\r\t"))
    if odd:
        codes = ", ".join(f"U+{ord(letter):04X}" for letter in odd[:5])
        yield Mistake(host, path, f"a text with {codes}", "text without control characters")
    elif len(value) > LONGEST:
        yield Mistake(host, path, f"a text of {len(value)} characters", f"at most {LONGEST}")


def _check_value(host: str, path: str, value: object, spec: Spec) -> Iterator[Mistake]:
    found = list(_walk(host, path, value, spec))
    yield from found
    if found or "." in path:
        return
    # What the walk does not know (mutually_exclusive, required_if and the like) is left to Ansible's own validator.
    result = ArgumentSpecValidator({path: dict(spec)}).validate({path: value}, validate_role_argument_spec=True)
    for message in result.error_messages:
        words = str(message).rstrip(".")
        yield Mistake(host, path, f"what Ansible refuses ({words})", "what the role's argument spec allows")


def _walk(host: str, path: str, value: object, spec: Spec) -> Iterator[Mistake]:
    kind = spec.get("type") or "str"
    if value is None:
        yield Mistake(host, path, "nothing", _expected(spec), "give it a value or remove the line")
        return
    shown = "(hidden)" if spec.get("no_log") else show(path, value)
    if not _is_of_type(kind, value):
        scalar = kind in ("str", "path") and not isinstance(value, (list, tuple, set, Mapping))
        yield Mistake(host, path, shown, _expected(spec), QUOTES if scalar else "")
        return
    if kind == "str" and isinstance(value, str) and re.search(r"[\r\n]", value) and not _has_lines(path, spec):
        fix = "write >- instead of >, which ends with one" if value.count("\n") == 1 and value[-1] == "\n" else ""
        yield Mistake(host, path, "a text with a line break", "one line", fix)
        return
    choices = spec.get("choices")
    if choices and not _is_choice(kind, value, choices):
        hint = did_you_mean(str(value), [str(choice) for choice in choices])
        yield Mistake(host, path, shown, _expected(spec), hint)
        return
    options = spec.get("options")
    if kind == "dict" and options and isinstance(value, Mapping):
        yield from _walk_options(host, path, value, options)
    if kind == "list" and isinstance(value, list):
        item_spec = {**spec, "type": spec.get("elements") or "raw", "choices": None}
        for index, item in enumerate(value):
            yield from _walk(host, f"{path}[{index}]", item, item_spec)


def _has_lines(path: str, spec: Spec) -> bool:
    """Tell whether a text may have several lines; keys do, and lists of lines."""
    return bool(spec.get("no_log")) or path.startswith(_LINES) or path.endswith(".description")


def _walk_options(host: str, path: str, value: Mapping[str, Any], options: Mapping[str, Spec]) -> Iterator[Mistake]:
    known = {alias for name, option in options.items() for alias in (name, *(option.get("aliases") or ()))}
    hints = set()
    for name in value:
        if name not in known:
            hint = did_you_mean(str(name), known)
            hints.add(hint)
            yield Mistake(host, f"{path}.{name}", "an unknown option", f"one of {', '.join(sorted(options))}", hint)
    for name, option in options.items():
        given = [alias for alias in (name, *(option.get("aliases") or ())) if alias in value]
        if given:
            yield from _walk(host, f"{path}.{given[0]}", value[given[0]], option)
        elif option.get("required") and f"Did you mean {name}?" not in hints:
            yield Mistake(host, f"{path}.{name}", "nothing", _in_words(option))


def _is_of_type(kind: str, value: object) -> bool:
    # Ansible's check turns lists, dictionaries, switches and dates into text without a word, and text that is no list
    # into one. A number is the text that it is written as; check_files finds those that are not.
    if kind == "bool":
        return isinstance(value, bool) or str(value).lower() in SWITCHES
    if kind in _FORMS:
        return not isinstance(value, bool) and bool(re.fullmatch(_FORMS[kind], str(value)))
    if kind in _CLASSES:
        return isinstance(value, _CLASSES[kind]) and not isinstance(value, bool)
    try:
        DEFAULT_TYPE_VALIDATORS[kind](value)
    except (TypeError, ValueError):
        return False
    return True


def _is_choice(kind: str, value: object, choices: Iterable[object]) -> bool:
    if kind == "list" and isinstance(value, list):
        return all(item in list(choices) for item in value)
    return DEFAULT_TYPE_VALIDATORS[kind](value) in list(choices)


def _in_words(spec: Spec) -> str:
    """Return what an option takes, with the first sentence of its description, without markup."""
    text = spec.get("description") or ""
    first = text if isinstance(text, str) else next(iter(text), "")
    words = re.sub(r"\b[A-Z]\(([^)]*)\)", r"\1", re.split(r"(?<=[.;]) ", first)[0]).rstrip(".;")
    if re.match(r"[A-Z][a-z]|A ", words):
        words = words[0].lower() + words[1:]
    return f"{_expected(spec)}: {words}" if words else _expected(spec)


def _expected(spec: Spec) -> str:
    if spec.get("choices"):
        return f"one of {', '.join(str(choice) for choice in spec['choices'])}"
    kind = spec.get("type") or "str"
    if kind == "list":
        return "a list"
    if kind == "dict" and spec.get("options"):
        return f"a dictionary with {', '.join(spec['options'])}"
    return _TYPES.get(kind, "a value")
