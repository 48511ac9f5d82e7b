"""nbgrader for one course: everything comes from the environment, so nobody edits a file."""

from __future__ import annotations

import os
from pathlib import Path

c = get_config()  # noqa: F821 - given by traitlets

course_id = os.environ.get("COURSE_ID", "")
c.CourseDirectory.course_id = course_id
if course_id and os.environ.get("COURSE_ROLE") in {"instructor", "teaching_assistant"}:
    c.CourseDirectory.root = str(Path.home() / course_id)

# The import needs JUPYTERHUB_USER, so it is left out where there is no hub.
if "NGSHARE_URL" in os.environ:
    from ngshare_exchange import configureExchange

    configureExchange(c, ngshare_url=os.environ["NGSHARE_URL"].rstrip("/"))
