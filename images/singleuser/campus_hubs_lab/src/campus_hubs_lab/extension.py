"""What a server offers beyond Lab: to lecturers and tutors formgrader and the course page, to everybody a notice."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from . import gradebook, plugins


def load(server: Any) -> None:  # noqa: ANN401 - a ServerApp
    """Load what the person's role has a right to.

    Args:
        server: Jupyter's.

    """
    course = os.environ.get("COURSE_ID", "")
    if not (course and plugins.teaches()):
        return
    from . import formgrader  # noqa: PLC0415 - students' servers start without it

    root = gradebook.course_root()
    try:
        gradebook.prepare(root, course)
        link_course(Path(server.root_dir) / formgrader.LINK, root)
    except OSError as error:
        # A server without grading is better than none: the pages say what is missing.
        server.log.error("The course's folder %s can not be used: %s", root, error)
    formgrader.load(server, root, course)


def link_course(link: Path, root: Path) -> None:
    """Make the course's folder seen among the person's files; what lies there under its name is kept beside it.

    Args:
        link: the link to make.
        root: the course's folder.

    Raises:
        OSError: the home is not there or full.

    """
    if link.is_symlink() and link.readlink() == root:
        return
    if link.is_symlink():
        link.unlink()
    elif link.exists():
        number = 1
        while (aside := link.with_name(f"{link.name} ({number})")).exists():
            number += 1
        link.rename(aside)
    link.symlink_to(root, target_is_directory=True)
