"""Make the collection importable under its own name."""

from __future__ import annotations

from pathlib import Path

from ansible.plugins.loader import init_plugin_loader

# A checkout has the collection below .collections; the other collections come from the environment.
init_plugin_loader([str(Path(__file__).resolve().parents[2] / ".collections")])
