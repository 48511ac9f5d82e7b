"""Reads a notebook that a stranger has written, in a process of its own with little memory.

    python -I reader.py < notebook > answer

Standard library only: it starts quickly, and nothing beside it is imported. The answer is JSON, either
`{"cells": [{"type", "source", "grade_id", "id", "attachments"}, ...], "notes": [sentence, ...]}` or
`{"problem": sentence}`. Outputs, metadata and whatever else a hand-in has are left behind.
"""

from __future__ import annotations

import codecs
import json
import re
import resource
import sys
from typing import Any, Final

# Bytes: of the file; of memory that reading may take; of all sources, of all attachments that are kept.
MAX_FILE: Final = 100 * 1024**2
MAX_MEMORY: Final = 512 * 1024**2
MAX_SOURCE: Final = 4 * 1024**2
MAX_ATTACHMENTS: Final = 20 * 1024**2
# Seconds of CPU; cells.
MAX_CPU: Final = 60
MAX_CELLS: Final = 2000
# Versions of the format (nbformat.readthedocs.io): 3 had worksheets, 4 is today's.
NEWEST: Final = 4
_BOMS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_CONFLICT: Final = re.compile(r"^<{7}[^\n]*\n(.*?)(?:^\|{7}[^\n]*\n.*?)?^={7}[^\n]*\n(.*?)^>{7}[^\n]*\n?", re.M | re.S)


class UnreadableError(Exception):
    """It is no notebook; the message is for students and lecturers."""


def text_of(content: bytes, notes: list[str]) -> str:
    """Decode a file: UTF-8 or what its byte order mark says, else Latin-1, which reads anything."""
    for mark, encoding in _BOMS:
        if content.startswith(mark):
            return content[len(mark) :].decode(encoding, errors="replace")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        if b"\x00" in content[:1024]:
            raise UnreadableError("It is no text file.") from None
        notes.append("The notebook is not in UTF-8, as notebooks are; it was read as Latin-1.")
        return content.decode("latin-1")


def parse(text: str, notes: list[str]) -> Any:  # noqa: ANN401 - JSON
    """Parse JSON; if version control has left both sides of a conflict in it, the first side that is whole."""
    if not text.strip():
        raise UnreadableError("It is empty.")
    try:
        return _json(text)
    except ValueError as error:
        if _CONFLICT.search(text):
            for side, called in ((r"\1", "first"), (r"\2", "second")):
                try:
                    made = _json(_CONFLICT.sub(side, text))
                except ValueError:
                    continue
                notes.append(f"The notebook holds merge conflict markers; the {called} of both versions was graded.")
                return made
            raise UnreadableError("It holds merge conflict markers, and neither version is whole.") from None
        where = f", line {error.lineno}: {error.msg}" if isinstance(error, json.JSONDecodeError) else ""
        raise UnreadableError(f"It is no JSON, which a notebook is{where}.") from None


def _json(text: str) -> Any:  # noqa: ANN401 - JSON
    # Numbers mean nothing here, and Python refuses to read long ones.
    return json.loads(
        text, parse_int=lambda _: 0, parse_float=lambda _: 0, parse_constant=lambda _: 0, object_hook=_drop
    )


def _drop(found: dict[str, Any]) -> dict[str, Any]:
    """Let go of outputs as soon as their cell is read."""
    found.pop("outputs", None)
    return found


