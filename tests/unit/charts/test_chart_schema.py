"""What the chart refuses, and what its schema says of each value."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from ansible_collections.campus.hubs.plugins.plugin_utils.json_schema import violations

from tests.readmes import CHART, Schema, resolved

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.unit.helm import Template

SCHEMA: Schema = json.loads((CHART / "values.schema.json").read_text())

WRONG = {
    "unknown": "--set-json=hubs={}",
    "hub.imgae": '--set-json=hub.imgae={"name":"x"}',
    "hub.db.size": "--set=hub.db.size=1Gi",
    "hub.image.name": "--set-string=hub.image.name=",
    "hub.config": "--set-json=hub.config=[]",
    "class name": '--set-json=hub.config={"jupyterHub":{}}',
    "traits": '--set-json=hub.config={"JupyterHub":1}',
    "hub.baseUrl": "--set=hub.baseUrl=python",
    "hub.publicUrl": "--set=hub.publicUrl=hub.example.edu",
    "timezone": "--set=timezone=../../etc/passwd",
    "hub.extraEnv": '--set-json=hub.extraEnv={"A":1}',
    "hub.resources.limits.gpu": "--set=hub.resources.limits.gpu=1",
    "singleuser.memory.limits": "--set=singleuser.memory.limits=2G",
    "singleuser.memory.limit": "--set-string=singleuser.memory.limit=two",
    "singleuser.memory.limit Gi": "--set-string=singleuser.memory.limit=2Gi",
    "singleuser.cpu.limit": "--set-json=singleuser.cpu.limit=0",
    "singleuser.storage.capacity": "--set-string=singleuser.storage.capacity=10 GB",
    "singleuser.storage.homeMountPath": "--set=singleuser.storage.homeMountPath=home",
    "singleuser.startTimeout": "--set=singleuser.startTimeout=0",
    "singleuser.extraTolerations": '--set-json=singleuser.extraTolerations=[{"kye":"gpu"}]',
    "cull.every": "--set-string=cull.every=5m",
    "cull.users": "--set=cull.users=true",
    "proxy.service.type": "--set=proxy.service.type=NodePort",
    "proxy.service.loadBalancerIP": "--set=proxy.service.loadBalancerIP=hub.example.edu",
    "proxy.https.secret": "--set=proxy.https.secret=hub-tls",
    "exchange.replicas": "--set=exchange.replicas=2",
    "networkPolicy.enabled": "--set=networkPolicy.enabled=false",
    "networkPolicy.apiServer.cidrs": "--set-json=networkPolicy.apiServer.cidrs=[]",
    "a host, not a network": '--set-json=networkPolicy.apiServer.cidrs=["192.0.2.11"]',
    "an egress rule to everywhere": '--set-json=singleuser.networkPolicy.egress=[{"ports":[]}]',
    "checksum.hub": "--set=checksum.hub=x",
}


@pytest.mark.parametrize("argument", WRONG.values(), ids=WRONG)
def test_wrong_values_are_refused(template: Template, argument: str) -> None:
    with pytest.raises(ValueError, match="don't meet the specifications of the schema"):
        template("minimal", argument)


def test_images_have_to_be_named(template: Template) -> None:
    for image in ("hub", "singleuser", "proxy.chp", "exchange"):
        with pytest.raises(ValueError, match="image/name"):
            template("minimal", f"--set={image}.image.name=")


def properties(part: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Yield path and schema of all that somebody can set."""
    for name, given in part.get("properties", {}).items():
        known = resolved(given, SCHEMA)
        yield f"{path}.{name}", known
        yield from properties(known, f"{path}.{name}")
    for word in ("items", "additionalProperties"):
        if isinstance(part.get(word), dict):
            yield from properties(resolved(part[word], SCHEMA), f"{path}.{word}")


def test_every_value_is_described() -> None:
    found = dict(properties(SCHEMA))
    assert len(found) > 150
    assert ".singleuser.sharedVolumes.items.claim" in found
    assert ".prePuller.extraImages.additionalProperties.name" in found
    assert not [path for path, known in found.items() if not known.get("description", "").endswith(".")]


def test_a_message_has_the_form_of_a_value_not_its_description() -> None:
    values = {"singleuser": {"memory": {"limit": "2Gi"}, "homesAhead": "yes", "startTimeout": "5m"}}
    wanted = {wrong.path[-1]: wrong.expected for wrong in violations(values, SCHEMA, SCHEMA) if len(wrong.path) > 1}
    assert wanted.pop("guarantee") == wanted.pop("limit") == "a size in K, M, G or T, such as 512M or 2G"
    assert wanted == {"homesAhead": "true or false", "startTimeout": "a whole number"}
