"""What a user's server offers, by the role that the hub put into the environment."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from campus_hubs_lab.server import guard
from campus_hubs_lab.trust import trust

c = get_config()  # noqa: F821 - given by traitlets

teaches = os.environ.get("COURSE_ROLE") in {"instructor", "teaching_assistant"}

# With all HTTP handlers that a server offers.
guard(Path(__file__).with_name("handlers.json"))

if teaches:
    # Lecturers and tutors write to the same folder.
    os.umask(0o002)
else:
    # The page_config.json in it takes the matching entries out of Lab's menu.
    c.LabServerApp.app_settings_dir = "/etc/jupyter/lab-student"

c.TerminalsExtensionApp.terminal_manager_class = "campus_hubs_lab.server.CourseTerminalManager"
# A kernel's Python takes no modules from where it stands.
os.environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("JUPYTER_PATH")]))

trust(Path(tempfile.gettempdir()))

# A trash folder in a home of fixed size is a full home that looks empty.
c.FileContentsManager.delete_to_trash = False
