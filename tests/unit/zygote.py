"""Programs that need not import nbgrader or SQLAlchemy first."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ZYGOTE = """
import importlib, json, os, runpy, signal, sys, traceback
import alembic.command, jsonschema, nbclient, nbconvert, nbformat, nbgrader.apps, requests, sqlalchemy.orm
import tornado.httpclient, tornado.httpserver, zmq.asyncio
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for line in sys.stdin:
    wish = json.loads(line)
    pid = os.fork()
    if pid:
        print(pid, flush=True)
        continue
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    for number, path in enumerate((os.devnull, wish["out"], wish["err"])):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND), number)
    os.environ.clear()
    os.environ.update(wish["env"])
    os.chdir(wish["cwd"])
    sys.path[:0] = wish["env"].get("PYTHONPATH", "").split(os.pathsep)
    sys.argv = [wish["program"], *wish["arguments"]]
    module, _, function = wish["program"].partition(":")
    code = 0
    try:
        if function:
            getattr(importlib.import_module(module), function)()
        else:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    with open(wish["end"] + ".new", "w") as end:
        end.write(str(code))
    os.rename(wish["end"] + ".new", wish["end"])
    os._exit(code)
"""


class Program:
    """One that the zygote has started; ended and waited for like one of subprocess.

    Args:
        pid: its process id.
        place: folder of what it writes (out, err) and of its exit code (end).

    """

    def __init__(self, pid: int, place: Path) -> None:
        """Remember both."""
        self.pid = pid
        self._place = place
        self._signal = 0

    def send_signal(self, number: int) -> None:
        """Send it, if the program still runs."""
        self._signal = number
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def poll(self) -> int | None:
        """Return its exit code, minus the signal that ended it, or None while it runs."""
        if Path(f"/proc/{self.pid}").exists():
            return None
        end = self._place / "end"
        return int(end.read_text()) if end.exists() else -(self._signal or signal.SIGKILL)

    def wait(self, timeout: float) -> int:
        """Return its exit code once it has ended.

        Raises:
            subprocess.TimeoutExpired: if it has not within `timeout` seconds.

        """
        end = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired([str(self.pid)], timeout)
            time.sleep(0.01)
        return code


class Zygote:
    """Runs modules in processes of their own that need not import nbgrader first, which takes most of their time.

    What is preloaded is others' code only, and nothing of it has run.
    """

    def __init__(self) -> None:
        """Start it when it is needed first."""
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def start(self, program: str, *arguments: str, env: dict[str, str], cwd: Path, place: Path) -> Program:
        """Start a module as `python -m` does, or a function of a module ("module:function") as an entry point does."""
        with self._lock:
            if self._process is None:
                command = [sys.executable, "-c", ZYGOTE]
                self._process = subprocess.Popen(  # noqa: S603
                    command,
                    env={**os.environ, "USER": "nobody"},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
                atexit.register(self._process.kill)
            assert self._process.stdin
            assert self._process.stdout
            (place / "end").unlink(missing_ok=True)
            wish = {"program": program, "arguments": arguments, "env": env, "cwd": str(cwd)}
            wish |= {name: str(place / name) for name in ("out", "err", "end")}
            self._process.stdin.write(json.dumps(wish) + "\n")
            self._process.stdin.flush()
            return Program(int(self._process.stdout.readline()), place)

    def run(
        self, program: str, *arguments: str, env: dict[str, str], cwd: Path, timeout: float = 3600
    ) -> subprocess.CompletedProcess[str]:
        """Run it to its end; what has not ended in time is killed."""
        with tempfile.TemporaryDirectory() as name:
            place = Path(name)
            started = self.start(program, *arguments, env=env, cwd=cwd, place=place)
            try:
                code = started.wait(timeout)
            except subprocess.TimeoutExpired:
                started.send_signal(signal.SIGKILL)
                code = started.wait(60)
            out, err = ((place / each).read_text(errors="replace") for each in ("out", "err"))
            return subprocess.CompletedProcess([program, *arguments], code, out, err)


zygote = Zygote()
