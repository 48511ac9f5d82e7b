# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is found out about a course, in words and without secrets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.campus.hubs.plugins.module_utils._course_state.compare import Difference
from ansible_collections.campus.hubs.plugins.module_utils._course_state.ownership import ABSENT, Path, Writer, json_path
from ansible_collections.campus.hubs.plugins.module_utils._refusals import difference
from ansible_collections.campus.hubs.plugins.module_utils._secret_names import is_secret

HIDDEN = "(hidden)"
_LONG = 160


@dataclass(frozen=True)
class Finding:
    """One object, or part of it, that differs from the desired state.

    Attributes:
        kind: of the object.
        name: of the object.
        what: `changed`, `missing`, `additional` or `leaving` (somebody has asked for its deletion).
        path: JSONPath of the field; empty for a whole object.
        wanted: the wanted value, shown; empty if there is none.
        found: the value that is there, shown; empty if there is none.
        writer: who wrote it last, None if nobody owns it (what was removed).
        obstacle: why it cannot be repaired; empty if it can.
    """

    kind: str
    name: str
    what: str
    path: str = ""
    wanted: Any = ""
    found: Any = ""
    writer: Writer | None = None
    obstacle: str = ""

    def document(self) -> dict[str, Any]:
        """Return it for results and reports."""
        writer = self.writer
        return {
            "kind": self.kind,
            "name": self.name,
            "what": self.what,
            "path": self.path,
            "wanted": self.wanted,
            "found": self.found,
            "manager": writer.manager if writer else "",
            "operation": writer.operation if writer else "",
            "time": writer.time if writer else "",
            "obstacle": self.obstacle,
        }

    def sentence(self) -> str:
        """Return it for people."""
        who = f" ({self.writer.manager}, {self.writer.time})" if self.writer and self.writer.manager else ""
        why = f"; {self.obstacle}" if self.obstacle else ""
        thing = f"{self.kind} {self.name}"
        if self.what == "changed":
            return f"{difference(f'{thing}: {self.path}', _word(self.found), _word(self.wanted))}{who}{why}"
        words = {
            "missing": "is missing",
            "additional": "is nothing of the course's",
            "leaving": "is being deleted and waits for its finalizers or users",
        }
        return f"{thing} {words[self.what]}{who}{why}"


def _word(value: object) -> str:
    return "absent" if value is None else f'"{value}"' if isinstance(value, str) else str(value)


@dataclass
class Assessment:
    """The state of one course.

    Attributes:
        course: its id, the release's name.
        namespace: where it is.
        state: `in_sync`, `absent`, `stuck`, `outdated`, `drifted` or `orphaned`.
        reasons: why it is not in sync, one sentence each.
        consequences: what bringing it in sync does to people, one sentence each.
        outdated: values that are not the wanted ones: path, wanted, found.
        chart_files: files of the chart that are not the release's.
        findings: what is not as the release says.
        users_online: people's servers that run.
        unready: Deployments that should run and do not.
        revision: of the release, 0 if there is none.
        deployed: when that was, RFC 3339.
    """

    course: str
    namespace: str
    state: str = "in_sync"
    reasons: list[str] = field(default_factory=list)
    consequences: list[str] = field(default_factory=list)
    outdated: list[dict[str, Any]] = field(default_factory=list)
    chart_files: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    users_online: int = 0
    unready: list[str] = field(default_factory=list)
    revision: int = 0
    deployed: str = ""

    def needs_deployment(self) -> bool:
        """Tell whether helm has to run."""
        return self.state in ("absent", "stuck", "outdated")

    def repairable(self) -> list[Finding]:
        """Return the findings that a repair can fix."""
        return [finding for finding in self.findings if finding.what in ("changed", "missing") and not finding.obstacle]

    def document(self) -> dict[str, Any]:
        """Return it for results and reports."""
        return {
            "course": self.course,
            "namespace": self.namespace,
            "state": self.state,
            "reasons": self.reasons,
            "consequences": self.consequences,
            "outdated": self.outdated,
            "chart_files": self.chart_files,
            "drifted": [finding.document() for finding in self.findings],
            "users_online": self.users_online,
            "unready": self.unready,
            "revision": self.revision,
            "deployed": self.deployed,
            "deploy": self.needs_deployment(),
            "repair": bool(self.repairable()),
        }


