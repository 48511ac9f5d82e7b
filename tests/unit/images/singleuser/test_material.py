"""Teaching material: real repositories, real git; whatever goes wrong, the server starts and its user is told."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from campus_hubs_lab import material, material_git
from campus_hubs_lab.material_merge import Merge

from tests.unit.images.singleuser.grading_lab import NOBODY, SOURCE, without_rights

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROBLEM = ".campus-hubs/material-problem"
# Bytes, as in the pod.
MEMORY = "805306368"


def git(folder: Path, *arguments: str, given: bytes = b"") -> bytes:
    command = ["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@example.edu"]
    command += ["-c", "safe.directory=*", *arguments]
    return subprocess.run(command, check=True, capture_output=True, input=given).stdout  # noqa: S603


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "material.git"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    for number in range(3):
        commit(folder, "intro.txt", f"version {number}\nmiddle\nend\n")
    return folder


def commit(folder: Path, name: str, content: str) -> None:
    (folder / name).write_text(content)
    git(folder, "add", name)
    git(folder, "commit", "-q", "-m", name)


def step(*arguments: str, memory: str = MEMORY, **environment: str) -> None:
    """Run it as the pod does."""
    # Root opens whatever is closed.
    place = Path(environment.get("MATERIAL_CACHE") or environment["HOME"])
    prefix = ["prlimit", f"--data={memory}", *(without_rights(NOBODY) if place.stat().st_uid == NOBODY else [])]
    done = subprocess.run(  # noqa: S603
        [*prefix, sys.executable, "-P", "-m", "campus_hubs_lab.material", *arguments],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCE), **environment},
        cwd=environment["HOME"],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def fetch(home: Path, url: str, *, memory: str = MEMORY, **environment: str) -> str:
    """Fetch, and merge with so many bytes of memory; return the sentences that the user reads, '' if there is none."""
    home.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as cache:
        if home.stat().st_uid == NOBODY:
            os.chown(cache, NOBODY, NOBODY)
        step("fetch", HOME="/tmp", MATERIAL_GIT=url, MATERIAL_CACHE=cache, **environment)  # noqa: S108
        # The container that merges has the home, and neither key nor network.
        environment = {**environment, "MATERIAL_KEYS": "/nowhere"}
        step("merge", memory=memory, HOME=str(home), MATERIAL_GIT=url, MATERIAL_CACHE=cache, **environment)
    note = home / PROBLEM
    return note.read_text() if note.exists() else ""


def test_clone_then_merge_what_both_have_changed(repository: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    url = f"file://{repository}"
    assert fetch(home, url) == ""
    folder = home / "material"
    assert (folder / "intro.txt").read_text() == "version 2\nmiddle\nend\n"
    log = subprocess.run(["git", "-C", str(folder), "log", "--oneline"], check=True, capture_output=True, text=True)  # noqa: S603, S607
    assert len(log.stdout.splitlines()) == 1
    (folder / "intro.txt").write_text("version 2\nmiddle\nmine\n")
    commit(repository, "second.txt", "new")
    commit(repository, "intro.txt", "version 3\nmiddle\nend\n")
    assert fetch(home, url) == ""
    assert (folder / "second.txt").read_text() == "new"
    assert "mine" in (folder / "intro.txt").read_text()


def test_branch_and_folder(repository: Path, tmp_path: Path) -> None:
    git(repository, "checkout", "-q", "-b", "winter")
    commit(repository, "winter.txt", "cold")
    git(repository, "checkout", "-q", "main")
    home = tmp_path / "home"
    assert fetch(home, f"file://{repository}", MATERIAL_BRANCH="winter", MATERIAL_DIR="week1/notes") == ""
    assert (home / "week1/notes/winter.txt").exists()


def test_nothing_is_wanted(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / ".campus-hubs").mkdir(parents=True)
    (home / PROBLEM).write_text("of yesterday")
    assert fetch(home, "") == ""


def test_a_problem_is_said_and_goes_away(repository: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    url = f"file://{repository}"
    assert "its branch is not there" in fetch(home, url, MATERIAL_BRANCH="summer")
    moved = repository.rename(tmp_path / "elsewhere.git")
    assert "the repository is not there" in fetch(home, url)
    moved.rename(repository)
    assert fetch(home, url) == ""


def test_a_server_that_never_answers(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://user:secret-word@127.0.0.1:{silent.getsockname()[1]}/m.git?token=secret-word"
        began = time.monotonic()
        problem = fetch(tmp_path / "home", url, MATERIAL_SECONDS="2")
    assert "it took too long" in problem
    assert time.monotonic() - began < 20
    assert "secret-word" not in problem


def test_both_steps_in_one(repository: Path, tmp_path: Path) -> None:
    step(HOME=str(tmp_path), MATERIAL_GIT=f"file://{repository}", MATERIAL_DIR="here")
    assert (tmp_path / "here/intro.txt").exists()


def amend(repository: Path) -> None:
    (repository / "intro.txt").write_text("another\nstory\n")
    git(repository, "commit", "-q", "-a", "--amend", "-m", "anew")


def unrelated(repository: Path) -> None:
    git(repository, "checkout", "-q", "--orphan", "fresh")
    (repository / "intro.txt").write_text("unrelated\n")
    git(repository, "commit", "-q", "-a", "-m", "anew")
    git(repository, "branch", "-M", "fresh", "main")


def renamed_branch(repository: Path) -> None:
    commit(repository, "intro.txt", "of trunk\n")
    git(repository, "branch", "-M", "main", "trunk")


def file_to_folder(repository: Path) -> None:
    git(repository, "rm", "-q", "intro.txt")
    (repository / "intro.txt").mkdir()
    commit(repository, "intro.txt/part.txt", "a part")


def folder_to_file(repository: Path) -> None:
    git(repository, "rm", "-q", "-r", "week")
    commit(repository, "week", "a file now")


def deleted(repository: Path) -> None:
    git(repository, "rm", "-q", "intro.txt", "week/plan.txt")
    git(repository, "commit", "-q", "-m", "less")


def case_only(repository: Path) -> None:
    git(repository, "mv", "intro.txt", "Intro.txt")
    commit(repository, "Intro.txt", "version 3\n")


def to_link(repository: Path) -> None:
    (repository / "intro.txt").unlink()
    (repository / "intro.txt").symlink_to("week/plan.txt")
    git(repository, "add", "intro.txt")
    git(repository, "commit", "-q", "-m", "a link")


def grown(repository: Path) -> None:
    commit(repository, "intro.txt", "version 3\nmiddle\nend\n")
    commit(repository, "notes.txt", "of the course")
    commit(repository, "week/plan.txt", "new plan\n")


UPSTREAM = [amend, unrelated, renamed_branch, file_to_folder, folder_to_file, deleted, case_only, to_link, grown]


def nothing(folder: Path) -> None:
    (folder / "mine.txt").write_text("MINE")


def edited(folder: Path) -> None:
    for name in ("intro.txt", "week/plan.txt"):
        (folder / name).write_text("MINE\n")


def untracked(folder: Path) -> None:
    (folder / "notes.txt").write_text("MINE")
    (folder / "Intro.txt").write_text("MINE")


def swapped(folder: Path) -> None:
    """Folders where files were, a file where a folder was."""
    shutil.rmtree(folder / "week")
    (folder / "week").write_text("MINE")
    (folder / "intro.txt").unlink()
    (folder / "intro.txt").mkdir()
    (folder / "intro.txt/own.txt").write_text("MINE")


def links(folder: Path) -> None:
    """Links to a place elsewhere: nothing is written there."""
    elsewhere = folder.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "plan.txt").write_text("MINE")
    shutil.rmtree(folder / "week")
    (folder / "week").symlink_to(elsewhere)
    (folder / "intro.txt").unlink()
    (folder / "intro.txt").symlink_to(elsewhere / "plan.txt")


def fifo(folder: Path) -> None:
    (folder / "intro.txt").unlink()
    os.mkfifo(folder / "intro.txt")
    nothing(folder)


def commits(folder: Path) -> None:
    edited(folder)
    git(folder, "commit", "-q", "-a", "-m", "my own")


def broken(folder: Path) -> None:
    shutil.rmtree(folder / ".git/refs")
    shutil.rmtree(folder / ".git/objects/pack")
    (folder / ".git/HEAD").write_text("")
    edited(folder)


def no_repository(folder: Path) -> None:
    shutil.rmtree(folder / ".git")
    edited(folder)


def killed(folder: Path) -> None:
    for name in (".git/index.lock", ".git/HEAD.lock", ".git/shallow.lock"):
        (folder / name).touch()
    (folder / ".git.new/objects").mkdir(parents=True)
    (folder / "intro.txt").unlink()
    nothing(folder)


def detached(folder: Path) -> None:
    """Commit where no branch is, and go back."""
    git(folder, "checkout", "-q", "--detach")
    commit(folder, "own.txt", "MINE")
    git(folder, "checkout", "-q", "main")
    nothing(folder)


def rebasing(folder: Path) -> None:
    """Stop in the middle."""
    git(folder, "checkout", "-q", "-b", "other")
    commit(folder, "intro.txt", "MINE\n")
    git(folder, "checkout", "-q", "main")
    commit(folder, "intro.txt", "MINE, too\n")
    with pytest.raises(subprocess.CalledProcessError):
        git(folder, "rebase", "-q", "other")


def tagged(folder: Path) -> None:
    git(folder, "tag", "-a", "-m", "mine", "mine")
    nothing(folder)


def foreign(folder: Path) -> None:
    """Another repository of the person's own under the material's name."""
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "intro.txt").write_text("MINE")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "mine")
    git(folder, "remote", "add", "origin", "https://git.example.edu/other.git")
    git(folder, "update-ref", "refs/remotes/origin/main", "HEAD")


def a_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("MINE")


def a_link_out(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.symlink_to("/usr")
    (folder.parent / "mine.txt").write_text("MINE")


def hostile(folder: Path) -> None:
    """Whatever git would run or follow in a repository of the person's own."""
    evil = folder.parent / "evil"
    evil.write_text(f"#!/bin/sh\ntouch {folder.parent}/RAN\ncat\n")
    evil.chmod(0o755)
    settings = [
        *("core.fsmonitor", "core.sshCommand", "core.editor", "core.pager", "core.alternateRefsCommand"),
        *("filter.x.smudge", "filter.x.clean", "merge.x.driver", "diff.external", "gpg.program", "credential.helper"),
        "uploadpack.packObjectsHook",
    ]
    for name in settings:
        git(folder, "config", name, str(evil))
    git(folder, "config", "core.hooksPath", str(folder.parent / "hooks"))
    for place in (folder.parent / "hooks", folder / ".git/hooks"):
        place.mkdir(exist_ok=True)
        for hook in ("post-checkout", "post-merge", "pre-commit", "reference-transaction", "post-index-change"):
            shutil.copy(evil, place / hook)
    for attributes in (folder / ".gitattributes", folder / ".git/info/attributes"):
        attributes.parent.mkdir(exist_ok=True)
        attributes.write_text("* filter=x merge=x diff=x\n")
    shutil.copy(folder / ".git/config", folder.parent / ".gitconfig")
    for module in ("json", "hashlib", "sitecustomize", "usercustomize", "campus_hubs_lab"):
        (folder.parent / f"{module}.py").write_text(f"open({str(folder.parent / 'RAN')!r}, 'w')\n")
    (folder / "intro.txt").write_text("MINE\n")


