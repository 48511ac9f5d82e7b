"""The teaching day in a real browser: formgrader, the assignment list, the course page, the gradebook of the LMS."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support import expected_conditions as ec
from selenium.webdriver.support.ui import WebDriverWait

from tests.e2e.cluster import Cluster
from tests.e2e.conftest import LTI13_COURSE
from tests.e2e.lms import Course, user_name
from tests.e2e.lti import Lms
from tests.e2e.test_teaching import MAXIMUM, put_source
from tests.e2e.waiting import wait_for

COURSE = LTI13_COURSE
STUDENT = "student-1"
STEP = 180  # seconds that a step of nbgrader may take
ASSIGNMENT = f"week-{uuid.uuid4().hex[:4]}"


class Page:
    """A window of the browser, and where its pictures go."""

    def __init__(self, browser: webdriver.Chrome, artifacts: Path) -> None:
        """Look at what is there."""
        self.browser, self._artifacts = browser, artifacts

    def wait(self, until: Callable[[webdriver.Chrome], WebElement | bool], seconds: float = STEP) -> WebElement:
        """Wait until something is there, and return it."""
        found = WebDriverWait(self.browser, seconds).until(until)
        assert found
        return found  # type: ignore[return-value]

    def press(self, xpath: str) -> None:
        """Click on the first thing that fits, when it can be clicked."""
        self.wait(ec.element_to_be_clickable((By.XPATH, xpath))).click()

    def picture(self, name: str) -> None:
        """Keep a picture."""
        self.browser.save_screenshot(str(self._artifacts / f"{name}.png"))

    def enter(self, lms: Lms, person: str) -> None:
        """Click in the LMS and wait for Lab."""
        self.browser.get(lms.url)
        self.browser.find_element(By.ID, f"enter-{COURSE}-{person}").click()
        self.wait(ec.number_of_windows_to_be(2), 20)
        self.browser.switch_to.window(self.browser.window_handles[1])
        self.wait(ec.visibility_of_element_located((By.CSS_SELECTOR, ".jp-Launcher .jp-LauncherCard")))

    def step(self, row: str, column: str) -> None:
        """Press a button in the row of formgrader's table that has this text, and wait for nbgrader's success."""
        self.press(f"//tr[.//td[contains(., '{row}')]]//td[contains(@class, '{column}')]//a")
        said = self.wait(ec.visibility_of_element_located((By.CSS_SELECTOR, ".modal-title")))
        assert "Success" in said.text, self.browser.find_element(By.CSS_SELECTOR, ".modal-body").text
        self.press("//div[@class='modal-header']/button[contains(@class, 'close')]")
        self.wait(ec.invisibility_of_element_located((By.CSS_SELECTOR, ".modal-backdrop")))
        self.picture(f"teaching-formgrader-{column}")

    def leave(self) -> None:
        """Close the hub's window and forget the person."""
        self.browser.delete_all_cookies()
        self.browser.close()
        self.browser.switch_to.window(self.browser.window_handles[0])


@pytest.fixture
def page(browser: webdriver.Chrome, artifacts: Path, cluster: Cluster, lms: Lms) -> Iterator[Page]:
    del lms  # it must have been started
    Course(COURSE).reset()
    yield Page(browser, artifacts)
    Course(COURSE).reset()
    cluster.stop_servers(COURSE)


def test_from_a_new_assignment_to_the_grade_in_the_lms(page: Page, lms: Lms, cluster: Cluster) -> None:
    hub = cluster.course_url(COURSE)
    server = f"{hub}/user/{user_name('lecturer')}"

    page.enter(lms, "lecturer")
    page.picture("teaching-lab-of-the-lecturer")
    page.browser.get(f"{server}/formgrader")
    page.press("//a[contains(., 'Add new assignment')]")
    page.wait(ec.visibility_of_element_located((By.CSS_SELECTOR, "#add-assignment-modal input.name"))).send_keys(
        ASSIGNMENT
    )
    page.press("//*[@id='add-assignment-modal']//button[contains(@class, 'save')]")
    page.wait(ec.invisibility_of_element_located((By.CSS_SELECTOR, ".modal-backdrop")))
    # The notebook is written in Lab as any other; here it comes as a file.
    put_source(lms.enter_lab(COURSE, "lecturer"), ASSIGNMENT)
    page.browser.refresh()
    page.step(ASSIGNMENT, "assign")
    page.step(ASSIGNMENT, "release")
    page.leave()

    page.enter(lms, STUDENT)
    page.press("//*[contains(@class, 'lm-MenuBar-itemLabel')][.='Nbgrader']")
    page.press("//*[contains(@class, 'lm-Menu-itemLabel')][.='Assignment List']")
    row = "//*[@id='%s_assignments_list']//*[contains(., '" + ASSIGNMENT + "')]"
    page.press(f"{row % 'released'}//button[.='Fetch']")
    page.press(f"{row % 'fetched'}//button[.='Submit']")
    page.wait(ec.visibility_of_element_located((By.XPATH, row % "submitted")))
    page.picture("teaching-assignment-list-of-the-student")
    page.leave()

    page.enter(lms, "lecturer")
    page.browser.get(f"{server}/formgrader")
    page.step(ASSIGNMENT, "collect")
    page.browser.get(f"{server}/formgrader/manage_submissions/{ASSIGNMENT}")
    page.step(user_name(STUDENT), "autograde")
    page.browser.get(f"{server}/course")
    page.press(f"//form[.//input[@name='assignment'][@value='{ASSIGNMENT}']]//button")
    wait_for("the score", lambda: STUDENT in Course(COURSE).column(ASSIGNMENT)["scores"], 60)
    assert Course(COURSE).column(ASSIGNMENT)["scoreMaximum"] == MAXIMUM
    page.browser.refresh()
    page.picture("teaching-course-page")
    page.browser.get(f"{lms.url}/courses/{COURSE}/gradebook")
    page.picture("teaching-gradebook-of-the-lms")
