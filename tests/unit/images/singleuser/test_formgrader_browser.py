"""formgrader in a real Chromium: a round of grading by clicks, with names, ids and outputs that would rather run."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support import expected_conditions as ec
from selenium.webdriver.support.ui import WebDriverWait

from tests.unit import chromium
from tests.unit.images.singleuser.grading_lab import GOOD
from tests.unit.images.singleuser.test_server import SECRET, Lab

if TYPE_CHECKING:
    from collections.abc import Iterator

    from selenium import webdriver

    from tests.unit.images.singleuser.grading_lab import Course

RAN = "window.name = 'ran'"
EVIL = f'<img src=x onerror="{RAN}"><script>{RAN}</script>'
STEP = 90


@pytest.fixture
def chrome() -> Iterator[webdriver.Chrome]:
    driver = chromium.start()
    yield driver
    driver.quit()


def press(chrome: webdriver.Chrome, xpath: str) -> None:
    """Click on something as soon as it can be clicked."""
    WebDriverWait(chrome, STEP).until(ec.element_to_be_clickable((By.XPATH, xpath))).click()


def test_a_round_of_grading(released: Course, chrome: webdriver.Chrome) -> None:
    name = f"Ada {EVIL}"
    released.exchange.members = [{"user": "u1", "name": name, "email": EVIL, "role": "student", "active": True}]
    output = f"from IPython.display import HTML, Javascript, display\ndisplay(HTML({EVIL!r}), Javascript({RAN!r}))"
    released.hand_in("u1", {**GOOD, "square": f"{GOOD['square']}\n{output}", "why": f"$$x^2 + 1$$ {EVIL}"})
    lab = Lab(released, "instructor")
    try:
        chrome.get(f"{lab.url}api/kernelspecs?token={SECRET}")
        chrome.execute_script("window.name = 'quiet'")

        def step(page: str, column: str) -> None:
            """Press a button in formgrader's table and wait for its word."""
            chrome.get(f"{lab.url}formgrader/{page}")
            press(chrome, f"//td[contains(@class, '{column}')]//a")
            title = WebDriverWait(chrome, STEP).until(
                ec.visibility_of_element_located((By.CSS_SELECTOR, ".modal-title"))
            )
            assert "Success" in title.text, chrome.find_element(By.CSS_SELECTOR, ".modal-body").text

        step("manage_assignments", "release")
        step("manage_submissions/ps1", "autograde")
        # The student is called by the name that the LMS gave.
        chrome.get(f"{lab.url}formgrader/manage_submissions/ps1")
        assert chromium.wait(lambda: "<script>window" in chrome.find_element(By.TAG_NAME, "table").text, STEP)
        for page in ("manage_students", "gradebook/ps1", "manage_students/u1", "gradebook/ps1/sums"):
            chrome.get(f"{lab.url}formgrader/{page}")
            WebDriverWait(chrome, STEP).until(ec.visibility_of_element_located((By.CSS_SELECTOR, "tbody td")))
        (notebook,) = lab.get("formgrader/api/submitted_notebooks/ps1/sums").json()
        chrome.get(f"{lab.url}formgrader/submissions/{notebook['id']}/")
        # MathJax has come from the image, under the page's policy.
        wait = WebDriverWait(chrome, STEP)
        assert wait.until(ec.presence_of_element_located((By.CSS_SELECTOR, ".MathJax, .MathJax_SVG, .MathJax_CHTML")))
        score = wait.until(ec.element_to_be_clickable((By.XPATH, "(//input[contains(@class, 'score')])[last()]")))
        score.clear()
        score.send_keys("3.5\t")
        press(chrome, "(//textarea[contains(@class, 'comment')])[last()]")
        chrome.find_element(By.XPATH, "(//textarea[contains(@class, 'comment')])[last()]").send_keys("Well done.\t")

        def kept() -> bool:
            with sqlite3.connect(released.root / "gradebook.db") as book:
                scores = [row[0] for row in book.execute("SELECT manual_score FROM grade")]
                comments = [row[0] for row in book.execute("SELECT manual_comment FROM comment")]
            return 3.5 in scores and "Well done." in comments

        assert chromium.wait(kept, STEP)
        assert chrome.execute_script("return window.name") == "quiet"
        asked = [url for url in chromium.requested(chrome) if url.startswith("http")]
        assert [url for url in asked if "mathjax" in url.lower()]
        assert {urlsplit(url).netloc for url in asked} == {urlsplit(lab.url).netloc}
        # What the policy stops, it stops of the hand-in's only: formgrader's own scripts all run.
        said = [text for text in chromium.logged(chrome, "browser") if "Content Security Policy" in text]
        # MathJax has a font that must not load.
        said = [text for text in said if "about:blank" not in text]
        assert not [text for text in said if "formgrader/static" in text or "mathjax" in text.lower()], said
    finally:
        lab.close()
