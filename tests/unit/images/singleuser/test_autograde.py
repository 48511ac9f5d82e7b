"""nbgrader's autograding with real sandboxes: good work, hostile work, and sandboxes that lie."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from campus_hubs_lab import gradebook

from tests.unit.images.singleuser.grading_lab import GOOD, Raw, Server, hidden_test, solution

if TYPE_CHECKING:
    from email.message import Message

    from tests.unit.images.singleuser.grading_lab import Course


def errors(cell: dict[str, Any]) -> list[str]:
    return [output["evalue"] for output in cell["outputs"] if output["output_type"] == "error"]


def test_good_work_and_hidden_tests(released: Course) -> None:
    released.hand_in("u1", GOOD, data__txt="of the student")
    released.hand_in("u2", {**GOOD, "square": "def square(x):\n    return 4"})
    for student in ("u1", "u2"):
        result = released.action("autograde", "ps1", student)
        assert result["success"], result
    # The lecturer's file is put over the student's, as nbgrader does.
    assert released.scores("u1") == {"test_square": 2, "test_read": 3, "why": None}
    assert released.scores("u2") == {"test_square": 0, "test_read": 3, "why": None}
    assert released.hub.asked.count("POST /hub/api/sandboxes") == 2
    assert not released.hub.agents


def set_kernel(course: Course, name: str, language: str) -> None:
    """Have the lecturer's notebook come from another computer, and generate the assignment again."""
    path = course.root / "source/ps1/sums.ipynb"
    notebook = json.loads(path.read_text())
    notebook["metadata"]["kernelspec"] = {"name": name, "display_name": name, "language": language}
    path.write_text(json.dumps(notebook))
    result = course.action("assign", "ps1")
    assert result["success"], result


def test_a_kernel_of_the_lecturer_s_own_computer(released: Course) -> None:
    """Python is the image's Python; what no run can mend is not to be tried again, but can be mended."""
    set_kernel(released, "ir", "R")
    released.hand_in("u1", GOOD)
    result = released.action("autograde", "ps1", "u1")
    assert not result["success"]
    assert "The course's image has no kernel of the name that the assignment's notebook has ('ir')." in str(
        gradebook.notes(released.root)["ps1", "u1"]
    )
    assert "utograde it again" not in result["log"]
    assert not (released.root / "autograded/u1/ps1").exists()
    set_kernel(released, "myenv", "python")
    result = released.action("autograde", "ps1", "u1")
    assert result["success"], result
    assert released.scores("u1") == {"test_square": 2, "test_read": 3, "why": None}
    assert ("ps1", "u1") not in gradebook.notes(released.root)


def add_cube(course: Course) -> None:
    """Have the lecturer add an answer and two tests, reword a test, and generate the assignment again."""
    path = course.root / "source/ps1/sums.ipynb"
    notebook = json.loads(path.read_text())
    by_id = {cell["id"]: cell for cell in notebook["cells"]}
    by_id["test_square"]["source"] = "# two squared\n" + by_id["test_square"]["source"]
    more = [
        solution("cube", "def cube(x):\n    return x**3"),
        hidden_test("test_cube", 2, "", "assert cube(2) == 8"),
        hidden_test("test_five", 1, "", "assert square(5) == 25"),
    ]
    notebook["cells"][3:3] = more
    path.write_text(json.dumps(notebook))
    result = course.action("assign", "ps1")
    assert result["success"], result


