"""Puts a student's answers back into the notebook that was handed out, whatever became of it on the way.

Pure: lists of cells in, a list of cells and sentences out. What is graded, how it is marked, its type, its points,
its place and the text of locked cells come from the lecturer's side; a hand-in has answers and cells of its own.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from .files import listed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# How much of a text must be as it was for a cell without its marks to be taken for it.
ALIKE: Final = 0.6
# Characters of a text by which that is judged.
JUDGED: Final = 20_000
_OURS, _THEIRS = re.compile(r"^<{7}", re.M), re.compile(r"^>{7}", re.M)


@dataclass(frozen=True)
class Mark:
    """What the gradebook knows of a cell.

    Args:
        cell_type: "code" or "markdown".
        source: with hidden tests.
        locked: whether the student's text counts for nothing.
        points: None if it is not graded.
        solution: whether it is an answer.
        task: whether it is graded for what stands around it.

    """

    cell_type: str
    source: str
    locked: bool
    points: float | None
    solution: bool
    task: bool

    def metadata(self, grade_id: str) -> dict[str, Any]:
        """Return nbgrader's metadata (schema 3), but for the checksum."""
        fields: dict[str, Any] = {
            "grade": self.points is not None and not self.task,
            "solution": self.solution,
            "locked": self.locked,
            "task": self.task,
            "grade_id": grade_id,
            "schema_version": 3,
            "cell_type": self.cell_type,
        }
        return fields | ({"points": self.points} if self.points is not None else {})


@dataclass
class Cell:
    """A cell, of either side."""

    cell_type: str
    source: str
    grade_id: str | None = None
    id: str | None = None
    attachments: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def text(self) -> str:
        """The source but for blanks at the ends of lines and of the whole."""
        return "\n".join(line.rstrip() for line in self.source.strip().splitlines())

    @cached_property
    def words(self) -> Counter[str]:
        """How often each word and sign is in the source."""
        return Counter(re.findall(r"\w+|[^\w\s]", self.source[:JUDGED]))


@dataclass
class Restored:
    """What is graded: cells, ids of those that count as deleted, and sentences about what was found.

    `problem` says that it had none at all, since it could not be read.
    """

    cells: list[Cell]
    returned: list[str]
    notes: list[str]
    problem: bool = False


def restore(
    handed_in: Sequence[Cell],
    released: Sequence[Cell],
    marks: Mapping[str, Mark],
    versions: Sequence[Mapping[str, str]] = (),
) -> Restored:
    """Put answers back into the notebook that was handed out.

    Args:
        handed_in: the hand-in's cells.
        released: the cells that were handed out; those with a grade_id in `marks` are looked for.
        marks: by grade_id, what the gradebook knows.
        versions: what students may have got: texts by grade_id. Nobody has deleted what was not in all of them.

    Returns:
        the cells to run. The hand-in's own cells stay, behind the cell that they stood behind.

    """
    given = {cell.text for cell in released if cell.grade_id not in marks}
    released = [cell for cell in released if cell.grade_id in marks]
    sources = {str(cell.grade_id): cell.source for cell in released}
    # As it was in an earlier version is as it was handed out.
    handed_in = [
        replace(cell, source=sources[str(cell.grade_id)])
        if cell.grade_id in sources and any(texts.get(cell.grade_id) == cell.text for texts in versions)
        else cell
        for cell in handed_in
    ]
    notes: list[str] = []
    found = _by_mark(handed_in, released, marks, notes)
    stripped = bool(released) and not any(cell.grade_id for cell in handed_in)
    found |= _by_text(handed_in, released, marks, found, given if stripped else None)
    if stripped and found:
        notes.append(
            "The notebook had lost the marks of its graded cells; they were found again by their text and place."
        )

    orders = [[name for name in texts if name in found] for texts in (sources, *versions)]
    if sorted(found, key=found.__getitem__) not in orders:
        notes.append("The cells were in another order; they were run in the order in which they were handed out.")
    texts = {str(cell.grade_id): cell.text for cell in released}
    behind = _behind(handed_in, found, texts)
    cells = list(behind[None])
    changed: dict[str, list[str]] = {"returned": [], "added": [], "edited": [], "retyped": []}
    for each in released:
        grade_id = str(each.grade_id)
        mark = marks[grade_id]
        if grade_id not in found:
            changed["returned" if all(grade_id in texts for texts in versions) else "added"].append(grade_id)
            source = mark.source if mark.locked else each.source
            cells.append(Cell(mark.cell_type, source, grade_id, each.id, each.attachments))
            continue
        theirs = handed_in[found[grade_id]]
        if theirs.cell_type != mark.cell_type:
            changed["retyped"].append(grade_id)
        if mark.locked and theirs.text != each.text:
            changed["edited"].append(grade_id)
        # An answer that is as it was handed out is none, whatever became of its blanks.
        answer = each.source if theirs.text == each.text else theirs.source
        # In two steps: text of many first markers would take hours otherwise.
        if not mark.locked and (ours := _OURS.search(answer)) and _THEIRS.search(answer, ours.end()):
            notes.append(f"The answer {grade_id!r} holds merge conflict markers.")
        # Some editors lose pictures, also those of a text that they leave as it was.
        attachments = each.attachments if mark.locked else each.attachments | theirs.attachments
        attachments = attachments if mark.cell_type == "markdown" else {}
        cells.append(Cell(mark.cell_type, mark.source if mark.locked else answer, grade_id, theirs.id, attachments))
        cells += behind[grade_id]
    returned = [*changed["returned"], *(name for name in changed["added"] if marks[name].solution)]
    return Restored(cells, returned, notes + _said(changed, marks))


