"""How a course's nbgrader differs from a plain one; `configure` is all that nbgrader_config.py calls."""

from __future__ import annotations

import functools
import glob
import json
import os
import re
import secrets
import shutil
from contextlib import contextmanager
from html import escape, unescape
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

# ngshare_exchange asks for one of two names when it is imported; a container has none.
os.environ.setdefault("USER", os.environ.get("JUPYTERHUB_USER", "jovyan"))

import bleach
import ngshare_exchange.exchange
import requests
from jinja2 import pass_context
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbgrader.api import Gradebook
from nbgrader.converters import GenerateAssignment
from nbgrader.converters.base import BaseConverter
from nbgrader.utils import parse_utc
from ngshare_exchange import (
    ExchangeCollect,
    ExchangeFetchAssignment,
    ExchangeFetchFeedback,
    ExchangeReleaseAssignment,
    ExchangeReleaseFeedback,
    ExchangeSubmit,
    configureExchange,
)
from traitlets.log import get_logger

from . import assignments, autograde, duedates, gradebook, options
from .client import Exchange, ExchangeApiError, direct_session
from .cputime import TEXTS
from .files import encode_files, listed, place_of, regular_files, write_files
from .isolation import isolate
from .locks import AssignmentBusyError, assignment_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime

TEACHERS = {"instructor", "teaching_assistant"}
# Seconds: to connect, and for an answer; a submission may be 100 MB.
TIMEOUT = (5, 300)
# Seconds of CPU to make one text fit to be shown: a table of 1 MiB takes 4.
CLEANING = 20
_TAGS = bleach.ALLOWED_TAGS | set(
    re.findall(
        r"\w+",
        "br caption dd del details div dl dt h1 h2 h3 h4 h5 h6 hr img ins p pre s small span sub summary sup "
        "table tbody td tfoot th thead tr",
    )
)
_PICTURE = re.compile(r"data:image/(png|jpeg|gif|webp);base64,[A-Za-z0-9+/=]+")
# An image that is written as HTML: up to its address, and that.
_HTML_PICTURE = re.compile(r"""(<img\b[^<>]*?\ssrc\s*=\s*)("[^"<>]*"|'[^'<>]*'|[^\s"'<>]+)""", re.IGNORECASE)
_ATTRIBUTES = {
    "*": ["class", "title"],
    "a": ["href"],
    "img": ["src", "alt", "width", "height"],
    "td": ["colspan", "rowspan"],
    "th": ["colspan", "rowspan", "scope"],
}
_DOING = {
    "GenerateAssignment": "generating",
    "GenerateSolution": "generating the solution of",
    "Autograde": "autograding",
    "GenerateFeedback": "generating feedback for",
}


def teaches() -> bool:
    """Tell whether the server's person is a lecturer or tutor."""
    return os.environ.get("COURSE_ROLE") in TEACHERS


