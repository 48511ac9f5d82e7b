"""The chart's objects."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.unit.helm import VALUES, Template

Manifest = dict[str, Any]


@pytest.fixture(params=sorted(path.stem for path in VALUES.glob("*.yaml")))
def manifests(request: pytest.FixtureRequest, template: Template) -> list[Manifest]:
    """Return all objects of the chart, for each values file in turn."""
    return [manifest for manifest in yaml.safe_load_all(template(request.param)) if manifest]
