"""Modules that take the connection options of kubernetes.core are in the action group that sets them for all."""

from __future__ import annotations

from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[3]
FRAGMENT = "kubernetes.core.k8s_auth_options"


def test_modules_of_the_kubernetes_api_are_in_the_group() -> None:
    groups = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text())["action_groups"]
    modules = {path.stem: path.read_text() for path in (ROOT / "plugins" / "modules").glob("*.py")}
    expected = sorted(name for name, text in modules.items() if FRAGMENT in text)
    assert groups == {"k8s": expected}
    assert len(expected) >= 7
