# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The values of all courses' releases, computed in one step as the role course_hub computes them for each.

The role's own defaults, variables and template are used, with what its tasks would have registered; so there is one
place that says what a course's values are.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Set
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible.utils.vars import merge_hash
from ansible_collections.campus.hubs.plugins.module_utils.course_state.api import Api, Kind

_ROLE = "course_hub"
_SECRETS = Kind("", "v1", "Secret", "secrets", namespaced=True, verbs=frozenset())
_SERVICES = Kind("", "v1", "Service", "services", namespaced=True, verbs=frozenset())
# What can differ between courses, or is known only later; and what is like it.
_VARIABLE = re.compile(f"_?{_ROLE}_.*|ansible_.*|inventory_.*|hostvars|groups|vars|role_path|lookup|query|q|now")

# What _course_hub_release_values combines; as a template that would mark each text of what is common anew.
_PARTS = (*(f"_{_ROLE}_{part}_values" for part in ("common", "lms", "own")), f"{_ROLE}_values")
# What more is asked of each course than its values.
ASKED = (f"{_ROLE}_lti13_key_rotate_after_days", f"{_ROLE}_show_secret", f"{_ROLE}_lti13_platform")


class WantedValues:
    """Computes the values of courses; reads what they depend on once."""

    def __init__(
        self, collection: Path, loader: DataLoader, api: Api, courses: Mapping[str, Mapping[str, Any]]
    ) -> None:
        """Read the role and the cluster, and compute what is the same for all courses.

        Args:
            collection: folder of the collection.
            loader: reads the role's files, so that they count as trusted templates.
            api: the API server.
            courses: the variables of each course's host, not templated.

        Raises:
            ApiError: the API server refuses.
        """
        self._role = collection / "roles" / _ROLE
        self.chart = (collection / "charts" / "course-hub").resolve()
        self._loader = loader
        self._defaults = loader.load_from_file(str(self._role / "defaults" / "main.yml"), trusted_as_template=True)
        self._vars = loader.load_from_file(str(self._role / "vars" / "main.yml"), trusted_as_template=True)
        # What the role's tasks/cluster.yml reads.
        paths = self._vars[f"_{_ROLE}_cluster_paths"]
        self._registered: dict[str, Any] = {
            f"_{_ROLE}_cluster": {"objects": {name: api.read(path) for name, path in paths.items()}}
        }
        self._registered[f"_{_ROLE}_chart_files"] = {"files": chart_files(self.chart)}
        # The lookup of the role would copy all variables for each course.
        template = loader.get_text_file_contents(str(self._role / "templates" / "values.yaml.j2"))
        self._vars[f"_{_ROLE}_values_text"] = trust_as_template(template)
        self._raw: dict[str, Any] = {**self._defaults, **self._vars}
        self._courses = courses
        self._templar = Templar(loader=loader, variables={})
        compile_once(self._templar)
        self._shared = self._compute_shared()
        shared = {name: self._shared[name] for name in _PARTS if isinstance(self._shared.get(name), Mapping)}
        self._plain = {name: _without_marks(values) for name, values in shared.items()}
        self._secrets = _by_namespace(
            api.objects(_SECRETS, labels="app.kubernetes.io/managed-by=campus.hubs", metadata_only=True)
        )
        self._services = _by_namespace(api.objects(_SERVICES, fields="metadata.name=proxy"))
        self._used = self._reached({name for name, value in self._shared.items() if value is not self._raw[name]})

    def _reached(self, known: Set[str] = frozenset()) -> set[str]:
        """Return the names that the role's templates for values need, without what only known ones need."""
        found: set[str] = set()
        left = {*ASKED, f"_{_ROLE}_release_values", f"_{_ROLE}_helm"}
        while left:
            found |= left
            left = {word for name in left - known for word in _words(self._raw.get(name))} - found
        return found

    def _compute_shared(self) -> dict[str, Any]:
        """Return the role's variables that are the same for all courses.

        They depend on the cluster, and on what the inventory says alike of all courses without a template.
        """
        same, differing = _alike(list(self._courses.values()))
        known = {**self._registered, "role_path": str(self._role), **same}
        ours = {*self._vars, *({*self._defaults} - {*same} - differing)}
        left = {name: self._raw[name] for name in self._reached() & ours}
        needs = {name: {word for word in _words(raw) if _VARIABLE.fullmatch(word)} for name, raw in left.items()}
        shared: dict[str, Any] = {}
        while ready := {name: raw for name, raw in left.items() if needs[name] <= {*known, *shared}}:
            self._templar.available_variables = {**known, **shared, **ready}
            for name, raw in ready.items():
                del left[name]
                try:
                    shared[name] = self._templar.template(raw)
                except AnsibleError:
                    shared[name] = raw  # each course says it
        return shared

    def variables(self, host: str) -> Templar:
        """Return a templar with all that the role's variables mean for one course; good until the next is asked for.

        Args:
            host: the course's id.
        """
        namespace, own = f"course-{host}", self._courses[host]
        variables = {
            **self._defaults,
            **own,
            **self._vars,
            **self._registered,
            **self._shared,
            f"_{_ROLE}_found": {"objects": {"secrets": self._secrets[namespace], "service": self._services[namespace]}},
            "role_path": str(self._role),
            "ansible_search_path": [str(self._role)],
        }
        # A template takes the longer the more variables there are; one of the inventory can need all.
        if not any("{" in text for name in self._used & {*own} for text in _texts(own[name])):
            variables = {name: variables[name] for name in self._used & {*variables}}
        self._templar.available_variables = variables
        return self._templar

    def values(self, templar: Templar) -> tuple[dict[str, Any] | None, str]:
        """Return a course's values, or None and why they can not be computed (its deployment will say the same)."""
        try:
            parts = [
                self._plain[name] if name in self._plain else _without_marks(self.option(templar, name))
                for name in _PARTS
            ]
            return functools.reduce(merge_hash, (part for part in parts if part not in ({}, [], None)), {}), ""
        except AnsibleError as error:
            return None, " ".join(str(error.message).split())

    def option(self, templar: Templar, name: str) -> Any:  # noqa: ANN401 (a variable can be anything)
        """Return the value of one of the role's variables."""
        return templar.template(templar.available_variables[name])

    def helm(self, templar: Templar) -> str:
        """Return the helm program of the cache, empty if it is not there yet."""
        path = str(templar.template(self._vars[f"_{_ROLE}_helm"]))
        return path if os.access(path, os.X_OK) else ""


