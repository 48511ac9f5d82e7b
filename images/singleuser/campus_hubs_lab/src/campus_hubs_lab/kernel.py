"""The Python kernel of notebooks.

    python -P -m campus_hubs_lab.kernel -f CONNECTION_FILE

It is IPython's, which imports nothing from the notebook's folder until it has started: there a file may be called like
a module. The first cell then finds modules beside its notebook, as always. A hand-in's modules are its own: there even
a cell does not find them.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Final

from .places import is_hand_in

# Names a hand-in's folder to a kernel that starts elsewhere, see `server.CourseKernelManager`.
FOLDER: Final = "CAMPUS_HUBS_FOLDER"


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


def main() -> None:
    """Run a kernel; see the module."""
    # The server asks this module for a name only.
    from ipykernel.kernelapp import IPKernelApp  # noqa: PLC0415

    app: Any = IPKernelApp.instance()
    app.initialize()
    events = app.shell.events

    def before_first_cell(_info: object = None) -> None:
        events.unregister("pre_run_cell", before_first_cell)
        enter(os.environ.pop(FOLDER, ""))

    events.register("pre_run_cell", before_first_cell)
    app.start()


if __name__ == "__main__":
    main()