def configure(c: Any) -> None:  # noqa: ANN401 - traitlets' Config
    """Configure nbgrader for the course that the environment names.

    Args:
        c: the configuration, changed in place.

    """
    isolate()
    course = os.environ.get("COURSE_ID", "")
    c.CourseDirectory.course_id = course
    if course and teaches():
        root = gradebook.course_root()
        c.CourseDirectory.root = str(root)
        c.CourseDirectory.db_url = gradebook.db_url(root)
        _guard_converters()
        autograde.install()
        assignments.install()
        values, refused = options.read(root)
        for name, value in values.items():
            owner, trait = name.split(".")
            c[owner][trait] = value
        for sentence in refused:
            get_logger().warning("%s", sentence)
    zone = duedates.campus_zone().key
    c.NbGraderAPI.timezone = zone
    c.Exchange.timezone = zone
    # The exporter puts hand-ins right; strangers' code runs in sandboxes only; the rest is nbgrader's own list.
    c.Autograde.exporter_class = "campus_hubs_lab.autograde.HandInExporter"
    c.Autograde.sanitize_preprocessors = []
    c.Autograde.autograde_preprocessors = [
        "campus_hubs_lab.execute.SandboxExecute",
        "nbgrader.preprocessors.IgnorePattern",
        "nbconvert.preprocessors.ClearMetadataPreprocessor",
        "nbgrader.preprocessors.LimitOutput",
        "campus_hubs_lab.autograde.SaveGrades",
        "nbgrader.preprocessors.AssignLatePenalties",
        "nbgrader.preprocessors.CheckCellMetadata",
    ]
    # It would run a notebook, which a tutor may have written, on the server of who generates the assignment.
    c.InstantiateTests.enabled = False
    # What a submission shows must not run in the browser of who grades it.
    c.GenerateFeedback.exporter_class = "campus_hubs_lab.pages.FeedbackExporter"
    c.HTMLExporter.sanitize_html = True
    c.HTMLExporter.filters = {
        "clean_html": "campus_hubs_lab.plugins.safe_html",
        "markdown2html": "campus_hubs_lab.plugins.safe_markdown",
    }
    if "NGSHARE_URL" in os.environ:
        configureExchange(c, ngshare_url=os.environ["NGSHARE_URL"].rstrip("/"))
        c.ExchangeFactory.release_assignment = ReleaseAssignment
        c.ExchangeFactory.release_feedback = ReleaseFeedback
        c.ExchangeFactory.collect = Collect
        c.ExchangeFactory.submit = Submit
        c.ExchangeFactory.fetch_assignment = FetchAssignment
        c.ExchangeFactory.fetch_feedback = FetchFeedback
        ngshare_exchange.exchange.Exchange.ngshare_api_request = _request


def safe_html(html: str) -> str:
    """Remove what could run from HTML; tables and the like stay, which nbconvert's own cleaning shows as source."""
    try:
        with TEXTS.part(CLEANING):
            without_blocks = re.sub(r"<(style|script)\b.*?</\1\s*>", "", html, flags=re.IGNORECASE | re.DOTALL)
            cleaned: str = bleach.clean(without_blocks, tags=_TAGS, attributes=_ATTRIBUTES, strip=True)
            return cleaned
    except TimeoutError as error:
        return f"<p>[HTML that is not shown: {error}]</p>"


class _Renderer(IPythonRenderer):
    """Puts a word in place of each picture that was pasted into a cell; nbconvert's raises if there is none.

    Args:
        attachments: of the cell: data by type by name. Each is shown once, so that no page is larger than its notebook.

    """

    def __init__(self, attachments: Mapping[str, dict[str, str]]) -> None:
        """Nothing is rendered yet."""
        super().__init__(escape=False, attachments=dict(attachments), embed_images=True)
        # Addresses that a browser may be given, by the word.
        self.pictures: dict[str, str] = {}

    def _embed_image_or_attachment(self, src: str) -> str:
        if not src.startswith(("attachment:", "data:")):
            return src
        name = src.removeprefix("attachment:")
        bundle = self.attachments.pop(name, None) or self.attachments.pop(unquote(name), {})
        data = {kind: "".join(text.split()) for kind, text in bundle.items() if isinstance(text, str)}
        pasted = (f"data:{kind};base64,{text}" for kind, text in data.items())
        picture = next(filter(_PICTURE.fullmatch, [src, *pasted]), None)
        if picture is None:
            return ""
        word = secrets.token_hex(16)
        self.pictures[word] = picture
        return word

    def _html_embed_images(self, html: str) -> str:
        def shown(found: re.Match[str]) -> str:
            word = self._embed_image_or_attachment(unescape(found[2].strip("\"' \n")))
            return f'{found[1]}"{escape(word)}"'

        return _HTML_PICTURE.sub(shown, html)


@pass_context
def safe_markdown(context: Mapping[str, Any], source: str) -> str:
    """Render Markdown without what could run: nbgrader's templates do not ask nbconvert to clean graded text."""
    renderer = _Renderer((context.get("cell") or {}).get("attachments") or {})
    try:
        with TEXTS.part(CLEANING):
            made = MarkdownWithMath(renderer=renderer).render(source)
    except TimeoutError as error:
        made = f"<p>[Text that is not shown: {error}]</p>"
    shown = safe_html(made)
    return re.sub(r'(?<= src=")[0-9a-f]{32}(?=")', lambda word: renderer.pictures.get(word[0], word[0]), shown)


