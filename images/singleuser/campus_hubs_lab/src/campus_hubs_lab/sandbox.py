"""The agent in a sandbox pod: runs one notebook of one submission, and answers with what its cells put out.

    python -m campus_hubs_lab.sandbox

`GET /healthz` says whether it is up. `POST /run` (`Authorization: token $SANDBOX_TOKEN`), once, with a tar archive:

- `request.json`: `{"notebook": {...}, "timeout": seconds per cell or null, "deadline": seconds for all cells,
  "startup_timeout": seconds, "error_on_timeout": {...}, "max_output": bytes per cell, "extra_arguments": [..]}`
- `files/...`: what lies beside the notebook.

The answer is a line of JSON per event, written as it happens, so that the reader knows where it ended if it ends early:
`{"start": cell}`, `{"cell": cell, "execution_count": n, "outputs": [..]}`, at last `{"end": "", "message": ""}`; `end`
is `""` or one of ENDS, and the cell that was started last is where it happened.

Whatever runs here may be hostile, this process included from then on. What protects others is the pod (no network, no
tokens, limits), and the reader, who believes nothing.
"""

from __future__ import annotations

import asyncio
import ctypes
import hmac
import json
import os
import resource
import shutil
import signal
import sys
import tarfile
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Final

from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionComplete, CellTimeoutError, DeadKernelError
from nbclient.util import ensure_async
from nbformat import NotebookNode, from_dict
from tornado import web
from tornado.httpserver import HTTPServer

PORT: Final = 8889
# Bytes of the archive that is taken.
MAX_UPLOAD: Final = 256 * 1024**2
# Seconds in which nobody has asked for a run, or after a run, until the pod ends by itself.
IDLE: Final = 120
LINGER: Final = 5
# Seconds for an interrupted cell to end.
GRACE: Final = 5
# Processes at a time, this one included; and seconds between two looks.
MAX_PROCESSES: Final = 256
LOOK: Final = 0.1
ENDS: Final = ("kernel died", "too many processes", "stuck", "deadline", "no kernel", "refused")
_PR_SET_DUMPABLE: Final = 4
_crowded = threading.Event()


