"""nbgrader's autograding for hand-ins that came back otherwise than they were handed out.

Each notebook that the gradebook knows is graded for each hand-in: from the answers that are there (`restore`), read
without belief in anything (`reader`). What was found is a sentence in the gradebook, on the course page, and above the
notebook.
"""

from __future__ import annotations

import copy
import fnmatch
import glob
import json
import math
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import nbformat
import nbgrader.converters.autograde
import nbgrader.converters.base
import nbgrader.utils
from nbconvert.exporters import NotebookExporter
from nbgrader.api import Gradebook, MissingEntry
from nbgrader.converters import Autograde
from nbgrader.converters.base import BaseConverter, NbGraderException
from nbgrader.preprocessors import SaveAutoGrades, SaveCells
from nbgrader.utils import compute_checksum, is_solution, is_task

from . import gradebook, reader
from .cputime import WHOLE, cpu_limit
from .files import leads_out, regular_files
from .names import folded
from .restore import Cell, Mark, Restored, names, restore

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nbformat import NotebookNode

# Under this name a restored notebook's metadata say what its hand-in had no more, or why it could not be read.
ABOUT: Final = "campus_hubs"
# Other notebooks of a hand-in that are looked at for one that is missing.
LOOKED_AT: Final = 5
# Seconds of CPU for one notebook, without those of its sandbox.
NOTEBOOK: Final = 300
# Since NumPy 2 a number's text has its type (numpy.org/neps, 51).
_OF_NUMPY: Final = re.compile(r"^np\.[a-z]+[0-9]*\((.*)\)$")


def read_notebook(path: Path) -> dict[str, Any]:
    """Read a notebook that may be anything; see `reader`."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return {"problem": "It is missing."}
    except OSError as error:
        return {"problem": f"It cannot be read: {error.strerror}."}
    if not stat.S_ISREG(mode):
        return {"problem": "It is a folder." if stat.S_ISDIR(mode) else "It is no plain file."}
    with path.open("rb") as file:
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-I", str(Path(reader.__file__))], stdin=file, capture_output=True, check=False
        )
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        return {"problem": f"It takes more than {reader.MAX_CPU} seconds to read."}
    return answer


def cells_of(answer: dict[str, Any]) -> list[Cell]:
    """Return the cells of an answer of `read_notebook`."""
    return [Cell(c["type"], c["source"], c["grade_id"], c["id"], c["attachments"]) for c in answer.get("cells") or []]


def marks_of(book: Gradebook, notebook: str, assignment: str) -> dict[str, Mark]:
    """Return what the gradebook knows of a notebook's cells.

    Raises:
        MissingEntry: it does not know the notebook.

    """
    found = book.find_notebook(notebook, assignment)
    points = {cell.name: float(cell.max_score) for cell in [*found.grade_cells, *found.task_cells]}
    solutions, tasks = {cell.name for cell in found.solution_cells}, {cell.name for cell in found.task_cells}
    return {
        cell.name: Mark(
            cell.cell_type,
            cell.source or "",
            cell.locked,
            points.get(cell.name),
            cell.name in solutions,
            cell.name in tasks,
        )
        for cell in found.source_cells
    }


class HandInExporter(NotebookExporter):
    """Reads hand-ins for `Autograde`; its own second reading, of what it has written, is nbconvert's."""

    def from_filename(
        self,
        filename: str,
        resources: Any = None,  # noqa: ANN401 - nbconvert's ResourcesDict
        **options: Any,  # noqa: ANN401 - nbconvert's
    ) -> Any:  # noqa: ANN401 - of this notebook, or as nbconvert's
        """Convert a notebook."""
        step: Any = self.parent
        if not step._sanitizing:
            return super().from_filename(filename, resources, **options)
        path = Path(filename)
        course, about = step.coursedir, resources["nbgrader"]
        release = Path(course.format_path(course.release_directory, ".", about["assignment"])) / path.name
        with Gradebook(course.db_url, course.course_id) as book:
            marks = marks_of(book, about["notebook"], about["assignment"])
            kernel = json.loads(book.find_notebook(about["notebook"], about["assignment"]).kernelspec or "{}")
        versions = gradebook.versions(course.root, about["assignment"], about["notebook"])
        handed_out = cells_of(read_notebook(release)) or [Cell(m.cell_type, m.source, g) for g, m in marks.items()]
        notes, restored = hand_in(path, handed_out, marks, versions)
        made = notebook_of(restored, marks, {c.grade_id: c for c in handed_out}, kernel)
        made.metadata[ABOUT] = {"returned": restored.returned, "problem": notes[0] if restored.problem else ""}
        notes += restored.notes
        gradebook.note(step.coursedir.root, about["assignment"], about["student"], about["notebook"], notes)
        if notes:
            for each in notes:
                step.log.warning("%s of %s: %s", path.name, about["student"], each)
            lines = "\n".join(f"- {each}" for each in notes)
            v4: Any = nbformat.v4
            made.cells.insert(0, v4.new_markdown_cell(f"**About this hand-in**\n\n{lines}", id="about"))
        resources["metadata"] = {"name": path.stem, "path": str(path.parent), "modified_date": ""}
        convert: Any = self.from_notebook_node
        return convert(made, resources, **options)


