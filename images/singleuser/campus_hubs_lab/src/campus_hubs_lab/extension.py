"""What a server offers beyond Lab: to lecturers and tutors formgrader and the course page, to everybody a notice."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from jupyter_server.base.handlers import APIHandler
from jupyter_server.nbconvert import handlers as nbconvert
from jupyter_server.utils import url_path_join
from tornado import web
from tornado.httpclient import AsyncHTTPClient

from . import gradebook, handlers, plugins
from .material import PROBLEM, UNWRITTEN
from .material_git import LONGEST
from .places import course_root
from .server import CourseNbconvertHandler


class MaterialProblem(APIHandler):
    """`<base>campus-hubs/material`: why the course's material could not be updated."""

    @web.authenticated
    def get(self) -> None:
        """Answer `{"problem": sentence or ""}`."""
        try:
            text = (Path.home() / PROBLEM).read_text(encoding="utf-8", errors="replace") or UNWRITTEN
        except OSError:
            text = ""
        self.finish(json.dumps({"problem": text.strip()[: 2 * LONGEST]}))


class Membership(APIHandler):
    """`<base>campus-hubs/membership`: when the person's access to the course is over, and since when they are told."""

    @web.authenticated
    async def get(self) -> None:
        """Answer `{"ends": seconds since 1970, "notice": the same}`, or `{}` if the hub does not say."""
        answer = await AsyncHTTPClient().fetch(
            f"{os.environ['JUPYTERHUB_API_URL']}/lease",
            headers={"Authorization": f"token {os.environ['JUPYTERHUB_API_TOKEN']}"},
            request_timeout=10,
            raise_error=False,
        )
        self.finish(answer.body if answer.code == 200 else b"{}")


def load(server: Any) -> None:  # noqa: ANN401 - a ServerApp
    """Load what the person's role has a right to.

    Args:
        server: Jupyter's.

    """
    base = server.web_app.settings["base_url"]
    routes: list[tuple[str, type[Any]]] = [
        ("campus-hubs/material", MaterialProblem),
        ("campus-hubs/membership", Membership),
    ]
    routes += [
        (p, CourseNbconvertHandler) for p, h in nbconvert.default_handlers if h is nbconvert.NbconvertFileHandler
    ]
    server.web_app.add_handlers(".*$", [(url_path_join(base, pattern), handler) for pattern, handler in routes])
    course = os.environ.get("COURSE_ID", "")
    if not (course and plugins.teaches()):
        return
    from . import course as course_page  # noqa: PLC0415 - students' servers start without it
    from . import formgrader  # noqa: PLC0415

    root = course_root()
    try:
        gradebook.prepare(root, course)
        link_course(Path(server.root_dir) / formgrader.LINK, root)
    except OSError as error:
        # A server without grading is better than none: the pages say what is missing.
        server.log.error("The course's folder %s cannot be used: %s", root, error)
    formgrader.load(server, root, course)
    course_page.load(server, root, course)


def restrict(server: Any) -> None:  # noqa: ANN401 - a ServerApp
    """Offer the handlers that are listed, or nothing at all."""
    try:
        if "campus_hubs_handlers" not in server.web_app.settings:
            raise LookupError(
                "The image's own jupyter_server_config.py, which protects the server, was not read: keep it in "
                "/etc/jupyter, and write settings of yours into jupyter_server_config.json beside it."
            )
        listed = handlers.read(Path(server.web_app.settings["campus_hubs_handlers"]))
        for pattern in handlers.restrict(server.web_app, listed, grades=plugins.teaches()):
            server.log.warning("%s is not in %s, so it is not offered.", pattern, handlers.FILE)
    except Exception:
        server.log.exception("The list of handlers cannot be used")
        server.stop(from_signal=True)


def link_course(link: Path, root: Path) -> None:
    """Make the course's folder seen among the person's files; what lies there under its name is kept beside it.

    Args:
        link: the link to make.
        root: the course's folder.

    Raises:
        OSError: the home is not there or full.

    """
    if link.is_symlink() and link.readlink() == root:
        return
    if link.is_symlink():
        link.unlink()
    elif link.exists():
        number = 1
        while (aside := link.with_name(f"{link.name} ({number})")).exists():
            number += 1
        link.rename(aside)
    link.symlink_to(root, target_is_directory=True)