def cells_of(document: Any, notes: list[str]) -> list[dict[str, Any]]:  # noqa: ANN401 - JSON
    """Take what a notebook's cells say, in whatever version of the format."""
    if not isinstance(document, dict):
        raise UnreadableError("It is JSON, but no notebook: a notebook is an object with cells.")
    found = document.get("cells")
    if not isinstance(found, list):
        sheets = document.get("worksheets")
        if not isinstance(sheets, list):
            raise UnreadableError("It is JSON, but no notebook: it has no cells.")
        notes.append("The notebook is in an old version of the format; it was read as such.")
        found = [
            c
            for s in sheets
            if isinstance(s, dict)
            for inside in [s.get("cells")]
            if isinstance(inside, list)
            for c in inside
        ]
    if len(found) > MAX_CELLS:
        notes.append(f"The notebook has {len(found)} cells; those after the {MAX_CELLS}th were left out.")
    cells = []
    left_out = pictures = 0
    for each in found[:MAX_CELLS]:
        cell = _cell(each)
        if cell is None:
            left_out += 1
            continue
        pictures += sum(len(data) for of in cell["attachments"].values() for data in of.values())
        if pictures > MAX_ATTACHMENTS:
            cell["attachments"] = {}
        cells.append(cell)
    if left_out:
        notes.append(f"{left_out} cells were left out: they are malformed.")
    cut, room = 0, MAX_SOURCE
    # An answer is still one, perhaps with a photo in its text: who grades it by hand can look at the rest.
    for cell in sorted(cells, key=lambda cell: len(cell["source"])):
        cut += len(cell["source"]) > room
        cell["source"] = cell["source"][:room]
        room -= len(cell["source"])
    if cut:
        notes.append(f"{cut} cells were cut, all texts together have more than {MAX_SOURCE} characters: see the file.")
    if pictures > MAX_ATTACHMENTS:
        notes.append(f"Images pasted into answers were left out: they have more than {MAX_ATTACHMENTS} characters.")
    return cells


def _cell(found: Any) -> dict[str, Any] | None:  # noqa: ANN401 - JSON
    if not isinstance(found, dict):
        return None
    source = found.get("source", found.get("input"))
    if isinstance(source, list) and all(isinstance(line, str) for line in source):
        source = "".join(source)
    if source is None:
        source = ""
    if not isinstance(source, str):
        return None
    kind = found.get("cell_type")
    if kind == "heading":
        kind, source = "markdown", f"# {source}"
    if kind not in {"code", "markdown", "raw"}:
        kind = "raw"
    metadata = found.get("metadata")
    marks = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    grade_id = marks.get("grade_id") if isinstance(marks, dict) else None
    attachments = found.get("attachments") if kind == "markdown" else None
    return {
        "type": kind,
        # Half a surrogate pair is JSON, but no text: it could not be written anywhere.
        "source": source.encode("utf-8", "replace").decode("utf-8"),
        "grade_id": grade_id if isinstance(grade_id, str) and len(grade_id) <= 128 else None,
        "id": found["id"] if isinstance(found.get("id"), str) and len(found["id"]) <= 64 else None,
        "attachments": _pictures(attachments),
    }


def _pictures(attachments: Any) -> dict[str, dict[str, str]]:  # noqa: ANN401 - JSON
    """Keep the images that are pasted into an answer."""
    if not isinstance(attachments, dict):
        return {}
    kept: dict[str, dict[str, str]] = {}
    for name, bundle in attachments.items():
        if isinstance(bundle, dict):
            images = {
                kind: data.encode("utf-8", "replace").decode("utf-8")
                for kind, data in bundle.items()
                if re.fullmatch(r"image/(png|jpeg|gif|webp)", kind) and isinstance(data, str)
            }
            if images:
                kept[name.encode("utf-8", "replace").decode("utf-8")] = images
    return kept


def read(content: bytes) -> dict[str, Any]:
    """Read a notebook; see the module.

    Args:
        content: the file, MAX_FILE bytes at most and one to show that there are more.

    """
    notes: list[str] = []
    try:
        if len(content) > MAX_FILE:
            raise UnreadableError(f"It is larger than {MAX_FILE // 1024**2} MiB.")
        cells = cells_of(parse(text_of(content, notes), notes), notes)
    except UnreadableError as error:
        return {"problem": str(error)}
    except RecursionError:
        return {"problem": "It is nested more deeply than any notebook."}
    except MemoryError:
        return {"problem": f"It takes more than {MAX_MEMORY // 1024**2} MiB of memory to read."}
    return {"cells": cells, "notes": notes}


def main() -> None:
    """Answer; see the module."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_CPU, MAX_CPU))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        content = sys.stdin.buffer.read(MAX_FILE + 1)
    except MemoryError:
        content = b" " * (MAX_FILE + 1)
    json.dump(read(content), sys.stdout)


if __name__ == "__main__":
    main()
