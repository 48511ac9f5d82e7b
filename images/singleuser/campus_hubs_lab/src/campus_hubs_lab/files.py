"""Files of assignments and hand-ins: named by strangers, written one by one, never outside of their folder."""

from __future__ import annotations

import base64
import binascii
import errno
import fnmatch
import os
import stat
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from .places import course_root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

# Files of one hand-in that are taken; names in one sentence.
MAX_FILES: Final = 10_000
NAMED: Final = 5
# Not the fault of a file's name: all others would fail as well.
_OUR_FAULT: Final = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM}


def place_of(name: object) -> PurePosixPath:
    """Return the place that a file's name means, below its folder.

    Raises:
        ValueError: it means none; the message says why.

    """
    if not isinstance(name, str) or not name or "\0" in name:
        raise ValueError("it has no name")
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError("it lies outside of the assignment")
    if not path.parts:
        raise ValueError("it has no name")
    if any(ord(c) < 32 or ord(c) == 127 or 0xD800 <= ord(c) < 0xE000 for c in name):
        raise ValueError("its name has characters that no file's name should have")
    return path


def write_files(
    files: Iterable[Any], folder: Path, keep: Callable[[PurePosixPath, int], bool] = lambda _path, _size: True
) -> list[str]:
    """Write an answer of the exchange into a folder. One file that cannot be written does not stop the others.

    Args:
        files: `{"path", "content"}` each, the content in base64. Of several of one name the last counts.
        folder: which is made.
        keep: told the place and size of each; False leaves it out, without a word.

    Returns:
        what was left out: name and reason each.

    Raises:
        OSError: the volume is full or cannot be written.

    """
    folder.mkdir(parents=True, exist_ok=True)
    left_out: list[str] = []
    places: dict[PurePosixPath, Any] = {}
    for file in files:
        name = file.get("path") if isinstance(file, dict) else None
        try:
            places[place_of(name)] = file.get("content")
        except ValueError as error:
            left_out.append(f"{_short(name)} ({error})")
    # Files before folders: a folder where a file is expected does not get in its way. Notebooks first, if not all fit.
    order = sorted(places, key=lambda p: (len(p.parts), p.suffix.casefold() != ".ipynb", p))
    left_out += [f"{_short(str(path))} (there are more than {MAX_FILES} files)" for path in order[MAX_FILES:]]
    for path in order[:MAX_FILES]:
        try:
            content = base64.b64decode(places[path])
            if keep(path, len(content)):
                _write(folder, path, content)
        except (binascii.Error, TypeError, ValueError):
            left_out.append(f"{_short(str(path))} (its content is no base64)")
        except OSError as error:
            if error.errno in _OUR_FAULT:
                raise
            left_out.append(f"{_short(str(path))} ({error.strerror or type(error).__name__})")
    return left_out


def _write(folder: Path, path: PurePosixPath, content: bytes) -> None:
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    # Nothing that is there is followed or waited for, such as a link or a pipe.
    with os.fdopen(
        os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644), "wb"
    ) as to:
        if not stat.S_ISREG(os.fstat(to.fileno()).st_mode):
            raise FileExistsError(None, "something else has its name")
        to.write(content)


def _short(name: object) -> str:
    text = repr(name)
    return text if len(text) <= 90 else f"{text[:87]}..."


def listed(items: Sequence[str]) -> str:
    """List a few of several things for people, and say how many more there are."""
    return ", ".join(items[:NAMED]) + (f" and {len(items) - NAMED} more" if len(items) > NAMED else "")


def regular_files(folder: Path, ignore: Sequence[str] = (), *, links: bool = True) -> Iterator[Path]:
    """List the plain files below a folder, in order; of the course's folder no links that lead out of it.

    Whoever may write there is not to be handed what else is on a lecturer's server, such as its environment.

    Args:
        folder: where.
        ignore: patterns of names of files and folders that are left out, as `CourseDirectory.ignore`.
        links: whether a link to a plain file counts as one.

    """
    for name, folders, files in os.walk(folder):
        folders[:] = sorted(f for f in folders if not ignored(f, ignore))
        for file in sorted(files):
            path = Path(name, file)
            try:
                mode = path.stat().st_mode if links else path.lstat().st_mode
            except OSError:
                continue
            if stat.S_ISREG(mode) and not ignored(file, ignore) and not leads_out(path):
                yield path


def leads_out(path: Path) -> bool:
    """Tell whether a path in the course's folder leads out of it, by a link."""
    root = course_root().resolve()
    # By its name as well: the folder that it is in may itself be such a link.
    shared = path.absolute().is_relative_to(course_root()) or path.parent.resolve().is_relative_to(root)
    return shared and not path.resolve().is_relative_to(root)


def ignored(name: str, patterns: Iterable[str]) -> bool:
    """Tell whether a name is among the patterns."""
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


def encode_files(
    folder: Path, ignore: Sequence[str] = (), leave_out: Callable[[str, str, int], bool] | None = None
) -> tuple[list[dict[str, str]], list[str]]:
    """Read a folder for the exchange.

    Args:
        folder: where.
        ignore: see `regular_files`.
        leave_out: told folder, name and size of each file.

    Returns:
        files as `write_files` takes them, and what could not be read: name and reason each.

    """
    files, problems = [], []
    for path in regular_files(folder, ignore):
        name = path.relative_to(folder)
        try:
            place_of(str(name))
            size = path.stat().st_size
            # Asked before it is read: a file may be larger than memory.
            if leave_out is not None and leave_out(str(path.parent), path.name, size):
                continue
            content = path.read_bytes()
        except (OSError, ValueError) as error:
            problems.append(f"{_short(str(name))} ({getattr(error, 'strerror', None) or error})")
            continue
        files.append({"path": str(name), "content": base64.b64encode(content).decode("ascii")})
    return files, problems + [f"{_short(str(name))} (it is no plain file)" for name in _others(folder, ignore)]


def _others(folder: Path, ignore: Sequence[str]) -> Iterator[Path]:
    """List dangling links, pipes and the like, and links to folders, which are not followed."""
    for name, folders, files in os.walk(folder):
        for each in sorted(folders + files):
            path = Path(name, each)
            if not ignored(each, ignore) and (not path.exists() or not (path.is_file() or path.is_dir())):
                yield path.relative_to(folder)
        folders[:] = [f for f in folders if not ignored(f, ignore)]