@pytest.mark.parametrize("released_again", [False, True])
def test_nobody_has_deleted_what_was_added_later(released: Course, released_again: bool) -> None:
    """It runs against what was handed in, and scores what that is worth; what was there before is deleted."""
    assert released.action("release", "ps1")["success"]
    released.hand_in("early", GOOD)
    released.hand_in("by chance", {**GOOD, "square": f"{GOOD['square']}\ndef cube(x):\n    return x**3"})
    released.hand_in("deleted", GOOD)
    released.hand_in("broken", GOOD)
    path = released.root / "submitted/deleted/ps1/sums.ipynb"
    notebook = json.loads(path.read_text())
    notebook["cells"] = [cell for cell in notebook["cells"] if cell["id"] != "test_read"]
    path.write_text(json.dumps(notebook))
    (released.root / "submitted/broken/ps1/sums.ipynb").write_text("{")
    add_cube(released)
    if released_again:
        assert released.action("unrelease", "ps1")["success"]
        assert released.action("release", "ps1")["success"]
    result = released.action("autograde", "ps1", "*")
    assert result["success"], result
    early = {"test_square": 2, "test_cube": 0, "test_five": 1, "test_read": 3, "why": None}
    assert released.scores("early") == early
    assert released.scores("by chance") == early | {"test_cube": 2}
    assert released.scores("deleted") == early | {"test_read": 0}
    assert released.scores("broken") == dict.fromkeys(early, 0)
    added = "Missing, as in an earlier version of the assignment, and put in: 'cube', 'test_cube', 'test_five'."
    said = gradebook.notes(released.root)
    assert said["ps1", "early"] == said["ps1", "by chance"] == added
    assert said["ps1", "deleted"] == f"Deleted from the notebook, put back, and scored 0: 'test_read'. {added}"


def test_the_assignment_was_released_before_versions_were_kept(released: Course) -> None:
    """What is there when it is generated again is what was handed out, if there are hand-ins."""
    add = released.root / "source/ps1/sums.ipynb"
    before = add.read_text()
    add_cube(released)
    add.write_text(before)
    assert released.action("assign", "ps1")["success"]
    assert gradebook.versions(released.root, "ps1", "sums") == []
    released.hand_in("u1", GOOD)
    add_cube(released)
    assert len(gradebook.versions(released.root, "ps1", "sums")) == 1
    assert released.action("autograde", "ps1", "u1")["success"]
    assert released.scores("u1")["test_five"] == 1


def limits(course: Course, total: int = 60) -> None:
    """Set short limits, as a course may."""
    options = {
        "Execute.timeout": 4,
        "SandboxExecute.total_timeout": total,
        "SandboxExecute.max_output_size": 20000,
    }
    (course.root / "options.json").write_text(json.dumps(options))


def grade(course: Course, square: str, read: str = GOOD["read"]) -> tuple[dict[str, float | None], dict[str, Any], str]:
    """Autograde a submission; return scores, cells, log."""
    course.hand_in("u1", {**GOOD, "square": square, "read": read})
    result = course.action("autograde", "ps1", "u1")
    assert result["success"], result
    return course.scores("u1"), course.graded("u1"), result["log"]


def test_a_loop_costs_its_own_points_only(released: Course) -> None:
    limits(released)
    scores, cells, _ = grade(released, "def square(x):\n    while True:\n        pass")
    assert scores == {"test_square": 0, "test_read": 3, "why": None}
    assert cells["test_square"]["outputs"][-1]["ename"] in {"CellTimeoutError", "KeyboardInterrupt"}


def test_a_loop_that_can_not_be_interrupted(released: Course) -> None:
    limits(released)
    stubborn = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True:\n    pass"
    scores, cells, log = grade(released, stubborn)
    assert scores == {"test_square": 0, "test_read": 0, "why": None}
    assert "could not be interrupted" in errors(cells["square"])[-1]
    assert "was not run" in errors(cells["test_read"])[0]
    assert "could not be interrupted" in log


def test_the_whole_notebook_has_a_deadline(released: Course) -> None:
    limits(released, total=6)
    scores, cells, log = grade(
        released, GOOD["square"] + "\nimport time\ntime.sleep(3.5)", "import time\ntime.sleep(3.5)"
    )
    assert scores == {"test_square": 2, "test_read": 0, "why": None}
    assert "whole submission" in errors(cells["read"])[0]
    assert "whole submission" in log


