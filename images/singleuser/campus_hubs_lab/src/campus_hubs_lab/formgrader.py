"""nbgrader's formgrader, unchanged for who looks at it, for several graders and behind a proxy.

Its buttons run their step inside of the request's handler: the whole server stands still, and a proxy gives the request
up after a minute of silence. Here the step is a process (see `action`), and the answer says something now and then.
"""

from __future__ import annotations

import asyncio
import functools
import json
import secrets
import sys
import time
from pathlib import Path
from typing import Any, Final

from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.utils import url_path_join
from nbgrader.server_extensions.formgrader import apihandlers, handlers
from nbgrader.server_extensions.formgrader.formgrader import FormgradeExtension
from tornado import web
from tornado.iostream import StreamClosedError

from . import pages, plugins
from .assignments import RefusedError
from .client import ExchangeApiError

# The course's folder as it looks from the person's files: Lab and formgrader's links know no others.
LINK: Final = "course"
# Seconds of silence: the proxy bears 60.
KEEP_ALIVE: Final = 10
# Steps at a time in one server: each is a process of some 100 MB, and the sandboxes are counted anyway.
AT_ONCE: Final = 2
# Seconds between two looks at the roster when pages are opened.
ROSTER_EVERY: Final = 60


class ActionHandler(JupyterHandler):
    """A button of formgrader."""

    def initialize(self, action: str, turns: asyncio.Semaphore) -> None:
        """Remember which."""
        self.action, self.turns = action, turns

    @web.authenticated
    async def post(self, *ids: str) -> None:
        """Run the step; the answer is JSON after some blanks."""
        # formgrader's own script parses a text: JSON's media type would make jQuery parse it before.
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        step = asyncio.ensure_future(self._run(ids))
        gone = False
        while not step.done():
            await asyncio.wait({step}, timeout=KEEP_ALIVE)
            if step.done() or gone:
                continue
            try:
                self.write(" ")
                await self.flush()
            except StreamClosedError:
                # The step goes on: half of it would be worse.
                gone = True
        if not gone:
            self.finish(json.dumps(step.result()))

    async def _run(self, ids: tuple[str, ...]) -> dict[str, Any]:
        async with self.turns:
            command = [
                sys.executable,
                "-P",
                "-s",
                "-m",
                "campus_hubs_lab.action",
                self.action,
                *(i.strip() for i in ids),
            ]
            process = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
            )
            output, _ = await process.communicate()
        try:
            result: dict[str, Any] = json.loads(output)
        except ValueError:
            sentence = f"The step ended without an answer (exit code {process.returncode}); the server's log says more."
            return {"success": False, "log": sentence}
        return result


class RosterWatch:
    """Keeps the gradebook's names as the exchange has them, when somebody looks."""

    def __init__(self, root: Path, course: str, log: Any) -> None:  # noqa: ANN401 - a Logger
        """Nothing is asked for yet."""
        self._root, self._course, self._log = root, course, log
        self._last = -ROSTER_EVERY * 1.0
        self._task: asyncio.Task[None] | None = None

    def look(self) -> None:
        """Look in the background, if it was not done a moment ago."""
        if time.monotonic() - self._last >= ROSTER_EVERY:
            self._last = time.monotonic()
            self._task = asyncio.ensure_future(self._look())

    async def _look(self) -> None:
        try:
            await asyncio.to_thread(plugins.enrol_members, self._root, self._course)
        except ExchangeApiError as error:
            self._log.warning("The names in the gradebook are as before: %s", error)
        except Exception:
            self._log.exception("The names in the gradebook are as before.")


class _Page:
    """A handler of formgrader's: its page runs its own scripts only."""

    def prepare(self) -> Any:  # noqa: ANN401 - as the base's
        """Look at the roster beside."""
        self.settings["campus_hubs_roster"].look()  # type: ignore[attr-defined]
        return super().prepare()  # type: ignore[misc]

    @functools.cached_property
    def nonce(self) -> str:
        """Return the page's."""
        return secrets.token_urlsafe(16)

    @property
    def content_security_policy(self) -> str:
        """Return the header."""
        return f"{super().content_security_policy}; {pages.policy(self.nonce)}"  # type: ignore[misc]

    def write(self, chunk: Any) -> None:  # noqa: ANN401 - as tornado's
        """Write a page, or JSON."""
        super().write(pages.with_nonce(chunk, self.nonce) if isinstance(chunk, str) else chunk)  # type: ignore[misc]

    def on_finish(self) -> None:
        """Forget what was read: other graders' servers write to the same gradebook."""
        book = self.settings.get("nbgrader_gradebook")  # type: ignore[attr-defined]
        if book is not None:
            book.db.remove()
        super().on_finish()  # type: ignore[misc]


