"""A class of hand-ins of all kinds, collected and autograded by nbgrader with real sandboxes: each gets its score."""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from bs4 import BeautifulSoup
from campus_hubs_lab import files, gradebook, plugins, reader
from campus_hubs_lab.autograde import cells_of, hand_in, read_notebook
from campus_hubs_lab.cputime import TEXTS, WHOLE, cpu_limit
from campus_hubs_lab.pages import EscapingExporter
from campus_hubs_lab.restore import Cell, Mark, restore
from nbgrader.api import Gradebook

from tests.hostile_handins import ASSIGNMENT, KINDS, NOTEBOOK, SOURCE_FILES, source_notebook
from tests.unit.images.singleuser.grading_lab import COURSE, Course, Exchange, Hub

if TYPE_CHECKING:
    from collections.abc import Iterator

STUDENTS = {name: f"s{number}" for number, name in enumerate(KINDS)}
QUICK = [name for name, kind in KINDS.items() if not kind.large]
# With sandboxes, in short runs: what runs otherwise than it should, and a few of the others, each of which is restored
# in a test of its own.
_RUNS = QUICK.index("a deleted test")
SHORT = {*QUICK[:_RUNS], *QUICK[_RUNS::6]}
ALL = [pytest.param(name, marks=() if name in SHORT else pytest.mark.full) for name in KINDS]


def released() -> dict[str, Any]:
    """Return the students' version as nbgrader makes it."""
    made = source_notebook()
    for cell in made["cells"]:
        source = cell["source"]
        for name, stub in (("SOLUTION", "    # YOUR CODE HERE\n    raise NotImplementedError()"), ("HIDDEN TESTS", "")):
            if f"### BEGIN {name}" in source:
                head, rest = source.split(f"### BEGIN {name}")
                source = head.rstrip() + "\n" + stub + rest.split(f"### END {name}")[1]
        cell["source"] = source.strip()
    return made


def marks() -> dict[str, Mark]:
    """Return what the gradebook has of the assignment."""
    known = {}
    for cell in source_notebook()["cells"]:
        if fields := cell["metadata"].get("nbgrader"):
            known[fields["grade_id"]] = Mark(
                cell["cell_type"], cell["source"], fields["locked"], fields.get("points"), fields["solution"], False
            )
    return known


@pytest.mark.parametrize("name", QUICK)
def test_each_hand_in_has_all_graded_cells_once(tmp_path: Path, name: str) -> None:
    """Whatever is handed in; and its sentence is there."""
    kind, folder = KINDS[name], tmp_path / "hand-in"
    left_out = files.write_files(kind.files(released()), folder)
    notes, made = hand_in(folder / NOTEBOOK, cells_of(_read(tmp_path, released())), marks())
    assert [cell.grade_id for cell in made.cells if cell.grade_id] == list(marks())
    for cell in made.cells:
        if cell.grade_id:
            mark = marks()[cell.grade_id]
            assert cell.cell_type == mark.cell_type
            assert not mark.locked or cell.source == mark.source
    told = " ".join([*notes, *made.notes, *(f"Left out: {each}" for each in left_out)])
    assert kind.says.casefold() in told.casefold() or name in QUIETLY
    assert bool(kind.says) == bool(told) or name in QUIETLY
    assert not list(tmp_path.parent.rglob("escaped.txt"))


# What is said in the log only, since it costs nothing; of the time stamp the collection says it.
QUIETLY = {"a folder for the time stamp", "somebody else's cell", "a grade id that is no text"}


def _read(folder: Path, notebook: dict[str, Any]) -> dict[str, Any]:
    path = folder / "released.ipynb"
    path.write_text(json.dumps(notebook))
    return read_notebook(path)


def test_the_notebook_is_among_the_files_that_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_FILES", 20)
    many = [{"path": f"{number:03}", "content": ""} for number in range(50)]
    left_out = files.write_files([*many, {"path": NOTEBOOK, "content": "e30="}], tmp_path / "hand-in")
    assert (tmp_path / "hand-in" / NOTEBOOK).read_text() == "{}"
    assert len(left_out) == 31


def test_a_long_text_is_cut_and_no_other() -> None:
    """An answer with a photo in its text is one, whose rest can be looked at; those beside it are whole."""
    texts = {"first": "x", "photo": "A" * 5_000_000, "long": "B" * 3_000_000, "last": "y"}
    cells = [
        {"cell_type": "markdown", "source": text, "metadata": {"nbgrader": {"grade_id": name}}}
        for name, text in texts.items()
    ]
    answer = reader.read(json.dumps({"cells": cells}).encode())
    sizes = {cell["grade_id"]: len(cell["source"]) for cell in answer["cells"]}
    assert sizes == {"first": 1, "photo": reader.MAX_SOURCE - 3_000_002, "long": 3_000_000, "last": 1}
    assert answer["notes"] == [
        f"1 cells were cut, all texts together have more than {reader.MAX_SOURCE} characters: see the file."
    ]


