"""A student attacks the course's exchange from a notebook: in vain, and with success where a copy of it is open.

The attacks are those of tests/unit/images/exchange/attacks.py, here between pods and with the tokens of real servers.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from tests.e2e import playbook
from tests.e2e.cluster import Cluster
from tests.e2e.conftest import LTI11_COURSE, LTI13_COURSE
from tests.e2e.lms import Course
from tests.e2e.lti import Lms, Person
from tests.e2e.test_isolation import no_policies
from tests.e2e.test_roster import STAFF, synced
from tests.e2e.waiting import wait_for

COURSE = LTI13_COURSE
NAMESPACE = f"course-{COURSE}"
FOLDER = playbook.ROOT / "tests/unit/images/exchange"
PORT, OPENED_PORT = 8080, 8090
# Runs in the attacker's kernel, which has nothing of this repository.
ATTACK = """
import json, pathlib, sys, tempfile
files, url, course, work, names, tokens = json.loads(%r)
root = pathlib.Path(tempfile.mkdtemp())
package = root / "tests/unit/images/exchange"
package.mkdir(parents=True)
for folder in (package, *package.parents[:3]):
    (folder / "__init__.py").touch()
for name, text in files.items():
    (package / name).write_text(text)
sys.path.insert(0, str(root))
from tests.unit.images.exchange.attacks import ATTACKS, Target, fill
from tests.unit.images.exchange.client import Client
at = {who: Client(url, course, token) for who, token in tokens.items()}
ada, ben = names
stamps = fill(at["teacher"], {ada: at["ada"], ben: at["ben"]}, work)
target = Target(work, at["ada"], at["teacher"], at["gone"], (at["stranger"],), ada, ben, stamps)
print(json.dumps({attack.__name__: attack(target) for attack in ATTACKS}))
"""
# Runs in the exchange's pod: the same program on a copy of its data, without its guards, for some minutes.
OPENED = f"""
import os, pathlib, shutil, signal, sqlite3, sys
signal.alarm(300)
data, copy = pathlib.Path(os.environ["EXCHANGE_DATA"]), pathlib.Path("/tmp/opened")
shutil.rmtree(copy, ignore_errors=True)
shutil.copytree(data / "files", copy / "files")
with sqlite3.connect(data / "exchange.db") as source, sqlite3.connect(copy / "exchange.db") as target:
    source.backup(target)
os.environ |= {{"EXCHANGE_DATA": str(copy), "EXCHANGE_PORT": "{OPENED_PORT}"}}
text, sys.argv = sys.argv[1], ["campus-hubs-exchange", "serve"]
(copy / "pid").write_text(str(os.getpid()))
exec(compile(text, "opened_exchange", "exec"))
"""
CLOSE = """
import os, pathlib, shutil, signal
os.kill(int(pathlib.Path("/tmp/opened/pid").read_text()), signal.SIGTERM)
shutil.rmtree("/tmp/opened")
"""
TOKEN = 'import os; print(os.environ["JUPYTERHUB_API_TOKEN"])'


@contextmanager
def opened(cluster: Cluster) -> Iterator[str]:
    """Give the address of a copy of the exchange without guards; it is gone afterwards."""
    pod = cluster.pod(NAMESPACE, "exchange-")
    program = (FOLDER / "opened_exchange.py").read_text()
    with ThreadPoolExecutor(1) as pool, no_policies(cluster, COURSE):
        running = pool.submit(cluster.run, pod, "python3", "-c", OPENED, program, timeout=300)
        try:
            yield f"http://{pod.status.pod_ip}:{OPENED_PORT}"
        finally:
            cluster.run(pod, "python3", "-c", CLOSE)
            running.exception()


def attacked(ada: Person, url: str, names: list[str], tokens: dict[str, str]) -> dict[str, bool]:
    """Let a student's notebook attack a service; return which attacks got what they wanted."""
    files = {name: (FOLDER / name).read_text() for name in ("attacks.py", "client.py")}
    call = json.dumps([files, url, COURSE, f"attacked-{uuid.uuid4().hex[:8]}", names, tokens])
    printed = ada.run_cell(ATTACK % call, 180)
    try:
        result: dict[str, bool] = json.loads(printed)
    except ValueError as error:
        raise AssertionError(printed[-1500:]) from error
    return result


@pytest.fixture
def course() -> Iterator[Course]:
    """Return the course at the LMS; afterwards its members are again those whom everybody knows."""
    found = Course(COURSE)
    found.reset()
    yield found
    found.reset()
    synced(COURSE)


def test_attacks_from_a_students_server(cluster: Cluster, lms: Lms, course: Course) -> None:
    people = STAFF | {f"student-{number}": "student" for number in (81, 82, 83)}
    course.set_roster(people)
    keys = {"teacher": "lecturer", "ada": "student-81", "ben": "student-82", "gone": "student-83"}
    with ThreadPoolExecutor(3) as pool:
        coming: dict[str, Any] = {who: pool.submit(lms.enter_lab, COURSE, key) for who, key in keys.items()}
        coming["stranger"] = pool.submit(lms.enter_lab, LTI11_COURSE, "student-84")
        entered: dict[str, Person] = {who: person.result() for who, person in coming.items()}
    tokens = {who: person.run_cell(TOKEN).strip() for who, person in entered.items()}
    assert len(set(tokens.values())) == 5
    assert all(tokens.values())
    del people["student-83"]
    course.set_roster(people)
    assert entered["gone"].name in synced(COURSE)["left"]

    names = [entered["ada"].name, entered["ben"].name]
    refused = attacked(entered["ada"], f"http://exchange:{PORT}", names, tokens)
    assert not [name for name, success in refused.items() if success]
    assert len(refused) >= 12
    with opened(cluster) as url:
        health = f"import urllib.request; print(urllib.request.urlopen('{url}/healthz', timeout=2).status)"
        wait_for("the opened copy", lambda: entered["ada"].run_cell(health).strip() == "200", 60)
        succeeded = attacked(entered["ada"], url, names, tokens)
    assert succeeded == dict.fromkeys(refused, True), "the attacks cannot fail, so they prove nothing"
