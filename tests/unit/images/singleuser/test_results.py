"""What a graded cell's result is worth, whatever a notebook does to how it is shown or sent."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from campus_hubs_lab import sandbox
from campus_hubs_lab.autograde import SaveGrades
from nbgrader.utils import determine_grade

from tests.unit.images.singleuser.grading_lab import ETC, SOURCE

if TYPE_CHECKING:
    from pathlib import Path

LIMITS = sandbox.Limits(60, 120, 10_000, sandbox.NOTEBOOK_OUTPUT, sandbox.FLOOD)
GARBAGE = """
kernel = get_ipython().kernel
def work():
    kernel.iopub_socket.send_multipart([b"x", b"<IDS|MSG>", b"", b"{", b"{", b"{", b"{"])
    kernel.session.send(kernel.iopub_socket, "stream", {}, parent=None)
"""
MUCH = "def work():\n    for _ in range(4000):\n        print('x' * 2000, flush=True)"


async def run(answer: str, folder: Path, busy: float) -> list[dict[str, Any]]:
    """Run an answer and a test that ends in two thirds of a point; return what the test has put out.

    Args:
        answer: defines `work`.
        folder: where it runs.
        busy: seconds in which the agent has no time, while the test runs.

    """
    v4: Any = nbformat.v4
    test = v4.new_code_cell("work()\n2 / 3", metadata={"nbgrader": {"grade": True}})
    kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = v4.new_notebook(cells=[v4.new_code_cell(answer), test], metadata={"kernelspec": kernelspec})
    resources = {"metadata": {"path": str(folder)}}
    runner = sandbox.Runner(notebook, LIMITS, startup_timeout=120, extra_arguments=[], resources=resources)
    events: list[dict[str, Any]] = []

    async def emit(event: dict[str, Any]) -> None:
        events.append(event)
        if event == {"start": 1}:
            asyncio.get_running_loop().call_later(0.3, time.sleep, busy)

    try:
        assert await runner.cells(emit) == ("", "")
    finally:
        await runner.kill()
    outputs: list[dict[str, Any]] = events[-1]["outputs"]
    return outputs


@pytest.mark.parametrize(
    ("answer", "busy"),
    [("%precision 0\nwork = int", 0), (GARBAGE, 0), pytest.param(MUCH, 15, marks=pytest.mark.full)],
)
def test_a_result_within_its_size_is_sent_in_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, busy: float
) -> None:
    monkeypatch.setenv("JUPYTER_PATH", str(ETC))
    monkeypatch.setenv("PYTHONPATH", str(SOURCE))
    (result,) = [o for o in asyncio.run(run(answer, tmp_path, busy)) if o["output_type"] == "execute_result"]
    assert result["data"] == {"text/plain": str(2 / 3)}


def result(text: object) -> dict[str, Any]:
    return {"output_type": "execute_result", "execution_count": 1, "metadata": {}, "data": {"text/plain": text}}


ERROR = {"output_type": "error", "ename": "AssertionError", "evalue": "", "traceback": []}
WARNING = {"output_type": "stream", "name": "stderr", "text": "a warning"}


@pytest.mark.parametrize(
    ("outputs", "score", "odd"),
    [
        ([], 2, False),
        ([result("1.5")], 1.5, False),
        ([result("np.float64(1.5)")], 1.5, False),
        ([result("np.int64(0)")], 0, False),
        ([result("np.float64(nan)")], 0, True),
        ([result("nan")], 0, True),
        ([result("-997")], 0, True),
        ([result("3")], 2, True),
        ([result("inf")], 2, True),
        ([result("'fine'")], 2, False),
        ([result("")], 2, False),
        ([result(["1", "2"])], 2, False),
        # What an answer shows by itself comes before the test's.
        ([result("2"), WARNING, result("0.5")], 0.5, False),
        ([result("2"), ERROR], 0, False),
        ([WARNING], 2, False),
    ],
)
def test_a_test_s_score_is_the_number_it_shows_or_whether_it_passed(
    monkeypatch: pytest.MonkeyPatch, outputs: list[dict[str, Any]], score: float, odd: bool
) -> None:
    """A number is one between nothing and the cell's points; else the cell has passed, as nbgrader has it."""
    assert scored(monkeypatch, outputs, solution=False) == ([score], ["test"] * odd)


def test_what_is_graded_by_hand_may_show_any_number(monkeypatch: pytest.MonkeyPatch) -> None:
    assert scored(monkeypatch, [result("-997")], solution=True) == ([None], [])


def scored(
    monkeypatch: pytest.MonkeyPatch, outputs: list[dict[str, Any]], *, solution: bool
) -> tuple[list[float | None], list[str]]:
    """Return the score of a cell of two points, and whether its value is named."""
    given: list[float | None] = []
    monkeypatch.setattr(SaveGrades.__base__, "_add_score", lambda _, cell, __: given.append(determine_grade(cell)[0]))
    from_dict: Any = nbformat.from_dict
    marks = {"grade": True, "solution": solution, "points": 2, "grade_id": "test"}
    cell = from_dict({"cell_type": "code", "source": "", "metadata": {"nbgrader": marks}, "outputs": outputs})
    saving: Any = SaveGrades()
    saving._python, saving._odd = True, []
    saving._add_score(cell, {})
    return given, saving._odd