def test_a_dead_kernel(released: Course) -> None:
    scores, cells, log = grade(released, GOOD["square"], "import os\nos._exit(1)")
    assert scores == {"test_square": 2, "test_read": 0, "why": None}
    assert "kernel died" in errors(cells["read"])[0]
    assert "cell 4: The notebook's kernel died" in log


def test_a_sandbox_that_is_killed_costs_the_points_of_its_cell_only(released: Course) -> None:
    """Its answer then ends in the middle of a line or chunk."""
    kill = "import os, signal, time\nos.kill(os.getppid(), signal.SIGKILL)\ntime.sleep(5)"
    scores, cells, log = grade(released, GOOD["square"], kill)
    assert scores == {"test_square": 2, "test_read": 0, "why": None}
    assert errors(cells["read"])
    assert "The sandbox's answer ended" in log


def test_memory_is_an_error_of_the_cell(released: Course) -> None:
    released.hub.limits = {"memory": 512 * 1024**2}
    scores, cells, _ = grade(released, "x = bytearray(2 * 1024**3)")
    assert scores == {"test_square": 0, "test_read": 3, "why": None}
    assert cells["square"]["outputs"][-1]["ename"] == "MemoryError"


@pytest.mark.parametrize("processes", [80, 5000])
def test_a_fork_bomb(released: Course, processes: int) -> None:
    """It meets the pod's limit, or the agent's watch, which comes first where a node allows thousands."""
    limits(released, total=30)
    released.hub.limits = {"processes": processes}
    began = time.monotonic()
    scores, cells, _ = grade(
        released, "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass"
    )
    assert scores["test_square"] == 0
    assert time.monotonic() - began < 90
    assert not released.hub.agents
    assert any("256 processes" in each for each in errors(cells["square"])) is (processes == 5000)


def test_floods_of_output(released: Course) -> None:
    limits(released)
    scores, cells, _ = grade(
        released, "while True:\n    print('x' * 1000)", "print('y' * 30000)\ndef read():\n    return 'of the lecturer'"
    )
    assert scores == {"test_square": 0, "test_read": 3, "why": None}
    assert any("was stopped" in e for e in errors(cells["square"]))
    assert len(json.dumps(cells["square"]["outputs"])) < 100_000
    # What is much, but has an end, is cut and costs nothing.
    assert not errors(cells["read"])
    (said,) = ["".join(o["text"]) for o in cells["read"]["outputs"]]
    assert said.startswith("yyy")
    assert "[... cut here: a cell's outputs may have 20000 bytes ...]" in said


def test_the_lecturer_s_files_are_not_pushed_out(released: Course) -> None:
    """Although they are larger than a student's plots; and what is left out can be read on the course page."""
    (released.root / "options.json").write_text(json.dumps({"SandboxExecute.max_files_size": 1000}))
    (released.root / "source/ps1/tables").mkdir()
    (released.root / "source/ps1/tables/data.csv").write_text("of the lecturer" * 40)
    plots = {f"plot{number}__png": "x" * 150 for number in range(5)}
    read = "import os\nprint(*sorted(os.listdir()))\ndef read():\n    return open('tables/data.csv').read()[:15]"
    released.hand_in("u1", {**GOOD, "read": read}, **plots)
    result = released.action("autograde", "ps1", "u1")
    assert result["success"], result
    assert released.scores("u1") == {"test_square": 2, "test_read": 3, "why": None}
    said = "Run without these files, since all have more than 1000 bytes together: "
    said += "'plot2.png', 'plot3.png', 'plot4.png'."
    assert gradebook.notes(released.root)["ps1", "u1"] == said
    assert said in result["log"]
    (output,) = released.graded("u1")["read"]["outputs"]
    assert "".join(output["text"]) == "data.txt plot0.png plot1.png tables timestamp.txt\n"
    # With room for all, nothing is said any more.
    (released.root / "options.json").unlink()
    (released.root / "submitted/u1/ps1/timestamp.txt").write_text("2026-11-25 10:00:00.000000 UTC")
    assert released.action("autograde", "ps1", "u1")["success"]
    assert ("ps1", "u1") not in gradebook.notes(released.root)


