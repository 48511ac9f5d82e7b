"""nbgrader's Execute for autograding, in a sandbox pod of its own instead of the grader's.

The pod has run a stranger's code when it answers, so the answer is only read for what it may say: outputs and an
execution count for each code cell that was sent. Whatever is missing, malformed or too large is an error of that cell,
because nbgrader gives full points to a test without outputs (`nbgrader.utils.determine_grade`).
"""

from __future__ import annotations

import io
import json
import os
import tarfile
import tempfile
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import nbformat
import requests
import urllib3
from nbgrader.preprocessors import Execute
from nbgrader.utils import is_grade, is_solution
from traitlets import Integer

from . import gradebook
from .autograde import ABOUT, lecturers_files
from .files import listed, regular_files
from .sandbox import MAX_PROCESSES, error_output

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType

    from nbformat import NotebookNode

# Seconds: to connect; for the hub to start a pod or say why not (its sandbox.py); that the pod lives longer than it may
# take for the run.
CONNECT: Final = 10
START: Final = 120
SLACK: Final = 30
# Seconds that a pod lives if the hub does not say it.
LIFE: Final = 900
# Bytes: of the answer as a whole; of what errors of one cell hold.
MAX_ANSWER: Final = 64 * 1024**2
MAX_ERROR: Final = 512 * 1024
# Levels of an output's JSON.
MAX_DEPTH: Final = 50

WHY: Final = {
    "too many processes": f"This cell started more than {MAX_PROCESSES} processes; all were ended.",
    "kernel died": "The notebook's kernel died in this cell. It has probably used more memory than a submission may.",
    "stuck": "This cell ran into its time limit and could not be interrupted.",
    "deadline": "The notebook has used up the time that a whole submission may take.",
    "refused": "The sandbox did not take the submission.",
}
# Ends that say nothing about the submission; in braces what the sandbox adds.
NOT_ITS_FAULT: Final = {
    "no kernel": "The notebook's kernel did not start{}. Autograde it again.",
    "unknown kernel": (
        "The course's image has no kernel of the name that the assignment's notebook has{}. Open the notebook in "
        "'source' with one of the image's kernels, save it, and generate the assignment: then hand-ins can be graded."
    ),
    "busy": (
        "The node had so little time that the sandbox's life was over before the submission had used its own{}. "
        "Autograde it again."
    ),
}
LOST: Final = "The sandbox ended while this cell was running."
AFTERWARDS: Final = "This cell was not run: the notebook had ended before, see the error above."


class SandboxError(Exception):
    """There is no sandbox to run the submission in; the message is for lecturers."""


