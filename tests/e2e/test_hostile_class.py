"""A lecturer's day after an attacker's night: hand-ins of all kinds beside honest ones, through a real course.

The kinds are those of tests/hostile_handins.py. Each is a student's who sends it from a server of their own, past
nbgrader's own tools, as an attacker would. No honest score suffers from any of them, and the course page names each.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from itertools import batched
from pathlib import Path

import pytest

from tests import hostile_handins
from tests.e2e import exchange
from tests.e2e.cluster import Cluster
from tests.e2e.conftest import LTI13_COURSE
from tests.e2e.lms import Course, user_name
from tests.e2e.lti import Lms, Person
from tests.e2e.test_roster import synced
from tests.e2e.test_teaching import formgrader
from tests.e2e.waiting import wait_for
from tests.hostile_handins import KINDS, SOURCE_FILES

COURSE = LTI13_COURSE
# Whose homes the teaching day has made, and more.
FIRST_STUDENT = 601
# People whose servers run at the same time.
AT_ONCE = 8
# Within what CI has time for; its unit tests grade all kinds.
SELECTION = ["a deleted test", "a folder for the time stamp"]
# What the two tests of `sums` give for each sort of honest work; nobody has written the essay.
HONEST = {
    5.0: {},
    3.0: {"square": "def square(x):\n    return x + 1"},
    2.0: {"read": "def read():\n    return ''"},
    0.0: {"square": "square = None", "read": "read = None"},
}
# Assignment, kind of attack or "", answers of the honest.
Work = list[tuple[str, str, dict[str, str] | None]]
SEND = """
import base64, json, os, urllib.error, urllib.parse, urllib.request
import hostile_handins as known
def call(path, data=None):
    body = urllib.parse.urlencode(data).encode() if data else None
    headers = {"Authorization": "token " + os.environ["JUPYTERHUB_API_TOKEN"]}
    request = urllib.request.Request(os.environ["NGSHARE_URL"] + path, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=180) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return json.load(error)
course, work = json.loads(%r)
for assignment, kind, answers in work:
    files = call(f"/assignment/{course}/{assignment}")["files"]
    notebook = json.loads(base64.b64decode(next(f["content"] for f in files if f["path"] == known.NOTEBOOK)))
    files = (known.KINDS[kind] if kind else known.HandIn(lambda made: made)).files(notebook)
    if answers is not None:
        made = known.answered(notebook)
        for grade_id, source in answers.items():
            known.by_id(made, grade_id)["source"] = source
        files = [{"path": known.NOTEBOOK, "content": known.encoded(made)}]
    for each in files:
        each["path"] = each["path"].replace(known.ASSIGNMENT + "/", assignment + "/")
    answer = call(f"/submission/{course}/{assignment}", {"files": json.dumps(files)})
    print(json.dumps("" if answer["success"] else str(answer.get("message"))))
"""


def create(lecturer: Person, assignment: str) -> None:
    """Write, generate and release the assignment, in Lab and Formgrader; a cell has eight seconds."""
    contents = f"/user/{lecturer.name}/api/contents/course/source/{assignment}"
    lecturer._request("PUT", contents, json={"type": "directory"})
    for name, content in SOURCE_FILES.items():
        text = content if isinstance(content, str) else json.dumps(content)
        lecturer.put_file(f"course/source/{assignment}/{name}", text)
    lecturer.put_file("course/options.json", json.dumps({"Execute.timeout": 8}))
    formgrader(lecturer, "PUT", f"/assignment/{assignment}", {"duedate_notimezone": None, "duedate_timezone": None})
    formgrader(lecturer, "POST", f"/assignment/{assignment}/assign")
    formgrader(lecturer, "POST", f"/assignment/{assignment}/release")


def send(lms: Lms, key: str, work: Work) -> list[str]:
    """Hand in as a student from the student's own server; return why the exchange refuses it, '' if it does not."""
    person = lms.enter_lab(COURSE, key, spawn=300)
    person.put_file("hostile_handins.py", Path(hostile_handins.__file__).read_text())
    printed = person.run_cell(SEND % json.dumps([COURSE, work]), timeout=300)
    return [json.loads(line) for line in printed.splitlines()[-len(work) :]]


def rows(page: str, assignment: str) -> dict[str, list[str]]:
    """Return what the course page says of each student: score or why there is none, state, details, what was found."""
    articles = re.findall(r"<article.*?</article>", page, re.DOTALL)
    article = next(part for part in articles if f">{assignment} <small>" in part)
    found = {}
    for row in re.findall(r'<tr>\s*<th scope="row">.*?</tr>', article, re.DOTALL):
        cells = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)
        name, *others = (unescape(re.sub(r"<[^>]+>", "", cell)).strip() for cell in cells)
        found[name] = others
    return found


def name_at_lms(key: str) -> str:
    """Return the full name of one of the LMS's many students."""
    return f"Student {key.removeprefix('student-')}"