def pipes(folder: Path) -> None:
    """Leave pipes in the repository: nobody waits for what never comes."""
    (folder / ".git/HEAD").unlink()
    for name in ("HEAD", "packed-refs", "logs/HEAD", "refs/heads/pipe"):
        (folder / ".git" / name).parent.mkdir(exist_ok=True)
        os.mkfifo(folder / ".git" / name)
    nothing(folder)


def odd_logs(folder: Path) -> None:
    """Let the repository look like another program's, with lines in its logs that are none."""
    (folder / ".git/refs/campus-hubs/material").unlink()
    git(folder, "config", "remote.origin.url", f"file://{folder.parents[1] / 'material.git'}")
    (folder / ".git/logs").mkdir(exist_ok=True)
    (folder / ".git/logs/HEAD").write_text("\tclone\nx\tfetch\n")
    edited(folder)


STUDENT = [
    *(nothing, edited, untracked, swapped, links, fifo, commits, broken, no_repository, killed, foreign, a_file),
    *(a_link_out, hostile, detached, rebasing, tagged, pipes, odd_logs),
]


# Each of one side with a simple one and one more of the other.
PAIRS = [
    *((student, grown) for student in STUDENT),
    *((student, UPSTREAM[number % len(UPSTREAM)]) for number, student in enumerate(STUDENT)),
    *((edited, upstream) for upstream in UPSTREAM),
]