def _guard_converters() -> None:
    """Let nbgrader's own steps, also those of its command line, hold the assignment that they work on."""
    plain = BaseConverter.start
    if hasattr(plain, "__wrapped__"):
        return

    @functools.wraps(plain)
    def start(self: Any) -> None:  # noqa: ANN401 - a BaseConverter
        doing = _DOING.get(type(self).__name__, "working on")
        with held(self, doing, self.coursedir.student_id):
            if isinstance(self, GenerateAssignment):
                with said(self):
                    assignments.check_step(self)
                course = self.coursedir
                if glob.glob(course.format_path(course.submitted_directory, "*", glob.escape(course.assignment_id))):  # noqa: PTH207
                    autograde.keep_version(course, course.assignment_id)
            plain(self)

    BaseConverter.start = start


@contextmanager
def held(step: Any, action: str, student: str) -> Iterator[None]:  # noqa: ANN401 - a converter or an exchange step
    """Hold the assignment of a step of nbgrader, or say in its log who does.

    Raises:
        AssignmentBusyError: somebody else holds it.

    """
    try:
        with assignment_lock(Path(step.coursedir.root), step.coursedir.assignment_id, action, student):
            yield
    except AssignmentBusyError as error:
        step.log.error("%s", error)
        raise


@contextmanager
def said(step: Any) -> Iterator[None]:  # noqa: ANN401 - a converter or an exchange step
    """Say a refusal in the log of a step of nbgrader.

    Raises:
        RefusedError: there is one.

    """
    try:
        yield
    except assignments.RefusedError as error:
        step.log.error("%s", error)
        raise


def _request(
    self: Any,  # noqa: ANN401 - an Exchange of ngshare_exchange
    method: str,
    url: str,
    data: Mapping[str, str] | None = None,
    params: Mapping[str, str] | None = None,
) -> dict[str, Any] | None:
    """Ask the exchange; None and a sentence in the log if it refuses, or does not answer in time."""
    self.refusal = ""
    try:
        with direct_session() as session:
            answer = session.request(
                method,
                self.ngshare_url + self.encode_url(url),
                headers={"Authorization": f"token {os.environ.get('JUPYTERHUB_API_TOKEN', '')}"},
                data=data,
                params=params,
                timeout=TIMEOUT,
            )
        said = answer.json()
    except (requests.RequestException, ValueError) as error:
        self.refusal = f"The exchange does not answer ({type(error).__name__})."
    else:
        if isinstance(said, dict) and said.get("success"):
            return said
        told = said.get("message") if isinstance(said, dict) else None
        self.refusal = f"The exchange refuses: {told or f'{answer.status_code} {answer.reason}'}"
    self.log.error("%s", self.refusal)
    return None


class _Files:
    """How assignments and hand-ins become files and back; the structure below their folder stays as it is."""

    def decode_dir(
        self,
        src_dir: list[dict[str, Any]],
        dest_dir: str,
        ignore: Callable[[str, str, int], bool] | None = None,
        noclobber: bool = False,
    ) -> list[str]:
        """Write files; return what was left out."""
        folder = Path(dest_dir)

        def keep(path: PurePosixPath, size: int) -> bool:
            target = folder / path
            return not (noclobber and target.is_file()) and not (ignore and ignore(str(target), path.name, size))

        left_out = write_files(src_dir, folder, keep)
        for each in left_out:
            self.log.error("Left out: %s", each)  # type: ignore[attr-defined] # of an exchange step
        return left_out

    def encode_dir(self, src_dir: str, ignore: Callable[[str, str, int], bool] | None = None) -> dict[str, str]:
        """Read files for the exchange."""
        # What people hand in has folders of our own making; what is released has been through nbgrader's own rules.
        patterns = self.coursedir.ignore if ignore else []  # type: ignore[attr-defined]
        files, problems = encode_files(Path(src_dir), patterns, ignore)
        for each in problems:
            self.log.warning("Left out: %s", each)  # type: ignore[attr-defined]
        return {"user": self.username, "files": json.dumps(files)}  # type: ignore[attr-defined]


class FetchAssignment(_Files, ExchangeFetchAssignment):  # type: ignore[misc] # ngshare_exchange has no types
    """Fetches an assignment."""


