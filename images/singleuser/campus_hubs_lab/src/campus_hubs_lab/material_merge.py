"""Lay a new commit of the course's material over a folder in a home, see `material`."""

from __future__ import annotations

import hashlib
import json
import os
import re
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
            try:
                for path, entry in new.items():
                    self._git.remaining()
                    self._place(path, old.get(path), entry)
                pointers = [path for path, entry in new.items() if self._is_pointer(entry)]
            except BaseException:
                reader.kill()
                raise
        if commit != before:
            self._renew(commit, before)
        modules = [path for path, entry in new.items() if entry.mode == SUBMODULE]
        sentences = (
            ("what you had changed is kept under another name:", self._aside),
            ("submodules are not part of it, their folders are empty:", modules),
            ("files in Git LFS are not part of it, they only say where their content is:", pointers),
        )
        return [f"{sentence} {listed(names)}." for sentence, names in sentences if names]

    def _before(self) -> tuple[str, dict[str, Entry]]:
        """Return the commit that the folder has, and what is in it; "" and nothing if that is not known.

        Then all that differs is taken for the person's own.
        """
        folder = self._target / ".git"
        if not (folder / "objects").is_dir():
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
        lines = [line for log in logs if log.is_file() for line in log.read_text(errors="replace").splitlines()]
        # HEAD's own log has the person's commits as well (gitglossary(7), "reflog").
        fetched = {line.split(" ", 2)[1] for line in lines if re.search(r"\t(clone|fetch|pull)\b", line)}
        fetched |= {commit for name, commit in found.items() if name.startswith("refs/remotes/origin/")}
        head = (folder / "HEAD").read_text().strip().removeprefix("ref: ")
        shallow = [f"--shallow-file={folder / 'shallow'}"] if (folder / "shallow").is_file() else []
        history = self._git.run(*shallow, "rev-list", "--date-order", found.get(head, head)).decode().split()
        return next((commit for commit in history if commit in fetched), "")

    def _make_folders(self, path: Path, root: Path) -> None:
        """Make the folders above a path, below a root; what is no folder gives way."""
        for parent in reversed(path.parents[: len(path.relative_to(root).parts) - 1]):
            # The folder itself may be a link, to elsewhere in the home.
            inside = parent == self._target and root.resolve() in parent.resolve().parents and parent.is_dir()
            if (parent.is_symlink() and not inside) or (parent.exists() and not parent.is_dir()):
                self._set_aside(parent)
            parent.mkdir(exist_ok=True)
            if not os.access(parent, os.W_OK | os.X_OK):
                parent.chmod(0o755)

    def _set_aside(self, path: Path) -> None:
        self._aside.append(set_aside(path).name)

    def _remove(self, name: str, old: Entry) -> None:
        """Remove what the material has no longer, if it is as it came, and folders that are empty then."""
        path = self._target / name
        parents = path.parents[: len(Path(name).parts) - 1]
        if any(parent.is_symlink() for parent in parents):
            return
        with suppress(OSError):
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
        elif (old == new and exists and not folder) or (exists and has_content(path, new)):
            # It is there already, or only the person has changed it.
            return
        elif not exists or (old and has_content(path, old)):
            self._write(path, new)
        elif not self._merged(path, old, new):
            self._set_aside(path)
            self._write(path, new)

    def _merged(self, path: Path, old: Entry | None, new: Entry) -> bool:
        """Merge a file that both have changed; tell whether that was possible."""
        if not old or LINK in {old.mode, new.mode} or path.is_symlink() or not path.is_file():
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
            except (MaterialError, PermissionError, ValueError):
                self._git.remaining()
                return False
            with _replaced(path, new) as made:
                shutil.copyfile(mine, made)
        return True

    def _copy(self, object_id: str, path: Path) -> None:
        """Write an object's content to a file (git-cat-file(1), "BATCH OUTPUT")."""
        ask, answer = self._objects
        ask.write(object_id.encode() + b"\n")
        ask.flush()
        about = answer.readline().split()
        if len(about) != 3:
            raise MaterialError("git says: the repository is not complete")
        left = int(about[2])
        with path.open("wb") as file:
            while left:
                chunk = answer.read(min(left, 1024**2))
                if not chunk:
                    raise MaterialError("git says: the repository is not complete")
                left -= len(chunk)
                file.write(chunk)
        answer.read(1)

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
        with tempfile.TemporaryDirectory(dir=self._git.folder.parent) as place:
            self._copy(new.id, Path(place) / "blob")
            return (Path(place) / "blob").read_bytes().startswith(LFS)

    def _renew(self, commit: str, before: str) -> None:
        """Let the folder's `.git` say where it stands; one with commits of the person's own is kept beside it."""
        place, made, gone = (self._target / name for name in (".git", ".git.new", ".git.old"))
        for left in (made, gone):
            shutil.rmtree(left, ignore_errors=True)
        git = Git(made, self._git.remaining())
        git.init()
        source = f"file://{self._git.folder}"
        git.run("fetch", "--quiet", "--no-tags", "--depth=1", "--", source, f"+{FETCHED}:refs/heads/main")
        for name in (PLACED, "refs/remotes/origin/main"):
            git.run("update-ref", name, commit)
        git.run("read-tree", "HEAD")
        git.run("config", "core.bare", "false")
        if os.path.lexists(place):
            own = not before or (place / "reftable").exists()
            own = own or any(
                found != before
                for name, found in references(place).items()
                if name.startswith(("refs/heads/", "refs/stash"))
            )
            if own:
                self._set_aside(place)
            else:
                place.rename(gone)
        made.rename(place)
        shutil.rmtree(gone, ignore_errors=True)


def references(folder: Path) -> dict[str, str]:
    """Return a repository's references by name, without git (gitrepository-layout(5))."""
    found = {}
    packed = folder / "packed-refs"
    for line in packed.read_text(errors="replace").splitlines() if packed.is_file() else ():
        commit, _, name = line.partition(" ")
        if _ID.fullmatch(commit):
            found[name] = commit
    for path in (folder / "refs").rglob("*"):
        if path.is_file():
            commit = path.read_text(errors="replace").strip()
            if _ID.fullmatch(commit):
                found[str(path.relative_to(folder))] = commit
    return found


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
    # A name has 255 bytes at most.
    stem = os.fsdecode(os.fsencode(path.stem)[:200])
    while os.path.lexists(aside := path.with_name(f"{stem} (mine{f' {number}' * (number > 1)}){path.suffix}")):
        number += 1
    return path.rename(aside)


@contextmanager
def _replaced(path: Path, entry: Entry) -> Iterator[Path]:
    """Give a file to write to, which then takes the place of what is there, in one step."""
    folder = Path(tempfile.mkdtemp(dir=path.parent, prefix=".new-"))
    try:
        made = folder / "file"
        yield made
        if entry.mode != LINK:
            made.chmod(0o755 if entry.mode == "100755" else 0o644)
        made.replace(path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def listed(names: list[str]) -> str:
    """Name the first of many."""
    shown = ", ".join(" ".join(name.split()) for name in names[:NAMED])
    return f"{shown} and {len(names) - NAMED} more" if len(names) > NAMED else shown
