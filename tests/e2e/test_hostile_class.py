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
SEND = """
import base64, json, os, urllib.error, urllib.parse, urllib.request
import hostile_handins as known
course, assignment, kind, answers = json.loads(%r)
def call(path, data=None):
    body = urllib.parse.urlencode(data).encode() if data else None
    headers = {"Authorization": "token " + os.environ["JUPYTERHUB_API_TOKEN"]}
    request = urllib.request.Request(os.environ["NGSHARE_URL"] + path, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=180) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return json.load(error)
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
print(json.dumps({"success": answer["success"], "message": str(answer.get("message"))}))
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


def send(lms: Lms, key: str, *what: object) -> str:
    """Hand in as a student from the student's own server; return why the exchange refuses it, '' if it does not."""
    person = lms.enter_lab(COURSE, key, spawn=300)
    person.put_file("hostile_handins.py", Path(hostile_handins.__file__).read_text())
    printed = person.run_cell(SEND % json.dumps([COURSE, *what]), timeout=300)
    answer = json.loads(printed.splitlines()[-1])
    return "" if answer["success"] else answer["message"]


def rows(lecturer: Person, assignment: str) -> dict[str, list[str]]:
    """Return what the course page says of each student: score or why there is none, state, details, what was found."""
    page = lecturer._request("GET", f"/user/{lecturer.name}/course", timeout=120).text
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
    ("honest", "kinds"),
    [
        pytest.param(2, SELECTION, id="short"),
        pytest.param(20, list(KINDS), id="all", marks=pytest.mark.full),
    ],
)
def test_the_day_after_an_attackers_night(lms: Lms, cluster: Cluster, honest: int, kinds: list[str]) -> None:
    assignment = f"sums-{uuid.uuid4().hex[:6]}"
    create(lms.enter_lab(COURSE, "lecturer"), assignment)

    keys = [f"student-{number}" for number in range(FIRST_STUDENT, FIRST_STUDENT + honest + len(kinds))]
    points = list(HONEST) * honest
    scores = dict(zip(keys[:honest], points, strict=False))
    attackers = dict(zip(keys[honest:], kinds, strict=True))
    work: dict[str, tuple[object, ...]] = {key: (assignment, "", HONEST[scores[key]]) for key in scores}
    work |= {key: (assignment, kind, None) for key, kind in attackers.items()}
    refused: dict[str, str] = {}
    for begin in range(0, len(keys), AT_ONCE):
        batch = keys[begin : begin + AT_ONCE]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            refused |= dict(zip(batch, pool.map(lambda key: send(lms, key, *work[key]), batch), strict=True))
        if len(keys) > 2 * AT_ONCE:
            cluster.stop_servers(COURSE)
    assert {key: refused[key] for key in scores} == dict.fromkeys(scores, "")

    lecturer = lms.enter_lab(COURSE, "lecturer")
    formgrader(lecturer, "POST", f"/assignment/{assignment}/collect")
    handed_in = [key for key in keys if not refused[key]]
    with ThreadPoolExecutor(2) as pool:
        path = f"/submission/{assignment}/%s/autograde"
        list(pool.map(lambda key: formgrader(lecturer, "POST", path % user_name(key)), handed_in))
    page = rows(lecturer, assignment)
    check_honest(page, scores)
    check_attackers(page, attackers, refused)
    check_sent(lecturer, assignment, scores)


def check_honest(page: Mapping[str, list[str]], scores: Mapping[str, float]) -> None:
    """All honest scores are right, and nothing was found in their work."""
    for key, score in scores.items():
        shown, *_, found = page[name_at_lms(key)]
        assert (shown, found) == (f"{score:g}", ""), key


def check_attackers(page: Mapping[str, list[str]], attackers: Mapping[str, str], refused: Mapping[str, str]) -> None:
    """Each has a score of its own, and is named if it came back otherwise, or was refused when it was sent."""
    wrong = {}
    for key, kind in attackers.items():
        shown, *_, found = page[name_at_lms(key)]
        if refused[key]:
            # The exchange takes no file that leads out of its folder.
            good = kind in hostile_handins.FILES and shown == "nothing collected"
        else:
            expected = KINDS[kind]
            good = shown == f"{sum(expected.scores.values()):g}" and expected.says in found
        if not good:
            wrong[kind] = (shown, found, refused[key])
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
