"""The agent in a sandbox pod: runs one notebook of one submission, and answers with what its cells put out.

    python -m campus_hubs_lab.sandbox

`GET /healthz` says whether it is up. `POST /run` (`Authorization: token $SANDBOX_TOKEN`), once, with a tar archive:

- `request.json`: `{"notebook": {...}, "timeout": seconds per cell or null, "deadline": seconds for all cells,
  "patience": seconds on the clock for all of it, "startup_timeout": seconds, "error_on_timeout": {...},
  "max_output": bytes that are kept of a cell's outputs, "extra_arguments": [..]}`. Seconds per cell and for all cells
  are the notebook's own: what it waits for a processor does not count (see `owntime`).
- `files/...`: what lies beside the notebook.

The answer is a line of JSON per event, written as it happens, so that the reader knows where it ended if it ends early:
`{"start": cell}`, `{"cell": cell, "execution_count": n, "outputs": [..]}`, at last `{"end": "", "message": ""}`; `end`
is `""` or one of ENDS, and the cell that was started last is where it happened.

Whatever runs here may be hostile, this process included from then on. What protects others is the pod (no network, no
tokens, limits), and the reader, who believes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import hmac
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from jupyter_client.kernelspec import NATIVE_KERNEL_NAME, NoSuchKernel
from nbclient import NotebookClient
from nbclient.util import ensure_async
from nbformat import NotebookNode, from_dict
from tornado import web
from tornado.httpserver import HTTPServer

from .kernel import SANDBOX
from .outputs import Outputs
from .owntime import OwnTime

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
ENDS: Final = (
    "kernel died",
    "too many processes",
    "stuck",
    "deadline",
    "busy",
    "no kernel",
    "unknown kernel",
    "refused",
)
# Seconds between two looks at a cell.
TICK: Final = 0.2
# Bytes of outputs that are kept of a notebook, and at least of each of its cells; that a cell may show at once.
NOTEBOOK_OUTPUT: Final = 24 * 1024**2
MIN_OUTPUT: Final = 4 * 1024
FLOOD: Final = 256 * 1024**2
_PR_SET_DUMPABLE: Final = 4
# A graded cell's result is its last line's value, and is written in full; a notebook may have set both otherwise.
PLAIN_RESULT: Final = """
get_ipython().ast_node_interactivity = "last_expr"
get_ipython().display_formatter.formatters["text/plain"].pop(int, None)
get_ipython().display_formatter.formatters["text/plain"].pop(float, None)
"""
_crowded = threading.Event()


@dataclass(frozen=True)
class Limits:
    """What a notebook may use.

    Args:
        timeout: seconds of its own time for one cell; 0 = any.
        deadline: seconds of its own time for all cells.
        output: bytes of outputs that are kept of a cell.
        notebook_output: bytes that are kept of all cells.
        flood: bytes that a cell may show at once, kept or not; more is no output, but a flood.

    """

    timeout: float
    deadline: float
    output: int
    notebook_output: int
    flood: int


class Runner(NotebookClient):
    """Runs a notebook cell by cell. What a cell costs and earns does not depend on how much else the node has to do.

    Args:
        nb: the notebook.
        limits: of the request, see the module.

    """

    def __init__(self, nb: NotebookNode, limits: Limits, **options: Any) -> None:  # noqa: ANN401 - traits
        """See the class."""
        super().__init__(nb, **options)
        self._limits = limits
        self._left = limits.notebook_output

    async def cells(self, emit: Any) -> tuple[str, str]:  # noqa: ANN401 - async callable
        """Run all code cells.

        Args:
            emit: called with each event.

        Returns:
            how it ended: "" or one of ENDS, and what there is to say of it.

        """
        try:
            kernel = await self._start()
        except NoSuchKernel as error:
            return "unknown kernel", repr(error.name)
        except Exception as error:
            return "no kernel", f"{type(error).__name__}: {error}"
        clock = OwnTime(kernel)
        manager: Any = self.km
        client: Any = self.kc
        python = manager.kernel_spec.language == "python"
        for index, cell in enumerate(self.nb.cells):
            if cell.cell_type != "code" or not cell.source.strip():
                continue
            await emit({"start": index})
            if python and cell.metadata.get("nbgrader", {}).get("grade"):
                # Each line's value, or one that is rounded, would be taken for a score.
                await ensure_async(client.execute(PLAIN_RESULT, silent=True, store_history=False, allow_stdin=False))
            outputs = Outputs(max(MIN_OUTPUT, min(self._limits.output, self._left)))
            run = CellRun(self, clock, outputs)
            end = await run.run(cell.source)
            listed = outputs.list()
            self._left -= len(json.dumps(listed))
            await emit({"cell": index, "execution_count": run.count, "outputs": listed})
            if end:
                return end, ""
        return "", ""

    async def _start(self) -> int:
        """Start the kernel: the first to go when memory is short, and without what this process knows.

        Returns:
            its process id.

        """
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("SANDBOX_", "KUBERNETES_"))}
        environment[SANDBOX] = "1"
        self.create_kernel_manager()
        manager: Any = self.km
        try:
            command = manager.kernel_spec.argv
        except NoSuchKernel:
            # Of an environment on the lecturer's own computer.
            if str(self.nb.metadata.kernelspec.get("language")).lower() != "python":
                raise
            manager.kernel_name = NATIVE_KERNEL_NAME
            command = manager.kernel_spec.argv
        if command[1:2] == ["-m"]:
            # A module of the hand-in is not what the kernel imports when it starts.
            command.insert(1, "-P")
        # What its programs print comes as messages; a second time, it would wait for the pod's log.
        nowhere = subprocess.DEVNULL
        await self.async_start_new_kernel(env=environment, stdout=nowhere, stderr=nowhere)
        pid = int(manager.provisioner.pid)
        _tame(pid)
        await self.async_start_new_kernel_client()
        return pid

    async def kill(self) -> None:
        """End the kernel, whatever it does."""
        if self.km is not None:
            self.shutdown_kernel = "immediate"
            await asyncio.wait_for(self._async_cleanup_kernel(), GRACE)


class CellRun:
    """One cell on its way through the kernel.

    Args:
        runner: whose kernel it is.
        clock: its own time.
        outputs: where they go.

    """

    def __init__(self, runner: Runner, clock: OwnTime, outputs: Outputs) -> None:
        """Nothing runs yet."""
        self._runner = runner
        self._kernel: Any = runner.kc
        self._manager: Any = runner.km
        self._clock, self._outputs = clock, outputs
        self._limits = runner._limits
        self._idle = asyncio.Event()
        self._messages = 0
        self.count: int | None = None

    async def run(self, source: str) -> str:
        """Run it; return "" or one of ENDS."""
        began = self._clock.now()
        self._message = str(await ensure_async(self._kernel.execute(source, allow_stdin=False, stop_on_error=False)))
        listening = asyncio.ensure_future(self._listen())
        try:
            return await self._until_done(began)
        finally:
            listening.cancel()

    async def _until_done(self, began: float) -> str:
        stopped = again = 0.0
        too_long = flood = False
        while (reply := await self._reply()) is None:
            now = self._clock.now()
            if not await ensure_async(self._kernel.is_alive()):
                return "too many processes" if _crowded.is_set() else "kernel died"
            if now > self._limits.deadline:
                return "deadline"
            too_long = too_long or bool(self._limits.timeout and now - began > self._limits.timeout)
            flood = flood or self._outputs.shown > self._limits.flood
            if (too_long or flood) and now >= again:
                if stopped and now - stopped > GRACE:
                    return "stuck"
                # More than once: what it does just then may not be interrupted, or catch it.
                stopped, again = stopped or now, now + 1
                await ensure_async(self._manager.interrupt_kernel())
        # What the kernel has sent before is still on its way, however long that takes on a busy node.
        heard, messages = self._clock.now(), self._messages
        while not self._idle.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), TICK)
            now = self._clock.now()
            if self._messages != messages:
                heard, messages = now, self._messages
            elif now - heard > GRACE:
                break
        self._judge(reply["content"], too_long=too_long, flood=flood)
        return ""

    async def _reply(self) -> dict[str, Any] | None:
        """Wait a moment for the kernel's answer."""
        # There may be none yet, or what a notebook has sent by itself, which need not be a message.
        with contextlib.suppress(Exception):
            message: dict[str, Any] = await ensure_async(self._kernel.shell_channel.get_msg(timeout=TICK))
            if message["parent_header"]["msg_id"] == self._message:
                return message
        return None

    async def _listen(self) -> None:
        """Take what the kernel says about this cell; what threads of earlier cells say is dropped."""
        while True:
            with contextlib.suppress(Exception):
                self._hear(await ensure_async(self._kernel.iopub_channel.get_msg(timeout=None)))
            # A flood of messages is always ready to be read: others have their turn.
            await asyncio.sleep(0)

    def _hear(self, message: dict[str, Any]) -> None:
        """Take a message; one that a notebook has made by itself may raise anything."""
        if message["parent_header"]["msg_id"] != self._message:
            return
        self._messages += 1
        kind, content = message["msg_type"], message["content"]
        if kind == "status":
            if content["execution_state"] == "idle":
                self._idle.set()
        elif kind.startswith("comm"):
            # Widgets that catch output, which is not kept then; whatever else they say means nothing here.
            self._runner.handle_comm_msg([], message, 0)
        elif kind == "execute_input":
            self.count = content["execution_count"]
        elif kind == "execute_result" or not self._runner.output_hook_stack[self._message]:
            self._outputs.add(kind, content)

    def _judge(self, content: dict[str, Any], *, too_long: bool, flood: bool) -> None:
        """Put a failure among the outputs if the kernel has not shown it: nbgrader looks at outputs only."""
        if too_long:
            text = f"This cell ran longer than {self._limits.timeout:g} seconds of its own time, and was stopped."
            made = dict(self._runner.error_on_timeout or {"ename": "CellTimeoutError", "traceback": []})
            self._outputs.error(made["ename"], text, [*made["traceback"], text])
        elif flood:
            text = f"This cell has put out more than {self._limits.flood // 1024**2} MiB, and was stopped."
            self._outputs.error("OutputTooLarge", text, [f"OutputTooLarge: {text}"])
        elif content["status"] != "ok" and not self._outputs.has_error(str(content.get("ename"))):
            trace = content.get("traceback") or ["ERROR: an error occurred while showtraceback was disabled"]
            self._outputs.error(str(content.get("ename")), str(content.get("evalue")), trace)


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
                try:
                    tar.extract(member, folder, filter="data")
                except (OSError, tarfile.FilterError) as error:
                    # The notebook says by itself what it misses.
                    print(f"{member.name!r} is left out: {error}", file=sys.stderr, flush=True)
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
            limits = Limits(
                timeout=float(request["timeout"] or 0),
                deadline=float(request["deadline"]),
                output=int(request["max_output"]),
                notebook_output=NOTEBOOK_OUTPUT,
                flood=FLOOD,
            )
            runner = Runner(
                notebook,
                limits,
                startup_timeout=int(request["startup_timeout"]),
                error_on_timeout=request["error_on_timeout"],
                extra_arguments=[str(argument) for argument in request["extra_arguments"]],
                store_widget_state=False,
                resources={"metadata": {"path": str(folder)}},
            )
            patience = float(request["patience"])
        except (ValueError, KeyError, TypeError, OSError, tarfile.TarError, RecursionError) as error:
            await self._emit({"end": "refused", "message": f"{type(error).__name__}: {error}"})
            return
        cells = asyncio.ensure_future(runner.cells(self._emit))
        await asyncio.wait({cells}, timeout=patience)
        end, message = cells.result() if cells.done() else ("busy", "")
        await self._emit({"end": end, "message": message})
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
