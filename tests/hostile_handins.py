"""Hand-ins as they come back: broken by accident, by other programs, by version control, and on purpose.

One assignment, and for each kind of hand-in its files, the scores that it must get and the sentence that must be read
on the course page. Tests of the user image put them through nbgrader's steps, those of the lab through a real course.
"""

from __future__ import annotations

import base64
import copy
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

ASSIGNMENT = "sums"
NOTEBOOK = "sums.ipynb"
Notebook = dict[str, Any]
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}

SQUARE = "def square(x):\n    return x * x"
READ = "def read():\n    return open('data.txt').read()"
FULL = {"test_square": 2.0, "test_read": 3.0, "why": 0.0}
NOTHING = dict.fromkeys(FULL, 0.0)


def cell(kind: str, source: str, grade_id: str, points: int | None = None) -> dict[str, Any]:
    """Return a cell as nbgrader's *Create Assignment* marks it: graded if it has points, a test if it is code then."""
    solution = kind == "markdown" or points is None
    marks: dict[str, Any] = {"grade": points is not None, "grade_id": grade_id, "locked": not solution, "task": False}
    marks |= {"schema_version": 3, "solution": solution} | ({"points": points} if points is not None else {})
    made: dict[str, Any] = {"cell_type": kind, "id": grade_id, "metadata": {"nbgrader": marks}, "source": source}
    return made | ({"execution_count": None, "outputs": []} if kind == "code" else {})


def source_notebook() -> Notebook:
    """Return the lecturer's version: two tasks with hidden tests of 2 and 3 points, and one to grade by hand (4)."""
    begin, end = "    ### BEGIN SOLUTION\n", "\n    ### END SOLUTION"
    head, body = SQUARE.split("\n")
    read_head, read_body = READ.split("\n")
    hidden = "### BEGIN HIDDEN TESTS\n{}\n### END HIDDEN TESTS"
    cells = [
        {"id": "title", "cell_type": "markdown", "source": "# Sums", "metadata": {}},
        cell("code", f"{head}\n{begin}{body}{end}", "square"),
        cell("code", "assert square(2) == 4\n" + hidden.format("square(1)\nassert square(3) == 9"), "test_square", 2),
        cell("code", f"{read_head}\n{begin}{read_body}{end}", "read"),
        cell("code", hidden.format("assert read() == 'of the lecturer'"), "test_read", 3),
        cell("markdown", "Say why.", "why", 4),
    ]
    return {"cells": cells, "metadata": {"kernelspec": KERNEL}, "nbformat": 4, "nbformat_minor": 5}


SOURCE_FILES = {NOTEBOOK: source_notebook(), "data.txt": "of the lecturer"}


@dataclass(frozen=True)
class HandIn:
    """One kind.

    Args:
        make: makes what is handed in of a notebook with right answers: files by name, or the notebook alone.
        scores: by graded cell.
        says: what the course page says of it; "" = nothing.
        runs: whether a kernel is started for it.
        large: whether it takes so much time or space that it is tried in full runs only.

    """

    make: Callable[[Notebook], Notebook | dict[Any, Any]]
    scores: dict[str, float] = field(default_factory=lambda: FULL)
    says: str = ""
    runs: bool = True
    large: bool = False

    def files(self, released: Notebook) -> list[dict[str, Any]]:
        """Return what the exchange is given.

        Args:
            released: the students' version of the notebook.

        """
        made = self.make(answered(released))
        by_name = {NOTEBOOK: made} if "cells" in made or "worksheets" in made else made
        return [{"path": name, "content": encoded(content)} for name, content in by_name.items()]


def encoded(content: object) -> str:
    """Encode bytes, text or JSON for the exchange."""
    if not isinstance(content, (str, bytes)):
        content = json.dumps(content)
    return base64.b64encode(content.encode() if isinstance(content, str) else content).decode()


def answered(released: Notebook, square: str = SQUARE, read: str = READ) -> Notebook:
    """Return the notebook of somebody who has solved both tasks."""
    made = copy.deepcopy(released)
    by_id(made, "square")["source"], by_id(made, "read")["source"] = square, read
    return made


def by_id(notebook: Notebook, grade_id: str) -> dict[str, Any]:
    """Return a graded cell."""
    (found,) = [c for c in notebook["cells"] if c["metadata"].get("nbgrader", {}).get("grade_id") == grade_id]
    assert isinstance(found, dict)
    return found


