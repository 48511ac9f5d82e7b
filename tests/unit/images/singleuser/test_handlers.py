"""All HTTP handlers that a person's server offers stand in one list, which is compared with the server itself."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from campus_hubs_lab import handlers

from tests.unit.images.singleuser.grading_lab import ETC, free_port
from tests.unit.images.singleuser.test_server import BASE, SECRET, Lab

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.images.singleuser.grading_lab import Course, Hub

LIST = ETC / handlers.FILE
# The program of a person's pod, up to the moment in which it serves.
PROBE = """
import json, sys
from campus_hubs_lab import handlers
from jupyterhub.singleuser.extension import JupyterHubSingleUser

def offered():
    found = {}
    for _, rule in handlers.routes(server.web_app.default_router):
        methods = found.setdefault(handlers.pattern_of(rule, server.base_url), set())
        methods.update(handlers.methods_of(rule.target))
    return {pattern: sorted(methods) for pattern, methods in found.items()}

server = JupyterHubSingleUser.initialize_server(["--allow-root"])
before = offered()
server.io_loop.run_sync(server.extension_manager.start_all_extensions)
made = [server.kernel_manager, server.contents_manager, server.contents_manager.files_handler_class]
kinds = {repr(each): [base.__name__ for base in getattr(each, "__mro__", type(each).__mro__)] for each in made}
kinds["headers"] = sorted(server.web_app.settings["headers"])
kinds["off"] = sorted(name for name, each in server.extension_manager.extensions.items() if not each.enabled)
sys.stdout.write(json.dumps([before, offered(), kinds]))
"""


def routers(course: Course, role: str, **extra: str) -> list[dict[str, list[str]]]:
    """Return what a person's server would offer, and what it does offer; then by which classes."""
    environment = {
        **course.environment(role, "u1"),
        **extra,
        "JUPYTERHUB_SERVICE_PREFIX": BASE,
        "JUPYTERHUB_BASE_URL": "/",
        "JUPYTERHUB_CLIENT_ID": "jupyterhub-user-u1",
        "JUPYTERHUB_DISABLE_USER_CONFIG": "1",
        "JUPYTERHUB_HOST": "",
        "JUPYTERHUB_OAUTH_CALLBACK_URL": f"{BASE}oauth_callback",
        "JUPYTERHUB_SERVICE_URL": f"http://127.0.0.1:{free_port()}{BASE}",
    }
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", PROBE],
        env=environment,
        cwd=course.home,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: list[dict[str, list[str]]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("role", ["instructor", "teaching_assistant", "student"])
def test_the_list_is_what_a_server_offers(course: Course, role: str) -> None:
    listed = handlers.read(LIST)
    before, after, _ = routers(course, role)
    mine = {"everybody", "graders"} if role != "student" else {"everybody"}
    # A new release of Jupyter or nbgrader that adds or drops a handler stops here.
    assert set(before) == {pattern for pattern, (who, _) in listed.items() if who in mine | {"nobody"}}
    assert after == {pattern: sorted(methods) for pattern, (who, methods) in listed.items() if who in mine}
    # Everything that a handler could do is listed or known to be off.
    off = {pattern: set(before[pattern]) - listed[pattern][1] for pattern in after}
    assert {pattern: methods for pattern, methods in off.items() if methods} == {"api/me": {"PATCH"}}


def test_each_line_says_who_what_and_why(tmp_path: Path) -> None:
    document: dict[str, list[str]] = json.loads(LIST.read_text())
    assert {line[0] for line in document.values()} == handlers.ROLES
    # Listing one twice would hide one of them.
    assert len(re.findall(r"^  \"", LIST.read_text(), re.MULTILINE)) == len(document)
    for wrong in (["everybody", "GET"], ["all", "GET", "x"], ["nobody", "GET", ""], "everybody"):
        (tmp_path / "x.json").write_text(json.dumps({"api/x": wrong}))
        with pytest.raises(ValueError, match="api/x: found"):
            handlers.read(tmp_path / "x.json")


ADDED = """
from jupyter_server.base.handlers import JupyterHandler

class Shell(JupyterHandler):
    def get(self):
        self.finish("done")

def _jupyter_server_extension_points():
    return [{"module": "shell_for_all"}]

def _load_jupyter_server_extension(server):
    server.web_app.add_handlers(".*$", [(server.base_url + "shell", Shell)])
"""


def campus_image(tmp_path: Path) -> Path:
    """Return our configuration's folder, with room for more, in an image that has an extension of a campus."""
    (tmp_path / "shell_for_all.py").write_text(ADDED)
    etc = tmp_path / "etc"
    etc.mkdir()
    for file in ETC.iterdir():
        (etc / file.name).symlink_to(file)
    return etc


@pytest.mark.parametrize("name", ["handlers.json", "broken"])
def test_what_is_not_listed_is_not_offered(course: Course, name: str, tmp_path: Path) -> None:
    etc = campus_image(tmp_path)
    if name == "broken":
        (etc / "handlers.json").unlink()
        (etc / "handlers.json").write_text("{")
    config: dict[str, Any] = {"ServerApp": {"jpserver_extensions": {"shell_for_all": True}}}
    # Where a package puts it when it is installed.
    (etc / "jupyter_server_config.d").mkdir()
    (etc / "jupyter_server_config.d/shell.json").write_text(json.dumps(config))
    extra = {"JUPYTER_CONFIG_PATH": str(etc), "PYTHONPATH": f"{course.environment()['PYTHONPATH']}:{tmp_path}"}
    if name == "broken":
        # No list, no server.
        with pytest.raises(AssertionError, match="The list of handlers cannot be used"):
            Lab(course, "student", **extra)
        return
    lab = Lab(course, "student", **extra)
    try:
        assert lab.get("shell").status_code == 404
        assert lab.get("metrics").status_code == 404
        assert lab.get(f"lab?token={SECRET}").status_code == 200
        assert "shell is not in handlers.json" in (course.place / "server.log").read_text()
        answer = lab.browser.patch(f"{lab.url}api/me", json={}, timeout=60)
        assert answer.status_code == 405
    finally:
        lab.close()


def test_lab_asks_for_nothing_that_is_off(course: Course, hub: Hub) -> None:
    lab = Lab(course, "student")
    try:
        page = lab.get("lab").text
        found = re.search(r'<script id="jupyter-config-data" type="application/json">(.*?)</script>', page, re.DOTALL)
        assert found
        config = json.loads(found[1])
    finally:
        lab.close()
    assert (config["buildAvailable"], config["buildCheck"]) == (False, False)
    off = {"@jupyterlab/extensionmanager-extension", "@jupyterlab/pluginmanager-extension"}
    assert off <= set(config["disabledExtensions"])


OURS = {"CourseKernelManager", "CourseContentsManager", "CourseFileHandler"}
PLAIN = "jupyter_server.services.contents.largefilemanager.AsyncLargeFileManager"


@pytest.mark.parametrize("place", ["beside", "before"])
def test_other_configuration_of_an_image_takes_nothing_away(course: Course, tmp_path: Path, place: str) -> None:
    """JSON beside a Python file wins over it, and so does a folder before it; what else they say counts."""
    etc = campus_image(tmp_path)
    other = etc if place == "beside" else tmp_path
    config: dict[str, Any] = {
        "ServerApp": {
            "jpserver_extensions": {"shell_for_all": True, "nbgrader.server_extensions.formgrader": True},
            "tornado_settings": {"headers": {"X-Campus": "yes"}},
            "contents_manager_class": PLAIN,
            "kernel_manager_class": "jupyter_server.services.kernels.kernelmanager.AsyncMappingKernelManager",
        },
        "FileContentsManager": {"files_handler_class": "jupyter_server.base.handlers.AuthenticatedFileHandler"},
    }
    (other / "jupyter_server_config.json").write_text(json.dumps(config))
    path = f"{course.environment()['PYTHONPATH']}:{tmp_path}"
    extra = {"JUPYTER_CONFIG_PATH": f"{other}:{etc}", "PYTHONPATH": path}
    before, after, kinds = routers(course, "instructor", **extra)
    expected, offered, plain = routers(course, "instructor")
    assert set(before) == {*expected, "shell"}
    assert after == offered
    assert {name for names in kinds.values() for name in names} >= OURS
    assert kinds["off"] == plain["off"]
    assert "nbgrader.server_extensions.formgrader" in plain["off"]
    assert {*plain["headers"], "X-Campus"} == set(kinds["headers"])


def test_an_image_without_the_guards_starts_no_server(course: Course, tmp_path: Path) -> None:
    """As with a campus's own file in the place of ours; the extension is switched on by the image."""
    own = "c = get_config()\nc.ServerApp.jpserver_extensions = {'campus_hubs_lab': True}\n"
    (tmp_path / "jupyter_server_config.py").write_text(own)
    with pytest.raises(AssertionError, match=r"own jupyter_server_config.py, which protects the server, was not read"):
        Lab(course, "student", JUPYTER_CONFIG_PATH=str(tmp_path))
