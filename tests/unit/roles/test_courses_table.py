"""The tables in docs/courses.md against the role's argument spec."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
SPEC = ROOT / "roles" / "course_hub" / "meta" / "argument_specs.yml"
# Of the tool, or of one run; no settings of a course.
OTHERS = re.compile(r"course_hub_(helm_.*|show_secret|confirm_removals)")
ROW = re.compile(r"^\| `(course_hub_\w+)` \| ([^|]*) \| ([^|]*) \| ([^|]+) \|$")


def rows() -> dict[str, tuple[str, str]]:
    """Return variable to default and remark, as the tables have them."""
    found = [match for line in (ROOT / "docs" / "courses.md").read_text().splitlines() if (match := ROW.match(line))]
    assert len({match[1] for match in found}) == len(found), "a variable is there twice"
    return {match[1]: (match[3].strip(), match[4].strip()) for match in found}


OPTIONS: dict[str, Any] = {
    name: option
    for name, option in yaml.safe_load(SPEC.read_text())["argument_specs"]["main"]["options"].items()
    if not OTHERS.fullmatch(name)
}


def test_every_setting_is_there_and_nothing_else() -> None:
    assert set(rows()) == set(OPTIONS)


@pytest.mark.parametrize("name", OPTIONS)
def test_the_default_is_the_one_that_holds(name: str) -> None:
    said, remark = rows()[name]
    default = OPTIONS[name].get("default")
    assert remark
    if default in (None, "", [], {}):
        assert said, "words, as there is no value"
        assert "`" not in said
    else:
        assert yaml.safe_load(said.strip("`")) == default