def keep_version(course: Any, assignment: str) -> None:  # noqa: ANN401 - a CourseDirectory
    """Keep what the students' version of an assignment has: the next may have other cells."""
    for path in Path(course.format_path(course.release_directory, ".", assignment)).glob("*.ipynb"):
        texts = {cell.grade_id: cell.text for cell in cells_of(read_notebook(path)) if cell.grade_id}
        gradebook.keep_version(course.root, assignment, path.stem, texts)


def hand_in(
    path: Path, released: list[Cell], marks: dict[str, Mark], versions: Sequence[Mapping[str, str]] = ()
) -> tuple[list[str], Restored]:
    """Read a hand-in's notebook, or what it has become, and put its answers into the released one.

    Args:
        path: where it should be.
        released: the cells that were handed out.
        marks: what the gradebook knows of them.
        versions: see `restore`.

    Returns:
        sentences about the file, and what is graded.

    """
    answer = read_notebook(path)
    notes: list[str] = list(answer.get("notes") or [])
    if "problem" in answer:
        problem = f"{answer['problem'][0].lower()}{answer['problem'][1:]}"
        notes = [f"{path.name} was scored 0: {problem}"]
        other = _instead_of(path, marks)
        if other is not None:
            name, answer = other
            why = problem.removeprefix("it ").rstrip(".")
            notes = [f"{path.name} {why}; {name!r} was graded, which has its cells.", *answer["notes"]]
    if "problem" in answer:
        # The one sentence says it.
        restored = restore([], released, marks)
        return notes, Restored(restored.cells, restored.returned, [], problem=True)
    return notes, restore(cells_of(answer), released, marks, versions)


def _instead_of(path: Path, marks: dict[str, Mark]) -> tuple[str, dict[str, Any]] | None:
    """Find the notebook that one has become: a copy, in other letters or another encoding, or in another folder.

    Some browsers save it as `name.ipynb.txt`.
    """
    plain, stem = folded(path.name), folded(path.stem)
    found = (p for p in regular_files(path.parent, links=False) if ".ipynb" in p.name.casefold() and p != path)
    others = sorted(
        found,
        key=lambda p: (
            stem not in folded(p.name),
            p.suffix.casefold() != ".ipynb",
            len(p.parts),
            folded(p.name) != plain,
            p.name,
        ),
    )
    best: tuple[int, str, dict[str, Any]] | None = None
    for other in others[:LOOKED_AT]:
        answer = read_notebook(other)
        known = len({c.grade_id for c in cells_of(answer)} & marks.keys())
        if known and (best is None or known > best[0]):
            best = (known, str(other.relative_to(path.parent)), answer)
    return best and (best[1], best[2])


def notebook_of(
    restored: Restored, marks: dict[str, Mark], released: dict[str | None, Cell], kernel: dict[str, Any]
) -> NotebookNode:
    """Make a notebook of restored cells, with nothing in it that the hand-in says about itself.

    Args:
        restored: the cells.
        marks: what the gradebook knows of them.
        released: the cells that were handed out, by grade_id.
        kernel: the lecturer's kernelspec.

    """
    v4: Any = nbformat.v4
    from_dict: Any = nbformat.from_dict
    make = {"code": v4.new_code_cell, "markdown": v4.new_markdown_cell, "raw": v4.new_raw_cell}
    cells = []
    for number, cell in enumerate(restored.cells):
        made = make[cell.cell_type](cell.source, id=f"cell-{number}")
        mark = marks.get(cell.grade_id or "")
        if mark is not None and cell.grade_id is not None:
            made.metadata["nbgrader"] = from_dict(mark.metadata(cell.grade_id))
            # Of the text that was handed out: an answer with this checksum is none.
            plain = copy.copy(made)
            if not mark.locked and cell.grade_id in released:
                plain["source"] = released[cell.grade_id].source
            made.metadata["nbgrader"]["checksum"] = compute_checksum(plain)
        if cell.attachments:
            made["attachments"] = from_dict(cell.attachments)
        cells.append(made)
    kernel = kernel or {"name": "python3", "display_name": "Python 3", "language": "python"}
    made_of: NotebookNode = v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    return made_of


