"""A student attacks the course's hub from a notebook: in vain, and with success where a copy of it is open.

The attacks are those of tests/unit/images/hub/hub_attacks.py, here between pods, with a real server's token and the
cookies of a real session.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.e2e import playbook
from tests.e2e.cluster import Cluster
from tests.e2e.conftest import LTI13_COURSE
from tests.e2e.lti import Lms, Person
from tests.e2e.opened import opened_hub
from tests.e2e.test_isolation import no_policies
from tests.e2e.waiting import wait_for

COURSE = LTI13_COURSE
ATTACKS = playbook.ROOT / "tests/unit/images/hub/hub_attacks.py"
# Runs in the attacker's kernel, which has nothing of this repository.
ATTACK = """
import json, os, sys, types
program, session, target = json.loads(%r)
hub_attacks = sys.modules["hub_attacks"] = types.ModuleType("hub_attacks")
exec(compile(program, "hub_attacks", "exec"), hub_attacks.__dict__)
keys = {"token": {"Authorization": "token " + os.environ["JUPYTERHUB_API_TOKEN"]}, "session": session}
target = hub_attacks.Target(keys=keys, **target)
attacks = hub_attacks.ON_THE_CLUSTER + hub_attacks.ATTACKS
result = {"me": [person["name"] for person in target.got("/user")]}
print(json.dumps(result | {attack.__name__: attack(target) for attack in attacks}))
"""


def attacked(ada: Person, hub: str, lecturer: str, other: str) -> dict[str, bool]:
    """Let a student's notebook attack a hub; return which attacks got what they wanted."""
    target = {"api": f"{hub}/hub/api", "me": ada.name, "lecturer": lecturer, "other": other}
    printed = ada.run_cell(ATTACK % json.dumps([ATTACKS.read_text(), ada.hub_session(), target]), 180)
    try:
        result: dict[str, Any] = json.loads(printed)
    except ValueError as error:
        raise AssertionError(printed[-1500:]) from error
    assert result.pop("me") == [ada.name] * 2, "the student's token and session are good"
    return result


def test_attacks_on_the_hub_from_a_students_server(cluster: Cluster, lms: Lms) -> None:
    with ThreadPoolExecutor(3) as pool:
        ada, ben, lecturer = pool.map(lambda key: lms.enter_lab(COURSE, key), ("student-81", "student-82", "lecturer"))
    refused = attacked(ada, "http://hub:8081", lecturer.name, ben.name)
    assert [name for name, success in refused.items() if success] == []
    with no_policies(cluster, COURSE), opened_hub(cluster, COURSE, ada.name) as url:
        health = f"import urllib.request; print(urllib.request.urlopen('{url}/hub/health', timeout=5).status)"
        wait_for("the opened hub", lambda: ada.run_cell(health).strip() == "200", 90)
        succeeded = attacked(ada, url, lecturer.name, ben.name)
    assert succeeded == dict.fromkeys(refused, True), "the attacks cannot fail, so they prove nothing"
