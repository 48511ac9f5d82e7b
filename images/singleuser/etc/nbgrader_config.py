"""nbgrader for one course: everything comes from the environment, so nobody edits a file."""

from __future__ import annotations

import os
import sys

# nbgrader has put the folder in which it was started before all others: a hand-in's, perhaps.
while sys.path[:1] == [os.getcwd()]:  # noqa: PTH109
    del sys.path[0]

from campus_hubs_lab import plugins  # noqa: E402

plugins.configure(get_config())  # noqa: F821 - given by traitlets
