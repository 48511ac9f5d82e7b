"""A real browser: one click in the LMS, and there is JupyterLab."""

from __future__ import annotations

from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support import expected_conditions as ec
from selenium.webdriver.support.ui import WebDriverWait

from tests.e2e.cluster import Cluster
from tests.e2e.conftest import LMS_URL
from tests.e2e.lti import Lms

LAB_TIMEOUT = 180


@pytest.mark.parametrize("person", ["student-1", "lecturer"])
def test_click_in_the_lms_leads_to_lab(
    browser: webdriver.Chrome, lms: Lms, artifacts: Path, course: str, person: str
) -> None:
    browser.get(lms.url)
    browser.save_screenshot(str(artifacts / "lms.png"))
    browser.find_element(By.ID, f"enter-{course}-{person}").click()
    WebDriverWait(browser, 20).until(ec.number_of_windows_to_be(2))
    browser.switch_to.window(browser.window_handles[1])
    try:
        launcher = WebDriverWait(browser, LAB_TIMEOUT).until(
            ec.visibility_of_element_located((By.CSS_SELECTOR, ".jp-Launcher .jp-LauncherCard"))
        )
        assert launcher.is_displayed()
        assert "/lab" in browser.current_url
        assert browser.find_element(By.ID, "jp-main-dock-panel").is_displayed()
    finally:
        browser.save_screenshot(str(artifacts / f"lab-{course}-{person}.png"))


def test_direct_visit_shows_the_way_back(browser: webdriver.Chrome, cluster: Cluster, artifacts: Path) -> None:
    browser.get(cluster.course_url("python-demo"))
    browser.save_screenshot(str(artifacts / "open-from-your-lms.png"))
    assert "Open this course from your LMS" in browser.find_element(By.TAG_NAME, "body").text
    assert browser.find_element(By.CSS_SELECTOR, f"a[href='{LMS_URL}/']").is_displayed()
