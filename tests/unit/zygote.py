"""Programs that need not import nbgrader first."""

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
import json, os, runpy, signal, sys, traceback
import jsonschema, nbclient, nbconvert, nbformat, nbgrader.apps, requests, sqlalchemy, tornado.httpserver, zmq.asyncio
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
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC), number)
    os.environ.clear()
    os.environ.update(wish["env"])
    os.chdir(wish["cwd"])
    sys.path[:0] = wish["env"].get("PYTHONPATH", "").split(os.pathsep)
    sys.argv = [wish["module"], *wish["arguments"]]
    code = 0
    try:
        runpy.run_module(wish["module"], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
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


class Zygote:
    """Runs modules in processes of their own that need not import nbgrader first, which takes most of their time.

    What is preloaded is others' code only, and nothing of it has run.
    """

    def __init__(self) -> None:
        """Start it when it is needed first."""
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def start(self, module: str, *arguments: str, env: dict[str, str], cwd: Path, place: Path) -> int:
        """Start `python -m module`; return its process id. `place` gets out, err, and end with its exit code."""
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
            wish = {"module": module, "arguments": arguments, "env": env, "cwd": str(cwd)}
            wish |= {name: str(place / name) for name in ("out", "err", "end")}
            self._process.stdin.write(json.dumps(wish) + "\n")
            self._process.stdin.flush()
            return int(self._process.stdout.readline())

    def run(
        self, module: str, *arguments: str, env: dict[str, str], cwd: Path, timeout: float = 3600
    ) -> subprocess.CompletedProcess[str]:
        """Run `python -m module` to its end."""
        with tempfile.TemporaryDirectory() as name:
            place = Path(name)
            pid = self.start(module, *arguments, env=env, cwd=cwd, place=place)
            end = time.monotonic() + timeout
            while not (place / "end").exists():
                alive = Path(f"/proc/{pid}").exists()
                if (not alive and not (place / "end").exists()) or time.monotonic() > end:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                    (place / "end").write_text("-9")
                time.sleep(0.05)
            code = int((place / "end").read_text())
            out, err = ((place / each).read_text(errors="replace") for each in ("out", "err"))
            return subprocess.CompletedProcess([module, *arguments], code, out, err)


zygote = Zygote()