class SaveGrades(SaveAutoGrades):  # type: ignore[misc] # nbgrader has no types
    """Saves scores. Each graded cell of a hand-in gets one, or is there to be graded by hand."""

    def preprocess(
        self,
        nb: NotebookNode,
        resources: Any,  # noqa: ANN401 - nbconvert's ResourcesDict
    ) -> tuple[NotebookNode, Any]:
        """Save them all."""
        kernel = nb.metadata.get("kernelspec", {})
        self._python = kernel.get("language", "python") == "python"
        self._returned = set(nb.metadata.get(ABOUT, {}).get("returned", []))
        self._odd: list[str] = []
        nb, resources = super().preprocess(nb, resources)
        step, about = self.parent.parent, resources["nbgrader"]
        note = f"Ended in a value that is no score between 0 and its points, and got the nearest: {names(self._odd)}."
        place = (step.coursedir.root, about["assignment"], about["student"], f"{about['notebook']}: scores")
        gradebook.note(*place, [note] if self._odd else [])
        return nb, resources

    def preprocess_cell(
        self,
        cell: NotebookNode,
        resources: Any,  # noqa: ANN401 - nbconvert's ResourcesDict
        cell_index: int,
    ) -> tuple[NotebookNode, Any]:
        """Save one."""
        cell, resources = super().preprocess_cell(cell, resources, cell_index)
        if is_task(cell) and cell.metadata.nbgrader["grade_id"] in self._returned:
            name = cell.metadata.nbgrader["grade_id"]
            grade = self.gradebook.find_grade(name, self.notebook_id, self.assignment_id, self.student_id)
            grade.auto_score, grade.needs_manual_grade = 0, grade.manual_score is not None
            self.gradebook.db.commit()
        return cell, resources

    def _add_score(self, cell: NotebookNode, resources: Any) -> None:  # noqa: ANN401 - nbconvert's ResourcesDict
        judged = copy.copy(cell)
        if cell.cell_type == "code" and not is_solution(cell):
            results = [o for o in cell.outputs if o.output_type == "execute_result"]
            others = [o for o in cell.outputs if o.output_type != "execute_result"]
            if self._python:
                # A Python kernel says by itself when a cell fails; progress bars and warnings are no failure.
                others = [o for o in others if o.output_type == "error"]
            # nbgrader takes what comes first, also a value before the assertion that fails.
            score = self._score(cell, results[-1]) if results else None
            judged["outputs"] = [*others, score] if score else others
        super()._add_score(judged, resources)

    def _score(self, cell: NotebookNode, result: NotebookNode) -> NotebookNode | None:
        """Return a result as a score that the cell may have; None if it is no number: the cell has passed then.

        nbgrader gives all points for what is less than nothing, and for what is no number any more.
        """
        text = result.get("data", {}).get("text/plain")
        try:
            number = float(_OF_NUMPY.sub(r"\1", text))
        except (ValueError, TypeError):
            return None
        nearest = 0.0 if math.isnan(number) else min(max(number, 0.0), float(cell.metadata.nbgrader["points"]))
        if nearest != number:
            self._odd.append(cell.metadata.nbgrader["grade_id"])
        from_dict: Any = nbformat.from_dict
        made: NotebookNode = from_dict({**result, "data": {"text/plain": repr(nearest)}})
        return made


def install() -> None:
    """Put this in place of what nbgrader does with hand-ins and files. Does nothing the second time."""
    if Autograde.init_notebooks is _init_notebooks:
        return
    Autograde.init_notebooks = _init_notebooks
    BaseConverter.convert_single_notebook = _limited(BaseConverter.convert_single_notebook)
    Autograde.convert_single_notebook = _noting(Autograde.convert_single_notebook)
    Autograde.init_assignment = _noting(Autograde.init_assignment)
    BaseConverter.init_assignment = _copy_files
    SaveCells._create_notebook = _with_kernel(SaveCells._create_notebook)
    for module in (nbgrader.utils, nbgrader.converters.base):
        module.find_all_files = _find_all_files


