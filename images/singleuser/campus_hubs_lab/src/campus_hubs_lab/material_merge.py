"""Lay a new commit of the course's material over a folder in a home, see `material`."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
import subprocess
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, cast

from .material_git import FETCHED, Entry, Git, MaterialError

if TYPE_CHECKING:
    from collections.abc import Iterator

# In the folder's `.git`: the commit that the folder has.
PLACED: Final = "refs/campus-hubs/material"
# Names in a sentence.
NAMED: Final = 5
# Bytes of a Git LFS pointer (git-lfs, "specification").
POINTER: Final = range(100, 1024)
LFS: Final = b"version https://git-lfs.github.com/spec/"
SUBMODULE, LINK = "160000", "120000"
# Bytes of a file that is merged line by line, three times in memory and beside our repository.
MERGED: Final = 16 * 1024**2
# No file system here has such a name; and what stops everything.
_NO_NAME: Final = {errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ}
_NO_HOME: Final = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG}
# What somebody does in a repository, in its references' logs (git-reflog(1)).
_OWN: Final = re.compile(r"\t(commit|rebase|cherry-pick|revert|am\b|merge [^\n]*: (?!Fast-forward))")
_FETCHED_LINE: Final = re.compile(r"\S+ (\S+) [^\t]*\t(?:clone|fetch|pull)\b")
_ID: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


class Merge:
    """The material's new commit, and a folder.

    Args:
        git: our repository with the commit.
        target: the folder.
        home: it lies in.
        url: of the material, MATERIAL_GIT.

    """

    def __init__(self, git: Git, target: Path, home: Path, url: str) -> None:
        """Nothing is read yet."""
        self._git, self._target, self._home, self._url = git, target, home, url
        self._aside: list[str] = []
        self._checked: set[Path] = set()

    def run(self) -> list[str]:
        """Do it.

        Returns:
            sentences that the person should read.

        Raises:
            MaterialError: there was not enough time.
            OSError: the home is full.

        """
        self._make_folders(self._target / "x", self._home)
        commit = self._git.run("rev-parse", "--verify", f"{FETCHED}^{{commit}}").decode().strip()
        new = self._git.tree(commit)
        before, old = self._before()
        # What the material has no longer gives way to what has its place.
        for path in sorted(old.keys() - new.keys(), reverse=True):
            self._remove(path, old[path])
        # One process for all objects; it lives as long as its input.
        with subprocess.Popen(  # noqa: S603
            self._git.command("cat-file", "--batch"),
            env=self._git.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as reader:
            self._objects = cast("IO[bytes]", reader.stdin), cast("IO[bytes]", reader.stdout)
            nameless: list[str] = []
            failed: list[str] = []
            try:
                for path, entry in new.items():
                    self._git.remaining()
                    try:
                        self._place(path, old.get(path), entry)
                    except OSError as error:
                        # One file does not keep the others away.
                        if error.errno in _NO_HOME:
                            raise
                        (nameless if error.errno in _NO_NAME else failed).append(path)
                pointers = [path for path, entry in new.items() if self._is_pointer(entry)]
            except BaseException:
                reader.kill()
                raise
        if commit != before and not failed:
            self._renew(commit, before)
        modules = [path for path, entry in new.items() if entry.mode == SUBMODULE]
        sentences = (
            ("what you had changed is kept under another name:", self._aside),
            ("submodules are not part of it, their folders are empty:", modules),
            ("files in Git LFS are not part of it, they only say where their content is:", pointers),
            ("names that no file can have here are left out:", nameless),
            ("these could not be placed, is there something that may not be changed?", failed),
        )
        return [f"{sentence} {listed(names)}." for sentence, names in sentences if names]

    def _before(self) -> tuple[str, dict[str, Entry]]:
        """Return the commit that the folder has, and what is in it; "" and nothing if that is not known.

        Then all that differs is taken for the person's own.
        """
        folder = self._target / ".git"
        with suppress(OSError):
            _open(folder)
        if not os.access(folder, os.R_OK | os.X_OK) or not (folder / "objects").is_dir():
            return "", {}
        # Objects only: git on the folder's repository would run what its configuration says.
        self._git.environment["GIT_ALTERNATE_OBJECT_DIRECTORIES"] = str(folder / "objects")
        try:
            found = references(folder)
            before = found.get(PLACED) or self._pulled(folder, found)
            return (before, self._git.tree(before)) if before else ("", {})
        except (MaterialError, OSError, ValueError):
            self._git.remaining()
            return "", {}

    def _pulled(self, folder: Path, found: dict[str, str]) -> str:
        """Return what nbgitpuller has merged last, in a clone that it has made: it fetched more than it could merge."""
        url = self._git.run("config", "--no-includes", "--file", str(folder / "config"), "remote.origin.url")
        if url.decode().strip() != self._url:
            return ""
        logs = [*(folder / "logs/refs/remotes/origin").rglob("*"), folder / "logs/HEAD"]
        lines = [line for log in logs for line in _text(log).splitlines()]
        # HEAD's own log has the person's commits as well (gitglossary(7), "reflog").
        fetched = {found[1] for found in map(_FETCHED_LINE.match, lines) if found}
        fetched |= {commit for name, commit in found.items() if name.startswith("refs/remotes/origin/")}
        head = _text(folder / "HEAD").removeprefix("ref: ")
        shallow = [f"--shallow-file={folder / 'shallow'}"] if (folder / "shallow").is_file() else []
        history = self._git.run(*shallow, "rev-list", "--date-order", found.get(head, head)).decode().split()
        return next((commit for commit in history if commit in fetched), "")

    def _make_folders(self, path: Path, root: Path) -> None:
        """Make the folders above a path, below a root; what is no folder gives way."""
        for parent in reversed(path.parents[: len(path.relative_to(root).parts) - 1]):
            if parent in self._checked:
                continue
            # The folder itself may be a link, to elsewhere in the home.
            inside = parent == self._target and root.resolve() in parent.resolve().parents and parent.is_dir()
            if (parent.is_symlink() and not inside) or (parent.exists() and not parent.is_dir()):
                self._set_aside(parent)
            parent.mkdir(exist_ok=True)
            _open(parent)
            self._checked.add(parent)

    def _set_aside(self, path: Path) -> None:
        self._aside.append(set_aside(path).name)

    def _remove(self, name: str, old: Entry) -> None:
        """Remove what the material has no longer, if it is as it came, and folders that are empty then."""
        path = self._target / name
        parents = path.parents[: len(Path(name).parts) - 1]
        with suppress(OSError):
            for parent in reversed(parents):
                if parent.is_symlink():
                    return
                _open(parent)
            if old.mode == SUBMODULE:
                path.rmdir()
            elif has_content(path, old):
                path.unlink()
            for parent in parents:
                parent.rmdir()

    def _place(self, name: str, old: Entry | None, new: Entry) -> None:
        """Bring one entry to its place."""
        path = self._target / name
        self._make_folders(path, self._target)
        exists = os.path.lexists(path)
        folder = path.is_dir() and not path.is_symlink()
        if new.mode == SUBMODULE:
            if exists and not folder:
                self._set_aside(path)
            path.mkdir(exist_ok=True)
        elif old == new and exists and not folder:
            # It is there already, or only the person has changed it.
            return
        elif exists and has_content(path, new):
            if old and old.mode != new.mode != LINK:
                path.chmod(_permissions(new))
        elif not exists or (old and has_content(path, old)):
            self._write(path, new)
        elif not self._merged(path, old, new):
            self._set_aside(path)
            self._write(path, new)

    def _merged(self, path: Path, old: Entry | None, new: Entry) -> bool:
        """Merge a file that both have changed; tell whether that was possible."""
        if not old or LINK in {old.mode, new.mode} or path.is_symlink() or not path.is_file():
            return False
        if max(path.stat().st_size, old.size, new.size) > MERGED:
            return False
        with tempfile.TemporaryDirectory(dir=self._git.folder.parent) as place:
            mine, base, theirs = (Path(place) / name for name in ("mine", "base", "theirs"))
            try:
                shutil.copyfile(path, mine)
                base.write_bytes(self._git.run("cat-file", "blob", old.id))
                self._copy(new.id, theirs)
                self._git.run("merge-file", "--quiet", str(mine), str(base), str(theirs))
                if path.suffix == ".ipynb":
                    # Lines that fit together need not be a notebook.
                    json.loads(mine.read_bytes())
            except (MaterialError, MemoryError, PermissionError, RecursionError, ValueError):
                self._git.remaining()
                return False
            with _replaced(path, new) as made:
                shutil.copyfile(mine, made)
        return True

    def _content(self, object_id: str) -> Iterator[bytes]:
        """Read an object's content, to its end (git-cat-file(1), "BATCH OUTPUT")."""
        ask, answer = self._objects
        ask.write(object_id.encode() + b"\n")
        ask.flush()
        about = answer.readline().split()
        if len(about) != 3:
            raise MaterialError("git says: the repository is not complete")
        # A line's end follows.
        left = int(about[2]) + 1
        while left:
            self._git.remaining()
            chunk = answer.read(min(left, 1024**2))
            if not chunk:
                raise MaterialError("git says: the repository is not complete")
            yield chunk[:-1] if len(chunk) == left else chunk
            left -= len(chunk)

    def _copy(self, object_id: str, path: Path) -> None:
        with path.open("wb") as file:
            for chunk in self._content(object_id):
                file.write(chunk)

    def _write(self, path: Path, new: Entry) -> None:
        with _replaced(path, new) as made:
            self._copy(new.id, made)
            if new.mode == LINK:
                target = os.fsdecode(made.read_bytes())
                made.unlink()
                made.symlink_to(target)

    def _is_pointer(self, new: Entry) -> bool:
        if not new.mode.startswith("100") or new.size not in POINTER:
            return False
        return b"".join(self._content(new.id)).startswith(LFS)

    def _renew(self, commit: str, before: str) -> None:
        """Let the folder's `.git` say where it stands; one with commits of the person's own is kept beside it."""
        place, made, gone = (self._target / name for name in (".git", ".git.new", ".git.old"))
        for left in (made, gone):
            _remove_tree(left)
        git = Git(made, self._git.remaining())
        git.init("sha1" if len(commit) == 40 else "sha256")
        source = f"file://{self._git.folder}"
        git.run("fetch", "--quiet", "--no-tags", "--depth=1", "--", source, f"+{FETCHED}:refs/heads/main")
        for name in (PLACED, "refs/remotes/origin/main"):
            git.run("update-ref", name, commit)
        with suppress(MaterialError):
            # A repository that was made by hand may hold names that git refuses here.
            git.run("read-tree", "HEAD")
        git.run("config", "core.bare", "false")
        if os.path.lexists(place):
            if not before or _has_own(place, before):
                self._set_aside(place)
            else:
                place.rename(gone)
        made.rename(place)
        _remove_tree(gone)


