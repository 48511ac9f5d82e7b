"""Where a course's files lie. Imports nothing large: each kernel starts with it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

# In the course's folder, what students have made.
HAND_INS: Final = ("submitted", "autograded", "feedback")
# And what lecturers write there.
SOURCE: Final = "source"


def course_root() -> Path:
    """Return the course's folder, which its lecturers and tutors share."""
    return Path(os.environ.get("COURSE_DIR") or "/srv/course")


def is_hand_in(path: str | Path) -> bool:
    """Tell whether a path, its links followed, lies among what students have made."""
    root, found = course_root().resolve(), Path(path).resolve()
    return found.is_relative_to(root) and found.relative_to(root).parts[:1] in {(name,) for name in HAND_INS}