def compile_once(templar: Templar) -> None:
    """Have a templar compile each template once; Ansible compiles it anew at each use, which is most of the work.

    Where ansible-core is built differently, this does nothing.
    """
    environment = getattr(getattr(templar, "_engine", None), "environment", None)
    if environment is None:
        return
    compile_text: Callable[..., Any] = environment.from_string
    compiled: dict[str, Any] = {}

    def from_string(source: Any, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 (as the original)
        if arguments or options or not isinstance(source, str):
            return compile_text(source, *arguments, **options)
        if source not in compiled:
            compiled[source] = compile_text(source)
        return compiled[source]

    environment.from_string = from_string


def _without_marks(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values without what Ansible notes of each text."""
    plain: dict[str, Any] = json.loads(json.dumps(values))
    return plain


def _alike(courses: list[Mapping[str, Any]]) -> tuple[dict[str, Any], set[str]]:
    """Return the variables that all courses have in common, without those that are templates; and the others' names."""
    names = {name for course in courses for name in course if name.startswith((f"{_ROLE}_", "ansible_check_mode"))}
    same = {
        name: courses[0][name]
        for name in names
        if all(name in course and _equal(course[name], courses[0][name]) for course in courses)
        and not any("{" in text for text in _texts(courses[0][name]))
    }
    return same, names - set(same)


def _equal(one: object, other: object) -> bool:
    try:
        return one is other or one == other
    except AnsibleError:  # encrypted, without the password
        return False


def _texts(raw: object) -> Iterator[str]:
    if isinstance(raw, str):
        yield raw
    elif isinstance(raw, (Mapping, list)):
        for part in raw.values() if isinstance(raw, Mapping) else raw:
            yield from _texts(part)


def _words(raw: object) -> set[str]:
    return {word for text in _texts(raw) for word in re.findall(r"\w+", text)}


def chart_files(chart: Path) -> list[dict[str, str]]:
    """Return path and checksum of a chart's files, as the role has them from ansible.builtin.find."""
    return [
        {"path": str(path), "checksum": hashlib.sha1(path.read_bytes()).hexdigest()}  # noqa: S324 (find's own)
        for path in sorted(chart.rglob("*"))
        if path.is_file()
        and path.suffix != ".pyc"
        and not any(part.startswith(".") for part in path.relative_to(chart).parts)
    ]


def _by_namespace(items: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found = defaultdict(list)
    for item in items:
        found[item["metadata"]["namespace"]].append(item)
    return found