def without(*grade_ids: str) -> Callable[[Notebook], Notebook]:
    """Delete cells."""

    def make(notebook: Notebook) -> Notebook:
        for grade_id in grade_ids:
            notebook["cells"].remove(by_id(notebook, grade_id))
        return notebook

    return make


def changed(grade_id: str, **fields: Any) -> Callable[[Notebook], Notebook]:  # noqa: ANN401 - JSON
    """Change a cell; what begins with `mark_` is nbgrader's metadata."""

    def make(notebook: Notebook) -> Notebook:
        found = by_id(notebook, grade_id)
        for name, value in fields.items():
            if name.startswith("mark_"):
                found["metadata"]["nbgrader"][name.removeprefix("mark_")] = value
            else:
                found[name] = value
        return notebook

    return make


def solving(square: str, before: str = "") -> Callable[[Notebook], Notebook]:
    """Answer the first task otherwise, with something before it runs."""
    return changed("square", source=f"{before}\n{square}".strip())


def of_all(change: Callable[[dict[str, Any]], object]) -> Callable[[Notebook], Notebook]:
    """Change all cells."""

    def make(notebook: Notebook) -> Notebook:
        for each in notebook["cells"]:
            change(each)
        return notebook

    return make


def whole(**fields: Any) -> Callable[[Notebook], Notebook]:  # noqa: ANN401 - JSON
    """Change what the notebook says about itself."""
    return lambda notebook: {**notebook, **fields}


def raw(content: bytes) -> Callable[[Notebook], dict[str, bytes]]:
    """Hand in something else."""
    return lambda _: {NOTEBOOK: content}


def beside(files: dict[Any, Any]) -> Callable[[Notebook], dict[Any, Any]]:
    """Hand in more than the notebook."""
    return lambda notebook: {NOTEBOOK: notebook, **files}


def copied(notebook: Notebook) -> Notebook:
    """Copy cells, as copy and paste do: with all of their metadata."""
    copies = [copy.deepcopy(by_id(notebook, grade_id)) for grade_id in ("square", "test_square", "why")]
    copies[0]["source"] = "def square(x):\n    # ideas\n    return None"
    notebook["cells"][1:1] = copies[:1]
    notebook["cells"] += copies[1:]
    return notebook


def beneath(notebook: Notebook) -> Notebook:
    """Keep an older answer at the end, as copy and paste do."""
    old = copy.deepcopy(by_id(notebook, "square"))
    old["source"] = "def square(x):\n    return None"
    notebook["cells"].append(old)
    return notebook


def split(notebook: Notebook) -> Notebook:
    """Split an answer, as Lab does: both halves have its marks."""
    answer = by_id(notebook, "square")
    first = copy.deepcopy(answer)
    first["source"] = "def product(a, b):\n    return a * b"
    answer["source"] = "def square(x):\n    return product(x, x)"
    notebook["cells"].insert(notebook["cells"].index(answer), first)
    return notebook


def merged(notebook: Notebook) -> Notebook:
    """Merge both answers into the first cell."""
    by_id(notebook, "square")["source"] += f"\n\n{READ}"
    return without("read")(notebook)


def own_cell(notebook: Notebook) -> Notebook:
    """Delete the cell for an answer, and write it into a new one."""
    index = notebook["cells"].index(by_id(notebook, "square"))
    notebook["cells"][index] = {"cell_type": "code", "metadata": {}, "source": SQUARE, "outputs": [], "id": "new"}
    return notebook


def conflict(notebook: Notebook) -> dict[str, str]:
    """Leave both sides of a merge in the file, as git does."""
    text = json.dumps(notebook, indent=1)
    line = next(each for each in text.splitlines() if "return x * x" in each)
    other = line.replace("x * x", "None")
    return {NOTEBOOK: text.replace(line, f"<<<<<<< HEAD\n{line}\n=======\n{other}\n>>>>>>> theirs")}


def old_format(notebook: Notebook) -> Notebook:
    """Write it as IPython 2 did."""
    cells = [
        {**{k: v for k, v in c.items() if k not in {"id", "source", "execution_count"}}, "input": c["source"]}
        if c["cell_type"] == "code"
        else {k: v for k, v in c.items() if k != "id"}
        for c in notebook["cells"]
    ]
    return {"metadata": {"name": ""}, "nbformat": 3, "nbformat_minor": 0, "worksheets": [{"cells": cells}]}


def encoded_as(encoding: str) -> Callable[[Notebook], dict[str, bytes]]:
    """Write it in another encoding."""

    def make(notebook: Notebook) -> dict[str, bytes]:
        by_id(notebook, "square")["source"] += "  # groß"
        return {NOTEBOOK: json.dumps(notebook, ensure_ascii=False).encode(encoding)}

    return make