def test_nothing_but_the_outputs_comes_back(released: Course) -> None:
    released.hand_in(
        "u1", {**GOOD, "square": GOOD["square"] + "\nopen('../escaped', 'w').write('x')"}, notes__txt="mine"
    )
    link = released.root / "submitted" / "u1" / "ps1" / "link.txt"
    link.symlink_to("/etc/hostname")
    before = {p for p in released.root.rglob("*") if ".locks" not in p.parts}
    result = released.action("autograde", "ps1", "u1")
    assert result["success"], result
    new = {str(p.relative_to(released.root)) for p in released.root.rglob("*") if ".locks" not in p.parts} - {
        str(p.relative_to(released.root)) for p in before
    }
    folder = "autograded/u1/ps1"
    files = {f"{folder}/{n}" for n in ("sums.ipynb", "timestamp.txt", "notes.txt", "data.txt")}
    assert {n for n in new if not n.startswith("gradebook.db")} == {"autograded/u1", folder, *files}


def test_the_kernel_knows_no_tokens(released: Course) -> None:
    _, cells, _ = grade(
        released,
        "import os\nprint(sorted(k for k in os.environ if 'TOKEN' in k or 'HUB' in k))\n"
        "try:\n    print(open(f'/proc/{os.getppid()}/environ').read())\n"
        "except OSError as e:\n    print(type(e).__name__)",
    )
    (said,) = ["".join(o["text"]) for o in cells["square"]["outputs"] if o["output_type"] == "stream"]
    assert said.startswith("[]\n")


def test_what_programs_print_stays_out_of_the_pod_s_log(released: Course) -> None:
    """A busy node's log keeps nobody waiting."""
    said = GOOD["square"] + "\nimport subprocess\nsubprocess.run(['echo', 'from a program'])"
    scores, cells, _ = grade(released, said)
    assert scores["test_square"] == 2
    assert "from a program" in json.dumps(cells["square"]["outputs"])
    logs = [path.read_text() for path in released.hub.folder.glob("*-said/*")]
    assert logs
    assert "from a program" not in "".join(logs)


def test_without_a_sandbox_nothing_is_graded(released: Course) -> None:
    released.hand_in("u1", GOOD)
    released.hub.refusals = [(503, "The sandbox did not start. No room.")]
    result = released.action("autograde", "ps1", "u1")
    assert not result["success"]
    assert "The submission could not be run: The sandbox did not start. No room." in result["log"]
    assert not (released.root / "autograded" / "u1" / "ps1").exists()


def test_one_bad_submission_does_not_stop_the_others(released: Course) -> None:
    for student in ("u1", "u2"):
        released.hand_in(student, GOOD)
    released.hub.refusals = [(503, "No room.")]
    result = released.action("autograde", "ps1", "*")
    assert not result["success"]
    assert released.scores("u2") == {"test_square": 2, "test_read": 3, "why": None}
    assert not (released.root / "autograded" / "u1" / "ps1").exists()


def test_autograding_waits_for_a_free_sandbox(released: Course) -> None:
    released.hub.refusals = [(429, "6 submissions are being run."), (429, "6 submissions are being run.")]
    scores, _, log = grade(released, GOOD["square"])
    assert scores["test_square"] == 2
    assert "Waiting for a sandbox: 6 submissions are being run." in log


class Impostor(Server):
    """A sandbox that was taken over: answers what it is told."""

    def __init__(self, lines: list[Any]) -> None:
        """Start it."""
        self.lines = lines
        super().__init__()

    def answer(self, method: str, path: str, headers: Message, body: bytes) -> tuple[int, Any]:
        """Lie."""
        lines = [line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in self.lines]
        return 200, Raw(b"".join(lines))


