"""What the chart renders for the hub, and the settings that the hub makes of it."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import yaml
from campus_hubs_hub import settings
from kubernetes_asyncio.client import ApiClient
from kubespawner import KubeSpawner
from traitlets.config import Config

if TYPE_CHECKING:
    from tests.unit.helm import Template

SECRET = {"cookie-secret": "00" * 32, "crypt-key": "11" * 32, "proxy-token": "22" * 32, "exchange-token": "33" * 32}


def hub_files(template: Template, name: str, *arguments: str) -> dict[str, str]:
    """Return the files of the hub's ConfigMap, with values/`name`.yaml and further arguments of helm."""
    manifests = yaml.safe_load_all(template(name, *arguments))
    (files,) = [m["data"] for m in manifests if m and (m["kind"], m["metadata"]["name"]) == ("ConfigMap", "hub")]
    found: dict[str, str] = files
    return found


def hub_values(template: Template, name: str, *arguments: str) -> dict[str, Any]:
    """Return what the hub reads of the chart's values; arguments as of `hub_files`."""
    values: dict[str, Any] = json.loads(hub_files(template, name, *arguments)["values.json"])
    return values


def hub_settings(template: Template, name: str, *arguments: str) -> dict[str, Any]:
    """Return class -> trait -> value; arguments as of `hub_files`."""
    return settings.settings(hub_values(template, name, *arguments), SECRET)


def spawner(made: dict[str, Any], **options: str) -> Any:  # noqa: ANN401
    """Return a KubeSpawner of these settings and choices, without a cluster."""
    config = Config({name: made[name] for name in ("Spawner", "KubeSpawner")})
    user = SimpleNamespace(name="uabcdefgh23456777", groups=[], id=1, url="/user/x/")
    hub = SimpleNamespace(
        public_host="", api_url="http://hub:8081/hub/api", base_url="/hub/", url="http://hub:8081/hub/"
    )
    orm = SimpleNamespace(name="", server=None, user_options=None, state=None)
    with patch("kubespawner.spawner.load_config"), patch("kubespawner.spawner.shared_client"):
        made_one = KubeSpawner(
            config=config, _mock=True, user=user, hub=hub, orm_spawner=orm, namespace="course-python-ws26"
        )
    made_one.api_token = "token"
    made_one.oauth_client_id = "client"
    made_one.user_options = options
    return made_one


def pod(made: dict[str, Any], **options: str) -> dict[str, Any]:
    """Return the pod that is asked for by someone with these choices."""

    async def get() -> dict[str, Any]:
        one = spawner(made, **options)
        await one.load_user_options()
        manifest = await one.get_pod_manifest()
        async with ApiClient() as client:
            result: dict[str, Any] = client.sanitize_for_serialization(manifest)["spec"]
        return result

    return asyncio.run(get())
