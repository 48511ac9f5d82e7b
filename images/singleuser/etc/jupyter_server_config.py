"""What a user's server offers, by the role that the hub put into the environment."""

from __future__ import annotations

import os

c = get_config()  # noqa: F821 - given by traitlets

teaches = os.environ.get("COURSE_ROLE") in {"instructor", "teaching_assistant"}

# `update` keeps what JupyterHub's own extension has put there. campus_hubs_lab loads formgrader for who may have it.
c.ServerApp.jpserver_extensions.update(
    {
        "campus_hubs_lab": True,
        "nbgrader.server_extensions.formgrader": False,
        "nbgrader.server_extensions.course_list": False,
    }
)
if teaches:
    # Lecturers and tutors write to the same folder.
    os.umask(0o002)
else:
    # The page_config.json in it takes the matching entries out of Lab's menu.
    c.LabServerApp.app_settings_dir = "/etc/jupyter/lab-student"

# A trash folder in a home of fixed size is a full home that looks empty.
c.FileContentsManager.delete_to_trash = False
