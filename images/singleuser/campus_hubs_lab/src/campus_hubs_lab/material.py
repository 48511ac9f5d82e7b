"""Bring the course's teaching material into a home.

    python -I -m campus_hubs_lab.material fetch    with the deploy key, without a home
    python -I -m campus_hubs_lab.material merge    with the home, without key and network
    python -I -m campus_hubs_lab.material          both

Runs before the server starts, and never keeps it from starting: it takes a limited time and always exits with 0. What
is to be known is a sentence in ~/.campus-hubs/material-problem, which Lab shows; the file is gone when all is well.

The folder always ends with the new material in it. A file that only the person has changed stays as it is; one that
both have changed is merged, and where that is not possible, the person's is kept beside it as `name (mine).txt`. Files
are compared with the commit that the folder had before (origin's in its `.git`). No git runs on a repository that lies
in the home, whose configuration, hooks and filters are the person's.

Environment: MATERIAL_GIT (URL; empty = no material), MATERIAL_BRANCH (a branch or tag; empty = the repository's
default branch), MATERIAL_DIR (folder in the home; empty = the repository's name), MATERIAL_CACHE (folder that the two
steps share), MATERIAL_SECONDS (for each step, default 30). A deploy key is read from /etc/material (or MATERIAL_KEYS):
ssh-privatekey, known_hosts.
"""

from __future__ import annotations

import codecs
import errno
import json
import os
import re
import shlex
import shutil
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit, urlunsplit

