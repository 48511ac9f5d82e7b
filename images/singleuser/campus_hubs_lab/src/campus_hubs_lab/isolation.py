"""nbgrader without what it executes or imports from the folder that it stands in, or from the course's.

Both hold what other people have made: a hand-in, or a tutor's file.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from nbgrader.apps import NbGrader
from traitlets.config import Application


def isolate() -> None:
    """Take configuration from Jupyter's own folders only, and modules from no folder that happens to be the current."""
    while sys.path[:1] == [os.getcwd()]:  # noqa: PTH109 - as nbgrader has put it there
        del sys.path[0]
    plain = Application.load_config_file
    if getattr(plain, "of_campus_hubs", False):
        return

    def load_config_file(self: Any, filename: str, path: Any = None) -> None:  # noqa: ANN401 - as traitlets has it
        # Jupyter's folders come as a list; the current one and the course's root (NbGrader.initialize) alone.
        chosen = getattr(self, "config_file", "")
        if not isinstance(self, NbGrader) or not isinstance(path, str) or os.path.join(path, filename) == chosen:  # noqa: PTH118
            plain(self, filename, path)

    load_config_file.of_campus_hubs = True  # type: ignore[attr-defined]
    Application.load_config_file = load_config_file  # type: ignore[method-assign]
    NbGrader.load_cwd_config = False
    NbGrader.init_syspath = lambda _: None