FINE: dict[str, Any] = {"execution_count": 1, "outputs": []}
# Python reads it, and does not write it.
DEEP: Any = json.loads("[" * 900 + "]" * 900)
LIES: dict[str, list[Any]] = {
    "no answer": [],
    "only an end": [{"end": ""}],
    "a cell that is not there": [{"cell": 99, **FINE}, {"end": ""}],
    "a negative cell": [{"cell": -1, **FINE}, {"end": ""}],
    "a cell by a truth value": [{"cell": True, **FINE}, {"end": ""}],
    "not JSON": [b"\xff\xfe\n", {"end": ""}],
    "deeply nested": [b"[" * 100_000 + b"\n"],
    "endless": [b"x" * (70 * 1024**2)],
    "text that is no Unicode": [
        {"cell": i, **FINE, "outputs": [{"output_type": "stream", "name": "stdout", "text": "\ud800"}]}
        for i in range(1, 5)
    ],
    "deeply nested outputs": [
        {"cell": i, **FINE, "outputs": [{"output_type": "display_data", "data": {"application/json": DEEP}}]}
        for i in range(1, 5)
    ],
    "no outputs": [{"cell": i, "execution_count": 1} for i in range(1, 5)] + [{"end": ""}],
    "outputs of no kind": [{"cell": i, "execution_count": 1, "outputs": [{"output_type": "x"}]} for i in range(1, 5)],
    "a stream without a name": [
        {"cell": i, "execution_count": 1, "outputs": [{"output_type": "stream", "text": "x"}]} for i in range(1, 5)
    ],
    "large": [
        {"cell": i, "execution_count": 1, "outputs": [{"output_type": "stream", "name": "stdout", "text": "x" * 10**7}]}
        for i in range(1, 5)
    ],
}


@pytest.mark.parametrize("lie", LIES)
def test_a_sandbox_that_lies_earns_nothing(released: Course, lie: str) -> None:
    impostor = Impostor(LIES[lie])
    try:
        released.hub.impostor = impostor.url
        scores, cells, _ = grade(released, GOOD["square"])
    finally:
        impostor.close()
    assert scores == {"test_square": 0, "test_read": 0, "why": None}
    assert sum(len(json.dumps(c.get("outputs", []))) for c in cells.values()) < 1_000_000


def test_a_sandbox_can_not_change_cells(released: Course) -> None:
    answer: dict[str, Any] = {
        "execution_count": 7,
        "source": "evil",
        "metadata": {"nbgrader": {"points": 100}},
        "outputs": [
            {"output_type": "display_data", "data": {"text/plain": "x"}, "metadata": {"evil": 1}, "evil": 1},
        ],
    }
    impostor = Impostor([{"cell": i, **answer} for i in range(-1, 10)] + [{"end": "", "cells": ["evil"]}])
    try:
        released.hub.impostor = impostor.url
        scores, cells, _ = grade(released, GOOD["square"])
    finally:
        impostor.close()
    assert "evil" not in json.dumps(cells)
    assert scores["test_square"] == 2
    assert "".join(cells["square"]["source"]) == GOOD["square"]
    assert "outputs" not in cells["why"]


def test_the_reason_that_the_cluster_gives(released: Course) -> None:
    impostor = Impostor([{"start": 1}, {"cell": 1, **FINE}, {"start": 2}, {"cell": 2, **FINE}, {"start": 3}])
    try:
        released.hub.impostor = impostor.url
        released.hub.reason = "It used more memory than a submission may."
        scores, cells, log = grade(released, GOOD["square"])
    finally:
        impostor.close()
    assert scores == {"test_square": 2, "test_read": 0, "why": None}
    assert errors(cells["read"]) == ["It used more memory than a submission may."]
    assert "cell 4: It used more memory" in log
