# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The drift report: one JSON document (docs/drift.md), and the same as a web page and as metrics."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Any

from ansible_collections.campus.hubs.plugins.module_utils._course_state.certificates import Certificate

SCHEMA = 1
STATES = ("in_sync", "absent", "stuck", "outdated", "drifted", "orphaned")
HAND_EDIT, INVENTORY, VERSION, SECRET, INTERRUPTED, ORPHAN, EXPIRING = (
    "hand edit",
    "inventory change",
    "version",
    "secret",
    "interrupted deployment",
    "orphan",
    "expiring certificate",
)
_COLUMNS = ("class", "object", "field", "wanted", "found", "by", "since", "note")


def report_document(
    courses: Sequence[Mapping[str, Any]], now: datetime, mode: str, certificates: Sequence[Certificate] = ()
) -> dict[str, Any]:
    """Write the report on the result of course_state.

    Args:
        courses: as the module returns them.
        now: when that was, with time zone.
        mode: `report` (nothing is done about it), `check` (what would be done), or `apply`.
        certificates: of the cluster and the courses.
    """
    ends = [certificate.document(now) for certificate in certificates]
    counts = Counter(course["state"] for course in courses)
    found = [_course(course, mode) for course in courses if course["state"] != "in_sync"]
    return {
        "schema": SCHEMA,
        "time": now.isoformat(timespec="seconds"),
        "mode": mode,
        "clean": not found and not any(end["soon"] for end in ends),
        "states": {state: counts[state] for state in STATES},
        "courses": found,
        "certificates": ends,
    }


def _course(course: Mapping[str, Any], mode: str) -> dict[str, Any]:
    kept = ("course", "namespace", "state", "revision", "deployed", "users_online", "consequences")
    action = "deploy" if course["deploy"] else "repair" if course["repair"] else "none"
    return {
        **{name: course[name] for name in kept},
        "action": "none" if mode == "report" else action,
        "entries": _entries(course),
    }


def _entries(course: Mapping[str, Any]) -> list[dict[str, Any]]:
    nothing = {"kind": "", "name": "", "what": "changed", "path": "", "wanted": None, "found": None}
    nothing |= {"manager": "", "time": "", "note": ""}
    release = {**nothing, "kind": "Release", "name": course["course"]}
    reason = "; ".join(course["reasons"][:1])
    if course["state"] == "orphaned":
        return [{**release, "class": ORPHAN, "what": "additional", "time": course["deployed"], "note": reason}]
    if course["state"] == "absent":
        return [{**release, "class": INVENTORY, "what": "missing", "note": reason}]
    entries = []
    if course["state"] == "stuck":
        entries.append({**release, "class": INTERRUPTED, "time": course["deployed"], "note": reason})
    entries += [{**release, "class": _class_of_value(value["path"]), **value} for value in course["outdated"]]
    chart = {**nothing, "class": VERSION, "kind": "Chart file"}
    entries += [{**chart, "name": name} for name in course["chart_files"]]
    for item in course["drifted"]:
        shared = {name: item[name] for name in ("kind", "name", "what", "path", "wanted", "found", "manager", "time")}
        entries.append({**nothing, **shared, "class": HAND_EDIT, "note": item["obstacle"]})
    return entries


def _class_of_value(path: str) -> str:
    if path == "$.checksum.secrets":
        return SECRET
    # References of images hold their digests.
    return VERSION if path == "$.checksum.chart" or ".image" in path.lower() else INVENTORY


def metrics(document: Mapping[str, Any]) -> str:
    """Write the report as metrics for Prometheus' textfile collector (text exposition format 0.0.4)."""
    lines = [
        "# HELP campus_hubs_courses Courses by state.",
        "# TYPE campus_hubs_courses gauge",
        *(f'campus_hubs_courses{{state="{state}"}} {count}' for state, count in document["states"].items()),
        "# HELP campus_hubs_course_findings What is not as wanted, by course and class.",
        "# TYPE campus_hubs_course_findings gauge",
    ]
    for course in document["courses"]:
        for name, count in sorted(Counter(entry["class"] for entry in course["entries"]).items()):
            lines.append(f'campus_hubs_course_findings{{course="{course["course"]}",class="{name}"}} {count}')
    lines += [
        "# HELP campus_hubs_certificate_end_timestamp_seconds When a certificate of the cluster or of a course ends.",
        "# TYPE campus_hubs_certificate_end_timestamp_seconds gauge",
    ]
    for end in document["certificates"]:
        labels = f'name="{end["name"]}",course="{end["course"]}"'
        value = datetime.fromisoformat(end["ends"]).timestamp()
        lines.append(f"campus_hubs_certificate_end_timestamp_seconds{{{labels}}} {value:.0f}")
    time = datetime.fromisoformat(document["time"]).timestamp()
    lines += [
        "# HELP campus_hubs_drift_report_timestamp_seconds When the courses were compared.",
        "# TYPE campus_hubs_drift_report_timestamp_seconds gauge",
        f"campus_hubs_drift_report_timestamp_seconds {time:.0f}",
    ]
    return "\n".join(lines) + "\n"