@dataclass(frozen=True)
class DesiredCourse:
    """What the inventory says about one course.

    Attributes:
        namespace: where the course is to be.
        values: the release's values; None: they are not known, and not compared.
    """

    namespace: str
    values: Mapping[str, Any] | None = None


def redact(value: Any, name: str = "") -> Any:  # noqa: ANN401 (a field can be anything)
    """Return a value without what sounds secret: by the names of fields, and of environment variables."""
    if isinstance(value, Mapping):
        hidden = isinstance(value.get("name"), str) and is_secret(value["name"])
        return {key: HIDDEN if hidden and key == "value" else redact(part, str(key)) for key, part in value.items()}
    if isinstance(value, list):
        return [redact(part, name) for part in value]
    return HIDDEN if is_secret(name) and isinstance(value, (str, int, float)) and not isinstance(value, bool) else value


def shown(value: Any, kind: str, path: tuple[str, ...], other: Any = None) -> Any:  # noqa: ANN401
    """Return a field's value for a report: without secrets, and of a long text only where it differs from the other.

    Args:
        value: what is there, ABSENT if nothing is.
        kind: the object's kind; nothing of a Secret's data is shown.
        path: of the field.
        other: the value that it is compared with.
    """
    if value is ABSENT:
        return None
    names = [step[2:] for step in path if step.startswith("f:")]
    items = [step for step in path if step.startswith("k:")]
    if kind == "Secret" and names[:1] in (["data"], ["stringData"]):
        return HIDDEN
    secret_item = names[-1:] == ["value"] and bool(items) and is_secret(items[-1])
    if secret_item or any(is_secret(name) for name in names):
        return HIDDEN
    value = redact(value)
    if isinstance(value, str) and len(value) > _LONG:
        return _excerpt(value, other if isinstance(other, str) else "")
    return value


def _excerpt(text: str, other: str) -> str:
    lines, others = text.splitlines(), set(other.splitlines())
    lines = [line for line in lines if line not in others] if others else lines
    new = "\n".join(HIDDEN if is_secret(line) else line for line in lines)
    return new if len(new) <= _LONG else f"{new[: _LONG - 3]}..."


def finding_of(kind: str, name: str, difference: Difference, obstacle: str = "") -> Finding:
    """Turn a difference of one object into a finding, which names the smallest part that differs."""
    path, wanted, found = narrowed(difference.path, difference.wanted, difference.found)
    return Finding(
        kind,
        name,
        "changed",
        json_path(path),
        shown(wanted, kind, path, found),
        shown(found, kind, path, wanted),
        difference.writer,
        obstacle,
    )


def narrowed(path: Path, wanted: Any, found: Any) -> tuple[Path, Any, Any]:  # noqa: ANN401
    """Go down to the one part of an atomic value that differs, as far as it is one."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        # What is only in the live value is a default in most cases; it counts if nothing else differs.
        names = [name for name in wanted if wanted[name] != found.get(name, ABSENT)] or [
            *(found.keys() - wanted.keys())
        ]
        if len(names) == 1:
            name = names[0]
            return narrowed((*path, f"f:{name}"), wanted.get(name, ABSENT), found.get(name, ABSENT))
    if isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        places = [index for index, pair in enumerate(zip(wanted, found, strict=True)) if pair[0] != pair[1]]
        if len(places) == 1:
            return narrowed((*path, f"i:{places[0]}"), wanted[places[0]], found[places[0]])
    if isinstance(wanted, list) and isinstance(found, list) and len(found) == len(wanted) + 1:
        places = [index for index in range(len(found)) if [*found[:index], *found[index + 1 :]] == wanted]
        if len(places) == 1:
            return (*path, f"i:{places[0]}"), ABSENT, found[places[0]]
    return path, wanted, found