REDRAW = """
from IPython.display import clear_output, display
for number in range(60):
    clear_output(wait=True)
    display({"image/png": "A" * 200_000, "text/plain": str(number)}, raw=True)
"""
MANY = "from IPython.display import display\nfor number in range(2000):\n    display(number)"
UPDATES = """
from IPython.display import display
shown = display({"image/png": "A" * 200_000}, raw=True, display_id=True)
for number in range(60):
    shown.update({"image/png": "B" * 200_000}, raw=True)
"""
PROGRESS = """
import sys
for number in range(20000):
    print(f"\\r{number:6} |{'#' * 60}|", end="", file=sys.stderr, flush=number % 100 == 0)
"""
PROGRESS_IN_TEST = (
    f"def square(x):\n{''.join(f'    {line}\n' for line in PROGRESS.strip().splitlines())}    return x * x"
)
LATER = """
import subprocess, sys, threading, time
def later():
    time.sleep(1)
    print("x" * 1000, file=sys.stderr)
threading.Thread(target=later).start()
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1); print('late')"])
"""
WIDGET = """
from comm import create_comm
widget = create_comm(target_name="jupyter.widget", data={"state": {}}, metadata={"version": "2.1.0"})
for number in range(2000):
    widget.send({"method": "update", "state": {"value": number}, "buffer_paths": []})
"""
ODD = """
def square(x):
    display({"text/html": 5, "text/plain": ["a", 1], "image/png": None}, raw=True)
    return x * x
"""
FORGED = """
kernel = get_ipython().kernel
for content in ({"traceback": 5, "ename": []}, {"data": 7}, {"name": "stdout", "text": None}):
    for kind in ("error", "display_data", "stream", "update_display_data", "clear_output", "comm_msg"):
        kernel.session.send(kernel.iopub_socket, kind, content, parent=kernel.get_parent())
"""
EACH_LINE = """
from IPython.core.interactiveshell import InteractiveShell
InteractiveShell.ast_node_interactivity = "all"
"""
VALUE_FIRST = """
import sys
def square(x):
    sys.displayhook(1)
    return 0
"""
# As a plot with a label that cannot be drawn.
UNSHOWN = """
class Plot:
    def _repr_png_(self):
        raise ValueError("no such font")
def square(x):
    display(Plot())
    return x * x
"""
CALLED = """
def after_each_cell(result=None):
    raise ValueError("no such result")
get_ipython().events.register("post_run_cell", after_each_cell)
"""
CLOSED = """
import sys
with open("log.txt", "w") as sys.stdout:
    print("read later")
"""
NO_MESSAGE = """
def square(x):
    get_ipython().kernel.iopub_socket.send_multipart([b"x", b"<IDS|MSG>", b"", b"{", b"{", b"{", b"{"])
    return x * x
"""
DEAD = {**NOTHING}
SECOND_ONLY = {**FULL, "test_square": 0.0}

