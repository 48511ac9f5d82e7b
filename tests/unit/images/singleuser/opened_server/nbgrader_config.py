"""nbgrader for the course's folder, and as it comes otherwise."""

from __future__ import annotations

import os

c = get_config()  # type: ignore[name-defined]  # noqa: F821 - given by traitlets

c.CourseDirectory.course_id = os.environ["COURSE_ID"]
c.CourseDirectory.root = os.environ["COURSE_DIR"]
