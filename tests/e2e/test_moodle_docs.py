"""docs/moodle.md, followed by somebody who has the LMS's pages and the inventory only."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support import expected_conditions as ec
from selenium.webdriver.support.ui import WebDriverWait

from tests import moodle_docs
from tests.e2e import playbook
from tests.e2e.conftest import LMS_URL
from tests.e2e.lti import Lms

COURSE = "moodle-docs"
# The LMS keeps what others have made.
SHORT_NAME = f"docs-{uuid.uuid4().hex[:6]}"
TITLE = f"Followed to the letter {SHORT_NAME}"
# Bound by the first lecturer's launch, as on a campus.
SETTINGS = {"course_hub_title": TITLE, "course_hub_lti13_platform": "demo", "course_hub_lms_context": []}
LAB_TIMEOUT = 180


@pytest.fixture
def inventory(lms: Lms, tmp_path: Path) -> Iterator[Path]:
    """Copy the lab's inventory with a course whose ids nobody knows yet."""
    del lms  # it must have been started
    copy = playbook.inventory_with(tmp_path, COURSE, SETTINGS)
    yield copy
    playbook.remove_course(COURSE, copy)


def printed(run: playbook.Run) -> dict[str, str]:
    """Return the addresses that a run says for the course, by what it calls them."""
    said = run.output[run.output.index(f"{COURSE} waits for its registration") :]
    found = {name: re.search(rf"^ +{re.escape(name)}: (\S+)$", said, re.MULTILINE) for name in moodle_docs.addresses()}
    assert all(found.values()), said[:2000]
    return {name: match[1] for name, match in found.items() if match}


@pytest.mark.full
def test_registration_by_the_pages_alone(browser: webdriver.Chrome, inventory: Path) -> None:
    addresses = printed(playbook.run("site.yml", inventory=inventory).assert_good())
    # The course's own address shows the same.
    browser.get(addresses["Tool URL"])
    page = browser.find_element(By.TAG_NAME, "body").text
    assert not [url for url in addresses.values() if url not in page]

    ids = moodle_docs.configure(browser, LMS_URL, TITLE, addresses)
    hosts = yaml.safe_load((inventory / "hosts.yml").read_text())
    variables = hosts["all"]["children"]["courses"]["hosts"][COURSE]
    variables |= dict(zip(("course_hub_lti13_client_id", "course_hub_lti13_deployment_id"), ids, strict=True))
    (inventory / "hosts.yml").write_text(yaml.safe_dump(hosts))
    playbook.run("site.yml", inventory=inventory).assert_good()

    moodle_docs.add_to_course(browser, LMS_URL, SHORT_NAME, TITLE)
    moodle_docs.click(browser, "Enter as lecturer")
    WebDriverWait(browser, 20).until(ec.number_of_windows_to_be(2))
    browser.switch_to.window(browser.window_handles[1])
    WebDriverWait(browser, LAB_TIMEOUT).until(
        ec.visibility_of_element_located((By.CSS_SELECTOR, ".jp-Launcher .jp-LauncherCard"))
    )

    # The click has bound the course, and said where the roster is.
    after = playbook.run("site.yml", inventory=inventory).assert_good()
    bound = f"course-{COURSE}: {TITLE} ({SHORT_NAME}, id {SHORT_NAME}) of {LMS_URL}, deployment {ids[1]}"
    assert bound in " ".join(after.output.split())
    browser.get(browser.current_url.split("/lab")[0] + "/course")
    roster = browser.find_element(By.CSS_SELECTOR, "table[aria-labelledby='roster-title']").text
    assert {"Ada Brandt", "Sofia Weber"} <= set(re.findall(r"[A-Z]\w+ [A-Z]\w+", roster))
