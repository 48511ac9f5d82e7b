"""Make the collection importable under its own name, and find helm."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible.plugins.loader import init_plugin_loader

from tests.unit.helm import Template, find_helm, template_with

# A checkout has the collection below .collections; the other collections come from the environment.
init_plugin_loader([str(Path(__file__).resolve().parents[2] / ".collections")])


@pytest.fixture(scope="session")
def helm() -> Path:
    return find_helm()


@pytest.fixture(scope="session")
def template(helm: Path) -> Template:
    return template_with(helm)
