"""The Python kernel of notebooks.

    python -P -m campus_hubs_lab.kernel -f CONNECTION_FILE

It is IPython's, which imports nothing from the notebook's folder until it has started: there a file may be called like
a module. The first cell then finds modules beside its notebook, as always. A hand-in's modules are its own: there even
a cell does not find them.

It answers whatever a cell does to its streams, and is interrupted also while it awaits something.
"""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import sys
import traceback
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from .places import is_hand_in

# Names a hand-in's folder to a kernel that starts elsewhere, see `server.CourseKernelManager`.
FOLDER: Final = "CAMPUS_HUBS_FOLDER"
# In a sandbox's kernel, whose every message counts.
SANDBOX: Final = "CAMPUS_HUBS_SANDBOX"


def enter(folder: str) -> None:
    """Let cells find what lies beside their notebook.

    Args:
        folder: where to go before; '' = it is the current one.

    """
    if folder:
        os.chdir(folder)
    if not is_hand_in(Path.cwd()) and "" not in sys.path:
        # After the standard library, where IPython puts it.
        places = [i for i, path in enumerate(sys.path) if Path(path).name in {"site-packages", "dist-packages"}]
        sys.path.insert(min(places, default=0), "")


def keep_streams(shell: Any) -> None:  # noqa: ANN401 - a ZMQInteractiveShell
    """Put the kernel's own streams back when a cell has left others that cannot be flushed.

    The kernel flushes them before it says anything, and an error there ends in no answer at all.
    """
    own = {name: getattr(sys, name) for name in ("stdout", "stderr")}

    def put_back() -> None:
        for name, stream in own.items():
            try:
                getattr(sys, name).flush()
            except Exception:
                setattr(sys, name, stream)

    def before(plain: Any) -> Any:  # noqa: ANN401 - a method
        @functools.wraps(plain)
        def method(*arguments: Any) -> Any:  # noqa: ANN401 - as the method's
            put_back()
            return plain(*arguments)

        return method

    shell._showtraceback = before(shell._showtraceback)
    shell.displayhook.finish_displayhook = before(shell.displayhook.finish_displayhook)
    shell.display_pub._flush_streams = before(shell.display_pub._flush_streams)
    shell.events.register("post_execute", put_back)


def print_remarks(shell: Any) -> None:  # noqa: ANN401 - a ZMQInteractiveShell
    """Print what goes wrong beside a cell: how a value is shown, or what others have registered to be called.

    IPython shows it as the error of a cell, which it is not: nbgrader would score a test that has passed with 0.
    """
    from IPython.core import formatters  # noqa: PLC0415

    formatters.get_ipython = lambda: None  # type: ignore[attr-defined]
    shell.events.shell = SimpleNamespace(showtraceback=traceback.print_exc)


def lose_nothing(thread: Any) -> None:  # noqa: ANN401 - an IOPubThread
    """Wait for a reader that is slow, as on a busy node; zmq_setsockopt(3) says that messages are dropped otherwise."""
    import zmq  # noqa: PLC0415

    thread.schedule(lambda: thread.socket.setsockopt(zmq.XPUB_NODROP, 1))


def main() -> None:
    """Run a kernel; see the module."""
    # The server asks this module for a name only.
    from ipykernel.kernelapp import IPKernelApp  # noqa: PLC0415

    app: Any = IPKernelApp.instance()
    app.initialize()
    events = app.shell.events
    keep_streams(app.shell)
    print_remarks(app.shell)
    if os.environ.pop(SANDBOX, ""):
        lose_nothing(app.iopub_thread)

    def before_first_cell(_info: object = None) -> None:
        events.unregister("pre_run_cell", before_first_cell)
        enter(os.environ.pop(FOLDER, ""))
        # With any handler of its own asyncio is woken by all signals: ipykernel's for an interrupt does not wake it.
        asyncio.get_running_loop().add_signal_handler(signal.SIGURG, lambda: None)

    events.register("pre_run_cell", before_first_cell)
    app.start()


if __name__ == "__main__":
    main()
