"""git on a bare repository of ours, for the course's material."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

# What was fetched, in our repository.
FETCHED: Final = "refs/heads/material"
# Characters of the reason that is shown.
LONGEST: Final = 300
NO_BRANCH: Final = "its branch is not there"

# What git and ssh say of a server, and what a student can make of it. The first that matches counts.
REASONS: Final = (
    (r"host key verification failed", "the git server's host key is not the one that the course knows"),
    (
        r"permission denied|authentication failed|could not read username|terminal prompts disabled|access denied"
        r"|error: 40[13]\b",
        "the git server does not let the course read it",
    ),
    (r"could not resolve host", "the git server's name is not known"),
    (
        r"connection refused|timed out|network is unreachable|no route to host|couldn't connect",
        "the git server does not answer",
    ),
    (r"couldn't find remote ref|remote branch .* not found", NO_BRANCH),
    (
        r"repository .*not found|does not appear to be a git repository|does not exist|error: 404\b",
        "the repository is not there",
    ),
    (r"no space left on device|disk quota|out of memory", "it is too large"),
)
# What git says of the home.
FULL: Final = ((r"no space left on device|disk quota", "your home is full"), (r"out of memory", "it is too large"))


class MaterialError(Exception):
    """The material cannot be updated; the message is the end of a sentence."""


# How the repository is reached: by which proxy, and whose certificates are trusted.
OUTSIDE = {"http_proxy", "https_proxy", "all_proxy", "no_proxy", "git_ssl_cainfo"}


class Entry(NamedTuple):
    """A path's content in a commit (git-ls-tree(1)): mode, id, size in bytes."""

    mode: str
    id: str
    size: int


class Git:
    """A bare repository of ours.

    Args:
        folder: where it lies; made if it is not there.
        seconds: that all its commands may take together.
        reasons: what its errors mean, REASONS or FULL.

    """

    def __init__(self, folder: Path, seconds: float, reasons: tuple[tuple[str, str], ...] = FULL) -> None:
        """Nothing has run yet."""
        self.folder, self._end, self._reasons = folder, time.monotonic() + seconds, reasons
        self.environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            # Nothing of a home counts, and nobody is there to answer a question.
            "HOME": str(folder.parent),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "true",
            "GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh",
            **{name: value for name, value in os.environ.items() if name.lower() in OUTSIDE},
        }

    def command(self, *arguments: str) -> list[str]:
        """Return a command on the repository."""
        return ["git", f"--git-dir={self.folder}", *arguments]

    def remaining(self) -> float:
        """Return the seconds that are left.

        Raises:
            MaterialError: none are.

        """
        left = self._end - time.monotonic()
        if left <= 0:
            raise MaterialError("it took too long")
        return left

    def run(self, *arguments: str) -> bytes:
        """Run a command; it ends with all its children when the time is up.

        Raises:
            MaterialError: it failed.

        """
        with subprocess.Popen(  # noqa: S603
            self.command(*arguments),
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        ) as process:
            try:
                output, said = process.communicate(timeout=self.remaining())
            except (subprocess.TimeoutExpired, MaterialError) as error:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
                raise MaterialError("it took too long") from error
        text = said.decode(errors="replace")
        print(without_secrets(text), end="", file=sys.stderr, flush=True)
        if process.returncode:
            raise MaterialError(reason(text, self._reasons))
        return output

    def init(self, object_format: str = "sha1") -> None:
        """Make it.

        Args:
            object_format: how objects are named, "sha1" or "sha256".

        """
        self.run(
            "init", "--quiet", "--bare", "--template=", "--initial-branch=main", f"--object-format={object_format}"
        )
        # What is larger is read piece by piece: the memory is limited.
        self.run("config", "core.bigFileThreshold", "16m")

    def tree(self, commit: str) -> dict[str, Entry]:
        """Return what a commit holds, by path."""
        found = {}
        for line in os.fsdecode(self.run("ls-tree", "-r", "-l", "-z", "--full-tree", commit)).split("\0")[:-1]:
            about, path = line.split("\t", 1)
            mode, _, object_id, size = about.split()
            # A repository that was made by hand may hold any name.
            if not {"", ".", "..", ".git", "git~1"} & {part.lower() for part in path.split("/")}:
                found[path] = Entry(mode, object_id, int(size) if size != "-" else 0)
        return found


def without_secrets(text: str) -> str:
    """Remove what stands between `//` and `@` in URLs."""
    return re.sub(r"//[^/@\s]*@", "//", text)


def reason(output: str, reasons: tuple[tuple[str, str], ...]) -> str:
    """Make a part of a sentence of what git has said."""
    for pattern, sentence in reasons:
        if re.search(pattern, output, re.IGNORECASE):
            return sentence
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    said = [line for line in lines if re.match(r"fatal:|error:", line, re.IGNORECASE)] or lines or ["no details"]
    return f"git says: {without_secrets(said[-1])[:LONGEST]}"