@pytest.mark.parametrize(("student", "upstream"), dict.fromkeys(PAIRS))
def test_it_ends_with_the_new_material_and_the_person_s_own_work(
    repository: Path, tmp_path: Path, student: Callable[[Path], None], upstream: Callable[[Path], None]
) -> None:
    home = tmp_path / "home"
    url = f"file://{repository}"
    (repository / "week").mkdir()
    commit(repository, "week/plan.txt", "plan\n")
    assert fetch(home, url) == ""
    folder = home / "material"
    student(folder)
    upstream(repository)
    said = fetch(home, url)
    assert "could not be updated" not in said
    assert not (home / "RAN").exists()
    assert (home / "mine.txt").exists() or any(map(is_mine, home.rglob("*"))) or student is a_link_out
    command = ["git", "-C", str(repository), "ls-files"]
    listing = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()  # noqa: S603
    kept = any("(mine" in path.name for path in home.rglob("*"))
    assert ("kept under another name" in said) is kept
    for name in listing:
        place, new = folder / name, repository / name
        # Only the person has changed it, or it is as new.
        if not same(place, new):
            assert new.read_text() in {"plan\n", "version 2\nmiddle\nend\n"}
            assert place.is_symlink() or "MINE" in place.read_text()
    # It has settled: the next start finds nothing to say, and changes nothing.
    before = snapshot(folder)
    assert fetch(home, url) == ""
    assert snapshot(folder) == before