_STYLE = """
:root { color-scheme: light dark; --line: #8885; --soft: #8881; --bad: #c2410c; --good: #15803d; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 78rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .3rem; }
p { margin: .2rem 0; }
.counts span { border: 1px solid var(--line); border-radius: 1rem; margin-right: .4rem; padding: .1rem .7rem; }
.clean { color: var(--good); font-weight: 600; } .state { color: var(--bad); font-weight: 400; }
.table { overflow-x: auto; } table { border-collapse: collapse; margin-top: .6rem; width: 100%; }
th, td { border-bottom: 1px solid var(--line); padding: .35rem .6rem; text-align: left; vertical-align: top; }
th { background: var(--soft); font-weight: 600; }
code { font-size: .86em; overflow-wrap: anywhere; white-space: pre-wrap; }
td:nth-child(2), td:nth-child(7) { white-space: nowrap; } .soft { opacity: .65; }
"""


def page(document: Mapping[str, Any]) -> str:
    """Write the report as one HTML page that needs nothing else."""
    counts = "".join(
        f"<span>{count} {state.replace('_', ' ')}</span>" for state, count in document["states"].items() if count
    )
    modes = {
        "report": "Nothing was changed.",
        "check": "A check: nothing was changed.",
        "apply": "Written before the changes.",
    }
    body = [
        "<h1>Courses: what is not as wanted</h1>",
        f'<p class="soft">{_text(document["time"])}. {modes[document["mode"]]}</p>',
        f'<p class="counts">{counts}</p>',
    ]
    if not document["courses"]:
        body.append('<p class="clean">All courses are in sync.</p>')
    body += [_section(course) for course in document["courses"]]
    body += _certificates(document["certificates"])
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Courses: what is not as wanted</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _section(course: Mapping[str, Any]) -> str:
    head = "".join(f'<th scope="col">{name}</th>' for name in _COLUMNS)
    rows = "".join(_row(entry) for entry in course["entries"])
    actions = {"deploy": "It is deployed.", "repair": "It is repaired.", "none": ""}
    notes = "".join(f"<p>{_text(text)}</p>" for text in [*course["consequences"], actions[course["action"]]] if text)
    return (
        f'<section><h2>{_text(course["course"])} <span class="state">{_text(course["state"])}</span></h2>{notes}'
        f'<div class="table"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div></section>'
    )


def _certificates(ends: Sequence[Mapping[str, Any]]) -> list[str]:
    if not ends:
        return []
    head = "".join(f'<th scope="col">{name}</th>' for name in ("class", "of", "certificate", "ends", "days left"))
    rows = "".join(
        "<tr>"
        + "".join(
            f"<td>{_text(cell)}</td>"
            for cell in (
                EXPIRING if end["soon"] else "",
                end["course"] or "the cluster",
                end["name"],
                end["ends"],
                end["days"],
            )
        )
        + "</tr>"
        for end in ends
    )
    table = f'<div class="table"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    return [f"<section><h2>Certificates</h2>{table}</section>"]


def _row(entry: Mapping[str, Any]) -> str:
    thing = f"{entry['kind']} {entry['name']}"
    words = {"missing": "is missing", "additional": "is additional", "leaving": "is being deleted"}
    note = "; ".join(text for text in (words.get(entry["what"], ""), entry["note"]) if text)
    changed = entry["what"] == "changed" and entry["path"]
    cells = [
        _text(entry["class"]),
        _text(thing),
        _code(entry["path"]) if entry["path"] else "",
        _code(entry["wanted"]) if changed else "",
        _code(entry["found"]) if changed else "",
        _text(entry["manager"] or ("unknown" if entry["class"] == HAND_EDIT else "")),
        _text(entry["time"]),
        _text(note),
    ]
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _text(value: object) -> str:
    return escape(str(value))


def _code(value: object) -> str:
    if value is None:
        return '<span class="soft">absent</span>'
    return f"<code>{escape(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))}</code>"
