"""The Secret modules against the lab's API server: made, adopted, rotated, refused, and twice without a change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.e2e import playbook

if TYPE_CHECKING:
    import pytest


def test_each_secret_module_does_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("K8S_AUTH_KUBECONFIG", str(playbook.KUBECONFIG))
    playbook.run("tests/integration/secrets.yml").assert_good()
