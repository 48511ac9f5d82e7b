"""The extension of JupyterLab in a real Chromium: who gets the menu, and who reads the notice."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support import expected_conditions as ec
from selenium.webdriver.support.ui import WebDriverWait

from tests.unit import chromium
from tests.unit.images.singleuser.grading_lab import ROOT
from tests.unit.images.singleuser.test_server import SECRET, Lab

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.unit.images.singleuser.grading_lab import Course, Hub

EXTENSION = ROOT / "images/singleuser/campus_hubs_lab/labextension"
CARDS = "return [...document.querySelectorAll('.jp-LauncherCard-label')].map(card => card.textContent.trim())"
PROBLEM = "The course's material could not be updated <b>today</b>."


@pytest.fixture
def browser() -> Iterator[webdriver.Chrome]:
    driver = chromium.start()
    yield driver
    driver.quit()


def texts(browser: webdriver.Chrome, selector: str) -> list[str]:
    """Return what elements say, or nothing as long as one of them fades in and says nothing yet."""
    found = [each.text for each in browser.find_elements(By.CSS_SELECTOR, selector)]
    return found if all(found) else []


@pytest.mark.parametrize("role", ["instructor", "student"])
def test_the_menu_and_the_notices(
    course: Course, hub: Hub, browser: webdriver.Chrome, tmp_path: Path, role: str
) -> None:
    shared = tmp_path / "share"
    shutil.copytree(EXTENSION, shared / "labextensions" / "campus-hubs-lab")
    note = course.home / ".campus-hubs"
    note.mkdir()
    (note / "material-problem").write_text(PROBLEM)
    ends = time.time() + 1800
    # Only who has less than the time of the notice is told.
    hub.lease = {"ends": ends, "notice": ends - 3600 if role == "student" else ends - 600}
    lab = Lab(course, role, JUPYTER_PATH=str(shared))
    try:
        browser.get(f"{lab.url}lab?token={SECRET}")
        wait = WebDriverWait(browser, 90)
        expected = 2 if role == "student" else 1
        wait.until(lambda b: len(texts(b, ".Toastify__toast-body")) == expected)
        notices = texts(browser, ".Toastify__toast-body")
        assert PROBLEM in notices
        at = browser.execute_script(
            "return new Date(arguments[0] * 1000).toLocaleTimeString([], {hour: '2-digit', minute: '2-digit'})", ends
        )
        told = [notice for notice in notices if f"ends at {at}" in notice and "open the course again" in notice]
        assert len(told) == expected - 1
        menus = wait.until(lambda b: texts(b, ".lm-MenuBar-itemLabel"))
        cards = wait.until(lambda b: b.execute_script(CARDS))
        assert ("Course" in menus) is (role == "instructor")
        assert ("Roster and Grades" in cards) is (role == "instructor")
        assert "File" in menus
        if role == "instructor":
            (card,) = browser.find_elements(By.XPATH, "//*[@class='jp-LauncherCard-label'][contains(., 'Roster and')]")
            card.click()
            wait.until(lambda b: len(b.window_handles) == 2)
            browser.switch_to.window(browser.window_handles[1])
            wait.until(lambda b: b.find_elements(By.ID, "roster"))
            assert browser.current_url == f"{lab.url}course"
    finally:
        lab.close()


def test_formgrader_says_why_a_name_or_date_is_refused(course: Course, browser: webdriver.Chrome) -> None:
    lab = Lab(course, "instructor", TZ="Europe/Berlin")
    wait = WebDriverWait(browser, 60)
    try:
        browser.get(f"{lab.url}lab?token={SECRET}")
        browser.get(f"{lab.url}formgrader/manage_assignments")
        for name, due, words in (
            ("sums [1]", "", "cannot be called 'sums [1]': it has [ ]"),
            ("sums", "2027-03-28T02:30", "is left out in Europe/Berlin"),
        ):
            wait.until(lambda b: b.find_elements(By.LINK_TEXT, "Add new assignment..."))[0].click()
            field = wait.until(lambda b: b.find_elements(By.CSS_SELECTOR, "#add-assignment-modal .name"))[0]
            wait.until(ec.visibility_of(field))
            field.send_keys(name)
            assert browser.execute_script("return $('#add-assignment-modal .timezone').val()") == "Europe/Berlin"
            browser.execute_script("$('#add-assignment-modal .duedate').val(arguments[0])", due)
            browser.find_element(By.CSS_SELECTOR, "#add-assignment-modal .save").click()
            wait.until(ec.text_to_be_present_in_element((By.CSS_SELECTOR, "#refused-modal .modal-body"), words))
            browser.get(f"{lab.url}formgrader/manage_assignments")
        assert lab.get("formgrader/api/assignments").json() == []
    finally:
        lab.close()
