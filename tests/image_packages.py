"""Where the packages of the images are: they are installed in the images only."""

from __future__ import annotations

from pathlib import Path

IMAGES = Path(__file__).resolve().parents[1] / "images"


def sources(*names: str) -> list[str]:
    """Return what PYTHONPATH needs for the packages of these folders of `images`."""
    return [str(path) for name in names for path in sorted((IMAGES / name).glob("campus_hubs_*/src"))]
