"""A course in JupyterLab: nbgrader with grading in a sandbox, rosters, grades and teaching material."""

from __future__ import annotations

from typing import Any


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    """Name the server extension (jupyter_server, "Extension points")."""
    return [{"module": "campus_hubs_lab"}]


def _load_jupyter_server_extension(server: Any) -> None:  # noqa: ANN401 - a ServerApp
    """Load the parts that the person's role has a right to."""
    # Nothing of the server is imported where only the sandbox runs.
    from .extension import load  # noqa: PLC0415

    load(server)


async def _start_jupyter_server_extension(server: Any) -> None:  # noqa: ANN401 - a ServerApp
    """Take away what is not listed, now that all extensions have loaded, and before the first request."""
    from .extension import restrict  # noqa: PLC0415

    restrict(server)