def test_a_file_larger_than_memory_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(2**42)
    (tmp_path / "small").write_text("x")
    made, problems = files.encode_files(tmp_path, (), lambda _folder, _name, size: size > 1000)
    assert [each["path"] for each in made] == ["small"]
    assert problems == []


@pytest.mark.parametrize("html", ["<div>" * 200_000, "<script>" * 100_000, f"<a {' '.join(map(str, range(10**5)))}>"])
def test_what_takes_hours_to_clean_is_not_shown(monkeypatch: pytest.MonkeyPatch, html: str) -> None:
    monkeypatch.setattr(plugins, "CLEANING", 1)
    began = time.process_time()
    assert "not shown: it takes more than 1 seconds" in plugins.safe_html(html)
    assert time.process_time() - began < 10
    assert plugins.safe_html("<b>bold</b><script>x</script>") == "<b>bold</b>"


def test_all_texts_of_a_page_have_an_end_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next page has its own time, and what is no page takes none of it."""
    monkeypatch.setattr(plugins, "CLEANING", 1)
    monkeypatch.setattr(TEXTS, "seconds", 1.5)
    filters = {"clean_html": plugins.safe_html, "markdown2html": plugins.safe_markdown}
    make: Any = EscapingExporter
    exporter = make(filters=filters, sanitize_html=True)
    v4: Any = nbformat.v4

    def page(*texts: str) -> str:
        made, _ = exporter.from_notebook_node(v4.new_notebook(cells=[v4.new_markdown_cell(text) for text in texts]))
        return BeautifulSoup(made, "html.parser").text

    assert "fine" in page("fine")
    began = time.process_time()
    shown = page("first", *["<div>" * 20_000] * 10)
    assert time.process_time() - began < 5
    assert "first" in shown
    assert shown.count("not shown: the page's texts take more than 1.5 seconds") == 9
    assert shown.count("not shown: it takes more than 1 seconds") == 1
    assert "fine" in page("fine")
    assert "takes more than 1 seconds" in plugins.safe_html("<div>" * 20_000)
    assert plugins.safe_html("fine") == "fine"


SHOWN = f"data:image/png;base64,{'A' * 8}"
PASTED = {
    "a b.png": {"image/svg+xml": "<svg/>", "image/png": "AAAA\nAAAA\n"},
    "evil.png": {"image/png": '"><script>evil()</script>'},
    "evil.svg": {"image/svg+xml": "<svg onload='evil()'/>"},
    "odd": {"text/html": ["x"], "image/png": None},
}


@pytest.mark.parametrize(
    ("source", "sources"),
    {
        "![x](attachment:a%20b.png)": [SHOWN],
        "![x](<attachment:a b.png>)": [SHOWN],
        "![x][y]\n\n[y]: attachment:a%20b.png": [SHOWN],
        f"![x]({SHOWN})": [SHOWN],
        "![x](data:image/svg+xml;base64,AAAA) ![x](data:text/html,evil)": ["", ""],
        "![x](attachment:lost.png) ![x](plot.png)": ["", "plot.png"],
        "![x](attachment:evil.png) ![x](attachment:evil.svg) ![x](attachment:odd)": ["", "", ""],
        # No page is made larger than what was handed in.
        "![x](attachment:a%20b.png)" * 3: [SHOWN, "", ""],
        f"![x]({'a' * 32})": ["a" * 32],
        "[x](attachment:a%20b.png)": [],
        # As Lab's users write it to give an image a width; a tag may stand in a line, or lines of its own.
        '<img src="attachment:a b.png" width="50"/>': [SHOWN],
        "text <IMG alt='x' src='attachment:a%20b.png'> text": [SHOWN],
        "<div>\n<img\nsrc=attachment:a%20b.png>\n</div>": [SHOWN],
        f'<img src="{SHOWN}">': [SHOWN],
        '<img src="attachment:evil.png"><img src="attachment:lost.png" onerror="evil()">': ["", ""],
        '<img src="plot.png?a=1&amp;b=2"><img src=plot.png>': ["plot.png?a=1&b=2", "plot.png"],
        '<img src="data:text/html,evil">': [""],
        '`<img src="attachment:a%20b.png">`': [],
    }.items(),
)
def test_pictures_of_a_cell(source: str, sources: list[str]) -> None:
    shown = plugins.safe_markdown({"cell": {"attachments": PASTED}}, source)
    assert [image.get("src", "") for image in BeautifulSoup(shown, "html.parser")("img")] == sources
    assert "evil()" not in shown
    assert "base64" not in plugins.safe_markdown({}, source) or SHOWN in source


def test_pictures_are_put_back_with_their_text(tmp_path: Path) -> None:
    """The lecturer's where the text is theirs; an answer has both."""
    theirs, ours = {"mine.png": {"image/png": "BBBB"}}, {"figure.png": {"image/png": "AAAA"}}
    marks = {name: Mark("markdown", "text", name != "why", None, name == "why", False) for name in ("q", "why", "gone")}
    handed_out = [Cell("markdown", "text", name, attachments=ours) for name in marks]
    cells = [
        {"cell_type": "markdown", "source": "text", "metadata": {"nbgrader": {"grade_id": name}}, "attachments": theirs}
        for name in ("q", "why")
    ]
    path = tmp_path / NOTEBOOK
    path.write_text(json.dumps({"cells": cells}))
    _, made = hand_in(path, handed_out, marks)
    assert {cell.grade_id: cell.attachments for cell in made.cells} == {"q": ours, "why": ours | theirs, "gone": ours}


