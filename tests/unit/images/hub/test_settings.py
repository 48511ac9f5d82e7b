"""The hub's configuration, from what the chart renders to what JupyterHub and KubeSpawner accept."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from campus_hubs_hub import settings as config
from jupyterhub.app import JupyterHub
from jupyterhub.proxy import ConfigurableHTTPProxy
from jupyterhub.spawner import Spawner
from kubespawner import KubeSpawner

from tests.unit.images.hub.rendered import SECRET, hub_settings, hub_values

if TYPE_CHECKING:
    from tests.unit.helm import Template


@pytest.mark.parametrize("name", ["minimal", "full", "internal"])
def test_every_trait_exists(template: Template, name: str) -> None:
    classes = {
        "JupyterHub": JupyterHub,
        "ConfigurableHTTPProxy": ConfigurableHTTPProxy,
        "Spawner": Spawner,
        "KubeSpawner": KubeSpawner,
    }
    settings = hub_settings(template, name)
    for cls, traits in settings.items():
        if cls in classes:
            assert set(traits) <= set(classes[cls].class_trait_names(config=True)), cls


def test_proxy_token_and_address(template: Template) -> None:
    settings = hub_settings(template, "minimal")
    assert settings["ConfigurableHTTPProxy"]["auth_token"] == SECRET["proxy-token"]
    assert settings["JupyterHub"]["cookie_secret"] == bytes(32)
    assert settings["CryptKeeper"]["keys"] == [bytes([0x11]) * 32]


def test_lti_version_decides_what_is_read(template: Template) -> None:
    old = hub_settings(template, "minimal")["CourseAuthenticator"]
    new = hub_settings(template, "full")["CourseAuthenticator"]
    assert old["course_id"] == "python-ws26"
    assert old["lti11_consumer_dir"] == "/etc/campus-hubs/lti"
    assert "tool_jwks_file" not in old
    assert new["tool_jwks_file"] == "/etc/campus-hubs/lti/jwks.json"
    assert new["lti13_platform"]["client_id"] == "abc"
    assert "lti11_consumer_dir" not in new


def test_every_url_of_the_hub_s_own_has_a_whole_name(template: Template) -> None:
    settings = hub_settings(template, "full")
    here = "course-python-ws26.svc.cluster.local"
    found = set(
        re.findall(
            r"http://([^/:'\"]+)", str({name: settings[name] for name in settings if name != "CourseAuthenticator"})
        )
    )
    assert found == {"", "127.0.0.1", *(f"{service}.{here}" for service in ("hub", "proxy-api", "exchange"))} - {""}
    assert settings["KubeSpawner"]["extra_pod_config"]["dnsConfig"]["options"] == [{"name": "ndots", "value": "1"}]


def test_culler_calls_the_hub_in_its_own_pod(template: Template) -> None:
    hub = hub_settings(template, "full")["JupyterHub"]
    (culler,) = [service for service in hub["services"] if service["name"] == "idle-culler"]
    assert "--url=http://127.0.0.1:8081/python/hub/api" in culler["command"]
    assert "--timeout=7200" in culler["command"]
    off = hub_settings(template, "internal")["JupyterHub"]
    assert [service["name"] for service in off["services"]] == ["exchange"]
    assert [role["name"] for role in off["load_roles"]] == ["exchange", "user", "server"]


@pytest.mark.parametrize("name", ["minimal", "full", "internal"])
def test_nobody_mints_tokens_or_shares_a_server(template: Template, name: str) -> None:
    """What the roles allow at a real hub is tried in images/hub/test_login_scopes.py."""
    settings = hub_settings(template, name)
    roles = {role["name"]: role["scopes"] for role in settings["JupyterHub"]["load_roles"]}
    assert roles["user"] == ["read:users!user", "servers!user", "access:servers!user", "users:activity!user"]
    assert roles["server"] == ["users:activity!user", "access:servers!server"]
    assert settings["Spawner"]["disable_user_config"] is True


def test_a_role_of_hub_config_takes_the_place_of_ours(template: Template) -> None:
    """JupyterHub refuses two of one name."""
    extra = json.dumps({"JupyterHub": {"load_roles": [{"name": "user", "scopes": ["self"]}]}})
    settings = hub_settings(template, "minimal", f"--set-json=hub.config={extra}")
    assert [r["scopes"] for r in settings["JupyterHub"]["load_roles"] if r["name"] == "user"] == [["self"]]


@pytest.mark.parametrize("cls", ["Authenticator", "CourseAuthenticator"])
def test_service_names_stay_nobodys(template: Template, cls: str) -> None:
    extra = json.dumps({cls: {"blocked_users": ["u1"]}})
    settings = hub_settings(template, "minimal", f"--set-json=hub.config={extra}")
    assert {"exchange", "idle-culler", "u1"} <= set(settings["Authenticator"]["blocked_users"])
    assert "blocked_users" not in settings["CourseAuthenticator"]


def test_service_names_are_nobodys(template: Template) -> None:
    settings = hub_settings(template, "full")
    ours = {"exchange", "idle-culler"}
    assert ours <= {service["name"] for service in settings["JupyterHub"]["services"]}
    assert ours == set(settings["Authenticator"]["blocked_users"])


def test_hub_config_is_laid_over(template: Template) -> None:
    extra = json.dumps(
        {
            "JupyterHub": {"services": [{"name": "dashboard"}], "concurrent_spawn_limit": 7},
            "Spawner": {"environment": {"A": "b"}, "http_timeout": 90},
            "Authenticator": {"blocked_users": ["mallory"]},
            "KubeSpawner": {"extra_pod_config": {"hostname": "lab"}},
        }
    )
    settings = hub_settings(template, "minimal", f"--set-json=hub.config={extra}")
    assert [s["name"] for s in settings["JupyterHub"]["services"]] == ["exchange", "idle-culler", "dashboard"]
    assert settings["JupyterHub"]["concurrent_spawn_limit"] == 7
    assert settings["Spawner"]["environment"]["A"] == "b"
    assert settings["Spawner"]["environment"]["COURSE_ID"] == "python-ws26"
    assert settings["Spawner"]["http_timeout"] == 90
    assert settings["Authenticator"]["blocked_users"] == ["exchange", "idle-culler", "mallory"]
    assert settings["KubeSpawner"]["extra_pod_config"]["restartPolicy"] == "Never"
    assert settings["KubeSpawner"]["extra_pod_config"]["hostname"] == "lab"


def test_the_probe_may_do_all_with_the_synthetic_student_and_nothing_else(
    template: Template, monkeypatch: pytest.MonkeyPatch
) -> None:
    values, secret = hub_values(template, "full"), {**SECRET, "probe-token": "44" * 32}
    made: list[tuple[str, str]] = []

    def user_name(issuer: str, subject: str) -> str:
        made.append((issuer, subject))
        return "usynthetic"

    monkeypatch.setattr(config, "user_name", user_name)
    student = config.synthetic_student(values, secret)
    hub = config.settings(values, secret, student)["JupyterHub"]
    (role,) = [role for role in hub["load_roles"] if role["name"] == "probe"]
    assert all(scope.endswith("!user=usynthetic") for scope in role["scopes"])
    assert {"name": "probe", "api_token": "44" * 32} in hub["services"]
    ((issuer, subject),) = made
    assert issuer == values["config"]["CourseAuthenticator"]["lti13_platform"]["issuer"]
    assert secret["probe-token"] not in subject
    assert config.synthetic_student(values, SECRET) == ""
    without = config.settings(values, SECRET)["JupyterHub"]
    assert "probe" not in [item["name"] for item in without["services"] + without["load_roles"]]


def test_classes_are_the_clusters_or_the_courses_own(template: Template) -> None:
    on = "--set=scheduling.podPriority.enabled=true"
    classes = {"staff": "campus-hubs-staff", "student": "campus-hubs-student"}
    own = '--set-json=hub.config={"KubeSpawner":{"priority_class_name":"own"}}'
    for arguments, expected in (((), {}), ((on,), classes), ((on, own), {})):
        values = hub_values(template, "minimal", *arguments)
        settings = config.settings(values, SECRET)
        assert settings["CourseSpawner"]["priority_classes"] == expected
        sandbox = config.sandbox_settings(values, settings["KubeSpawner"])
        assert sandbox["priorityClassName"] == expected.get("staff", "")
        placeholder = config.reserve_settings(values, settings["KubeSpawner"])
        assert placeholder["priorityClassName"] == ("campus-hubs-placeholder" if expected else "")


def test_nobody_deletes_a_home(template: Template) -> None:
    assert hub_settings(template, "full")["KubeSpawner"]["delete_pvc"] is False
