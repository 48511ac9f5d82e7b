"""The course hub's configuration: values.json and mounted Secrets in, JupyterHub traits out.

`hub.config` of the chart's values is laid over what this file sets.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SECRETS = Path("/etc/campus-hubs/secrets")
LTI = Path("/etc/campus-hubs/lti")
NGSHARE_URL = "http://ngshare:8080/services/ngshare"
NGSHARE_SERVICE = "ngshare"
# What hub.config says of these is added to what the course needs, not put in its place.
ADDED = {"services", "load_roles", "blocked_users"}

Settings = dict[str, dict[str, Any]]


def merged(base: Settings, extra: Settings) -> Settings:
    """Lay class -> trait -> value over another: dictionaries are merged, lists of ADDED grow, all else is replaced."""
    result = {name: dict(traits) for name, traits in base.items()}
    for name, traits in extra.items():
        target = result.setdefault(name, {})
        for trait, value in traits.items():
            old = target.get(trait)
            if isinstance(old, dict) and isinstance(value, dict):
                target[trait] = {**old, **value}
            elif isinstance(old, list) and trait in ADDED:
                target[trait] = [*old, *value]
            else:
                target[trait] = value
    return result


def hub_settings(values: dict[str, Any], secret: dict[str, str]) -> Settings:
    """Return what the hub itself needs.

    Args:
        values: the chart's `course-hub.config`.
        secret: fields of the Secret course-secrets, as hexadecimal digits.

    """
    base = values["baseUrl"]
    hub: dict[str, Any] = {
        "base_url": base,
        # A launch ends in Lab, not on a page of the hub; so does a reload after a server was lost.
        "default_url": f"{base}hub/spawn",
        "implicit_spawn_seconds": 1,
        "db_url": "sqlite:////srv/jupyterhub/jupyterhub.sqlite",
        "cookie_secret": bytes.fromhex(secret["cookie-secret"]),
        "hub_bind_url": "http://:8081",
        "hub_connect_url": "http://hub:8081",
        # A hub that restarts takes nothing with it.
        "cleanup_servers": False,
        "cleanup_proxy": False,
        # Compares the proxy's routes with what should be there: a proxy that was lost has them back that soon.
        "last_activity_interval": 5,
        # The page that shows the progress, at once.
        "tornado_settings": {"slow_spawn_timeout": 0},
        "services": [{"name": NGSHARE_SERVICE, "api_token": secret["ngshare-token"]}],
        "load_roles": [],
    }
    if values["publicUrl"]:
        hub["public_url"] = values["publicUrl"]
    return {
        "JupyterHub": hub,
        "ConfigurableHTTPProxy": {
            "should_start": False,
            "api_url": "http://proxy-api:8001",
            "auth_token": secret["proxy-token"],
        },
        "CryptKeeper": {"keys": [bytes.fromhex(secret["crypt-key"])]},
    }


def culler_settings(values: dict[str, Any]) -> Settings:
    """Return the idle culler as a service that the hub runs beside itself; empty if it is off."""
    cull = values["cull"]
    if not cull["enabled"]:
        return {}
    command = [
        sys.executable,
        "-m",
        "jupyterhub_idle_culler",
        # Not by the Service: no policy lets a pod reach itself that way.
        f"--url=http://127.0.0.1:8081{values['baseUrl']}hub/api",
        f"--timeout={cull['timeout']}",
        f"--cull-every={cull['every']}",
        f"--max-age={cull['maxAge']}",
    ]
    scopes = ["list:users", "read:users:activity", "read:servers", "delete:servers"]
    return {
        "JupyterHub": {
            "services": [{"name": "idle-culler", "command": command}],
            "load_roles": [{"name": "idle-culler", "scopes": scopes, "services": ["idle-culler"]}],
        }
    }


def login_settings(values: dict[str, Any]) -> Settings:
    """Return how people come in; the platform itself comes with `hub.config`."""
    authenticator: dict[str, Any] = {
        "course_id": values["course"],
        "replay_database": "/srv/jupyterhub/lti-replay.sqlite",
    }
    if values["config"].get("CourseAuthenticator", {}).get("lti13_platform"):
        authenticator["tool_jwks_file"] = str(LTI / "jwks.json")
    else:
        authenticator["lti11_consumer_dir"] = str(LTI)
    # ngshare knows its administrator by name only: nobody else may have it.
    return {
        "Authenticator": {"blocked_users": [NGSHARE_SERVICE, "idle-culler"]},
        "CourseAuthenticator": authenticator,
    }


def spawner_settings(values: dict[str, Any]) -> Settings:
    """Return what each person's server is and may."""
    user = values["singleuser"]
    storage = user["storage"]
    labels = {"campus.hubs/course": values["course"]}
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": {"component": "singleuser-server"}},
    }
    environment = {
        **user["extraEnv"],
        "COURSE_ID": values["course"],
        "NGSHARE_URL": NGSHARE_URL,
    }
    return {
        "Spawner": {
            "default_url": "/lab",
            "environment": environment,
            "start_timeout": user["startTimeout"],
            "http_timeout": user["httpTimeout"],
            # Reads the watched pods, no request: a pod that was lost is noticed that soon.
            "poll_interval": 5,
            "mem_guarantee": user["memory"]["guarantee"],
            "mem_limit": user["memory"]["limit"],
            "cpu_guarantee": user["cpu"]["guarantee"],
            "cpu_limit": user["cpu"]["limit"],
        },
        "KubeSpawner": {
            "image": user["image"],
            "image_pull_policy": user["pullPolicy"],
            "cmd": ["jupyterhub-singleuser"],
            "pod_name_template": "user-{user_server}",
            "pvc_name_template": "home-{user_server}",
            # Somebody who leaves the roster keeps their work.
            "delete_pvc": False,
            "storage_pvc_ensure": True,
            "storage_capacity": storage["capacity"],
            "storage_class": storage["dynamic"]["storageClass"] or None,
            "storage_access_modes": ["ReadWriteOnce"],
            "storage_extra_labels": labels,
            "extra_labels": labels,
            "volumes": [
                {"name": "home", "persistentVolumeClaim": {"claimName": "home-{user_server}"}},
                {"name": "tmp", "emptyDir": {"sizeLimit": "2Gi"}},
            ],
            "volume_mounts": [
                {"name": "home", "mountPath": storage["homeMountPath"]},
                {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the pod's own
            ],
            "working_dir": storage["homeMountPath"],
            "automount_service_account_token": False,
            "allow_privilege_escalation": False,
            "uid": 1000,
            "gid": 1000,
            "fs_gid": 1000,
            "pod_security_context": {
                "runAsNonRoot": True,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "container_security_context": {
                "runAsNonRoot": True,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            },
            "node_selector": user["nodeSelector"],
            "tolerations": user["extraTolerations"],
            "extra_resource_guarantees": user["extraResource"]["guarantees"],
            "extra_resource_limits": user["extraResource"]["limits"],
            # A server that crashed is over: its user gets a page with the reason, not a second try behind a spinner.
            "extra_pod_config": {
                "enableServiceLinks": False,
                "restartPolicy": "Never",
                "topologySpreadConstraints": [spread],
            },
        },
        "CourseSpawner": {"patience": user["patienceSeconds"]},
    }


def settings(values: dict[str, Any], secret: dict[str, str]) -> Settings:
    """Return all traits of the course's hub, class -> trait -> value, with `hub.config` over them."""
    result: Settings = {}
    for part in (
        hub_settings(values, secret),
        culler_settings(values),
        login_settings(values),
        spawner_settings(values),
    ):
        result = merged(result, part)
    return merged(result, values["config"])


def read_secret(folder: Path) -> dict[str, str]:
    """Return the fields of a mounted Secret."""
    return {path.name: path.read_text().strip() for path in folder.iterdir() if path.is_file()}


def configure(config: Any) -> None:  # noqa: ANN401 - a traitlets Config
    """Fill the configuration that JupyterHub hands in."""
    import campus_hubs_login as login  # noqa: PLC0415 - of the hub's image

    values = json.loads((HERE / "values.json").read_text())
    sys.path.insert(0, str(HERE))
    from exchange import Exchange  # noqa: PLC0415 - beside this file

    secret = read_secret(SECRETS)
    exchange = Exchange(NGSHARE_URL, secret["ngshare-token"], values["course"])

    def before_start(spawner: Any, state: dict[str, Any] | None) -> None:  # noqa: ANN401 - a Spawner
        spawner.environment.update(login.spawn_environment(state))
        if state:
            exchange.enrol_soon(spawner.user.name, state)

    login.limit_request_bodies()
    course = values["config"].get("CourseAuthenticator", {})
    lms = [url for url in (course.get("lms_url"), course.get("issuer")) if url]
    config.JupyterHub.authenticator_class = login.CourseAuthenticator
    config.JupyterHub.spawner_class = "course_spawner.CourseSpawner"
    config.JupyterHub.tornado_settings = login.tornado_settings(values["publicUrl"], lms)
    config.Spawner.auth_state_hook = before_start
    for name, traits in settings(values, secret).items():
        for trait, value in traits.items():
            old = config[name].get(trait)
            config[name][trait] = {**old, **value} if isinstance(old, dict) else value


# JupyterHub runs this file with get_config in its namespace.
if "get_config" in globals():
    configure(globals()["get_config"]())
