# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From Ansible's variables to the inventory that the checks see: the only part that templates and reads files."""

from __future__ import annotations

import functools
import itertools
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.campus.hubs.plugins.plugin_utils.chart_values import check_chart_values
from ansible_collections.campus.hubs.plugins.plugin_utils.cluster_rules import check_cluster
from ansible_collections.campus.hubs.plugins.plugin_utils.course_rules import check_courses
from ansible_collections.campus.hubs.plugins.plugin_utils.inventory_files import QUOTES, Changed, File, check_files
from ansible_collections.campus.hubs.plugins.plugin_utils.inventory_model import (
    COURSES,
    Host,
    Inventory,
    Mistake,
    Unquoted,
    did_you_mean,
)
from ansible_collections.campus.hubs.plugins.plugin_utils.variable_forms import check_forms
from ansible_collections.campus.hubs.plugins.plugin_utils.variable_specs import (
    QUOTED_NAME,
    ROLE_GROUPS,
    RoleSpec,
    check_variables,
)

_WORD = re.compile(r"[A-Za-z_]\w*")
# What exists only while the play runs: facts of the servers, and what roles publish.
_LATER = re.compile(r"ansible_(?!host$|user$|port$|connection$)\w+|hostvars")
_NAMED_HOST = re.compile(r"""hostvars\s*(?:\[\s*['"]([^'"]+)['"]\s*\]|\.(\w+))""")


@functools.cache
def read_roles(roles_path: Path, loader: DataLoader) -> tuple[list[RoleSpec], dict[str, dict[str, Any]]]:
    """Return the argument specs and the defaults (not templated) of all roles that have specs.

    Args:
        roles_path: folder of roles.
        loader: reads the files, so that defaults count as trusted templates.
    """
    specs, defaults = [], {}
    for path in sorted(roles_path.glob("*/meta/argument_specs.yml")):
        role = path.parents[1]
        spec = RoleSpec.parse(role.name, loader.load_from_file(str(path)))
        defaults_path = role / "defaults" / "main.yml"
        values: dict[str, Any] = {}
        if defaults_path.exists():
            values = loader.load_from_file(str(defaults_path), trusted_as_template=True) or {}
        specs.append(RoleSpec(spec.name, spec.options, spec.required - set(values)))
        defaults[role.name] = values
    return specs, defaults


class InventoryReader:
    """Computes, for each host, the variables that belong to this collection."""

    def __init__(
        self,
        roles: Sequence[RoleSpec],
        defaults: Mapping[str, Mapping[str, Any]],
        loader: DataLoader,
        changed: Mapping[str, Changed] | None = None,
    ) -> None:
        """Take what `read_roles` returns, the loader for templates, and what `check_files` has found to be changed."""
        self._options = {name: spec for role in roles for name, spec in role.options.items()}
        self._defaults, self._loader = defaults, loader
        names = "|".join(re.escape(role.name) for role in roles)
        self._ours = re.compile(f"_?({names})_.*|ansible_host|ansible_port|ansible_user")
        self._changed = changed or {}
        self.mistakes: list[Mistake] = []

    def read_host(self, name: str, groups: Iterable[str], raw: Mapping[str, Any], extra: Iterable[str]) -> Host:
        """Return one host; what cannot be computed is added to `mistakes`.

        Args:
            name: inventory name.
            groups: all groups of the host.
            raw: its variables, not templated, with `hostvars` and `groups`.
            extra: names of variables from the command line.
        """
        groups = frozenset(groups)
        for var in [var for var in raw if not isinstance(var, str)]:
            self.mistakes.append(
                Mistake(
                    name, f"variable {var}", "a name that is no text", "a name that begins with a letter", QUOTED_NAME
                )
            )
        raw = {var: value for var, value in raw.items() if isinstance(var, str)}
        names = frozenset(var for var in raw if self._ours.fullmatch(var))
        defaults: dict[str, Any] = {}
        for role, values in self._defaults.items():
            if groups & ROLE_GROUPS.get(role, frozenset()):
                defaults.update(values)
        templar = Templar(loader=self._loader, variables={**defaults, **raw})
        given = {}
        for var in sorted(names):
            known, value = self._compute(templar, var, raw[var], {**defaults, **raw}, host=name, groups=groups)
            if known:
                given[var] = _in_text(value, self._options.get(var) or {"type": "raw"})
                self._find_changed(name, var, value, raw)
        effective = {}
        for var in set(defaults) - names:
            known, value = self._compute(templar, var, defaults[var], {**defaults, **raw})
            if known:
                effective[var] = value
        others = frozenset(var for var in raw if not var.startswith("ansible_")) - names
        return Host(name, groups, given, names, effective, frozenset(extra), others)

    def _find_changed(self, host: str, name: str, value: object, raw: Mapping[str, Any]) -> None:
        """Find numbers that a variable takes from another one, where YAML has changed them."""
        if not self._changed or value == raw[name]:
            return
        for other in sorted(self._changed.keys() & _reached(raw[name], raw)):
            changed = self._changed[other]
            if _has_number(value, str(changed.number)):
                found = f"the value of {other}, {changed}"
                self.mistakes.append(Mistake(host, name, found, "what is written there", f"{QUOTES} there"))

    def _compute(  # noqa: PLR0913
        self,
        templar: Templar,
        name: str,
        raw: object,
        variables: Mapping[str, Any],
        *,
        host: str | None = None,
        groups: Iterable[str] = (),
    ) -> tuple[bool, object]:
        try:
            return True, templar.template(raw)
        except AnsibleError as error:
            if host is None:
                return False, None
            named = {found[0] or found[1] for text in _texts(raw) for found in _NAMED_HOST.findall(text)}
            others = named - set(variables["groups"]["all"])
            if others:
                fix = did_you_mean(min(others), variables["groups"]["all"])
                self.mistakes.append(Mistake(host, name, min(others), "the name of a host of the inventory", fix))
            # A course has no facts: nobody gathers them of the machine that its run is on.
            elif not needs_facts(raw, variables, is_server=COURSES not in groups):
                why = re.sub(r"\s+", " ", str(error.message)).rstrip(".")
                fix = f"correct the expression ({why})"
                self.mistakes.append(Mistake(host, name, "an expression that fails", "a value", fix))
            return False, None