def is_mine(path: Path) -> bool:
    return path.is_file() and "MINE" in path.read_text(errors="replace")


def same(one: Path, other: Path) -> bool:
    return one.is_symlink() == other.is_symlink() and one.is_file() and one.read_bytes() == other.read_bytes()


def snapshot(folder: Path) -> dict[str, object]:
    return {
        str(path.relative_to(folder)): (path.lstat().st_mode, path.lstat().st_mtime_ns) for path in folder.rglob("*")
    }


@pytest.fixture
def public() -> Iterator[Path]:
    """Give a folder to which also others than root get."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_what_its_owner_has_closed(public: Path) -> None:
    """Folders that may not be read or changed, also the repository's own."""
    home, repository = public / "home", public / "material.git"
    for folder in (repository, home):
        folder.mkdir()
    git(repository, "init", "-q", "-b", "main")
    (repository / "week/deep").mkdir(parents=True)
    commit(repository, "week/deep/plan.txt", "plan\n")

    def again() -> str:
        if os.geteuid() == 0:
            for folder in (repository, home):
                subprocess.run(["chown", "-R", str(NOBODY), str(folder)], check=True)  # noqa: S603, S607
        return fetch(home, f"file://{repository}")

    assert again() == ""
    folder = home / "material"
    for number, mode in enumerate(("a-w", "000")):
        # Twice, since what is left behind stands in the way of the next.
        for place in (folder / ".git", folder / "week"):
            subprocess.run(["chmod", "-R", mode, str(place)], check=True)  # noqa: S603, S607
        commit(repository, "new.txt", str(number))
        assert again() == ""
        assert (folder / "new.txt").read_text() == str(number)
    (folder / "week").chmod(0)
    git(repository, "rm", "-q", "-r", "week")
    commit(repository, "new.txt", "end")
    assert again() == ""
    assert {path.name for path in folder.iterdir()} == {".git", "new.txt"}


def test_a_program_becomes_one(repository: Path, tmp_path: Path) -> None:
    home, url = tmp_path / "home", f"file://{repository}"
    assert fetch(home, url) == ""
    (repository / "intro.txt").chmod(0o755)
    git(repository, "commit", "-q", "-a", "-m", "a program")
    assert fetch(home, url) == ""
    assert (home / "material/intro.txt").stat().st_mode & 0o777 == 0o755


def test_a_tag_instead_of_a_branch(repository: Path, tmp_path: Path) -> None:
    git(repository, "tag", "plain")
    git(repository, "tag", "-a", "-m", "an object", "winter")
    commit(repository, "later.txt", "later")
    for number, name in enumerate(("plain", "winter")):
        home = tmp_path / f"home-{number}"
        assert fetch(home, f"file://{repository}", MATERIAL_BRANCH=name) == ""
        assert (home / "material/intro.txt").exists()
        assert not (home / "material/later.txt").exists()


def test_a_default_branch_that_is_gone(repository: Path, tmp_path: Path) -> None:
    bare, home = tmp_path / "bare.git", tmp_path / "home"
    git(tmp_path, "init", "-q", "--bare", "-b", "main", str(bare))
    url = f"file://{bare}"
    assert "the repository is empty" in fetch(home, url)
    git(repository, "push", "-q", url, "main:trunk")
    assert fetch(home, url) == ""
    assert (home / "bare/intro.txt").exists()
    git(repository, "push", "-q", url, "main:other")
    assert "it has several others" in fetch(home, url)


