"""nbgrader's options for one course, from `options.json` in the folder that its lecturers and tutors share.

It is data: whoever may write there must not run anything as another person, so nothing of it is executed or imported,
and only the options below count.

    {"Execute.timeout": 60, "ClearSolutions.code_stub": {"python": "# your code"}}
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FILE: Final = "options.json"
# Bytes.
LARGEST: Final = 64 * 1024


def _whole(low: int, high: int) -> tuple[str, Callable[[Any], bool]]:
    return f"a whole number from {low} to {high}", lambda value: type(value) is int and low <= value <= high


_TEXT: Final = ("a text", lambda value: isinstance(value, str))
_YES_NO: Final = ("true or false", lambda value: isinstance(value, bool))
_BY_LANGUAGE: Final = (
    "a text for each language",
    lambda value: isinstance(value, dict) and all(isinstance(text, str) for text in value.values()),
)

# By `Class.trait`: what is expected, in words and as a test. Units are those of nbgrader's and our documentation.
OPTIONS: Final[dict[str, tuple[str, Callable[[Any], bool]]]] = {
    "Execute.timeout": _whole(1, 3600),
    "SandboxExecute.total_timeout": _whole(1, 3600),
    "SandboxExecute.max_output_size": _whole(1024, 16 * 1024**2),
    # A sandbox's home holds them twice, as an archive and unpacked (the chart's singleuser.sandbox.home).
    "SandboxExecute.max_files_size": _whole(0, 100 * 1024**2),
    "ClearSolutions.code_stub": _BY_LANGUAGE,
    "ClearSolutions.text_stub": _TEXT,
    "ClearSolutions.begin_solution_delimeter": _TEXT,
    "ClearSolutions.end_solution_delimeter": _TEXT,
    "ClearSolutions.enforce_metadata": _YES_NO,
    "ClearHiddenTests.begin_test_delimeter": _TEXT,
    "ClearHiddenTests.end_test_delimeter": _TEXT,
    "ClearHiddenTests.enforce_metadata": _YES_NO,
    "ClearMarkScheme.begin_mark_scheme_delimeter": _TEXT,
    "ClearMarkScheme.end_mark_scheme_delimeter": _TEXT,
    "ClearMarkScheme.enforce_metadata": _YES_NO,
    "LockCells.lock_solution_cells": _YES_NO,
    "LockCells.lock_grade_cells": _YES_NO,
    "LockCells.lock_readonly_cells": _YES_NO,
    "LimitOutput.max_lines": _whole(1, 100_000),
    "LimitOutput.max_traceback": _whole(1, 10_000),
}


def read(root: Path) -> tuple[dict[str, Any], list[str]]:
    """Read a course's options.

    Args:
        root: the course's folder.

    Returns:
        values by `Class.trait`, and sentences about what does not count.

    """
    path = root / FILE
    refused = []
    if (root / "nbgrader_config.py").exists() or (root / "nbgrader_config.json").exists():
        refused.append(f"{root}/nbgrader_config.* is not read: write the course's options into {path}.")
    if not path.is_file():
        return {}, refused
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(LARGEST))
        if not isinstance(found, dict):
            raise TypeError("it is no object")
    except (OSError, ValueError, TypeError, RecursionError) as error:
        return {}, [*refused, f"{path} does not count: {error}."]
    values = {}
    for name, value in found.items():
        wanted, good = OPTIONS.get(name, ("one of " + ", ".join(OPTIONS), lambda _: False))
        if good(value):
            values[name] = value
        else:
            shown = json.dumps(value)[:80] if name in OPTIONS else "an option that is not known"
            refused.append(f"{path}, {name}: found {shown}, expected {wanted}.")
    return values, refused