@pytest.fixture
def clean(lms: Lms, cluster: Cluster) -> Iterator[None]:
    Course(COURSE).reset()
    yield
    lecturer = lms.enter_lab(COURSE, "lecturer")
    lecturer._request("DELETE", f"/user/{lecturer.name}/api/contents/course/options.json")
    cluster.stop_servers(COURSE)
    Course(COURSE).reset()
    synced(COURSE)


@pytest.mark.usefixtures("clean")
@pytest.mark.parametrize(
    ("assignments", "honest", "kinds"),
    [
        pytest.param(1, 2, SELECTION, id="short", marks=pytest.mark.short),
        pytest.param(3, 20, list(KINDS), id="all", marks=pytest.mark.full),
    ],
)
def test_the_day_after_an_attackers_night(
    lms: Lms, cluster: Cluster, assignments: int, honest: int, kinds: list[str]
) -> None:
    names = [f"sums-{uuid.uuid4().hex[:6]}" for _ in range(assignments)]
    for assignment in names:
        create(lms.enter_lab(COURSE, "lecturer"), assignment)

    # Who is honest hands in once, to any of the assignments; attackers to each.
    keys = [f"student-{FIRST_STUDENT + number}" for number in range(honest + len(kinds))]
    points = list(HONEST)
    scores = {(names[n % assignments], keys[n]): points[n % len(points)] for n in range(honest)}
    attacks = {(names[n % assignments], keys[honest + n // assignments]): kind for n, kind in enumerate(kinds)}
    work: dict[str, Work] = {}
    for (assignment, key), score in scores.items():
        work.setdefault(key, []).append((assignment, "", HONEST[score]))
    for (assignment, key), kind in attacks.items():
        work.setdefault(key, []).append((assignment, kind, None))
    refused: dict[tuple[str, str], str] = {}
    for batch in batched(work, AT_ONCE):
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for key, answers in zip(batch, pool.map(lambda key: send(lms, key, work[key]), batch), strict=True):
                refused |= {(one[0], key): answer for one, answer in zip(work[key], answers, strict=True)}
        if len(work) > 2 * AT_ONCE:
            cluster.stop_servers(COURSE)
    assert {sent: refused[sent] for sent in scores} == dict.fromkeys(scores, "")

    lecturer = lms.enter_lab(COURSE, "lecturer")
    for assignment in names:
        formgrader(lecturer, "POST", f"/assignment/{assignment}/collect")
    with ThreadPoolExecutor(2) as pool:
        paths = [
            f"/submission/{assignment}/{user_name(key)}/autograde"
            for (assignment, key), why in refused.items()
            if not why
        ]
        list(pool.map(lambda path: formgrader(lecturer, "POST", path), paths))
    page = lecturer._request("GET", f"/user/{lecturer.name}/course", timeout=120).text
    shown = {(assignment, name): row for assignment in names for name, row in rows(page, assignment).items()}
    check_honest(shown, scores)
    check_attackers(shown, attacks, refused)
    for assignment in names:
        check_sent(lecturer, assignment, {key: score for (name, key), score in scores.items() if name == assignment})


def check_honest(shown: Mapping[tuple[str, str], list[str]], scores: Mapping[tuple[str, str], float]) -> None:
    """All honest scores are right, and nothing was found in their work."""
    for (assignment, key), score in scores.items():
        points, *_, found = shown[assignment, name_at_lms(key)]
        assert (points, found) == (f"{score:g}", ""), (assignment, key)


def check_attackers(
    shown: Mapping[tuple[str, str], list[str]],
    attacks: Mapping[tuple[str, str], str],
    refused: Mapping[tuple[str, str], str],
) -> None:
    """Each has a score of its own, and is named if it came back otherwise, or was refused when it was sent."""
    wrong = {}
    for (assignment, key), kind in attacks.items():
        points, *_, found = shown[assignment, name_at_lms(key)]
        why = refused[assignment, key]
        if why:
            # The exchange takes no file that leads out of its folder.
            good = kind in hostile_handins.FILES and points == "nothing collected"
        else:
            expected = KINDS[kind]
            good = points == f"{sum(expected.scores.values()):g}" and expected.says in found
        if not good:
            wrong[kind] = (points, found, why)
    assert not wrong


def check_sent(lecturer: Person, assignment: str, scores: Mapping[str, float]) -> None:
    """Send the grades; what the LMS gets for the honest is what they have."""
    lecturer._request("POST", f"/user/{lecturer.name}/course/grades", data={"assignment": assignment})

    def sent() -> bool:
        (ours,) = [e for e in exchange.ask(lecturer, "GET", "/grades")["assignments"] if e["name"] == assignment]
        return not [entry for entry in ours["scores"] if entry["state"] == "waiting"]

    wait_for("no grade waits", sent, 180, 2)
    told = Course(COURSE).column(assignment)["scores"]
    assert {key: told[key]["score"] for key in scores} == pytest.approx(scores)