def test_ids_of_another_kind(tmp_path: Path) -> None:
    repository, home = tmp_path / "new.git", tmp_path / "home"
    git(tmp_path, "init", "-q", "--object-format=sha256", "-b", "main", str(repository))
    for content in ("one", "two"):
        commit(repository, "intro.txt", content)
        assert fetch(home, f"file://{repository}") == ""
        assert (home / "new/intro.txt").read_text() == content


def test_names_that_are_long_or_impossible(repository: Path, tmp_path: Path) -> None:
    home, url = tmp_path / "home", f"file://{repository}"
    names = ["\u00e4" * 126, f"a.{'b' * 250}"]
    for name in names:
        commit(repository, name, "1")
    assert fetch(home, url) == ""
    for name in names:
        (home / "material" / name).write_text("MINE")
        commit(repository, name, "2")
    assert "kept under another name" in fetch(home, url)
    assert [(home / "material" / name).read_text() for name in names] == ["2", "2"]
    assert sum(map(is_mine, (home / "material").iterdir())) == len(names)
    # No file system here takes it, and git takes no `.git`.
    blob = git(repository, "rev-parse", "HEAD:intro.txt").strip()
    tree = b"".join(b"100644 blob %s\t%s\n" % (blob, name) for name in (b"x" * 300, b".git", b"z.txt"))
    made = git(repository, "mktree", given=tree).decode().strip()
    made = git(repository, "commit-tree", "-m", "x", made).decode().strip()
    git(repository, "update-ref", "refs/heads/main", made)
    assert "left out: xxx" in fetch(home, url)
    assert (home / "material/z.txt").exists()


def test_thousands_of_files_take_seconds(repository: Path, tmp_path: Path) -> None:
    for number in range(3000):
        (repository / f"{number}.txt").write_text(f"{number} " * 60)
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "many")
    home = tmp_path / "home"
    assert fetch(home, f"file://{repository}") == ""
    began = os.times()
    assert fetch(home, f"file://{repository}") == ""
    spent = os.times()
    assert spent.children_user + spent.children_system - began.children_user - began.children_system < 4


def test_a_home_without_any_room_leaves_an_empty_note(repository: Path, tmp_path: Path) -> None:
    home, cache = tmp_path / "home", tmp_path / "cache"
    for folder in (home, cache):
        folder.mkdir()
    where = {"MATERIAL_GIT": f"file://{repository}", "MATERIAL_CACHE": str(cache)}
    step("fetch", HOME="/tmp", **where)  # noqa: S108
    # Files can be made, and nothing written into them.
    command = ["prlimit", "--fsize=0", sys.executable, "-P", "-m", "campus_hubs_lab.material", "merge"]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCE), "HOME": str(home), **where}
    subprocess.run(command, env=environment, check=True, cwd=home, capture_output=True)  # noqa: S603
    assert (home / PROBLEM).read_text() == ""
    assert fetch(home, where["MATERIAL_GIT"]) == ""
    assert not (home / PROBLEM).exists()