def needs_facts(
    raw: object, variables: Mapping[str, Any], seen: frozenset[str] = frozenset(), *, is_server: bool = True
) -> bool:
    """Tell whether a value depends, directly or through other variables, on what is known only later.

    Args:
        raw: the value, not templated.
        variables: all variables of the host, not templated.
        seen: names that were followed already.
        is_server: whether the host has facts of its own.
    """
    words = _words(raw) - seen
    if "hostvars" in words or (is_server and "ansible_facts" in words):
        return True
    if is_server and any(_LATER.fullmatch(word) and word not in variables for word in words - {"ansible_facts"}):
        return True
    seen |= words
    return any(
        word in variables and needs_facts(variables[word], variables, seen, is_server=is_server) for word in words
    )


def _reached(raw: object, variables: Mapping[str, Any]) -> set[str]:
    """Return the names of all variables that a value is computed from, of other hosts as well."""
    found, left = {"hostvars", "groups"}, _words(raw)
    while left := left - found:
        found |= left
        left = {word for name in left & variables.keys() for word in _words(variables[name])}
    return found


def _has_number(value: object, changed: str) -> bool:
    """Tell whether a value is or holds a number, or a text with this one."""
    if isinstance(value, (Mapping, list, tuple)):
        return any(_has_number(part, changed) for part in (value.values() if isinstance(value, Mapping) else value))
    if isinstance(value, str):
        return changed in value
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _in_text(value: Any, spec: Mapping[str, Any]) -> Any:  # noqa: ANN401 (whatever people write)
    """Write numbers as text where a text is expected, as they will be used: one rule is for both."""
    kind, options = spec.get("type") or "str", spec.get("options")
    if kind in ("str", "path") and isinstance(value, (int, float)) and not isinstance(value, bool):
        return Unquoted(value) if isinstance(value, int) or math.isfinite(value) else value
    if kind == "list" and isinstance(value, list):
        return [_in_text(item, {**spec, "type": spec.get("elements") or "raw"}) for item in value]
    if kind == "dict" and options and isinstance(value, Mapping):
        return {name: _in_text(part, options.get(name) or {"type": "raw"}) for name, part in value.items()}
    return value


def _words(raw: object) -> set[str]:
    """Return the words of all texts in a value."""
    return {word for text in _texts(raw) for word in _WORD.findall(text)}


def _texts(raw: object) -> Iterator[str]:
    """Return all texts in a value; what is neither text nor holds any (ansible-vault's) has none."""
    if isinstance(raw, str):
        yield raw
    for part in raw.values() if isinstance(raw, Mapping) else raw if isinstance(raw, (list, tuple)) else ():
        yield from _texts(part)


def find_mistakes(  # noqa: PLR0913 (each is read at its own place)
    groups: Mapping[str, Sequence[str]],
    raw_variables: Callable[[str], Mapping[str, Any]],
    *,
    collection: Path,
    loader: DataLoader,
    extra: Iterable[str] = (),
    files: Iterable[File] = (),
) -> list[Mistake]:
    """Check a whole inventory.

    Args:
        groups: group to names of hosts, children included; `all` has all hosts.
        raw_variables: a host's variables, not templated.
        collection: folder of the collection.
        loader: reads its files.
        extra: names of variables from the command line.
        files: those that the variables come from.
    """
    specs, defaults = read_roles(collection / "roles", loader)
    findings = check_files(files, {name: spec for role in specs for name, spec in role.options.items()})
    reader = InventoryReader(specs, defaults, loader, findings.changed)
    of_host: dict[str, set[str]] = {host: set() for host in groups["all"]}
    for group, members in groups.items():
        for member in members:
            of_host[member].add(group)
    read = tuple(reader.read_host(host, names, raw_variables(host), extra) for host, names in of_host.items())
    inventory = Inventory(read, tuple(groups))
    chart = collection / "charts" / "course-hub"
    values = loader.load_from_file(str(chart / "values.yaml"))
    # Read by the loader, they would take longer than all checks.
    schema = json.loads((chart / "values.schema.json").read_text())
    traits = json.loads((collection / "roles" / "course_hub" / "files" / "hub_traits.json").read_text())
    checks = (
        check_variables(inventory, specs),
        check_forms(inventory),
        check_cluster(inventory),
        check_courses(inventory),
        check_chart_values(inventory, schema, values, traits),
    )
    return [*findings.mistakes, *reader.mistakes, *itertools.chain.from_iterable(checks)]
