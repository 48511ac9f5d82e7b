"""Takes a hub's guards away, so that the attacks of the tests can be seen to succeed. Never a product.

What is opened stands here and nowhere else: the hub has no switch for any of it.
"""

from __future__ import annotations

import sys
from typing import Any

from jupyterhub.spawner import Spawner


class NoSpawner(Spawner):  # type: ignore[misc] # JupyterHub has no type information
    """Says yes to everything and starts nothing: the servers of the real hub are not the copy's."""

    stopped = False

    def load_state(self, state: dict[str, Any]) -> None:
        """Leave the real spawner's state alone."""

    async def start(self) -> tuple[str, int]:
        """Start nothing."""
        return "127.0.0.1", 1

    async def stop(self, now: bool = False) -> None:
        """Stop nothing, but say so."""
        self.stopped = True

    async def poll(self) -> int | None:
        """Claim that it runs until it was stopped."""
        return 0 if self.stopped else None


def open_hub(config: Any, attacker: str) -> None:  # noqa: ANN401 - a traitlets Config
    """Lay an open door over a course hub's configuration.

    Args:
        config: of the hub.
        attacker: the user name who may do everything then.
    """
    config.Authenticator.admin_users = {attacker}
    config.Authenticator.manage_groups = False
    config.CourseAuthenticator.manage_groups = False
    config.JupyterHub.spawner_class = NoSpawner
    # Its own process, and none of the real hub's; a role of a service that is gone would stop the start.
    gone = {one["name"] for one in config.JupyterHub.services if "command" in one}
    config.JupyterHub.services = [one for one in config.JupyterHub.services if one["name"] not in gone]
    config.JupyterHub.load_roles = [
        role for role in config.JupyterHub.load_roles if not gone.intersection(role.get("services", []))
    ]
    if sandbox := sys.modules.get("campus_hubs_hub.sandbox"):  # in the cluster only
        sandbox._Handler.teacher = property(lambda handler: handler.current_user.name)
