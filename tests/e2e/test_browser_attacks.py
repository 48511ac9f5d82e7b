"""A student attacks a lecturer's browser: in vain at their real server, with success at an open one in the same pod.

The attacks are those of tests/unit/images/singleuser/browser_attacks.py. The attacker's files get onto the volumes as
the exchange and a collection would put them there: from the node.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import requests
from selenium.webdriver.common.by import By
from selenium.webdriver.support import expected_conditions as ec
from selenium.webdriver.support.ui import WebDriverWait

from tests.e2e import nodes, playbook
from tests.e2e.cluster import Cluster
from tests.e2e.conftest import LTI11_COURSE
from tests.e2e.lti import Lms, Person
from tests.e2e.test_browser import LAB_TIMEOUT
from tests.e2e.waiting import wait_for
from tests.hostile_handins import SOURCE_FILES
from tests.unit import chromium
from tests.unit.images.singleuser.browser_attacks import ASSIGNMENT, ATTACKS, EXAM, NOTEBOOK, STUDENT, Folder, Target

COURSE = LTI11_COURSE
NAMESPACE = f"course-{COURSE}"
OPENED = playbook.ROOT / "tests/unit/images/singleuser/opened_server"
PORT = 9999
TOKEN = secrets.token_hex(16)
# Jupyter and nbgrader as they come, beside the lecturer's server; with a course in the home, where nbgrader wants it.
OPEN = f"""
set -e
cd ~ && mkdir opened opened/config
cp -r /srv/course opened/course; cp exam.txt opened
export HOME="$PWD/opened" COURSE_DIR="$PWD/opened/course" JUPYTER_CONFIG_DIR="$PWD/opened/config"
cd opened/config
printf %s "$1" > jupyter_server_config.py; printf %s "$2" > nbgrader_config.py
unset JUPYTER_PATH
lab="from jupyter_core import paths; paths.SYSTEM_CONFIG_PATH.clear(); from jupyterlab.labapp import main; main()"
nohup setsid python3 -P -c "$lab" --no-browser --ServerApp.ip=0.0.0.0 --ServerApp.port={PORT} \
  --IdentityProvider.token={TOKEN} --ServerApp.base_url=/user/open/ --ServerApp.root_dir=$HOME \
  --ServerApp.allow_remote_access=True < /dev/null > server.log 2>&1 &