class FetchFeedback(_Files, ExchangeFetchFeedback):  # type: ignore[misc]
    """Fetches feedback."""


class Submit(_Files, ExchangeSubmit):  # type: ignore[misc]
    """Submits; what the exchange has not taken is an error, not only a line in a log that no student sees."""

    def copy_files(self) -> None:
        """Submit.

        Raises:
            ExchangeError: the exchange has not confirmed it.

        """
        self.timestamp = None
        super().copy_files()
        if self.timestamp is None:
            self.fail(f"Your work was NOT submitted. {getattr(self, 'refusal', '')}")

    def do_copy(self, src: str, dest: str, log: object = None) -> None:
        """Keep a copy. By now the work is submitted: what cannot be copied is left out."""
        for file in regular_files(Path(src), self.coursedir.ignore):
            target = Path(dest) / file.relative_to(src)
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, target)
            except OSError as error:
                self.log.warning("Not copied: %s", error)
        Path(dest).mkdir(parents=True, exist_ok=True)


class Collect(_Files, ExchangeCollect):  # type: ignore[misc]
    """Collects submissions, alone, with everybody's name in the gradebook; one bad submission does not stop it."""

    def start(self) -> None:
        """Collect."""
        with held(self, "collecting", "*"):
            try:
                enrol_members(Path(self.coursedir.root), self.coursedir.course_id)
            except ExchangeApiError as error:
                self.log.warning("The names of who is in the course are as before: %s", error)
            super().start()

    def copy_files(self) -> None:
        """Collect each."""
        records, course = self.src_records, self.coursedir
        self.log.info("There are %s submissions of %s.", len(records), course.assignment_id)
        for record in records:
            student = str(record["student_id"])
            try:
                if len(place_of(student).parts) > 1:
                    raise ValueError("its student's name is no name of a folder")
                notes = self._collect(student, record["timestamp"])
            except Exception as error:
                self.log.exception("The submission of %s was not collected", student)
                notes = [f"It was not collected: {error or type(error).__name__}"]
            if notes is not None:
                gradebook.note(course.root, course.assignment_id, student, "collect", notes)

    def _collect(self, student: str, stamp: datetime) -> list[str] | None:
        """Collect one submission if it is newer than what is there; return sentences, None if nothing was done."""
        course = self.coursedir
        folder = Path(course.format_path(course.submitted_directory, student, course.assignment_id))
        known = _timestamp(folder)
        if folder.is_dir() and not folder.is_symlink() and (not self.update or (known is not None and stamp <= known)):
            self.log.info("No newer submission to collect: %s %s", student, course.assignment_id)
            return None
        submission = self._get_submission(course.course_id, course.assignment_id, student)
        if submission is None:
            return [f"The newest submission was not collected. {getattr(self, 'refusal', '')}"]
        # The last is the time stamp that nbgrader adds; there is no other.
        *files, time = submission["files"]
        ours = {PurePosixPath(time["path"])}
        names = [f.get("path") if isinstance(f, dict) else None for f in files]
        named_as_ours = [
            n for n in names if isinstance(n, str) and {PurePosixPath(n), *PurePosixPath(n).parents} & ours
        ]
        files = [f for f, n in zip(files, names, strict=True) if n not in named_as_ours]
        new = folder.with_name(f".{folder.name}.new")
        _clear(folder.parent)
        shutil.rmtree(new, ignore_errors=True)
        left_out = self.decode_dir([*files, time], str(new))
        # As it always is with a submission that was fetched and sent back.
        left_out += [f"{name!r} (the time stamp has this name)" for name in named_as_ours if "/" in name]
        if folder.is_dir() and not folder.is_symlink():
            shutil.rmtree(folder)
        else:
            _set_aside(folder)
        new.rename(folder)
        self.log.info("Collected: %s %s", student, course.assignment_id)
        return [f"Left out of what was handed in: {listed(left_out)}."] if left_out else []


def _timestamp(folder: Path) -> datetime | None:
    """Return when the submission in a folder was made, if it says so."""
    try:
        text = (folder / "timestamp.txt").read_text(encoding="utf-8").strip()
        stamp: datetime | None = parse_utc(text) if text else None
    except (OSError, ValueError, OverflowError):
        return None
    return stamp


