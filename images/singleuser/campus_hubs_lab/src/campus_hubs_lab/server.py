"""What a person's server does otherwise than Jupyter's: a hand-in is data for it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from jupyter_client.kernelspec import NATIVE_KERNEL_NAME
from jupyter_core.paths import is_hidden
from jupyter_server.base.handlers import AuthenticatedFileHandler
from jupyter_server.nbconvert.handlers import NbconvertFileHandler
from jupyter_server.serverapp import ServerApp
from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from jupyter_server.utils import ApiPath, to_os_path
from jupyter_server_terminals.terminalmanager import TerminalManager
from nbconvert.exporters import get_exporter, script
from nbconvert.exporters.base import ExporterNameError
from tornado import web
from traitlets.config import Config

from . import names
from .kernel import FOLDER
from .places import course_root, is_hand_in


class CourseKernelManager(AsyncMappingKernelManager):
    """Starts a hand-in's kernel in the home: programs read settings and modules where they start.

    It is one of the image's, whatever the hand-in's metadata name: those of a home do what its owner wrote.
    """

    async def start_kernel(self, *, path: Any = None, **kwargs: Any) -> str:  # type: ignore[override] # noqa: ANN401
        """Start a kernel; return its id."""
        name = kwargs.get("kernel_name")
        if path is not None and name and is_hand_in(to_os_path(path, self.root_dir)):
            specs: Any = self.kernel_spec_manager
            folder = specs.find_kernel_specs().get(name)
            if folder and Path(folder).resolve().is_relative_to(Path.home().resolve()):
                self.log.warning("The kernel %s is of the home: a hand-in gets the image's.", name)
                kwargs["kernel_name"] = NATIVE_KERNEL_NAME
        started: str = await super().start_kernel(path=path, **kwargs)
        return started

    def cwd_for_path(self, path: str, **kwargs: Any) -> str:  # noqa: ANN401 - as the base's
        """Return the folder in which a notebook's kernel starts."""
        folder: str = super().cwd_for_path(path, **kwargs)  # type: ignore[no-untyped-call]
        if not is_hand_in(folder):
            return folder
        # The kernel's environment, which is changed in place: Python's goes there when the first cell runs.
        kwargs.get("env", {})[FOLDER] = folder
        root: str = self.root_dir
        return root


class CourseTerminalManager(TerminalManager):
    """Says of a terminal whether a program runs in it, as of kernels: the hub asks before a server gives way."""

    def get_terminal_model(self, name: str) -> dict[str, Any]:
        """Return the model with `execution_state`, "busy" or "idle"."""
        model = super().get_terminal_model(name)
        shell = self.terminals[name].ptyproc
        try:
            idle = os.tcgetpgrp(shell.fd) == shell.pid
        except OSError:
            # It has just ended.
            idle = True
        return {**model, "execution_state": "idle" if idle else "busy"}


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


# A page of a hand-in: it runs nothing, not even in an origin of its own, and asks nobody for anything.
HAND_IN_POLICY = (
    "sandbox; default-src 'none'; img-src 'self' data:; media-src 'self' data:; font-src data:; "
    "style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'"
)


class _Confined:
    """A file, which is data if it is of a hand-in."""

    async def prepare(self) -> None:
        """Set the header, now that the path is known."""
        await super().prepare()  # type: ignore[misc]
        path = [*self.path_args, *self.path_kwargs.values()][-1]  # type: ignore[attr-defined]
        if is_hand_in(to_os_path(path, self.settings["serverapp"].root_dir)):  # type: ignore[attr-defined]
            csp = self.content_security_policy.replace("sandbox allow-scripts", HAND_IN_POLICY)  # type: ignore[attr-defined]
            self.set_header("Content-Security-Policy", csp)  # type: ignore[attr-defined]


class CourseFileHandler(_Confined, AuthenticatedFileHandler):  # type: ignore[misc] # tornado's may be async
    """`<base>files/...`, with the course's folder: it is a link in the home, and tornado follows none out of there."""

    def initialize(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - as the base's
        """Remember the folders that links may lead to."""
        super().initialize(*arguments, **options)
        self.allowed_symlink_directory = [self.root, str(course_root())]

    def validate_absolute_path(self, root: str, absolute_path: str) -> str | None:  # type: ignore[override]
        """Return the file of a path, as the base does, which calls none hidden that a link leads to."""
        found = web.StaticFileHandler.validate_absolute_path(self, root, absolute_path)
        if not self.contents_manager.allow_hidden and is_hidden(absolute_path, os.path.abspath(root)):  # noqa: PTH100
            raise web.HTTPError(404)
        return found


class CourseNbconvertHandler(_Confined, NbconvertFileHandler):  # type: ignore[misc]
    """`<base>nbconvert/<format>/...`."""


def known_exporter(name: str, config: Any = None) -> Any:  # noqa: ANN401 - a class of nbconvert's
    """Return the exporter of a script, which a notebook's metadata name; nbconvert would import any module and call it.

    Raises:
        ExporterNameError: it is none of those that are installed.

    """
    if not name.isidentifier():
        raise ExporterNameError(f"A notebook names the exporter {name!r}, which is none.")
    return get_exporter(name, config)  # type: ignore[no-untyped-call]


# campus_hubs_lab loads formgrader for who may have it.
EXTENSIONS: Final = {
    "campus_hubs_lab": True,
    # Puts any repository into any folder when a link is followed.
    "nbgitpuller": False,
    "jupyter_server_mathjax": False,
    "nbgrader.server_extensions.formgrader": False,
    "nbgrader.server_extensions.course_list": False,
}


def guard(handlers: Path) -> None:
    """Let no other configuration of an image take away what protects a server; what else it says counts.

    Of one folder's files JSON wins over Python, and later folders' files over both.

    Args:
        handlers: the list of HTTP handlers.

    """
    plain = ServerApp.find_server_extensions

    def find_server_extensions(self: Any) -> None:  # noqa: ANN401 - a ServerApp that has read its configuration
        plain(self)
        classes = {"kernel_manager_class": CourseKernelManager, "contents_manager_class": CourseContentsManager}
        merged = {
            "jpserver_extensions": {**self.jpserver_extensions, **EXTENSIONS},
            "tornado_settings": {**self.tornado_settings, "campus_hubs_handlers": str(handlers)},
        }
        files = {"files_handler_class": CourseFileHandler}
        self.update_config(Config({"ServerApp": {**classes, **merged}, "CourseContentsManager": files}))

    ServerApp.find_server_extensions = find_server_extensions  # type: ignore[method-assign]
    script.get_exporter = known_exporter  # type: ignore[attr-defined]
