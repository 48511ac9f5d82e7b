"""How assignments are made: under names that all of nbgrader can handle, with due dates as people type them."""

from __future__ import annotations

import functools
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import nbformat
import nbgrader.apps.api
import nbgrader.server_extensions.formgrader.handlers
from nbgrader.api import Gradebook
from nbgrader.apps.dbapp import DbAssignmentAddApp, DbAssignmentImportApp
from nbgrader.converters.base import NbGraderException

from . import duedates, names
from .files import regular_files
from .places import SOURCE, course_root

if TYPE_CHECKING:
    from datetime import datetime

# As nbgrader takes it (anywhere in a comment), and as people may mean it.
_DIRECTIVE: Final = re.compile(r"^\s*#(.*AUTOTEST|(?i:#*\s*(hashed\s+)?auto-?tests?\b))", re.MULTILINE)


class RefusedError(NbGraderException, ValueError):  # type: ignore[misc] # nbgrader has no types
    """An assignment that cannot be made so; the message is for a lecturer."""


def install() -> None:
    """Put this in place of what nbgrader does. Does nothing the second time."""
    if Gradebook.add_assignment is _add_assignment:
        return
    Gradebook.add_assignment = _add_assignment
    Gradebook.update_or_create_assignment = _update_or_create_assignment
    for app in (DbAssignmentAddApp, DbAssignmentImportApp):
        app.start = _in_words(app.start)
    # The zone by its name, also in formgrader's dialogs: an offset is another one in summer.
    nbgrader.apps.api.as_timezone = duedates.in_zone
    for module in (nbgrader.apps.api, nbgrader.server_extensions.formgrader.handlers):
        module.to_numeric_tz = str


def check(gradebook: Gradebook, name: str) -> None:
    """Refuse an assignment's name, unless the gradebook has it already.

    Raises:
        RefusedError: it cannot be called so.

    """
    known = [assignment.name for assignment in gradebook.assignments]
    others = [*known, *names.siblings(course_root() / SOURCE)]
    sentence = "" if name in known else names.refusal(name, others)
    if sentence:
        raise RefusedError(sentence)


def check_step(step: Any) -> None:  # noqa: ANN401 - a converter or an exchange step
    """Refuse what a step cannot make: an assignment's or a notebook's name, tests that nbgrader would generate.

    Raises:
        RefusedError: see there.

    """
    course = step.coursedir
    with Gradebook(course.db_url, course.course_id) as gradebook:
        check(gradebook, course.assignment_id)
    folder = Path(course.format_path(course.source_directory, ".", course.assignment_id))
    sentences = []
    for file in regular_files(folder, course.ignore):
        if file.parent == folder and file.suffix == names.NOTEBOOK:
            sentences += [names.notebook_refusal(file.name), *_test_problems(file)]
    if any(sentences):
        raise RefusedError(" ".join(filter(None, sentences)))


def _test_problems(file: Path) -> list[str]:
    """Say which cells of a notebook ask for generated tests."""
    try:
        notebook: Any = nbformat.reads(file.read_text("utf-8"), as_version=4)  # type: ignore[no-untyped-call]
    except Exception:
        return []  # nbgrader says what is wrong with it
    return [
        f"Cell {number} of {file.name} has AUTOTEST, which would run the notebook on your own server: "
        "write the test out."
        for number, cell in enumerate(notebook.cells, 1)
        if cell.cell_type == "code" and _DIRECTIVE.search(cell.source)
    ]


_plain_add, _plain_update = Gradebook.add_assignment, Gradebook.update_or_create_assignment


def _add_assignment(self: Gradebook, name: str, **fields: Any) -> Any:  # noqa: ANN401 - as the gradebook's
    check(self, name)
    return _plain_add(self, name, **_dated(fields))


def _update_or_create_assignment(self: Gradebook, name: str, **fields: Any) -> Any:  # noqa: ANN401
    return _plain_update(self, name, **_dated(fields))


def _dated(fields: dict[str, Any]) -> dict[str, Any]:
    """Return an assignment's fields with a due date that was typed as a time.

    Raises:
        RefusedError: it is none.

    """
    due: datetime | str | None = fields.get("duedate")
    if not isinstance(due, str):
        return fields
    try:
        return fields | {"duedate": duedates.parse(due)}
    except duedates.DueDateError as error:
        raise RefusedError(str(error)) from error


def _in_words(plain: Any) -> Any:  # noqa: ANN401 - a method
    """Wrap a command of nbgrader that says a refusal by a traceback."""

    @functools.wraps(plain)
    def start(self: Any) -> None:  # noqa: ANN401 - an app
        try:
            plain(self)
        except RefusedError as error:
            self.log.error("%s", error)
            sys.exit(1)

    return start
