"""The hub's configuration, from what the chart renders to what JupyterHub and KubeSpawner accept."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from jupyterhub.app import JupyterHub
from jupyterhub.proxy import ConfigurableHTTPProxy
from jupyterhub.spawner import Spawner
from kubespawner import KubeSpawner
from traitlets.config import Config

from tests.unit.charts.conftest import chart_module

if TYPE_CHECKING:
    from types import ModuleType

    from tests.unit.charts.conftest import Template

SECRET = {"cookie-secret": "00" * 32, "crypt-key": "11" * 32, "proxy-token": "22" * 32, "exchange-token": "33" * 32}


@pytest.fixture(scope="module")
def config() -> ModuleType:
    return chart_module("jupyterhub_config")


def rendered(template: Template, name: str, *arguments: str) -> dict[str, Any]:
    for manifest in yaml.safe_load_all(template(name, *arguments)):
        if manifest and (manifest["kind"], manifest["metadata"]["name"]) == ("ConfigMap", "hub"):
            values: dict[str, Any] = json.loads(manifest["data"]["values.json"])
            return values
    pytest.fail("no ConfigMap")


@pytest.mark.parametrize("name", ["minimal", "full", "internal"])
def test_every_trait_exists(config: ModuleType, template: Template, name: str) -> None:
    classes = {
        "JupyterHub": JupyterHub,
        "ConfigurableHTTPProxy": ConfigurableHTTPProxy,
        "Spawner": Spawner,
        "KubeSpawner": KubeSpawner,
    }
    settings = config.settings(rendered(template, name), SECRET)
    for cls, traits in settings.items():
        if cls in classes:
            assert set(traits) <= set(classes[cls].class_trait_names(config=True)), cls


def test_proxy_token_and_address(config: ModuleType, template: Template) -> None:
    settings = config.settings(rendered(template, "minimal"), SECRET)
    assert settings["ConfigurableHTTPProxy"]["auth_token"] == SECRET["proxy-token"]
    assert settings["JupyterHub"]["cookie_secret"] == bytes(32)
    assert settings["CryptKeeper"]["keys"] == [bytes([0x11]) * 32]


def test_lti_version_decides_what_is_read(config: ModuleType, template: Template) -> None:
    old = config.settings(rendered(template, "minimal"), SECRET)["CourseAuthenticator"]
    new = config.settings(rendered(template, "full"), SECRET)["CourseAuthenticator"]
    assert old["course_id"] == "python-ws26"
    assert old["lti11_consumer_dir"] == "/etc/campus-hubs/lti"
    assert "tool_jwks_file" not in old
    assert new["tool_jwks_file"] == "/etc/campus-hubs/lti/jwks.json"
    assert new["lti13_platform"]["client_id"] == "abc"
    assert "lti11_consumer_dir" not in new


def test_every_url_of_the_hub_s_own_has_a_whole_name(config: ModuleType, template: Template) -> None:
    settings = config.settings(rendered(template, "full"), SECRET)
    here = "course-python-ws26.svc.cluster.local"
    found = set(
        re.findall(
            r"http://([^/:'\"]+)", str({name: settings[name] for name in settings if name != "CourseAuthenticator"})
        )
    )
    assert found == {"", "127.0.0.1", *(f"{service}.{here}" for service in ("hub", "proxy-api", "exchange"))} - {""}
    assert settings["KubeSpawner"]["extra_pod_config"]["dnsConfig"]["options"] == [{"name": "ndots", "value": "1"}]


def test_culler_calls_the_hub_in_its_own_pod(config: ModuleType, template: Template) -> None:
    hub = config.settings(rendered(template, "full"), SECRET)["JupyterHub"]
    (culler,) = [service for service in hub["services"] if service["name"] == "idle-culler"]
    assert "--url=http://127.0.0.1:8081/python/hub/api" in culler["command"]
    assert "--timeout=7200" in culler["command"]
    off = config.settings(rendered(template, "internal"), SECRET)["JupyterHub"]
    assert [service["name"] for service in off["services"]] == ["exchange"]
    assert [role["name"] for role in off["load_roles"]] == ["exchange", "user", "server"]


@pytest.mark.parametrize("name", ["minimal", "full", "internal"])
def test_nobody_mints_tokens_or_shares_a_server(config: ModuleType, template: Template, name: str) -> None:
    """What the roles allow at a real hub is tried in images/hub/test_login_scopes.py."""
    settings = config.settings(rendered(template, name), SECRET)
    roles = {role["name"]: role["scopes"] for role in settings["JupyterHub"]["load_roles"]}
    assert roles["user"] == ["read:users!user", "servers!user", "access:servers!user", "users:activity!user"]
    assert roles["server"] == ["users:activity!user", "access:servers!server"]
    assert settings["Spawner"]["disable_user_config"] is True


def test_a_role_of_hub_config_takes_the_place_of_ours(config: ModuleType, template: Template) -> None:
    """JupyterHub refuses two of one name."""
    extra = json.dumps({"JupyterHub": {"load_roles": [{"name": "user", "scopes": ["self"]}]}})
    settings = config.settings(rendered(template, "minimal", f"--set-json=hub.config={extra}"), SECRET)
    assert [r["scopes"] for r in settings["JupyterHub"]["load_roles"] if r["name"] == "user"] == [["self"]]


@pytest.mark.parametrize("cls", ["Authenticator", "CourseAuthenticator"])
def test_service_names_stay_nobodys(config: ModuleType, template: Template, cls: str) -> None:
    extra = json.dumps({cls: {"blocked_users": ["u1"]}})
    settings = config.settings(rendered(template, "minimal", f"--set-json=hub.config={extra}"), SECRET)
    assert {"exchange", "idle-culler", "u1"} <= set(settings["Authenticator"]["blocked_users"])
    assert "blocked_users" not in settings["CourseAuthenticator"]


def test_service_names_are_nobodys(config: ModuleType, template: Template) -> None:
    settings = config.settings(rendered(template, "full"), SECRET)
    ours = {"exchange", "idle-culler"}
    assert ours <= {service["name"] for service in settings["JupyterHub"]["services"]}
    assert ours == set(settings["Authenticator"]["blocked_users"])


def test_hub_config_is_laid_over(config: ModuleType, template: Template) -> None:
    extra = json.dumps(
        {
            "JupyterHub": {"services": [{"name": "dashboard"}], "concurrent_spawn_limit": 7},
            "Spawner": {"environment": {"A": "b"}, "http_timeout": 90},
            "Authenticator": {"blocked_users": ["mallory"]},
            "KubeSpawner": {"extra_pod_config": {"hostname": "lab"}},
        }
    )
    settings = config.settings(rendered(template, "minimal", f"--set-json=hub.config={extra}"), SECRET)
    assert [s["name"] for s in settings["JupyterHub"]["services"]] == ["exchange", "idle-culler", "dashboard"]
    assert settings["JupyterHub"]["concurrent_spawn_limit"] == 7
    assert settings["Spawner"]["environment"]["A"] == "b"
    assert settings["Spawner"]["environment"]["COURSE_ID"] == "python-ws26"
    assert settings["Spawner"]["http_timeout"] == 90
    assert settings["Authenticator"]["blocked_users"] == ["exchange", "idle-culler", "mallory"]
    assert settings["KubeSpawner"]["extra_pod_config"]["restartPolicy"] == "Never"
    assert settings["KubeSpawner"]["extra_pod_config"]["hostname"] == "lab"


def test_the_probe_may_do_all_with_the_synthetic_student_and_nothing_else(
    config: ModuleType, template: Template
) -> None:
    values, secret = rendered(template, "full"), {**SECRET, "probe-token": "44" * 32}
    made: list[tuple[str, str]] = []

    def user_name(issuer: str, subject: str) -> str:
        made.append((issuer, subject))
        return "usynthetic"

    student = config.synthetic_student(values, secret, user_name)
    hub = config.settings(values, secret, student)["JupyterHub"]
    (role,) = [role for role in hub["load_roles"] if role["name"] == "probe"]
    assert all(scope.endswith("!user=usynthetic") for scope in role["scopes"])
    assert {"name": "probe", "api_token": "44" * 32} in hub["services"]
    ((issuer, subject),) = made
    assert issuer == values["config"]["CourseAuthenticator"]["lti13_platform"]["issuer"]
    assert secret["probe-token"] not in subject
    assert config.synthetic_student(values, SECRET, user_name) == ""
    without = config.settings(values, SECRET)["JupyterHub"]
    assert "probe" not in [item["name"] for item in without["services"] + without["load_roles"]]


def test_classes_are_the_clusters_or_the_courses_own(config: ModuleType, template: Template) -> None:
    on = "--set=scheduling.podPriority.enabled=true"
    classes = {"staff": "campus-hubs-staff", "student": "campus-hubs-student"}
    own = '--set-json=hub.config={"KubeSpawner":{"priority_class_name":"own"}}'
    for arguments, expected in (((), {}), ((on,), classes), ((on, own), {})):
        values = rendered(template, "minimal", *arguments)
        settings = config.settings(values, SECRET)
        assert settings["CourseSpawner"]["priority_classes"] == expected
        sandbox = config.sandbox_settings(values, settings["KubeSpawner"])
        assert sandbox["priorityClassName"] == expected.get("staff", "")
        placeholder = config.reserve_settings(values, settings["KubeSpawner"])
        assert placeholder["priorityClassName"] == ("campus-hubs-placeholder" if expected else "")


def test_nobody_deletes_a_home(config: ModuleType, template: Template) -> None:
    assert config.settings(rendered(template, "full"), SECRET)["KubeSpawner"]["delete_pvc"] is False


def test_files_in_config_out(
    config: ModuleType, template: Template, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "values.json").write_text(json.dumps(rendered(template, "minimal")))
    folder = tmp_path / "secrets"
    folder.mkdir()
    for field, value in {**SECRET, "probe-token": "44" * 32}.items():
        (folder / field).write_text(value + "\n")
    (folder / "..data").mkdir()
    monkeypatch.setattr(config, "HERE", tmp_path)
    monkeypatch.setattr(config, "SECRETS", folder)
    login = SimpleNamespace(
        CourseAuthenticator=object,
        limit_requests=lambda: None,
        tornado_settings=lambda url, lms: {"headers": {"csp": [url, *lms]}},
        spawn_environment=lambda state: {"COURSE_ROLE": state["course_role"]},
        user_name=lambda issuer, _subject: f"synthetic-{issuer}",
    )
    monkeypatch.setitem(sys.modules, "campus_hubs_login", login)
    enrolled: list[tuple[str, dict[str, str]]] = []
    exchange = SimpleNamespace(
        enrol_soon=lambda name, state: enrolled.append((name, state)),
        after_login=lambda synthetic: f"tells the exchange of all but {synthetic}",
    )
    monkeypatch.setitem(sys.modules, "exchange", SimpleNamespace(Exchange=lambda *_: exchange))
    (tmp_path / "namespace").write_text("course-python-ws26")
    monkeypatch.setattr(config, "NAMESPACE", tmp_path / "namespace")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", ".example.edu")
    for name in ("course_spawner", "homes", "leases", "room", "sandbox"):
        monkeypatch.setitem(sys.modules, name, chart_module(name))
    result = Config()

    async def read() -> None:
        config.configure(result)
        for task in config.BACKGROUND:
            task.cancel()

    asyncio.run(read())
    direct = os.environ["NO_PROXY"].split(",")
    assert os.environ["no_proxy"].split(",") == direct
    assert {".example.edu", "10.96.0.1", "exchange.course-python-ws26.svc.cluster.local"} < set(direct)
    assert [path for path, *_ in result.JupyterHub.extra_handlers] == [
        "/api/homes",
        "/api/lease",
        "/api/sandboxes",
        "/api/sandboxes/([a-z0-9-]+)",
    ]
    assert result.JupyterHub.spawner_class == "course_spawner.CourseSpawner"
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