def _has_own(folder: Path, before: str) -> bool:
    """Tell whether a repository has more than what was fetched, up to a commit."""
    found = references(folder)
    # In a clone of another program's making they are the material's.
    kinds = ("refs/heads/", "refs/stash", *(["refs/tags/"] if PLACED in found else []))
    commits = [commit for name, commit in found.items() if name.startswith(kinds)]
    head = _text(folder / "HEAD")
    under_way = ("reftable", "worktrees", "rebase-merge", "rebase-apply", "MERGE_HEAD", "CHERRY_PICK_HEAD")
    return (
        {*commits, *([] if head.startswith("ref: ") else [head])} - {before} != set()
        or bool(_OWN.search(_text(folder / "logs/HEAD")))
        or any((folder / name).exists() for name in under_way)
    )


def _open(folder: Path) -> None:
    """Let its owner look into a folder and change it."""
    if not folder.is_symlink() and folder.is_dir() and not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        folder.chmod(0o755)


def _remove_tree(path: Path) -> None:
    """Remove a folder with all that is in it, as far as that is possible; no error if it is not there."""
    with suppress(OSError):
        _open(path)
        for place, folders, _ in path.walk():
            for name in folders:
                _open(place / name)
    shutil.rmtree(path, ignore_errors=True)


def references(folder: Path) -> dict[str, str]:
    """Return a repository's references by name, without git (gitrepository-layout(5))."""
    found = {}
    for line in _text(folder / "packed-refs").splitlines():
        commit, _, name = line.partition(" ")
        if _ID.fullmatch(commit):
            found[name] = commit
    for path in (folder / "refs").rglob("*"):
        commit = _text(path)
        if _ID.fullmatch(commit):
            found[str(path.relative_to(folder))] = commit
    return found