class Sandbox:
    """A pod that runs one notebook, made and removed by the hub. A context manager.

    Args:
        api: the hub's API, $JUPYTERHUB_API_URL.
        token: the grader's token for it.
        patience: seconds to wait for a free sandbox.
        say: told why it waits.

    """

    def __init__(self, api: str, token: str, patience: float, say: Callable[[str], None]) -> None:
        """Nothing is asked for yet."""
        self._url = f"{api.rstrip('/')}/sandboxes"
        self._patience = patience
        self._say = say
        self._hub = requests.Session()
        # No proxy of the environment stands between hub and user pods.
        self._hub.trust_env = False
        self._hub.headers["Authorization"] = f"token {token}"
        self._name = self._address = self._token = ""
        # Seconds that the pod lives.
        self.life = float(LIFE)

    def __enter__(self) -> Sandbox:
        """Wait for a pod.

        Raises:
            SandboxError: there is none.

        """
        end = time.monotonic() + self._patience
        while True:
            answer = self._ask("POST")
            if answer.status_code == 201:
                break
            why = _message(answer)
            if answer.status_code != 429 or time.monotonic() > end:
                raise SandboxError(f"The submission could not be run: {why}")
            self._say(f"Waiting for a sandbox: {why}")
            time.sleep(min(5, self._patience))
        said = answer.json()
        self._name, self._address, self._token = said["name"], said["url"], said["token"]
        self.life = float(said.get("seconds") or LIFE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the pod."""
        self.why_ended()

    def _ask(self, method: str, name: str = "") -> requests.Response:
        try:
            return self._hub.request(method, f"{self._url}{name and '/'}{name}", timeout=(CONNECT, START))
        except requests.RequestException as error:
            raise SandboxError(f"The submission could not be run: the hub does not answer ({error}).") from error

    def why_ended(self) -> str:
        """Remove the pod, if it is still there, and say why it has ended, or ''."""
        if not self._name:
            return ""
        name, self._name = self._name, ""
        try:
            answer = self._ask("DELETE", name)
            return str(answer.json().get("reason") or "") if answer.ok else ""
        except (SandboxError, ValueError) as error:
            # The pod ends by itself.
            self._say(f"The sandbox {name} was not removed: {error}")
            return ""

    def run(self, archive: IO[bytes], seconds: float) -> Iterator[dict[str, Any]]:
        """Send a submission; yield the events of the answer as they come (see `campus_hubs_lab.sandbox`).

        Ends early, without an event that says `end`, if the sandbox does; nothing else is raised.

        Args:
            archive: the request, a tar file.
            seconds: for all of it.

        """
        end = time.monotonic() + seconds
        size = 0
        line = bytearray()
        try:
            with requests.Session() as session:
                session.trust_env = False
                with session.post(
                    f"{self._address}/run",
                    data=archive,
                    headers={"Authorization": f"token {self._token}"},
                    timeout=(CONNECT, seconds),
                    stream=True,
                    allow_redirects=False,
                ) as answer:
                    if answer.status_code != 200:
                        return
                    # Whatever has arrived, uncompressed: a hostile answer may be compressed a thousandfold.
                    while chunk := answer.raw.read1(64 * 1024, decode_content=False):
                        size += len(chunk)
                        if size > MAX_ANSWER or time.monotonic() > end:
                            return
                        line += chunk
                        if b"\n" not in chunk:
                            continue
                        *whole, rest = line.split(b"\n")
                        line = bytearray(rest)
                        for each in whole:
                            event = json.loads(each)
                            if isinstance(event, dict):
                                yield event
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError, RecursionError) as error:
            self._say(f"The sandbox's answer ended: {type(error).__name__}")


class SandboxExecute(Execute):  # type: ignore[misc] # nbgrader has no complete types
    """Runs a submission's notebook in a sandbox pod.

    Raises `SandboxError` if there is none: nbgrader then leaves this submission to be graded again and goes on with the
    next. All that goes wrong inside of the sandbox is an error of the cell where it happened, and graded so.
    """

    total_timeout = Integer(600, help="Seconds of its own time that all cells of a notebook may take.").tag(config=True)
    queue_timeout = Integer(600, help="Seconds to wait for a free sandbox.").tag(config=True)
    max_files_size = Integer(100 * 1024**2, help="Bytes of the files beside the notebook.").tag(config=True)
    max_output_size = Integer(1024**2, help="Bytes of output that are kept of one cell.").tag(config=True)

    def preprocess(
        self,
        nb: NotebookNode,
        resources: Any = None,  # noqa: ANN401 - nbconvert's ResourcesDict
        km: object = None,
    ) -> tuple[NotebookNode, Any]:
        """Run the notebook and put the outputs into its cells.

        Args:
            nb: what is graded; changed in place.
            resources: nbconvert's; `metadata.path` is the folder whose files are sent along.
            km: not used.

        Raises:
            SandboxError: there is no sandbox.

        """
        about = nb.metadata.get(ABOUT, {})
        returned, problem = set(about.get("returned", [])), about.get("problem")
        cells = {}
        for index, cell in enumerate(nb.cells):
            if cell.cell_type != "code":
                continue
            cell.outputs, cell.execution_count = [], None
            if is_grade(cell) and not is_solution(cell) and cell.metadata.nbgrader.grade_id in returned:
                _add_error(cell, problem or "This cell was deleted from the hand-in. It was put back, and scores 0.")
            elif _was_deleted(cell, returned):
                # The stub would undo an answer that was written into another cell.
                continue
            elif cell.source.strip() and not problem:
                cells[index] = cell
        course, about = self.parent.parent.coursedir, resources["nbgrader"]
        notes = []
        if cells:
            first = lecturers_files(course, about["assignment"])
            files, left_out = self._choose(Path(resources["metadata"]["path"]), first)
            if left_out:
                what = f"Run without these files, since all have more than {self.max_files_size} bytes together"
                notes.append(f"{what}: {listed([repr(name) for name in left_out])}.")
                self.log.warning("%s", notes[0])
            self._run(nb, cells, files)
        gradebook.note(course.root, about["assignment"], about["student"], f"{about['notebook']}: files", notes)
        return nb, resources

    def _choose(self, folder: Path, first: set[Path]) -> tuple[dict[str, Path], list[str]]:
        """Choose the files that a sandbox gets: small ones before others, and those that are to be first before all.

        Args:
            folder: where they are.
            first: names below it.

        Returns:
            files by name, and names of those for which there is no room.

        """
        chosen, left_out = {}, []
        left = self.max_files_size
        # Notebooks hold the hidden tests of those already graded.
        files = [path for path in regular_files(folder, links=False) if path.suffix != ".ipynb"]
        for path in sorted(files, key=lambda p: (p.relative_to(folder) not in first, p.stat().st_size, p)):
            name, size = str(path.relative_to(folder)), path.stat().st_size
            if size > left:
                left_out.append(name)
            else:
                left -= size
                chosen[name] = path
        return chosen, left_out

    def _run(self, nb: NotebookNode, cells: dict[int, NotebookNode], files: Mapping[str, Path]) -> None:
        """Run cells in a sandbox."""
        try:
            api, token = os.environ["JUPYTERHUB_API_URL"], os.environ["JUPYTERHUB_API_TOKEN"]
        except KeyError as error:
            raise SandboxError(
                "Submissions are only run in sandboxes, which there are none of outside of a hub."
            ) from error
        with Sandbox(api, token, self.queue_timeout, self.log.info) as sandbox, tempfile.TemporaryFile() as archive:
            self._pack(nb, cells, files, sandbox.life - SLACK, archive)
            archive.seek(0)
            self._read(cells, sandbox.run(archive, sandbox.life), sandbox.why_ended)

    def _pack(
        self,
        nb: NotebookNode,
        cells: dict[int, NotebookNode],
        files: Mapping[str, Path],
        patience: float,
        archive: IO[bytes],
    ) -> None:
        """Write the request for the sandbox."""
        # A notebook that only has what is to be run.
        v4: Any = nbformat.v4
        to_run = [cell if i in cells else v4.new_raw_cell() for i, cell in enumerate(nb.cells)]
        request = {
            "notebook": {**nb, "cells": to_run},
            "timeout": self.timeout,
            "deadline": self.total_timeout,
            "patience": patience,
            "startup_timeout": patience,
            "error_on_timeout": self.error_on_timeout,
            "extra_arguments": self.extra_arguments,
            "max_output": self.max_output_size,
        }
        content = json.dumps(request).encode()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            entry = tarfile.TarInfo("request.json")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
            for name, path in files.items():
                entry = tar.gettarinfo(path, f"files/{name}")
                entry.mode, entry.uid, entry.gid, entry.uname, entry.gname = 0o644, 0, 0, "", ""
                with path.open("rb") as file:
                    tar.addfile(entry, file)

    def _read(
        self, cells: dict[int, NotebookNode], events: Iterator[dict[str, Any]], why_ended: Callable[[], str]
    ) -> None:
        """Take outputs from the answer; whatever has none gets an error."""
        waiting = dict(cells)
        started: int | None = None
        end: str | None = None
        said = ""
        for event in events:
            index = event.get("cell")
            # bool is an int.
            if type(index) is int and index in waiting:
                self._take(waiting.pop(index), event)
                started = index
            elif type(event.get("start")) is int and event["start"] in waiting:
                started = event["start"]
            elif isinstance(event.get("end"), str):
                end, said = event["end"], str(event.get("message") or "")[:500]
                break
        if end == "" and not waiting:
            return
        if end in NOT_ITS_FAULT and (end == "busy" or started is None):
            raise SandboxError(NOT_ITS_FAULT[end].format(said and f" ({said})"))
        if end in WHY:
            reason = WHY[end] + (f" ({said})" if said else "")
        elif end == "":
            reason = "The sandbox did not say what this cell has put out."
        else:
            reason = why_ended() or LOST
        broken = started if started is not None else min(cells)
        self.log.error("The submission was not run to its end, cell %s: %s", broken + 1, reason)
        _add_error(cells[broken], reason)
        for index, cell in waiting.items():
            if index != broken:
                _add_error(cell, AFTERWARDS if end != "" else reason)

    def _take(self, cell: NotebookNode, event: dict[str, Any]) -> None:
        """Take what a cell has put out, as far as it is well-formed."""
        count = event.get("execution_count")
        cell.execution_count = count if type(count) is int and 0 <= count < 10**9 else None
        outputs = event.get("outputs")
        kept = [clean for clean in map(clean_output, outputs) if clean] if isinstance(outputs, list) else None
        if kept is None or not isinstance(outputs, list) or len(kept) < len(outputs):
            _add_error(cell, "The sandbox's answer for this cell was malformed.")
        elif len(json.dumps(kept)) > 2 * self.max_output_size + MAX_ERROR:
            _add_error(cell, f"The sandbox's answer for this cell has more than {self.max_output_size} bytes.")
        else:
            cell.outputs = kept


def _message(answer: requests.Response) -> str:
    """Read why the hub has refused."""
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        return f"the hub answered {answer.status_code} {answer.reason}"


def _was_deleted(cell: NotebookNode, returned: set[str]) -> bool:
    return is_solution(cell) and cell.metadata.nbgrader.grade_id in returned


def _add_error(cell: NotebookNode, sentence: str) -> None:
    cell.outputs.append(error_output("SandboxError", sentence, [f"SandboxError: {sentence}"]))


def _is_deep(value: object, left: int = MAX_DEPTH) -> bool:
    """Tell whether JSON has more levels than are left."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return left < 0 or any(_is_deep(each, left - 1) for each in inside)


def clean_output(output: object) -> NotebookNode | None:
    """Build an output of nbformat 4 from what a sandbox says, without anything that the format does not have.

    Args:
        output: JSON.

    Returns:
        the output; None if it is none.

    """
    if not isinstance(output, dict):
        return None
    kind = output.get("output_type")
    if kind == "stream":
        fields: dict[str, Any] = {"name": output.get("name"), "text": output.get("text")}
    elif kind in {"display_data", "execute_result"}:
        data = output.get("data")
        if not isinstance(data, dict):
            return None
        fields = {"data": data, "metadata": {}}
        if kind == "execute_result":
            count = output.get("execution_count")
            fields["execution_count"] = count if type(count) is int else None
    elif kind == "error":
        trace = output.get("traceback")
        fields = {"ename": output.get("ename"), "evalue": output.get("evalue"), "traceback": trace}
    else:
        return None
    try:
        # What is deeper, or no Unicode, can be validated, but not be written into the notebook.
        if _is_deep(fields):
            return None
        json.dumps(fields, ensure_ascii=False).encode()
        made: NotebookNode = nbformat.from_dict({"output_type": kind, **fields})  # type: ignore[no-untyped-call]
        nbformat.validator.validate(made, ref="output", version=4, version_minor=5)
    except (nbformat.ValidationError, RecursionError, KeyError, UnicodeEncodeError):
        return None
    return made