# Point 19: whatever is put out; what it costs is what the cell did, not how it looked or how busy the node was.
OUTPUTS = {
    "a right solution": HandIn(lambda notebook: notebook),
    "60 redraws": HandIn(solving(SQUARE, REDRAW)),
    "2000 small displays": HandIn(solving(SQUARE, MANY)),
    "60 updates of a display": HandIn(solving(SQUARE, UPDATES)),
    "a progress bar": HandIn(solving(SQUARE, PROGRESS)),
    "a progress bar in a test": HandIn(solving(PROGRESS_IN_TEST)),
    "a warning in a test": HandIn(
        solving("import warnings\ndef square(x):\n    warnings.warn('so')\n    return x * x")
    ),
    "a print of 5 MB": HandIn(solving(SQUARE, "print('x' * 5_000_000)")),
    "many lines in a test": HandIn(solving("def square(x):\n    print('line\\n' * 400_000)\n    return x * x")),
    "an image of 30 MB": HandIn(
        solving(SQUARE, "from IPython.display import display\ndisplay({'image/png': 'A' * 30_000_000}, raw=True)")
    ),
    "a widget": HandIn(solving(SQUARE, WIDGET)),
    "a display of odd values in a test": HandIn(solving(ODD)),
    "messages of its own": HandIn(solving(SQUARE, FORGED)),
    "a picture that cannot be shown in a test": HandIn(solving(UNSHOWN)),
    "a callback that fails": HandIn(solving(SQUARE, CALLED)),
    "a stream that was closed": HandIn(solving(SQUARE, CLOSED)),
    "a closed stream and an error": HandIn(solving(f"{CLOSED}\n1 / 0"), SECOND_ONLY),
    "no stream": HandIn(solving(f"{SQUARE}\nimport sys\nsys.stdout = sys.stderr = None")),
    "what is no message": HandIn(solving(NO_MESSAGE)),
    "half a character put out": HandIn(solving("def square(x):\n    print('\\ud800')\n    return x * x")),
    "output after the end": HandIn(solving(SQUARE, LATER)),
    "a question": HandIn(solving("def square(x):\n    return int(input('x * x = '))"), SECOND_ONLY),
    "a wrong solution that prints much": HandIn(
        solving("def square(x):\n    print('x' * 5_000_000)\n    return 0"), SECOND_ONLY
    ),
    "the value of each line": HandIn(solving(SQUARE, EACH_LINE)),
    "a value before an error": HandIn(solving(VALUE_FIRST), SECOND_ONLY),
    "a dead kernel": HandIn(solving("import os\nos._exit(0)"), DEAD),
    "an exit": HandIn(changed("read", source="exit()"), {**NOTHING, "test_square": 2.0}),
    "a loop": HandIn(solving("while True:\n    pass"), SECOND_ONLY, large=True),
    "a loop that catches all": HandIn(
        solving(
            "while True:\n    try:\n        while True:\n            pass\n    except BaseException:\n        pass"
        ),
        DEAD,
        large=True,
    ),
    "a sleep": HandIn(solving("import time\ntime.sleep(10**6)"), SECOND_ONLY, large=True),
    "a sleep that is awaited": HandIn(solving("import asyncio\nawait asyncio.sleep(10**6)"), SECOND_ONLY, large=True),
    "a flood": HandIn(solving("while True:\n    print('x' * 10_000)"), SECOND_ONLY, large=True),
}