def _init_notebooks(self: Any) -> None:  # noqa: ANN401 - an Autograde
    """Grade the notebooks that the gradebook knows, for whoever has handed something in."""
    course = self.coursedir
    self.assignments, self.notebooks = {}, []
    pattern = self._format_source(glob.escape(course.assignment_id), course.student_id)
    with Gradebook(course.db_url, course.course_id) as book:
        try:
            known = [notebook.name for notebook in book.find_assignment(course.assignment_id).notebooks]
        except MissingEntry:
            known = []
    known = sorted(name for name in known if fnmatch.fnmatch(name, course.notebook_id))
    folders = [folder for folder in map(Path, glob.glob(pattern)) if folder.is_dir()]  # noqa: PTH207 - pattern and all
    if not known or not folders:
        BaseConverter.init_notebooks(self)
        return
    self.assignments = {str(folder): [str(folder / f"{name}.ipynb") for name in known] for folder in folders}


def _limited(plain: Any) -> Any:  # noqa: ANN401 - a method
    """Wrap the work on a notebook: one that takes too long is an error, as any other, and the next has its turn.

    So is one that is a link out of the course's folder, as with other files (`regular_files`).
    """

    def method(self: Any, notebook: str) -> None:  # noqa: ANN401 - a BaseConverter
        if leads_out(Path(notebook)):
            raise NbGraderException(f"{notebook} is a link that leads out of the course's folder.")
        with cpu_limit(NOTEBOOK, WHOLE):
            plain(self, notebook)

    return method


def _noting(plain: Any) -> Any:  # noqa: ANN401 - a method
    """Wrap a part of Autograde: why a hand-in was not graded is a sentence on the course page, too."""

    def method(self: Any, *arguments: str) -> Any:  # noqa: ANN401 - as the method's
        assignment, student = arguments if len(arguments) == 2 else _whose(self, arguments[0])
        root = self.coursedir.root
        try:
            done = plain(self, *arguments)
        except Exception as error:
            gradebook.note(
                root, assignment, student, "autograde", [f"It was not graded: {str(error) or type(error).__name__}"]
            )
            raise
        gradebook.note(root, assignment, student, "autograde", [])
        return done

    return method


def _with_kernel(plain: Any) -> Any:  # noqa: ANN401 - a method
    """Wrap the saving of a notebook: a kernel that the image lacks can be changed after there are hand-ins."""

    def method(self: Any, nb: NotebookNode) -> None:  # noqa: ANN401 - a SaveCells
        plain(self, nb)
        found = self.gradebook.find_notebook(self.notebook_id, self.assignment_id)
        found.kernelspec = json.dumps(nb.metadata.get("kernelspec", {}))
        self.gradebook.db.commit()

    return method


def _whose(step: Any, notebook: str) -> tuple[str, str]:  # noqa: ANN401 - an Autograde
    about = step.init_single_notebook_resources(notebook)["nbgrader"]
    return about["assignment"], about["student"]


def _find_all_files(path: str, exclude: list[str] | None = None) -> list[str]:
    """List plain files as nbgrader does, without what cannot be opened, and in time that grows with their number."""
    return [str(file) for file in regular_files(Path(path), exclude or [])]


def lecturers_files(course: Any, assignment: str) -> set[Path]:  # noqa: ANN401 - a CourseDirectory
    """Return the names of the files that lie beside an assignment's notebooks, with their folders."""
    folder = Path(course.format_path(course.source_directory, ".", assignment))
    return {file.relative_to(folder) for file in regular_files(folder, course.ignore)}


def _copy_files(self: Any, assignment_id: str, student_id: str) -> None:  # noqa: ANN401 - a BaseConverter
    """Copy what lies beside the notebooks.

    Of a hand-in no links, and nothing whose name stands in the way of one of the lecturer's files.
    """
    source = Path(self._format_source(assignment_id, student_id))
    target = Path(self._format_dest(assignment_id, student_id))
    grading = isinstance(self, Autograde)
    theirs = lecturers_files(self.coursedir, assignment_id) if grading else set()
    above = {parent for file in theirs for parent in file.parents}
    for file in regular_files(source, [*self.coursedir.ignore, "*.ipynb"], links=not grading):
        name = file.relative_to(source)
        if name in above or any(parent in theirs for parent in name.parents):
            self.log.warning("Not copied, since the assignment has something else of this name: %s", file)
            continue
        self.log.info("Copying %s -> %s", file, target / name)
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).unlink(missing_ok=True)
        shutil.copy(file, target / name)
    target.mkdir(parents=True, exist_ok=True)
    skipped = [f for f in regular_files(source, self.coursedir.ignore) if f.suffix == ".ipynb" and f.parent != source]
    if skipped and not grading:
        self.log.warning(
            "Notebooks in subfolders are not converted: %s", names([str(f.relative_to(source)) for f in skipped])
        )
