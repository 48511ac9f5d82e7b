"""The hub's configuration, from the mounted files to what JupyterHub is handed."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from campus_hubs_hub import configuration, settings
from campus_hubs_hub.homes import HomesHandler
from campus_hubs_hub.leases import LeaseHandler
from campus_hubs_hub.spawner import CourseSpawner
from traitlets.config.loader import PyFileConfigLoader

from tests.unit.images.hub.rendered import SECRET, hub_files

if TYPE_CHECKING:
    from tests.unit.helm import Template


def test_files_in_config_out(template: Template, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in hub_files(template, "minimal").items():
        (tmp_path / name).write_text(text)
    folder = tmp_path / "secrets"
    folder.mkdir()
    for field, value in {**SECRET, "probe-token": "44" * 32}.items():
        (folder / field).write_text(value + "\n")
    (folder / "..data").mkdir()
    monkeypatch.setattr(configuration, "VALUES", tmp_path / "values.json")
    monkeypatch.setattr(configuration, "SECRETS", folder)
    login = SimpleNamespace(
        CourseAuthenticator=object,
        limit_requests=lambda: None,
        tornado_settings=lambda url, lms: {"headers": {"csp": [url, *lms]}},
        spawn_environment=lambda state: {"COURSE_ROLE": state["course_role"]},
    )
    monkeypatch.setattr(configuration, "login", login)
    monkeypatch.setattr(settings, "user_name", lambda issuer, _subject: f"synthetic-{issuer}")
    enrolled: list[tuple[str, dict[str, str]]] = []
    exchange = SimpleNamespace(
        enrol_soon=lambda name, state: enrolled.append((name, state)),
        after_login=lambda synthetic: f"tells the exchange of all but {synthetic}",
    )
    monkeypatch.setattr(configuration, "Exchange", lambda *_: exchange)
    # What stands in the classes until the process ends.
    for owner, name in ((CourseSpawner, "room"), (HomesHandler, "homes"), (LeaseHandler, "leases")):
        monkeypatch.setattr(owner, name, getattr(owner, name, None), raising=False)
    (tmp_path / "namespace").write_text("course-python-ws26")
    monkeypatch.setattr(configuration, "NAMESPACE", tmp_path / "namespace")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", ".example.edu")

    async def read() -> Any:  # noqa: ANN401 - a traitlets Config
        found = PyFileConfigLoader("jupyterhub_config.py", str(tmp_path)).load_config()
        for task in configuration.BACKGROUND:
            task.cancel()
        return found

    result = asyncio.run(read())
    direct = os.environ["NO_PROXY"].split(",")
    assert os.environ["no_proxy"].split(",") == direct
    assert {".example.edu", "10.96.0.1", "exchange.course-python-ws26.svc.cluster.local"} < set(direct)
    assert [path for path, *_ in result.JupyterHub.extra_handlers] == [
        "/api/homes",
        "/api/lease",
        "/api/sandboxes",
        "/api/sandboxes/([a-z0-9-]+)",
    ]
    assert result.JupyterHub.spawner_class is CourseSpawner
    assert result.JupyterHub.tornado_settings == {"headers": {"csp": [""]}, "slow_spawn_timeout": 0}
    assert result.Authenticator.post_auth_hook == "tells the exchange of all but synthetic-campus.hubs"
    assert result.KubeSpawner.image == "registry/singleuser@sha256:bb"
    assert result.ConfigurableHTTPProxy.auth_token == SECRET["proxy-token"]
    authenticator = SimpleNamespace(binding=SimpleNamespace(covers=lambda state: "context" not in state))

    def spawner_of(name: str) -> SimpleNamespace:
        user = SimpleNamespace(name=name)
        return SimpleNamespace(environment={"COURSE_ID": "x"}, user=user, authenticator=authenticator)

    spawner, synthetic = spawner_of("u1"), spawner_of("synthetic-campus.hubs")
    result.Spawner.auth_state_hook(spawner, {"course_role": "instructor"})
    result.Spawner.auth_state_hook(synthetic, {"course_role": "student"})
    # A session of before the course was bound to another one of the LMS tells the exchange nothing.
    result.Spawner.auth_state_hook(spawner_of("u2"), {"course_role": "instructor", "context": {}})
    assert synthetic.environment == {"COURSE_ID": "x", "COURSE_ROLE": "student"}
    assert enrolled == [("u1", {"course_role": "instructor"})]
    assert spawner.environment == {"COURSE_ID": "x", "COURSE_ROLE": "instructor"}
