"""From a new line in the inventory to the first answered launch, by the whole of site.yml.

Between the two somebody enters the new hub in the LMS. The lab's LMS is told by a playbook; that time is not counted.
The course is removed afterwards, with its data.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.e2e import playbook
from tests.e2e.lti import Lms

COURSE = "bench-demo"
ADDED = f"all:\n  children:\n    courses:\n      hosts:\n        {COURSE}:\n"


def main() -> None:
    """Add a course to a copy of the lab's inventory, deploy, launch, remove."""
    with tempfile.TemporaryDirectory() as folder:
        inventory = Path(folder) / "inventory"
        shutil.copytree(playbook.INVENTORY, inventory)
        try:
            begin = time.monotonic()
            (inventory / f"{COURSE}.yml").write_text(ADDED)
            playbook.run("site.yml", inventory=inventory).assert_good()
            deployed = time.monotonic() - begin

            playbook.run("lab/lms.yml", inventory=inventory).assert_good()
            begin = time.monotonic()
            visitor = Lms("http://10.89.7.6").enter(COURSE, "student-1")
            answered = time.monotonic() - begin
            visitor.wait_for_server()
            visitor.open_lab()
            usable = time.monotonic() - begin
        finally:
            playbook.remove_course(COURSE, inventory).assert_good()
            playbook.run("lab/lms.yml").assert_good()
    print(
        f"edit to launch: site.yml {deployed:.0f} s, launch answered after {deployed + answered:.1f} s,"
        f" Lab usable after {deployed + usable:.1f} s"
    )


if __name__ == "__main__":
    main()
