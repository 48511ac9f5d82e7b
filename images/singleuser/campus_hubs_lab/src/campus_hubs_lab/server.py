"""What a person's server does otherwise than Jupyter's: a hand-in is data for it."""

from __future__ import annotations

from typing import Any

from jupyter_server.base.handlers import AuthenticatedFileHandler
from jupyter_server.nbconvert.handlers import NbconvertFileHandler
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from jupyter_server.utils import to_os_path

from .kernel import FOLDER
from .places import is_hand_in


class CourseKernelManager(AsyncMappingKernelManager):
    """Starts a hand-in's kernel in the home: programs read settings and modules where they start."""

    def cwd_for_path(self, path: str, **kwargs: Any) -> str:  # noqa: ANN401 - as the base's
        """Return the folder in which a notebook's kernel starts."""
        folder: str = super().cwd_for_path(path, **kwargs)  # type: ignore[no-untyped-call]
        if not is_hand_in(folder):
            return folder
        # The kernel's environment, which is changed in place: Python's goes there when the first cell runs.
        kwargs.get("env", {})[FOLDER] = folder
        root: str = self.root_dir
        return root


class _Confined:
    """A file of a hand-in runs nothing, not even in an origin of its own."""

    async def prepare(self) -> None:
        """Set the header, now that the path is known."""
        await super().prepare()  # type: ignore[misc]
        path = [*self.path_args, *self.path_kwargs.values()][-1]  # type: ignore[attr-defined]
        if is_hand_in(to_os_path(path, self.settings["serverapp"].root_dir)):  # type: ignore[attr-defined]
            csp = self.content_security_policy.replace("sandbox allow-scripts", "sandbox")  # type: ignore[attr-defined]
            self.set_header("Content-Security-Policy", csp)  # type: ignore[attr-defined]


class CourseFileHandler(_Confined, AuthenticatedFileHandler):  # type: ignore[misc] # tornado's may be async
    """`<base>files/...`."""


class CourseNbconvertHandler(_Confined, NbconvertFileHandler):  # type: ignore[misc]
    """`<base>nbconvert/<format>/...`."""