def _behind(
    handed_in: Sequence[Cell], found: Mapping[str, int], texts: Mapping[str, str]
) -> dict[str | None, list[Cell]]:
    """Return the hand-in's own cells by the cell that they stand behind; None = at the top.

    A copy that is as it was handed out is left out: run at another place it would undo an answer.
    """
    place = {index: grade_id for grade_id, index in found.items()}
    behind: dict[str | None, list[Cell]] = {None: []}
    last: str | None = None
    for index, cell in enumerate(handed_in):
        if index in place:
            last = place[index]
            behind[last] = []
        elif cell.text != texts.get(cell.grade_id or ""):
            behind[last].append(Cell(cell.cell_type, cell.source, attachments=cell.attachments))
    return behind


def _said(changed: Mapping[str, list[str]], marks: Mapping[str, Mark]) -> list[str]:
    """Say what was changed, in sentences."""
    graded = [name for name in changed["returned"] if marks[name].points is not None]
    others = [name for name in changed["returned"] if marks[name].points is None]
    sentences = {
        "Deleted from the notebook, put back, and scored 0": graded,
        "Deleted from the notebook and put back as handed out, answers without running them": others,
        "Missing, as in an earlier version of the assignment, and put in": changed["added"],
        "Changed in their type (code or text) and changed back": changed["retyped"],
        "Locked cells that were edited, graded as they were handed out": changed["edited"],
    }
    return [f"{what}: {names(which)}." for what, which in sentences.items() if which]


def _by_mark(
    handed_in: Sequence[Cell], released: Sequence[Cell], marks: Mapping[str, Mark], notes: list[str]
) -> dict[str, int]:
    """Find cells by their grade_id: of copies the last that was changed, else the last.

    One that stands between its neighbours comes before others: a copy elsewhere is somebody's note, and would be run
    too late or too early in its place.
    """
    texts = {str(cell.grade_id): cell.text for cell in released}
    copies: dict[str, list[int]] = {}
    for index, cell in enumerate(handed_in):
        if cell.grade_id in texts:
            copies.setdefault(str(cell.grade_id), []).append(index)
    several = [grade_id for grade_id, indices in copies.items() if len(indices) > 1]
    for grade_id, indices in copies.items():
        if not marks[grade_id].locked:
            of_type = [i for i in indices if handed_in[i].cell_type == marks[grade_id].cell_type] or indices
            copies[grade_id] = [i for i in of_type if handed_in[i].text != texts[grade_id]] or of_type
    if several:
        notes.append(
            "Copied, so that there were several; the one in its place is graded, of several there the last that was "
            f"changed: {names(several)}."
        )
    order = [str(cell.grade_id) for cell in released]
    single = {g: indices[0] for g, indices in copies.items() if len(indices) == 1}
    found: dict[str, int] = {}
    for position, grade_id in enumerate(order):
        if grade_id in copies:
            right = _between(order, position, found, single, len(handed_in))
            found[grade_id] = ([i for i in copies[grade_id] if i in right] or copies[grade_id])[-1]
    return found