"""
# nbgitpuller is not in the image.
MISSING = {"repository_by_a_link"}


def folder_of(cluster: Cluster, pod: Any, mount: str) -> Folder:  # noqa: ANN401
    """Return a folder of a pod, and where this machine has it: below the node's /var."""
    (found,) = [each for each in pod.spec.containers[0].volume_mounts if each.mount_path == mount]
    (volume,) = [each for each in pod.spec.volumes if each.name == found.name]
    claim = cluster.core.read_namespaced_persistent_volume_claim(volume.persistent_volume_claim.claim_name, NAMESPACE)
    spec = cluster.core.read_persistent_volume(claim.spec.volume_name).spec
    inspect = ["podman", "volume", "inspect", "-f", "{{.Mountpoint}}", f"lab-{pod.spec.node_name}-var"]
    var = subprocess.run(inspect, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603
    path = PurePosixPath((spec.host_path or spec.local).path) / (found.sub_path or "")
    here = Path(var, path.relative_to("/var"))
    assert here.is_dir()
    return Folder(here, PurePosixPath(mount))


def write(path: Path, content: str, owner: Path) -> None:
    """Write a file as the owner of a folder would."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    for each in (path, *path.parents):
        if each == owner:
            return
        os.chown(each, owner.stat().st_uid, owner.stat().st_gid)


def step(cluster: Cluster, pod: Any, *arguments: str) -> None:  # noqa: ANN401
    """Do what a button of formgrader does."""
    said = cluster.run(pod, "python3", "-P", "-m", "campus_hubs_lab.action", *arguments, timeout=300)
    done = json.loads(said)
    assert done["success"], done


@pytest.fixture
def lecturer(lms: Lms) -> Person:
    return lms.enter_lab(COURSE, "lecturer")


@pytest.fixture
def folders(cluster: Cluster, lecturer: Person) -> Iterator[tuple[Folder, Folder]]:
    """Give course and home of the lecturer with a graded hand-in of the attacker's; all of it is gone afterwards."""
    pod = cluster.user_pod(COURSE, lecturer.name)
    course, home = (folder_of(cluster, pod, mount) for mount in ("/srv/course", "/home/jovyan"))
    before = {folder: set(folder.here.iterdir()) for folder in (course, home)}
    book = (course.here / "gradebook.db").read_bytes()
    for name, content in SOURCE_FILES.items():
        text = content if isinstance(content, str) else json.dumps(content)
        write(course.here / "source" / ASSIGNMENT / name, text, course.here)
    step(cluster, pod, "assign", ASSIGNMENT)
    for file in (course.here / "release" / ASSIGNMENT).iterdir():
        write(course.here / "submitted" / STUDENT / ASSIGNMENT / file.name, file.read_text(), course.here)
    step(cluster, pod, "autograde", ASSIGNMENT, STUDENT)
    write(home.here / "exam.txt", EXAM, home.here)
    try:
        yield course, home
    finally:
        # Its formgrader would go on with what it has read of the gradebook.
        cluster.stop_servers(COURSE)
        for folder, known in before.items():
            for path in set(folder.here.iterdir()) - known:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        for path in [*course.here.glob(f"*/{ASSIGNMENT}"), *course.here.glob(f"*/{STUDENT}")]:
            shutil.rmtree(path)
        (course.here / "gradebook.db").write_bytes(book)


@contextmanager
def opened_server(cluster: Cluster, lecturer: Person) -> Iterator[str]:
    """Give the address of a server without guards in the lecturer's pod, by a port of the control plane."""
    pod = cluster.user_pod(COURSE, lecturer.name)
    configuration = [(OPENED / f"{name}_config.py").read_text() for name in ("jupyter_server", "nbgrader")]
    cluster.run(pod, "sh", "-c", OPEN, "sh", *configuration)
    ask = f"import urllib.request as u; print(u.urlopen('http://127.0.0.1:{PORT}/user/open/api').status)"
    # A forwarded port ends with the first connection that is refused.
    wait_for("the opened server", lambda: cluster.run(pod, "python3", "-P", "-c", ask), 120, 2)
    command = f"kubectl --kubeconfig /etc/kubernetes/admin.conf -n {NAMESPACE} port-forward --address 0.0.0.0"
    forward = [str(playbook.ROOT / "lab/lab"), "ssh", nodes.CONTROL_PLANE, f"exec {command} {pod.metadata.name} {PORT}"]
    (node,) = [node for node in cluster.core.list_node().items if node.metadata.name == nodes.CONTROL_PLANE]
    (address,) = [each.address for each in node.status.addresses if each.type == "InternalIP"]
    with subprocess.Popen(forward) as process:  # noqa: S603
        try:
            url = f"http://{address}:{PORT}/user/open/"
            wait_for("the port of the opened server", lambda: requests.get(f"{url}api", timeout=5).ok, 60)
            yield url
        finally:
            process.terminate()


@pytest.mark.full
def test_a_lecturers_browser_gives_nothing_away(
    cluster: Cluster, lms: Lms, lecturer: Person, folders: tuple[Folder, Folder], artifacts: Path
) -> None:
    listed = f"/user/{lecturer.name}/formgrader/api/submitted_notebooks/{ASSIGNMENT}/{NOTEBOOK}"
    (notebook,) = lecturer.answer("GET", listed).json()
    site, chrome = chromium.Site(), chromium.start(secure=lecturer.hub)
    try:
        chrome.get(lms.url)
        chrome.find_element(By.ID, f"enter-{COURSE}-lecturer").click()
        WebDriverWait(chrome, 20).until(ec.number_of_windows_to_be(2))
        chrome.switch_to.window(chrome.window_handles[1])
        # Not its launcher: Lab opens what was open last time.
        WebDriverWait(chrome, LAB_TIMEOUT).until(ec.visibility_of_element_located((By.ID, "jp-main-dock-panel")))

        def call(method: str, path: str) -> requests.Response:
            return lecturer.answer(method, f"/user/{lecturer.name}/{path}")

        target = Target(f"{lecturer.server}/", chrome, call, *folders, site, notebook["id"], patience=1.5)
        # It is the lecturer's browser, and what it may see is worth something.
        target.open("api/contents/exam.txt?content=1")
        assert EXAM in chrome.page_source
        assert [attack.__name__ for attack in ATTACKS if attack(target)] == []
        target.open(f"formgrader/submissions/{notebook['id']}/")
        chrome.save_screenshot(str(artifacts / "attacked.png"))
        # Nothing has come late.
        assert {path for path, body in site.seen if body} == set()
        assert not target.ran.exists()
    finally:
        chrome.quit()

    with opened_server(cluster, lecturer) as url:
        address = url.split("/")[2].split(":")[0]
        opened = url.replace(address, f"hub.{chromium.DOMAIN}")
        chrome, session = chromium.start(secure=opened.split("/user/")[0], hub=address), requests.Session()
        try:
            session.get(f"{url}lab?token={TOKEN}", timeout=60)
            chrome.get(f"{opened}api/kernelspecs?token={TOKEN}")

            def call_open(method: str, path: str) -> requests.Response:
                headers = {"X-XSRFToken": session.cookies.get("_xsrf") or ""}
                return session.request(method, f"{url}{path}", headers=headers, timeout=60)

            home = Folder(folders[1].here / "opened", folders[1].there / "opened")
            course = Folder(home.here / "course", home.there / "course")
            target = Target(opened, chrome, call_open, course, home, site, notebook["id"], patience=15)
            failed = {attack.__name__ for attack in ATTACKS if not attack(target)}
            assert failed <= MISSING, (failed, chromium.logged(chrome, "browser"))
        finally:
            chrome.quit()
            site.close()
