"""What a person's server does otherwise than Jupyter's: a hand-in is data for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jupyter_server.base.handlers import AuthenticatedFileHandler
from jupyter_server.nbconvert.handlers import NbconvertFileHandler
from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from jupyter_server.utils import ApiPath, to_os_path
from tornado import web

from . import names
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


class CourseContentsManager(AsyncLargeFileManager):
    """The file browser: what becomes an assignment or its notebook has a name that nbgrader can handle."""

    async def save(self, model: Any, path: str = "") -> Any:  # noqa: ANN401 - as the base's
        """Save, upload or make a file or folder."""
        self._check(path)
        return await super().save(model, path)  # type: ignore[no-untyped-call]

    async def rename_file(self, old_path: str, new_path: str) -> None:
        """Rename or move."""
        if old_path != new_path:
            self._check(new_path, self._place(old_path))
        await super().rename_file(old_path, new_path)  # type: ignore[no-untyped-call]

    async def copy(self, from_path: str, to_path: str | None = None) -> Any:  # noqa: ANN401 - as the base's
        """Copy; into a folder under the same name."""
        if to_path is not None and self._place(to_path).is_dir():
            self._check(f"{to_path}/{from_path.strip('/').rsplit('/', 1)[-1]}")
        return await super().copy(from_path, to_path)  # type: ignore[no-untyped-call]

    def _place(self, path: str) -> Path:
        return Path(to_os_path(ApiPath(path.strip("/")), self.root_dir))

    def _check(self, path: str, before: Path | None = None) -> None:
        """Refuse a name.

        Raises:
            HTTPError: 400.

        """
        place = self._place(path)
        sentence = "" if place.exists() else names.path_refusal(place, before)
        if sentence:
            raise web.HTTPError(400, sentence)


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
