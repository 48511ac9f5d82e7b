"""docs/moodle.md as somebody follows it who has an LMS's pages and nothing else.

What is entered where is read out of the text, so that text and pages cannot drift apart.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select, WebDriverWait

# Seconds until a page that a click has asked for is there.
PAGE: Final = 30
DOCS: Final = Path(__file__).parents[1] / "docs/moodle.md"
_ROW: Final = re.compile(r"^\s*\|([^|]+)\|([^|]+)\|\s*$", re.MULTILINE)
_WORDS: Final = re.compile(r"\*([^*]+)\*")


def step(number: int) -> str:
    """Return a step of "LTI 1.3, step by step"."""
    text = DOCS.read_text().split("## LTI 1.3, step by step")[1].split("\n## ")[0]
    return re.split(r"^\d\. ", text, flags=re.MULTILINE)[number]


def words(text: str) -> list[str]:
    """Return Moodle's words of a text: they are in italics, and not in bold."""
    return [" ".join(found.split()) for found in _WORDS.findall(text.replace("**", ""))]


def table(number: int) -> list[tuple[str, str]]:
    """Return the rows of a step's table, without its head."""
    rows = [(left.strip(), right.strip()) for left, right in _ROW.findall(step(number))]
    return [row for row in rows[1:] if not set("".join(row)) <= set("-: ")]


def addresses() -> dict[str, str]:
    """Return by what the run prints the field that it goes into."""
    return {printed: words(cell)[0] for printed, cell in table(1)}


def settings(title: str) -> dict[str, str]:
    """Return the values of the other fields; where the text offers several, the first.

    Args:
        title: of the course.

    """
    return {words(left)[0].rpartition(" > ")[2]: (words(right) or [title])[0] for left, right in table(2)}


def element(browser: webdriver.Chrome, label: str) -> WebElement:
    """Return the element that has a label."""
    found = browser.find_element(By.XPATH, f"//label[normalize-space()={_quoted(label)}]")
    return browser.find_element(By.ID, str(found.get_attribute("for")))


def click(browser: webdriver.Chrome, text: str) -> None:
    """Click a link or a button by what it says."""
    said = f"normalize-space()={_quoted(text)}"
    _click(browser, f"//a[{said}]|//button[{said}]|//summary[{said}]")


def _click(browser: webdriver.Chrome, path: str) -> None:
    """Click what XPath finds; once more on the next page if this one goes away meanwhile."""

    def clicked(page: webdriver.Chrome) -> bool:
        page.find_element(By.XPATH, path).click()
        return True

    WebDriverWait(browser, PAGE, ignored_exceptions=[StaleElementReferenceException]).until(clicked)


def _quoted(text: str) -> str:
    """Write a text for XPath 1.0, which has no escapes."""
    parts = ', "\'", '.join(f"'{part}'" for part in text.split("'"))
    return f"concat('', {parts})"


def configure(browser: webdriver.Chrome, lms: str, title: str, printed: Mapping[str, str]) -> tuple[str, str]:
    """Follow steps 2 and 3: configure the tool by hand; return client id and deployment id.

    Args:
        browser: any.
        lms: its address.
        title: of the course.
        printed: what the run has printed.

    """
    browser.implicitly_wait(PAGE)
    browser.get(lms)
    path = next(found for found in words(step(2)) if " > " in found)
    for link in path.split(" > "):
        click(browser, link)
    values = settings(title) | {field: printed[name] for name, field in addresses().items()}
    for label, value in values.items():
        field = element(browser, label)
        if field.tag_name == "select":
            Select(field).select_by_visible_text(value)
        else:
            field.clear()
            field.send_keys(value)
    click(browser, "Save changes")
    card = browser.find_elements(By.XPATH, f"//section[h2[normalize-space()={_quoted(title)}]]")[-1]
    card.find_element(By.CSS_SELECTOR, "summary[aria-label='View configuration details']").click()
    rows = card.find_elements(By.TAG_NAME, "tr")
    shown = {row.find_element(By.TAG_NAME, "th").text: row.find_element(By.TAG_NAME, "td").text for row in rows}
    client_id, deployment_id = (shown[name] for name in words(step(3))[:2])
    return client_id, deployment_id


def add_to_course(browser: webdriver.Chrome, lms: str, course: str, title: str) -> None:
    """Follow step 4 in a new course of the LMS, up to the click.

    Args:
        browser: any.
        lms: its address.
        course: the new course's short name.
        title: of the tool.

    """
    browser.implicitly_wait(PAGE)
    browser.get(f"{lms}/course")
    element(browser, "Course full name").send_keys(title)
    element(browser, "Course short name").send_keys(course)
    click(browser, "Save and display")
    tools, activity = words(step(4))[:2]
    for link in tools.split(" > "):
        click(browser, link)
    _click(browser, f"//button[@aria-label={_quoted(f'Show {title} in activity chooser')}]")
    click(browser, "Course")
    click(browser, activity)
    click(browser, title)
    click(browser, "Save and return to course")