class Runner(NotebookClient):
    """Runs a notebook cell by cell, and stops listening to a cell that says too much.

    Args:
        nb: the notebook.
        max_output: bytes of output that a cell may have.

    """

    def __init__(self, nb: NotebookNode, max_output: int, **options: Any) -> None:  # noqa: ANN401 - traits
        """See the class."""
        super().__init__(nb, **options)
        self._max_output = max_output
        self._said: dict[int, int] = {}

    def process_message(self, msg: dict[str, Any], cell: NotebookNode, cell_index: int) -> NotebookNode | None:
        """Count a message of the kernel, and drop it once the cell has said enough."""
        if msg["msg_type"] in {"status", "execute_input"}:
            return super().process_message(msg, cell, cell_index)
        before = self._said.get(cell_index, 0)
        if before > self._max_output:
            return None
        self._said[cell_index] = before + _size(msg["content"])
        if self._said[cell_index] <= self._max_output:
            return super().process_message(msg, cell, cell_index)
        text = f"this cell has put out more than {self._max_output} bytes; the rest was dropped"
        cell.outputs.append(error_output("OutputTooLarge", text, [f"OutputTooLarge: {text}."]))
        if self.km is not None:
            # It may never end by itself.
            asyncio.ensure_future(ensure_async(self.km.interrupt_kernel()))  # noqa: RUF006 - the kernel's answer tells
        return None

    async def _async_poll_output_msg(self, parent_msg_id: str, cell: NotebookNode, cell_index: int) -> None:
        """Read messages as nbclient does, but let time-outs and interrupts have their turn.

        A flood of messages is always ready to be read, so waiting for the next one would never let go of the loop.
        """
        while self.kc is not None:
            msg = await ensure_async(self.kc.iopub_channel.get_msg(timeout=None))
            await asyncio.sleep(0)
            if msg["parent_header"].get("msg_id") == parent_msg_id:
                try:
                    self.process_message(msg, cell, cell_index)
                except CellExecutionComplete:
                    return

    async def cells(self, emit: Any) -> str:  # noqa: ANN401 - async callable
        """Run all code cells.

        Args:
            emit: called with each event.

        Returns:
            how it ended: "" or one of ENDS.

        """
        try:
            await self.async_start_new_kernel_client_safely()
        except Exception as error:
            self.log.error("No kernel: %s", error)
            return "no kernel"
        for index, cell in enumerate(self.nb.cells):
            if cell.cell_type != "code" or not cell.source.strip():
                continue
            await emit({"start": index})
            end = ""
            try:
                await self.async_execute_cell(cell, index)
            except CellTimeoutError:
                end = "stuck"
            except DeadKernelError:
                end = "too many processes" if _crowded.is_set() else "kernel died"
            except Exception as error:
                print(f"Cell {index}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
                end = "kernel died"
            await emit({"cell": index, "execution_count": cell.execution_count, "outputs": cell.outputs})
            if end:
                return end
        return ""

    async def async_start_new_kernel_client_safely(self) -> None:
        """Start the kernel: the first to go when memory is short, and without what this process knows."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("SANDBOX_", "KUBERNETES_"))}
        self.create_kernel_manager()
        await self.async_start_new_kernel(env=environment)
        pid = getattr(getattr(self.km, "provisioner", None), "pid", None)
        if pid:
            _tame(pid)
        await self.async_start_new_kernel_client()

    async def kill(self) -> None:
        """End the kernel, whatever it does."""
        if self.km is not None:
            self.shutdown_kernel = "immediate"
            await asyncio.wait_for(self._async_cleanup_kernel(), GRACE)


def _size(content: Any) -> int:  # noqa: ANN401 - JSON
    """Estimate how long something is as JSON, without making it."""
    if isinstance(content, dict):
        return sum(_size(key) + _size(value) for key, value in content.items())
    if isinstance(content, (list, tuple)):
        return sum(map(_size, content))
    return len(content) if isinstance(content, str) else 8


def _tame(pid: int) -> None:
    """Let the kernel run into MemoryError before the pod runs out of memory, and let this process live and work on."""
    limit = int(os.environ.get("SANDBOX_MEMORY_BYTES") or 0)
    try:
        os.setpriority(os.PRIO_PROCESS, pid, 19)
        if limit:
            resource.prlimit(pid, resource.RLIMIT_DATA, (limit, limit))
        resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))
        Path(f"/proc/{pid}/oom_score_adj").write_text("1000", encoding="ascii")
    except (OSError, ValueError) as error:
        print(f"The kernel keeps its limits: {error}", file=sys.stderr, flush=True)


def end_crowds() -> None:
    """End all others as soon as they are too many. The node's kernel does it in one step, so none forks away.

    Only the first process of a pod may call this: it is the one that is spared, and all others are its own.
    """
    while True:
        if sum(entry.name.isdecimal() for entry in Path("/proc").iterdir()) > MAX_PROCESSES:
            _crowded.set()
            os.kill(-1, signal.SIGKILL)
        time.sleep(LOOK)


def unpack(archive: Path, folder: Path) -> dict[str, Any]:
    """Unpack the archive of a request; only plain files and folders below `files/` get out.

    Args:
        archive: the tar file.
        folder: where the submission is put.

    Returns:
        request.json.

    Raises:
        ValueError: it is no such archive.

    """
    with tarfile.open(archive) as tar:
        first = tar.next()
        content = tar.extractfile(first) if first and first.name == "request.json" and first.isfile() else None
        if content is None:
            raise ValueError("request.json is not the first file")
        request = json.load(content)
        if not isinstance(request, dict):
            raise ValueError("request.json is no object")
        while (member := tar.next()) is not None:
            if member.name.startswith("files/") and (member.isfile() or member.isdir()):
                member.name = member.name.removeprefix("files/")
                tar.extract(member, folder, filter="data")
    return request


@web.stream_request_body
class Run(web.RequestHandler):
    """`POST /run`, see the module."""

    def initialize(self, agent: Agent) -> None:
        """Remember whose request this is."""
        self.agent = agent

    def prepare(self) -> None:
        """Refuse who has not the token, and the second."""
        given = self.request.headers.get("Authorization", "").removeprefix("token ")
        if not hmac.compare_digest(given.encode(), self.agent.token.encode()):
            raise web.HTTPError(403)
        if self.agent.used:
            raise web.HTTPError(409, "a sandbox runs one notebook")
        self.agent.used = True
        self.agent.folder.parent.mkdir(parents=True, exist_ok=True)
        self._archive = tempfile.NamedTemporaryFile(dir=self.agent.folder.parent)  # noqa: SIM115 - lives with the request

    def data_received(self, chunk: bytes) -> None:
        """Keep the archive on disk: memory is for the notebook."""
        self._archive.write(chunk)

    async def post(self) -> None:
        """Run the notebook."""
        self._archive.flush()
        self.set_header("Content-Type", "application/x-ndjson")
        try:
            folder = self.agent.folder
            folder.mkdir(parents=True, exist_ok=True)
            request = unpack(Path(self._archive.name), folder)
            notebook = from_dict(request["notebook"])  # type: ignore[no-untyped-call]
            self._archive.close()
            runner = Runner(
                notebook,
                max_output=int(request["max_output"]),
                timeout=request["timeout"],
                startup_timeout=int(request["startup_timeout"]),
                error_on_timeout=request["error_on_timeout"],
                extra_arguments=[str(argument) for argument in request["extra_arguments"]],
                allow_errors=True,
                interrupt_on_timeout=True,
                raise_on_iopub_timeout=True,
                iopub_timeout=GRACE,
                store_widget_state=False,
                on_cell_executed=add_reply_error,
                resources={"metadata": {"path": str(folder)}},
            )
            deadline = float(request["deadline"])
        except (ValueError, KeyError, TypeError, OSError, tarfile.TarError, RecursionError) as error:
            await self._emit({"end": "refused", "message": f"{type(error).__name__}: {error}"})
            return
        cells = asyncio.ensure_future(runner.cells(self._emit))
        await asyncio.wait({cells}, timeout=deadline)
        await self._emit({"end": cells.result() if cells.done() else "deadline", "message": ""})
        # From here on nothing is added: a cell that is cut off looks like a dead kernel.
        self.finish()
        cells.cancel()
        try:
            await runner.kill()
        except Exception as error:
            print(f"The kernel does not end: {error}", file=sys.stderr, flush=True)

    async def _emit(self, event: dict[str, Any]) -> None:
        if self._finished:
            return
        self.write(json.dumps(event) + "\n")
        await self.flush()

    def on_finish(self) -> None:
        """End the pod a little later."""
        if self.agent.used:
            asyncio.get_running_loop().call_later(LINGER, self.agent.over.set)


class Health(web.RequestHandler):
    """`GET /healthz`."""

    def get(self) -> None:
        """Say that it is up."""
        self.finish("ok\n")


class Agent:
    """One sandbox.

    Args:
        token: what a request must show.
        folder: where the submission is put.

    """

    def __init__(self, token: str, folder: Path) -> None:
        """Nothing runs yet."""
        self.token, self.folder, self.used, self.over = token, folder, False, asyncio.Event()

    async def serve(self, address: str, port: int) -> None:
        """Listen until the one run is over, or nobody has asked for it."""
        application = web.Application([("/healthz", Health), ("/run", Run, {"agent": self})])
        server = HTTPServer(application, max_body_size=MAX_UPLOAD, idle_connection_timeout=IDLE)
        server.listen(port, address)
        loop = asyncio.get_running_loop()
        loop.call_later(IDLE, lambda: None if self.used else self.over.set())
        await self.over.wait()
        server.stop()


def error_output(ename: str, evalue: str, traceback: list[str]) -> NotebookNode:
    """Make an error output (nbformat 4)."""
    made: NotebookNode = from_dict({"output_type": "error", "ename": ename, "evalue": evalue, "traceback": traceback})  # type: ignore[no-untyped-call]
    return made


def add_reply_error(cell: NotebookNode, cell_index: int, execute_reply: dict[str, Any]) -> None:
    """Put a reply's error among the outputs if the kernel has not shown it: nbgrader looks at outputs only."""
    reply = execute_reply["content"]
    if reply["status"] != "error":
        return
    if not any(o.output_type == "error" and o.ename == reply["ename"] for o in cell.outputs):
        trace = reply.get("traceback") or ["ERROR: an error occurred while showtraceback was disabled"]
        cell.outputs.append(error_output(reply["ename"], reply["evalue"], trace))


def main() -> None:
    """Serve one run, by the environment: SANDBOX_TOKEN; for tests SANDBOX_ADDRESS, SANDBOX_PORT."""
    token = os.environ.pop("SANDBOX_TOKEN")
    # The notebook's processes have the same uid: they may not trace this one, nor read its environment.
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    folder = Path(os.environ.get("SANDBOX_FOLDER") or Path.home() / "submission")
    if os.getpid() == 1:
        threading.Thread(target=end_crowds, daemon=True).start()
    address, port = os.environ.get("SANDBOX_ADDRESS", "0.0.0.0"), int(os.environ.get("SANDBOX_PORT", PORT))  # noqa: S104
    asyncio.run(Agent(token, folder).serve(address, port))
    # Threads and children of a hostile notebook hold up nothing.
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


if __name__ == "__main__":
    main()