class _Start(_Page, handlers.FormgraderHandler):  # type: ignore[misc]
    """`formgrader`: nbgrader's takes a folder from the URL and executes the configuration in it."""

    @web.authenticated
    def get(self) -> None:
        """Go to the first page."""
        self.redirect(f"{self.base_url}/formgrader/manage_assignments")


class _File(_Page, handlers.SubmissionFilesHandler):  # type: ignore[misc]
    """A file beside a hand-in: it runs nothing."""

    @property
    def content_security_policy(self) -> str:
        """Return the header."""
        return f"{super().content_security_policy}; sandbox"


class _Assignment(_Page, apihandlers.AssignmentHandler):  # type: ignore[misc]
    """An assignment and its due date."""

    @web.authenticated
    def put(self, assignment_id: str) -> None:
        """Make or change it; a refusal is a sentence, which the page shows."""
        try:
            super().put(assignment_id)
        except RefusedError as error:
            self.set_status(400)
            self.finish({"message": str(error)})


def _own(handler: type[Any]) -> type[Any]:
    """Make a handler of nbgrader's ours."""
    for own in (_Start, _File, _Assignment):
        if handler in own.__bases__:
            return own
    return type(handler.__name__, (_Page, handler), {})


class CourseFormgrader(FormgradeExtension):  # type: ignore[misc] # nbgrader has no types
    """formgrader for the course's folder, wherever that is."""

    @property
    def url_prefix(self) -> str:
        """Return the course's folder as the file browser calls it."""
        return LINK

    def init_tornado_settings(self, webapp: Any) -> None:  # noqa: ANN401 - a tornado application
        """Let formgrader's pages and those of hand-ins take everything for text."""
        super().init_tornado_settings(webapp)
        mathjax = url_path_join(webapp.settings["base_url"], "formgrader/mathjax/MathJax.js")
        webapp.settings["nbgrader_jinja2_env"] = pages.environment()
        webapp.settings["nbgrader_exporter"] = pages.FormgradeExporter(
            f"{mathjax}?config=TeX-AMS-MML_HTMLorMML-full,Safe", config=self.config
        )

    def init_handlers(self, webapp: Any) -> None:  # noqa: ANN401 - a tornado application
        """Add formgrader's pages, with own handlers where a step of nbgrader is run."""
        turns = asyncio.Semaphore(AT_ONCE)
        actions = {
            apihandlers.AssignHandler: "assign",
            apihandlers.ReleaseHandler: "release",
            apihandlers.UnReleaseHandler: "unrelease",
            apihandlers.CollectHandler: "collect",
            apihandlers.AutogradeHandler: "autograde",
            apihandlers.GenerateAllFeedbackHandler: "generate_feedback",
            apihandlers.GenerateFeedbackHandler: "generate_feedback",
            apihandlers.ReleaseAllFeedbackHandler: "release_feedback",
            apihandlers.ReleaseFeedbackHandler: "release_feedback",
        }
        routes: list[tuple[Any, ...]] = []
        for pattern, handler, *rest in [*handlers.default_handlers, *apihandlers.default_handlers]:
            if handler in actions:
                routes.append((pattern, ActionHandler, {"action": actions.pop(handler), "turns": turns}))
            elif handler is web.StaticFileHandler:
                routes.append((pattern, handler, *rest))
            else:
                routes.append((pattern, _own(handler), *rest))
        if actions:
            raise RuntimeError(f"This nbgrader has no {', '.join(h.__name__ for h in actions)}.")
        routes += [
            (r"/formgrader/static/(.*)", web.StaticFileHandler, {"path": handlers.static_path}),
            (r"/formgrader/mathjax/(.*)", web.StaticFileHandler, {"path": str(pages.mathjax_folder() or "/nowhere")}),
        ]
        base = webapp.settings["base_url"]
        webapp.add_handlers(".*$", [(url_path_join(base, pattern), *rest) for pattern, *rest in routes])


def load(server: Any, root: Path, course: str) -> None:  # noqa: ANN401 - a ServerApp
    """Load formgrader.

    Args:
        server: Jupyter's.
        root: the course's folder.
        course: the course's id.

    """
    server.web_app.settings["campus_hubs_roster"] = RosterWatch(root, course, server.log)
    formgrader = CourseFormgrader(parent=server)
    formgrader.root_dir = server.root_dir
    formgrader.log = server.log
    formgrader.initialize([])
    formgrader.init_tornado_settings(server.web_app)
    formgrader.init_handlers(server.web_app)
