"""What a user's server offers, by the role that the hub put into the environment."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from campus_hubs_lab.trust import trust

c = get_config()  # noqa: F821 - given by traitlets

teaches = os.environ.get("COURSE_ROLE") in {"instructor", "teaching_assistant"}

# `update` keeps what JupyterHub's own extension has put there. campus_hubs_lab loads formgrader for who may have it.
c.ServerApp.jpserver_extensions.update(
    {
        "campus_hubs_lab": True,
        # Puts any repository into any folder when a link is followed.
        "nbgitpuller": False,
        "jupyter_server_mathjax": False,
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

# All HTTP handlers that a server offers.
c.ServerApp.tornado_settings = {"campus_hubs_handlers": str(Path(__file__).with_name("handlers.json"))}

# A hand-in is data: its kernel starts elsewhere, its files run nothing. Python takes no modules from where it stands.
c.ServerApp.kernel_manager_class = "campus_hubs_lab.server.CourseKernelManager"
c.ContentsManager.files_handler_class = "campus_hubs_lab.server.CourseFileHandler"
c.ServerApp.contents_manager_class = "campus_hubs_lab.server.CourseContentsManager"
os.environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("JUPYTER_PATH")]))

trust(Path(tempfile.gettempdir()))

# A trash folder in a home of fixed size is a full home that looks empty.
c.FileContentsManager.delete_to_trash = False