# Point 20: notebooks that came back otherwise than they were handed out.
NOTEBOOKS = {
    "a deleted test": HandIn(
        without("test_square"), SECOND_ONLY, "Deleted from the notebook, put back, and scored 0: 'test_square'"
    ),
    "a deleted essay": HandIn(without("why"), FULL, "scored 0: 'why'"),
    "a deleted solution": HandIn(without("square"), SECOND_ONLY, "put back as handed out, answers without"),
    "all cells deleted": HandIn(whole(cells=[]), NOTHING, "scored 0: 'test_square', 'test_read', 'why'"),
    "a test that became text": HandIn(changed("test_square", cell_type="markdown"), FULL, "Changed in their type"),
    "a test that became raw": HandIn(changed("test_square", cell_type="raw"), FULL, "Changed in their type"),
    "an answer that became text": HandIn(changed("square", cell_type="markdown"), FULL, "Changed in their type"),
    "an essay that became code": HandIn(changed("why", cell_type="code", outputs=[]), FULL, "Changed in their type"),
    "copied cells": HandIn(copied, FULL, "Copied, so that there were several"),
    "an old answer at the end": HandIn(beneath, FULL, "Copied, so that there were several"),
    "a split answer": HandIn(split, FULL, "Copied, so that there were several"),
    "merged answers": HandIn(merged, FULL, "answers without running them: 'read'"),
    "an answer in a cell of its own": HandIn(own_cell, FULL, "answers without running them: 'square'"),
    "100000 merge markers": HandIn(solving("<<<<<<<\n" * 100_000), SECOND_ONLY),
    "another order": HandIn(lambda n: {**n, "cells": n["cells"][::-1]}, FULL, "in another order"),
    "a merge conflict": HandIn(conflict, FULL, "the first of both versions was graded"),
    "a merge conflict in a cell": HandIn(
        solving("<<<<<<< HEAD\ndef square(x): return 1\n=======\n>>>>>>> theirs"),
        SECOND_ONLY,
        "'square' holds merge conflict",
    ),
    "an old format": HandIn(old_format, FULL, "old version of the format"),
    "no cell ids": HandIn(lambda n: {**of_all(lambda c: c.pop("id", None))(n), "nbformat_minor": 4}),
    "equal cell ids": HandIn(of_all(lambda c: c.update(id="same"))),
    "bad cell ids": HandIn(of_all(lambda c: c.update(id="ä / ?" * 50))),
    "a newer format": HandIn(whole(nbformat=5, nbformat_minor=99)),
    "marks stripped": HandIn(of_all(lambda c: c.update(metadata={})), FULL, "had lost the marks"),
    "marks and ids stripped": HandIn(
        of_all(lambda c: c.update(metadata={"id": "x"}, id="x")), FULL, "had lost the marks"
    ),
    "an edited test": HandIn(changed("test_square", source="pass"), FULL, "Locked cells that were edited"),
    "100 points": HandIn(changed("test_square", mark_points=100)),
    "no points": HandIn(changed("test_square", mark_points="many")),
    "a test that is not graded": HandIn(changed("test_square", mark_grade=False, mark_locked=False)),
    "a test that is an answer": HandIn(changed("test_square", mark_solution=True)),
    "an answer that is a test": HandIn(changed("square", mark_grade=True, mark_points=1000, mark_solution=False)),
    "a newer schema": HandIn(changed("square", mark_schema_version=99)),
    "an older schema": HandIn(changed("square", mark_schema_version=0)),
    "a grade id that is no text": HandIn(
        changed("test_square", mark_grade_id=["x"]), SECOND_ONLY | {"test_square": 2.0}
    ),
    "somebody else's cell": HandIn(changed("why", mark_grade_id="unknown"), FULL, ""),
    "cells that are to be skipped": HandIn(
        of_all(lambda c: c["metadata"].update(tags=["skip-execution", "raises-exception"])),
    ),
    "a wrong answer to be skipped": HandIn(
        lambda n: of_all(lambda c: c["metadata"].update(tags=["skip-execution"]))(solving("square = None")(n)),
        SECOND_ONLY,
    ),
    "another kernel": HandIn(
        whole(metadata={"kernelspec": {"name": "conda-env-foo", "display_name": "x", "language": "R"}})
    ),
    "no metadata": HandIn(lambda n: {k: v for k, v in n.items() if k != "metadata"}),
    "metadata that are a list": HandIn(whole(metadata=[1])),
    "outputs with errors": HandIn(
        changed("test_square", outputs=[{"output_type": "error", "ename": "E", "evalue": "", "traceback": []}])
    ),
    "outputs of 20 MB": HandIn(
        changed("test_square", outputs=[{"output_type": "stream", "name": "stdout", "text": "x" * 2 * 10**7}])
    ),
    "a picture in the essay": HandIn(changed("why", attachments={"p.png": {"image/png": "AAAA"}})),
    "an answer of 5 MB": HandIn(solving(f"# {'A' * 5_000_000}\n{SQUARE}"), SECOND_ONLY, "cells were cut"),
    "half a character in a picture": HandIn(changed("why", attachments={"p.png": {"image/png": "AAAA\ud800"}})),
    "renamed": HandIn(lambda n: {"sums (1).ipynb": n}, FULL, "'sums (1).ipynb' was graded"),
    "saved by a browser as text": HandIn(
        lambda n: {f"{NOTEBOOK}.txt": n}, FULL, f"is missing; '{NOTEBOOK}.txt' was graded"
    ),
    "renamed beside many others": HandIn(
        lambda n: {"sums (1).ipynb": n} | {f"Untitled{number}.ipynb": {"cells": []} for number in range(9)},
        FULL,
        "'sums (1).ipynb' was graded",
    ),
    "renamed in its letters": HandIn(lambda n: {"Sums.IPYNB": n}, FULL, "'Sums.IPYNB' was graded"),
    "moved into a folder": HandIn(lambda n: {f"mine/{NOTEBOOK}": n}, FULL, f"is missing; 'mine/{NOTEBOOK}' was graded"),
    "an empty file and a copy": HandIn(
        lambda n: {NOTEBOOK: b"", "sums-Copy1.ipynb": n}, FULL, "is empty; 'sums-Copy1.ipynb' was graded"
    ),
    "more notebooks": HandIn(lambda n: {NOTEBOOK: n, "Untitled.ipynb": b"x", "sums-Copy1.ipynb": whole(cells=[])(n)}),
    "another notebook": HandIn(lambda _: {"other.ipynb": {"cells": []}}, NOTHING, "it is missing", runs=False),
    "no notebook": HandIn(lambda _: {"answer.pdf": b"%PDF"}, NOTHING, "it is missing", runs=False),
    "no file": HandIn(lambda _: {}, NOTHING, "it is missing", runs=False),
    "a notebook that is no JSON": HandIn(raw(b"print('x')"), NOTHING, "it is no JSON", runs=False),
    "a picture called notebook": HandIn(
        raw(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\xff"), NOTHING, "it is no text", runs=False
    ),
    "half a notebook": HandIn(lambda n: {NOTEBOOK: json.dumps(n)[:500]}, NOTHING, "it is no JSON", runs=False),
    "an empty file": HandIn(raw(b""), NOTHING, "it is empty", runs=False),
    "JSON, but no notebook": HandIn(raw(b'{"a": 1}'), NOTHING, "it has no cells", runs=False),
    "a list": HandIn(raw(b"[1, 2]"), NOTHING, "a notebook is an object", runs=False),
    "cells that are no cells": HandIn(whole(cells=[None, 1, "x", [], {"source": 5}]), NOTHING, "5 cells were left out"),
    "a merge of two notebooks": HandIn(
        raw(b"<<<<<<< a\n{\n=======\n[\n>>>>>>> b\n"), NOTHING, "neither version", runs=False
    ),
    "a byte order mark": HandIn(encoded_as("utf-8-sig")),
    "UTF-16": HandIn(encoded_as("utf-16")),
    "Latin-1": HandIn(encoded_as("latin-1"), FULL, "not in UTF-8"),
    "not a number": HandIn(whole(metadata={"x": float("nan"), "y": float("inf"), "z": int("9" * 4000)})),
    "half a character": HandIn(solving(SQUARE + "  # \ud800")),
    "deep": HandIn(raw(b'{"cells": ' + b"[" * 10**5 + b"]" * 10**5 + b"}"), NOTHING, "nested more deeply", runs=False),
    "5 MB of []": HandIn(raw(b'{"cells": [' + b"[]," * 1_700_000 + b"[]]}"), NOTHING, "cells were left out"),
    "45 MB of []": HandIn(
        raw(b'{"cells": [' + b"[]," * 15_000_000 + b"[]]}"), NOTHING, "of memory to read", runs=False, large=True
    ),
}

# Point 21: files that are named by somebody who means harm, or works on another system.
FILES = {
    "a folder for the notebook": HandIn(lambda n: {f"{NOTEBOOK}/x": b"x"}, NOTHING, "it is a folder", runs=False),
    "the notebook and a folder": HandIn(lambda n: {f"{NOTEBOOK}/x": b"x", NOTEBOOK: n}, FULL, "Left out"),
    "a folder for the time stamp": HandIn(beside({"timestamp.txt/x": b"x"}), FULL, "Left out"),
    "a time stamp": HandIn(beside({"timestamp.txt": b"1970-01-01 00:00:00 UTC"})),
    "a folder for the lecturer's file": HandIn(beside({"data.txt/x": b"x"})),
    "the lecturer's file": HandIn(beside({"data.txt": b"of the student"})),
    "a file above": HandIn(beside({"../../../../escaped.txt": b"x"}), FULL, "lies outside of the assignment"),
    "an absolute file": HandIn(beside({"/escaped.txt": b"x"}), FULL, "lies outside of the assignment"),
    "a name of two lines": HandIn(beside({"a\nb": b"x"}), FULL, "characters that no file's name should have"),
    "half a character in a name": HandIn(beside({"a\ud800": b"x"}), FULL, "characters that no file's name should have"),
    "a long name": HandIn(beside({"x" * 400: b"x"}), FULL, "name too long"),
    "a long path": HandIn(beside({"/".join(["d" * 200] * 30): b"x"}), FULL, "name too long"),
    "no name": HandIn(beside({"": b"x", ".": b"x"}), FULL, "it has no name"),
    "a folder and a file": HandIn(beside({"a": b"x", "a/b": b"y"}), FULL, "Left out"),
    "twins": HandIn(beside({"\u00e4": b"1", "a\u0308": b"2", "A.txt": b"3", "a.txt": b"4"})),
    "names of ours": HandIn(
        beside({"nbgrader_config.py": b"raise SystemExit", "random.py": b"raise SystemExit", ".git/config": b"[core]"})
    ),
    "checkpoints": HandIn(beside({".ipynb_checkpoints/sums-checkpoint.ipynb": b"{}", "feedback/x.html": b"x"})),
    "its own folder again": HandIn(beside({f"{ASSIGNMENT}/data.csv": b"1", f"{ASSIGNMENT}/{NOTEBOOK}": b"{}"})),
    "12000 files": HandIn(
        beside({f"f/{number}": b"" for number in range(12_000)}), FULL, "more than 10000", large=True
    ),
}
KINDS = {**OUTPUTS, **NOTEBOOKS, **FILES}
