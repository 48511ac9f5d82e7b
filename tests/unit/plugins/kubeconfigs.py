"""Kubeconfigs for tests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_kubeconfig(path: Path, cluster: Mapping[str, Any], user: Mapping[str, Any] | None) -> None:
    """Write a kubeconfig with one context.

    Args:
        path: of the file.
        cluster: `server`, and what else leads to it.
        user: `token`, or what else the API server takes.

    """
    document = {
        "current-context": "it",
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        "clusters": [{"name": "it", "cluster": cluster}],
        "users": [{"name": "it", "user": user}],
    }
    path.write_text(json.dumps(document))