def _text(path: Path) -> str:
    """Read a file of a repository; '' if it is none, such as a pipe, which would be waited for."""
    return path.read_text(errors="replace").strip() if path.is_file() else ""


def has_content(path: Path, entry: Entry) -> bool:
    """Tell whether a path has an entry's content; what cannot be read has not."""
    try:
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode) and entry.mode == LINK:
            return _digest(entry, [os.fsencode(path.readlink())]) == entry.id
        if not stat.S_ISREG(found.st_mode) or entry.mode == LINK or found.st_size != entry.size:
            return False
        with path.open("rb") as file:
            return _digest(entry, iter(lambda: file.read(1024**2), b"")) == entry.id
    except OSError:
        return False


def _digest(entry: Entry, chunks: Iterator[bytes] | list[bytes]) -> str:
    """Return the id that git gives a content of an entry's size."""
    # Not for protection: git's ids are made with it.
    state = hashlib.new("sha1" if len(entry.id) == 40 else "sha256", b"blob %d\0" % entry.size, usedforsecurity=False)
    for chunk in chunks:
        state.update(chunk)
    return state.hexdigest()


def set_aside(path: Path) -> Path:
    """Rename what lies there to `name (mine).txt`, or the next free name."""
    number = 1
    stem, suffix = path.stem, path.suffix
    # A name has 255 bytes at most.
    if len(os.fsencode(suffix)) > 50:
        stem, suffix = path.name, ""
    if len(os.fsencode(stem)) > 190:
        stem = os.fsencode(stem)[:190].decode(errors="ignore")
    while os.path.lexists(aside := path.with_name(f"{stem} (mine{f' {number}' * (number > 1)}){suffix}")):
        number += 1
    return path.rename(aside)


@contextmanager
def _replaced(path: Path, entry: Entry) -> Iterator[Path]:
    """Give a file to write to, which then takes the place of what is there, in one step."""
    made = path.with_name(f".new-{secrets.token_hex(8)}")
    try:
        yield made
        if entry.mode != LINK:
            made.chmod(_permissions(entry))
        made.replace(path)
    finally:
        made.unlink(missing_ok=True)


def _permissions(entry: Entry) -> int:
    return 0o755 if entry.mode == "100755" else 0o644


def listed(names: list[str]) -> str:
    """Name the first of many."""
    shown = ", ".join(" ".join(name.split()) for name in names[:NAMED])
    return f"{shown} and {len(names) - NAMED} more" if len(names) > NAMED else shown