def _between(
    order: Sequence[str], position: int, before: Mapping[str, int], after: Mapping[str, int], end: int
) -> range:
    """Return the places that the cell at a position has between its neighbours, as far as theirs are known.

    Args:
        order: grade_ids as they were handed out.
        position: the cell's among them.
        before: places of cells, for those that stand before it.
        after: the same, for those behind it.
        end: behind the last place.

    """
    first = max((before[g] for g in order[:position] if g in before), default=-1)
    last = min((after[g] for g in order[position + 1 :] if g in after), default=end)
    return range(first + 1, last)


def _by_text(
    handed_in: Sequence[Cell],
    released: Sequence[Cell],
    marks: Mapping[str, Mark],
    found: Mapping[str, int],
    given: set[str] | None,
) -> dict[str, int]:
    """Find cells that have lost their marks: by id, by equal text, and where all marks are gone by likeness and place.

    `given` has, if all marks are gone, the texts of cells that were handed out without one, else it is None.
    """
    free = {i for i, cell in enumerate(handed_in) if cell.grade_id not in marks}
    free -= {i for i in free if given and handed_in[i].text in given}
    new: dict[str, int] = {}

    def take(grade_id: str, index: int) -> None:
        new[grade_id] = index
        free.discard(index)

    missing = [cell for cell in released if cell.grade_id not in found]
    by_id = {handed_in[i].id: i for i in sorted(free, reverse=True) if handed_in[i].id}
    for cell in missing:
        if cell.id and by_id.get(cell.id) in free:
            take(str(cell.grade_id), by_id[cell.id])
    by_text: dict[str, list[int]] = {}
    for i in sorted(free):
        by_text.setdefault(handed_in[i].text, []).append(i)
    for cell in missing:
        equal = by_text.get(cell.text, []) if cell.text and cell.grade_id not in new else []
        # The stub of an answer may be in many cells.
        if len(equal) == 1 and equal[0] in free and (marks[str(cell.grade_id)].locked or given is not None):
            take(str(cell.grade_id), equal[0])
    if given is None:
        return new
    order = [str(cell.grade_id) for cell in released]
    for position, cell in enumerate(released):
        grade_id = str(cell.grade_id)
        if grade_id in new:
            continue
        right = _between(order, position, new, new, len(handed_in))
        rated = [(_likeness(handed_in[i], cell), -i) for i in right if i in free]
        if rated and max(rated)[0] >= ALIKE:
            take(grade_id, -max(rated)[1])
        else:
            # An answer may be anything; a test that is hidden altogether was handed out empty.
            kind = [
                (likeness, i)
                for likeness, i in rated
                if handed_in[-i].cell_type == cell.cell_type
                and (not marks[grade_id].locked or handed_in[-i].text == cell.text)
            ]
            if kind:
                take(grade_id, -max(kind)[1])
    return new


def _likeness(one: Cell, other: Cell) -> float:
    """Return the share of words that two texts have in common (Dice's coefficient)."""
    total = one.words.total() + other.words.total()
    return 2 * (one.words & other.words).total() / total if total else 0.0


def names(items: Sequence[str]) -> str:
    """List names for people; in quotes, since a name may hold anything."""
    return listed([repr(item if len(item) <= 80 else f"{item[:77]}...") for item in items])