@pytest.mark.parametrize("line", ["1\n", "1" * 100_000_000])
def test_what_is_too_large_for_a_merge_is_kept_beside_the_new(repository: Path, tmp_path: Path, line: str) -> None:
    """Git takes many bytes for each line, and Python a file's size twice."""
    home, url = tmp_path / "home", f"file://{repository}"
    lines = line * max(1, 1_000_000 // len(line))
    commit(repository, "data.csv", lines)
    assert fetch(home, url) == ""
    place = home / "material/data.csv"
    place.write_text(f"{lines}MINE\n")
    commit(repository, "data.csv", f"new\n{lines}")
    assert "kept under another name: data (mine).csv" in fetch(home, url, memory="134217728")
    assert place.read_text() == f"new\n{lines}"


def test_no_large_file_of_a_home_is_copied_beside_our_repository(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pod that fills its own volume is ended, at each start anew."""
    home, url = tmp_path / "home", f"file://{repository}"
    assert fetch(home, url) == ""
    place = home / "material/intro.txt"
    with place.open("r+b") as file:
        file.truncate(2**33)
    commit(repository, "intro.txt", "version 3\n")
    cache = tmp_path / "cache"
    cache.mkdir()
    material.fetch({"MATERIAL_GIT": url}, cache)
    monkeypatch.delattr(shutil, "copyfile")
    said = Merge(material_git.Git(cache / material.REPOSITORY, 60), home / "material", home, url).run()
    assert said == ["what you had changed is kept under another name: intro (mine).txt."]
    assert place.read_text() == "version 3\n"


def test_a_server_starts_whatever_goes_wrong(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(_merge: Merge) -> list[str]:
        raise RecursionError("too deep")

    monkeypatch.setattr(Merge, "run", wrong)
    material.main("", {"HOME": str(tmp_path), "MATERIAL_GIT": f"file://{repository}"})
    assert "could not be updated: RecursionError: too deep." in (tmp_path / PROBLEM).read_text()


def test_large_files_take_little_memory(repository: Path, tmp_path: Path) -> None:
    commit(repository, "zeros.txt", "0" * 90_000_000)
    home, cache = tmp_path / "home", tmp_path / "cache"
    for folder in (home, cache):
        folder.mkdir()
    where = {"MATERIAL_GIT": f"file://{repository}", "MATERIAL_CACHE": str(cache), "HOME": str(home)}
    git(repository, "config", "core.bigFileThreshold", "16m")
    for name in ("fetch", "merge"):
        step(name, memory="67108864", **where)
    assert not (home / PROBLEM).exists()
    assert (home / "material/zeros.txt").stat().st_size == 90_000_000


def test_a_file_that_takes_too_long_leaves_no_part_of_itself(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is ended from outside would, at each start anew, until the home is full."""
    home = tmp_path / "home"
    commit(repository, "data.txt", "0" * 5 * 2**20)
    cache = tmp_path / "cache"
    cache.mkdir()
    material.fetch({"MATERIAL_GIT": f"file://{repository}"}, cache)
    merge = material_git.Git(cache / material.REPOSITORY, 60)
    real = merge.remaining

    def slow() -> float:
        if any(path.stat().st_size for path in home.rglob(".new-*")):
            raise material_git.MaterialError("it took too long")
        return real()

    monkeypatch.setattr(merge, "remaining", slow)
    home.mkdir()
    with pytest.raises(material_git.MaterialError, match="it took too long"):
        Merge(merge, home / "material", home, "").run()
    assert [path.name for path in (home / "material").iterdir()] == []


def test_what_takes_more_memory_than_there_is_is_too_large() -> None:
    said = "fatal: Out of memory, malloc failed (tried to allocate 150000001 bytes)\nfatal: index-pack failed\n"
    for reasons in (material_git.REASONS, material_git.FULL):
        assert material_git.reason(said, reasons) == "it is too large"


def test_only_into_the_home(repository: Path, tmp_path: Path) -> None:
    assert "would not lie in your home" in fetch(tmp_path / "home", f"file://{repository}", MATERIAL_DIR="../out")
    assert not (tmp_path / "out").exists()


def test_a_deploy_key_is_used_and_only_known_hosts_are_trusted(tmp_path: Path) -> None:
    keys, place = tmp_path / "keys", tmp_path / "place"
    keys.mkdir()
    place.mkdir()
    assert material.ssh_command(keys, place) is None
    (keys / "ssh-privatekey").write_bytes(b"\xef\xbb\xbfBEGIN\r\nKEY\xff\r")
    command = material.ssh_command(keys, place)
    assert command
    assert (place / "key").read_bytes() == b"BEGIN\nKEY\xff\n"
    assert (place / "key").stat().st_mode & 0o777 == 0o600
    assert "StrictHostKeyChecking=yes" in command
    assert f"UserKnownHostsFile={keys / 'known_hosts'}" in command


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://git.example.edu/python/material.git", "material"),
        ("git@git.example.edu:python/notes.git", "notes"),
        ("https://git.example.edu/python/material/", "material"),
        ("https://git.example.edu/..", "material"),
    ],
)
def test_the_folder_s_name(url: str, name: str) -> None:
    assert material.folder_name(url) == name


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://u:p@git.example.edu/m.git?private_token=x", "https://git.example.edu/m.git"),
        ("git@git.example.edu:m.git", "git.example.edu:m.git"),
        ("https://u:p@[bad/m.git", "[bad/m.git"),
    ],
)
def test_no_secrets_are_shown(url: str, shown: str) -> None:
    assert material.shown_url(url) == shown
    assert material_git.without_secrets(f"fatal: unable to access '{url}'").count(":p@") == 0