def test_what_is_as_an_earlier_version_had_it_is_not_changed() -> None:
    """Neither a test's text, nor the order; and what is left of an answer's place is still no answer."""
    marks = {name: Mark("code", f"new {name}", name != "why", None, name == "why", False) for name in ("why", "b", "a")}
    handed_out = [Cell("code", f"new {name}", name) for name in marks]
    handed_in = [Cell("code", f"old {name} \n", name) for name in ("a", "b", "why")]
    versions = [{cell.grade_id or "": cell.text for cell in cells} for cells in (handed_out, handed_in)]
    made = restore(handed_in, handed_out, marks, versions)
    assert [(cell.grade_id, cell.source) for cell in made.cells] == [(name, f"new {name}") for name in marks]
    assert made.notes == []
    assert len(restore(handed_in, handed_out, marks, versions[:1]).notes) == 2


def test_a_notebook_has_an_end_and_the_next_its_turn() -> None:
    with pytest.raises(TimeoutError, match=r"0.1 seconds"), cpu_limit(0.1, WHOLE), cpu_limit(5):
        all(number >= 0 for number in itertools.count())
    with cpu_limit(0.1, WHOLE):
        time.sleep(0.5)


@pytest.fixture(scope="module")
def graded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Collect and autograde what this run asks for; return the course page's lines by student."""
    wanted: list[str] = [
        str(item.callspec.params["kind"])
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.originalname == "test_score_and_sentence"
    ]
    hub, exchange = Hub(), Exchange()
    course = Course(tmp_path_factory.mktemp("class"), hub, exchange)
    course.prepare()
    (course.root / "options.json").write_text(json.dumps({"Execute.timeout": 8}))
    source = course.root / "source" / ASSIGNMENT
    source.mkdir(parents=True)
    for name, content in SOURCE_FILES.items():
        (source / name).write_text(content if isinstance(content, str) else json.dumps(content))
    assert course.action("assign", ASSIGNMENT)["success"]
    handed_out = json.loads((course.root / "release" / ASSIGNMENT / NOTEBOOK).read_text())
    stamp = "2026-11-24 10:00:00.000000 UTC"
    exchange.submissions[ASSIGNMENT] = {
        STUDENTS[name]: {"timestamp": stamp, "files": KINDS[name].files(handed_out)} for name in wanted
    }
    done = course.action("collect", ASSIGNMENT)
    assert done["success"], done
    began = time.monotonic()
    done = course.action("autograde", ASSIGNMENT, "*")
    print(f"\n{len(wanted)} hand-ins autograded in {time.monotonic() - began:.0f} s")
    assert done["success"], done["log"][-5000:]
    (book,) = gradebook.assignments(course.root, COURSE)
    with Gradebook(gradebook.db_url(course.root), COURSE) as found:
        auto = {
            s.student_id: {grade.name: grade.auto_score for notebook in s.notebooks for grade in notebook.grades}
            for s in found.find_assignment(ASSIGNMENT).submissions
        }
    yield {"book": book, "auto": auto, "course": course}
    assert not list(course.place.rglob("escaped.txt"))
    assert not Path("/escaped.txt").exists()
    hub.close()
    exchange.close()


@pytest.mark.parametrize("kind", ALL)
def test_score_and_sentence(graded: dict[str, Any], kind: str) -> None:
    """No hand-in waits to be graded by hand for ever, and none takes anything from another."""
    expected, student = KINDS[kind], STUDENTS[kind]
    book = graded["book"]
    said = book["notes"].get(student, "")
    assert graded["auto"][student] == expected.scores, said
    assert book["missing"].get(student, "") == ""
    assert book["scores"][student] == sum(expected.scores.values())
    assert expected.says in said
    assert bool(said) == bool(expected.says) or kind in QUIETLY
