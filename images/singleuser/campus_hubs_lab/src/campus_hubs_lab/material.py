"""Bring the course's teaching material into a home, by nbgitpuller's rules: what the person has changed stays.

    python -m campus_hubs_lab.material

Runs before the server starts, and never keeps it from starting: it takes a limited time and always exits with 0. What
went wrong is one sentence in ~/.campus-hubs/material-problem, which Lab shows; the file is gone when all is well.

Environment: MATERIAL_GIT (URL; empty = no material), MATERIAL_BRANCH (empty = the repository's default), MATERIAL_DIR
(folder in the home; empty = the repository's name), MATERIAL_SECONDS (for all of it, default 30). A deploy key is read
from /etc/material (or MATERIAL_KEYS): ssh-privatekey, known_hosts.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit, urlunsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

PROBLEM: Final = Path(".campus-hubs/material-problem")
SECONDS: Final = 30.0
# Of the reason that is shown.
LONGEST: Final = 300

# What git and ssh say, and what a student can make of it. The first that matches counts.
REASONS: Final = (
    (r"host key verification failed", "the git server's host key is not the one that the course knows"),
    (
        r"permission denied|authentication failed|could not read username|terminal prompts disabled|access denied|403",
        "the git server does not let the course read it",
    ),
    (r"could not resolve host", "the git server's name is not known"),
    (r"connection refused|timed out|network is unreachable|no route to host", "the git server does not answer"),
    (r"BranchExistError|remote branch .* not found", "its branch is not there"),
    (
        r"repository .*not found|does not appear to be a git repository|does not exist|404",
        "the repository is not there",
    ),
    (r"no space left on device|disk quota", "your home is full"),
    (r"not a git repository", "a folder of your own has its place"),
    (r"index\.lock", "another update is under way, or was stopped in the middle"),
)


def folder_name(url: str) -> str:
    """Return the name that `git clone` would give the folder."""
    path = url.rstrip("/").removesuffix(".git")
    name = re.split(r"[/:]", path)[-1]
    return name if name not in {"", ".", ".."} else "material"


def without_secrets(text: str) -> str:
    """Remove what stands between `//` and `@` in URLs."""
    return re.sub(r"//[^/@\s]*@", "//", text)


def shown_url(url: str) -> str:
    """Return a repository's URL without user, password and query."""
    if "://" not in url:
        return url.rpartition("@")[2]
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def reason(output: str) -> str:
    """Make a part of a sentence of what git has said."""
    for pattern, sentence in REASONS:
        if re.search(pattern, output, re.IGNORECASE):
            return sentence
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    said = [line for line in lines if re.match(r"fatal:|error:", line, re.IGNORECASE)] or lines or ["no details"]
    return f"git says: {without_secrets(said[-1])[:LONGEST]}"


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
    # A key that was pasted without its last line's end is no key to ssh.
    key.write_text(mounted.read_text(encoding="utf-8").rstrip() + "\n", encoding="utf-8")
    known = keys / "known_hosts"
    options = ["-i", str(key), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10"]
    # Whom to trust is the course's to say, not the first connection's.
    options += ["-o", "StrictHostKeyChecking=yes", "-o", f"UserKnownHostsFile={known}", "-F", "none"]
    return shlex.join(["ssh", *options])


def pull(environment: Mapping[str, str], home: Path) -> str:
    """Clone or merge, in a process group that is ended when the time is up.

    Args:
        environment: see the module.
        home: where the folder is.

    Returns:
        '' or why it did not work, as the end of a sentence.

    """
    url = environment["MATERIAL_GIT"]
    target = home / (environment.get("MATERIAL_DIR") or folder_name(url))
    if home.resolve() not in target.resolve().parents:
        return "its folder would not lie in your home"
    fresh = not target.exists()
    with tempfile.TemporaryDirectory() as place:
        child = dict(os.environ)
        # Nobody is there to answer a question.
        child |= {"GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "true", "NBGITPULLER_DEPTH": "1", "HOME": str(home)}
        ssh = ssh_command(Path(environment.get("MATERIAL_KEYS") or "/etc/material"), Path(place))
        child["GIT_SSH_COMMAND"] = ssh or "ssh -o BatchMode=yes -o ConnectTimeout=10"
        command = [sys.executable, "-c", _PULLER, url, str(target), environment.get("MATERIAL_BRANCH") or ""]
        with subprocess.Popen(  # noqa: S603
            command,
            env=child,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process:
            try:
                output, _ = process.communicate(timeout=float(environment.get("MATERIAL_SECONDS") or SECONDS))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
                _clear_locks(target)
                return "it took too long"
    text = output.decode(errors="replace")
    print(without_secrets(text), end="", flush=True)
    if process.returncode and fresh and target.exists() and not (target / ".git" / "HEAD").exists():
        # What a broken clone leaves behind would be in the way of the next.
        subprocess.run(["rm", "-rf", "--", str(target)], check=False)  # noqa: S603, S607
    return reason(text) if process.returncode else ""


# In a process of its own, so that a time-out ends git as well.
_PULLER: Final = """
import sys
from nbgitpuller.pull import GitPuller
try:
    for line in GitPuller(sys.argv[1], sys.argv[2], branch=sys.argv[3] or None).pull():
        print(line, end="" if line.endswith("\\n") else "\\n", flush=True)
except Exception as error:
    stderr = getattr(error, "stderr", None) or getattr(error.__cause__ or error.__context__, "stderr", None) or ""
    print(stderr, type(error).__name__, error, sep="\\n")
    sys.exit(1)
"""


def _clear_locks(target: Path) -> None:
    """Remove the locks of a git that was killed: nothing else runs in this home yet."""
    for lock in (target / ".git").glob("*.lock"):
        lock.unlink(missing_ok=True)


def main(environment: Mapping[str, str]) -> None:
    """Pull the material and note what went wrong; raises nothing."""
    home = Path(environment.get("HOME") or Path.home())
    problem = home / PROBLEM
    try:
        url = environment.get("MATERIAL_GIT", "")
        why = pull(environment, home) if url else ""
        if why:
            problem.parent.mkdir(exist_ok=True)
            sentence = f"The course's material ({shown_url(url)}) could not be updated: {why}."
            problem.write_text(f"{sentence}\n", encoding="utf-8")
            print(sentence, flush=True)
        else:
            problem.unlink(missing_ok=True)
    except Exception as error:
        # A full or broken home among them.
        print(f"The course's material could not be updated: {type(error).__name__}", flush=True)


if __name__ == "__main__":
    main(os.environ)
