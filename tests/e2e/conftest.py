"""Fixtures of the end-to-end tests: they run against the lab that `make lab` or molecule has brought up."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.e2e import playbook
from tests.e2e.cluster import Cluster
from tests.e2e.lti import Lms

LMS_URL = "http://10.89.7.6"
LTI13_COURSE = "python-demo"
LTI11_COURSE = "stats-demo"


def pytest_configure() -> None:
    playbook.ARTIFACTS.mkdir(parents=True, exist_ok=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the order in which things are least in each other's way: looking first, breaking last."""
    order = [
        "cluster",
        "convergence",
        "run_lock",
        "secrets",
        "launch",
        "browser",
        "refusals",
        "handlers",
        "isolation",
        "attacks",
        "hub_attacks",
        "hub_account",
        "roster",
        "teaching",
        "browser_teaching",
        "browser_attacks",
        "grades",
        "exchange",
        "courses",
        "canary",
        "settings",
        "room",
        "drift",
        "interrupted_courses",
        "scheduled",
        "registry",
        "cluster_drift",
        "recovery",
        "hostile_class",
        "moodle_docs",
        "surroundings",
    ]

    if unplaced := {item.path.stem.removeprefix("test_") for item in items} - set(order):
        raise pytest.UsageError(f"tests/e2e: the order in conftest.py does not name {', '.join(sorted(unplaced))}")
    items.sort(key=lambda item: order.index(item.path.stem.removeprefix("test_")))


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    return Cluster(playbook.KUBECONFIG)


@pytest.fixture(scope="session")
def lms() -> Lms:
    """Start the demo LMS with the lab's courses."""
    playbook.run("lab/lms.yml").assert_good()
    return Lms(LMS_URL)


@pytest.fixture(scope="session")
def artifacts() -> Path:
    return playbook.ARTIFACTS


@pytest.fixture(params=[LTI13_COURSE, LTI11_COURSE])
def course(request: pytest.FixtureRequest) -> str:
    """Each of the lab's two courses: one launched by LTI 1.3, one by LTI 1.1."""
    return str(request.param)


def program(name: str) -> str:
    """Return the path of a program of the browser."""
    path = shutil.which(name)
    assert path, f"{name} is missing: apt-get install chromium chromium-driver (`make e2e` does)"
    return path


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = program("chromium")
    for flag in (
        "headless",
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "disable-dev-shm-usage",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        "no-proxy-server",
        "window-size=1280,900",
        f"user-data-dir={tmp_path / 'profile'}",
    ):
        options.add_argument(f"--{flag}")
    chrome = webdriver.Chrome(options=options, service=Service(executable_path=program("chromedriver")))
    chrome.set_page_load_timeout(60)
    yield chrome
    chrome.quit()