def _clear(folder: Path) -> None:
    """Make a folder, whatever has its name."""
    if folder.is_symlink() or not folder.is_dir():
        _set_aside(folder)
    folder.mkdir(parents=True, exist_ok=True)


def _set_aside(path: Path) -> None:
    """Keep what stands in the way under another name, which nbgrader does not look at."""
    if os.path.lexists(path):
        number = 1
        while os.path.lexists(aside := path.with_name(f".{path.name}.{number}")):
            number += 1
        path.rename(aside)


class ReleaseAssignment(_Files, ExchangeReleaseAssignment):  # type: ignore[misc]
    """Releases an assignment, alone, and has its column made in the LMS."""

    def start(self) -> None:
        """Release."""
        course = self.coursedir
        with held(self, "releasing", "*"):
            with said(self), Gradebook(course.db_url, course.course_id) as book:
                assignments.check(book, course.assignment_id)
            super().start()

    def copy_files(self) -> None:
        """Release; the column is a wish, the release is not.

        Raises:
            ExchangeError: the exchange has not taken it.

        """
        autograde.keep_version(self.coursedir, self.coursedir.assignment_id)
        super().copy_files()
        refusal = getattr(self, "refusal", "")
        if refusal:
            self.fail(f"The assignment was NOT released. {refusal}")
        name = self.coursedir.assignment_id
        try:
            highest = gradebook.maximum(Path(self.coursedir.root), self.coursedir.course_id, name)
            if highest is not None:
                column = {"label": name, "maximum": highest, "scores": {}, "send": False}
                Exchange.of_environment().post_grades(name, column)
                self.log.info("The LMS gets a column for %s, maximum %g.", name, highest)
        except Exception as error:
            self.log.warning("The LMS has no column for %s yet: %s It is made when grades are sent.", name, error)


class ReleaseFeedback(ExchangeReleaseFeedback):  # type: ignore[misc]
    """Releases feedback, and sends the grades along if the course wants that; one bad one does not stop the others."""

    def copy_files(self) -> None:
        """Release each.

        Raises:
            ExchangeError: some were not released.

        """
        course = self.coursedir
        failed = []
        step: Any = self
        pattern: str = step.src_path
        for folder in sorted(glob.glob(pattern)):  # noqa: PTH207 - a pattern and all
            student = Path(folder).parent.name
            self.src_path = course.format_path(course.feedback_directory, student, course.assignment_id)
            try:
                super().copy_files()
            except Exception as error:
                self.log.error("The feedback for %s was not released: %s", student, error)
                failed.append(student)
        if failed:
            self.fail(f"The feedback for {listed(failed)} was not released; the log says why.")

    def start(self) -> None:
        """Release."""
        with held(self, "releasing feedback for", self.coursedir.student_id):
            super().start()
            if os.environ.get("COURSE_SEND_GRADES_ON_FEEDBACK") == "1":
                name = self.coursedir.assignment_id
                try:
                    send_grades(Path(self.coursedir.root), self.coursedir.course_id, name)
                    self.log.info("The grades of %s are sent to the LMS.", name)
                except Exception as error:
                    self.log.warning("The grades of %s are not sent to the LMS: %s", name, error)


def enrol_members(root: Path, course: str) -> dict[str, Any]:
    """Put everybody's name into the gradebook; return the exchange's answer.

    Raises:
        ExchangeApiError: the exchange does not say who is in the course.

    """
    answer = Exchange.of_environment().members()
    gradebook.enrol(root, course, answer.get("members") or [])
    return answer


def send_grades(root: Path, course: str, assignment: str) -> dict[str, Any]:
    """Hand the gradebook's complete scores of an assignment to the exchange, to be sent to the LMS.

    Raises:
        ExchangeApiError: the exchange does not take them, or there is no such assignment.

    """
    found = [each for each in gradebook.assignments(root, course) if each["name"] == assignment]
    if not found:
        raise ExchangeApiError(f"The gradebook has no assignment {assignment!r}.")
    scores = {student: score for student, score in found[0]["scores"].items() if score is not None}
    document = {"label": assignment, "maximum": found[0]["maximum"], "scores": scores, "send": True}
    return Exchange.of_environment().post_grades(assignment, document)
