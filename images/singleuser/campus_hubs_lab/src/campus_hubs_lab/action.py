"""One button of formgrader, in a process of its own.

    python -P -s -m campus_hubs_lab.action ACTION ASSIGNMENT [STUDENT]

nbgrader's steps block, change the working directory and share sessions of the database; formgrader runs them inside of
the server. Here a step has all that to itself. Prints the same JSON that formgrader's handlers answer with.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Final

from nbgrader.apps import NbGrader, NbGraderAPI

from .assignments import RefusedError
from .isolation import isolate
from .locks import AssignmentBusyError

# Method of NbGraderAPI by action; all take an assignment, and a student if there is one.
ACTIONS: Final = {
    "assign": "generate_assignment",
    "release": "release_assignment",
    "unrelease": "unrelease",
    "collect": "collect",
    "autograde": "autograde",
    "generate_feedback": "generate_feedback",
    "release_feedback": "release_feedback",
}


def main(arguments: list[str]) -> int:
    """Run an action; see the module."""
    # The answer alone goes to standard output: whatever nbgrader prints goes to the log.
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    action, *ids = arguments
    isolate()
    app = NbGrader()
    app.initialize([])
    api = NbGraderAPI(app.coursedir, parent=app)
    result = getattr(api, ACTIONS[action])(*ids)
    # Not a fault of anything: the log has the sentence, a traceback says nothing more.
    if any(each.__name__ in (result.get("error") or "") for each in (AssignmentBusyError, RefusedError)):
        del result["error"]
    with answer:
        json.dump(result, answer)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
