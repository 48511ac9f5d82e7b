"""What a user's server offers, by the role that the hub put into the environment."""

from __future__ import annotations

import os
from pathlib import Path

c = get_config()  # noqa: F821 - given by traitlets

course_id = os.environ.get("COURSE_ID", "")
teaches = os.environ.get("COURSE_ROLE") in {"instructor", "teaching_assistant"}

# `update` keeps what JupyterHub's own extension has put there.
c.ServerApp.jpserver_extensions.update(
    {"nbgrader.server_extensions.formgrader": teaches, "nbgrader.server_extensions.course_list": teaches}
)
if teaches and course_id:
    # formgrader wants its course directory to be there (nbgrader_config.py names the same one).
    (Path.home() / course_id).mkdir(exist_ok=True)
elif not teaches:
    # The page_config.json in it takes the matching entries out of Lab's menu.
    c.LabServerApp.app_settings_dir = "/etc/jupyter/lab-student"

# A trash folder in a home of fixed size is a full home that looks empty.
c.FileContentsManager.delete_to_trash = False