from .material_git import FETCHED, NO_BRANCH, REASONS, Git, MaterialError, without_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PROBLEM: Final = Path(".campus-hubs/material-problem")
# What an empty file there says: there was no room for the sentence.
UNWRITTEN: Final = "The course's material could not be updated: your home is full."
SECONDS: Final = 30.0
# The course's folder among a lecturer's files (formgrader.LINK).
TAKEN: Final = "course"
# In the cache: a bare repository, and how the fetch has ended.
REPOSITORY: Final = "material.git"
RESULT: Final = "result.json"
# What the repository's reference has, a commit or a tag.
RAW: Final = "refs/campus-hubs/fetched"
# Without a configuration: ssh looks for it in the account's home, whatever HOME says.
SSH: Final = ("ssh", "-F", "none", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10")


def folder_name(url: str) -> str:
    """Return the name that `git clone` would give the folder."""
    path = url.rstrip("/").removesuffix(".git")
    name = re.split(r"[/:]", path)[-1]
    return name if name not in {"", ".", "..", TAKEN} else "material"


def shown_url(url: str) -> str:
    """Return a repository's URL without user, password and query."""
    try:
        parts = urlsplit(url if "://" in url else "")
    except ValueError:
        parts = urlsplit("")
    if not parts.scheme:
        return url.rpartition("@")[2]
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def ssh_command(keys: Path, place: Path) -> str | None:
    """Return GIT_SSH_COMMAND for a deploy key, None if there is none.

    Args:
        keys: folder with ssh-privatekey and known_hosts, as a Secret is mounted.
        place: an own folder for the key: ssh wants it to be readable for nobody else.

    """
    mounted = keys / "ssh-privatekey"
    if not mounted.is_file():
        return None
    key = place / "key"
    key.touch(mode=0o600)
    # A key that was pasted without its last line's end, or with those of Windows, is no key to ssh.
    content = mounted.read_bytes().removeprefix(codecs.BOM_UTF8).replace(b"\r\n", b"\n")
    key.write_bytes(content.rstrip() + b"\n")
    options = ["-i", str(key), "-o", "IdentitiesOnly=yes"]
    # Whom to trust is the course's to say, not the first connection's.
    options += ["-o", "StrictHostKeyChecking=yes", "-o", f"UserKnownHostsFile={keys / 'known_hosts'}"]
    return shlex.join([*SSH, *options])


def fetch(environment: Mapping[str, str], cache: Path) -> None:
    """Fetch the newest commit into the cache.

    Args:
        environment: see the module.
        cache: folder that `merge` reads.

    Raises:
        MaterialError: it did not work.

    """
    git = Git(cache / REPOSITORY, float(environment.get("MATERIAL_SECONDS") or SECONDS), REASONS)
    git.init()
    with tempfile.TemporaryDirectory() as place:
        # Proxies and authorities are the pod's.
        git.environment = {**os.environ, **git.environment}
        keys = Path(environment.get("MATERIAL_KEYS") or "/etc/material")
        git.environment["GIT_SSH_COMMAND"] = ssh_command(keys, Path(place)) or shlex.join(SSH)
        branch, url = environment.get("MATERIAL_BRANCH"), environment["MATERIAL_GIT"]
        try:
            _fetch(git, url, f"refs/heads/{branch}" if branch else "HEAD")
        except MaterialError as error:
            if str(error) != NO_BRANCH:
                raise
            _fetch(git, url, f"refs/tags/{branch}" if branch else _only_branch(git, url))
        # A tag may be an object of its own.
        git.run("update-ref", FETCHED, git.run("rev-parse", "--verify", f"{RAW}^{{commit}}").decode().strip())


def _fetch(git: Git, url: str, source: str) -> None:
    """Fetch a reference into RAW."""
    options = ["--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head"]
    what = ["--", url, f"+{source}:{RAW}"]
    try:
        git.run("fetch", *options, "--depth=1", *what)
    except MaterialError as error:
        if "mismatched algorithms" in str(error):
            shutil.rmtree(git.folder)
            git.init("sha256")
            git.run("fetch", *options, "--depth=1", *what)
        elif "shallow" in str(error):
            # A plain web server's repository (git-http-backend(1), "dumb") has all or nothing.
            git.run("fetch", *options, *what)
        else:
            raise


def _only_branch(git: Git, url: str) -> str:
    """Return the one branch of a repository whose default branch is not there, as after it was renamed.

    Raises:
        MaterialError: it has none, or several.

    """
    names = [line.split("\t")[1] for line in git.run("ls-remote", "--heads", "--", url).decode().splitlines()]
    if not names:
        raise MaterialError("the repository is empty")
    if len(names) > 1:
        raise MaterialError("its default branch is not there, and it has several others")
    return names[0]


def target_folder(environment: Mapping[str, str], home: Path) -> Path:
    """Return the material's folder.

    Raises:
        MaterialError: it would not lie in the home.

    """
    name = environment.get("MATERIAL_DIR") or folder_name(environment["MATERIAL_GIT"])
    target = Path(os.path.normpath(home / name))
    if home not in target.parents:
        raise MaterialError("its folder would not lie in your home")
    if home / TAKEN in {target, *target.parents}:
        raise MaterialError(f"its folder cannot be called {TAKEN} or lie there, which is the lecturers' own")
    return target


def main(step: str, environment: Mapping[str, str]) -> None:
    """Fetch, merge, or both; raises nothing.

    Args:
        step: "fetch", "merge" or "".
        environment: see the module.

    """
    shared = environment.get("MATERIAL_CACHE")
    with nullcontext(shared) if shared else tempfile.TemporaryDirectory() as place:
        cache = Path(place)
        if step in {"", "fetch"}:
            _fetch_step(environment, cache)
        if step in {"", "merge"}:
            _merge_step(environment, cache)


def _fetch_step(environment: Mapping[str, str], cache: Path) -> None:
    """Fetch, and leave a note of how it ended for the other step: `{"why": end of a sentence, or ""}`."""
    why = ""
    try:
        if environment.get("MATERIAL_GIT"):
            fetch(environment, cache)
    except MaterialError as error:
        why = str(error)
    except (OSError, ValueError) as error:
        why = f"it could not be kept ({getattr(error, 'strerror', None) or error})"
    try:
        (cache / RESULT).write_text(json.dumps({"why": why}), encoding="utf-8")
    except OSError as error:
        print(f"The course's material was not fetched: {error.strerror}", flush=True)


def _merge_step(environment: Mapping[str, str], cache: Path) -> None:
    """Merge what was fetched, and say what a person should know."""
    # Not where there is no home.
    from .material_merge import Merge, set_aside  # noqa: PLC0415

    home = Path(environment.get("HOME") or Path.home())
    url = environment.get("MATERIAL_GIT", "")
    name, sentences = f"The course's material ({shown_url(url)})", []
    try:
        if url:
            try:
                why = json.loads((cache / RESULT).read_text(encoding="utf-8"))["why"]
            except (OSError, ValueError, KeyError):
                why = "it took too long"
            if why:
                raise MaterialError(why)
            git = Git(cache / REPOSITORY, float(environment.get("MATERIAL_SECONDS") or SECONDS))
            sentences = Merge(git, target_folder(environment, home), home, url).run()
            sentences = [f"{name}: {sentence}" for sentence in sentences]
    except MaterialError as error:
        sentences = [f"{name} could not be updated: {error}."]
    except OSError as error:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        why = "your home is full" if full else f"{error.filename or 'a file'}: {error.strerror or error}"
        sentences = [f"{name} could not be updated: {why}."]
    except Exception as error:
        # Whatever lies in a home, its server starts.
        sentences = [f"{name} could not be updated: {type(error).__name__}: {error}."]
    try:
        _show(home / PROBLEM, "\n".join(sentences), set_aside)
    except OSError as error:
        # A full home among them.
        print(f"What is to be known about the course's material is not shown: {error.strerror}", flush=True)


def _show(place: Path, text: str, set_aside: Callable[[Path], Path]) -> None:
    """Leave a text where Lab reads it; none if it is empty."""
    # Names may hold bytes that are no text.
    text = without_secrets(text.encode(errors="replace").decode())
    print(text, flush=True)
    if place.parent.is_symlink() or (place.parent.exists() and not place.parent.is_dir()):
        set_aside(place.parent)
    if os.path.lexists(place) and (place.is_symlink() or not place.is_file()):
        set_aside(place)
    if text:
        place.parent.mkdir(exist_ok=True)
        place.write_text(f"{text}\n", encoding="utf-8")
    else:
        place.unlink(missing_ok=True)


if __name__ == "__main__":
    main("".join(sys.argv[1:2]), os.environ)
