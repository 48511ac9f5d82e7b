"""What a course sets for its servers: from the chart's values to the pod that is asked for and the page of choices."""

from __future__ import annotations

import asyncio
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from campus_hubs_hub import homes, sandbox, settings

from tests.unit.images.hub.rendered import hub_settings, hub_values, pod, spawner

if TYPE_CHECKING:
    from tests.unit.helm import Template

GPU = "nvidia.com/gpu"


def environment(container: dict[str, Any]) -> dict[str, str]:
    """Return what the container sees: Kubernetes puts in variables that stand before, and halves `$$`."""
    found: dict[str, str] = {}
    for item in container["env"]:
        found[item["name"]] = re.sub(
            r"\$(?:\$|\(([^)]*)\))",
            lambda match: "$" if match[1] is None else found.get(match[1], match[0]),
            item.get("value", ""),
        )
    return found


class Page(HTMLParser):
    """The elements of a page with their attributes, and each label's text by what it labels."""

    def __init__(self, text: str) -> None:
        """Read the page."""
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self._in = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element; text that follows is its own, or what a label labels."""
        self.elements.append((tag, dict(attrs)))
        self._in = dict(attrs).get("for") or dict(attrs).get("id") or tag

    def handle_data(self, data: str) -> None:
        """Note a text."""
        self.texts[self._in] = self.texts.get(self._in, "") + data

    def handle_endtag(self, tag: str) -> None:
        """Leave an element."""
        self._in = ""


def test_a_course_without_profiles_asks_nothing(template: Template) -> None:
    assert spawner(hub_settings(template, "minimal")).options_form == ""


def test_the_choice_is_a_labelled_group_of_radio_buttons(template: Template) -> None:
    page = Page(spawner(hub_settings(template, "full")).options_form)
    radios = [attributes for tag, attributes in page.elements if tag == "input"]
    assert {radio["name"] for radio in radios} == {"profile"}
    assert ["checked" in radio for radio in radios] == [True, False]
    assert [page.texts[str(radio["id"])].strip() for radio in radios] == ["Text & notes", "Training <GPU>"]
    assert page.texts[str(radios[0]["aria-describedby"])] == "Up to 2 cores and 2G of memory"
    tags = [tag for tag, _ in page.elements]
    assert tags[:2] == ["fieldset", "legend"]
    assert len({attributes["id"] for _, attributes in page.elements if "id" in attributes}) == 3
    assert "script" not in tags


@pytest.mark.parametrize(("before", "checked"), [("training-gpu", [False, True]), ("no-longer-there", [True, False])])
def test_the_last_choice_is_offered_again(template: Template, before: str, checked: list[bool]) -> None:
    made = hub_settings(template, "full")
    slugs = [str(a["value"]) for tag, a in Page(spawner(made).options_form).elements if tag == "input"]
    last = slugs[1] if before == "training-gpu" else before
    page = Page(spawner(made, profile=last).options_form)
    assert ["checked" in a for tag, a in page.elements if tag == "input"] == checked


def test_what_is_chosen_is_what_starts(template: Template) -> None:
    made = hub_settings(template, "full")
    slugs = [str(a["value"]) for tag, a in Page(spawner(made).options_form).elements if tag == "input"]
    usual = pod(made)
    chosen = pod(made, profile=slugs[1])
    assert usual["containers"][0]["image"] == "registry/singleuser:1"
    assert usual["containers"][0]["resources"]["limits"]["memory"] == 2 * 1024**3
    assert usual["containers"][0]["resources"]["limits"][GPU] == 1
    assert chosen["containers"][0]["image"] == "registry/training:1"
    assert chosen["containers"][0]["resources"]["limits"]["memory"] == 4 * 1024**3
    assert chosen["containers"][0]["resources"]["limits"][GPU] == 2
    assert chosen["tolerations"] == [{"key": GPU, "operator": "Exists", "effect": "NoSchedule"}]
    # Whichever it is, the material comes by the course's image.
    assert chosen["initContainers"][0]["image"] == "registry/singleuser:1"


def test_a_single_profile_is_what_everybody_gets(template: Template) -> None:
    override = {"image": "registry/own:2", "mem_limit": "8G", "extra_resource_limits": {GPU: 1}}
    profiles = json.dumps([{"display_name": "Large", "kubespawner_override": override}])
    made = hub_settings(template, "minimal", f"--set-json=singleuser.profileList={profiles}")
    assert spawner(made).options_form == ""
    container = pod(made)["containers"][0]
    assert container["image"] == "registry/own:2"
    assert container["resources"]["limits"] == {"cpu": 2, "memory": 8 * 1024**3, GPU: 1}


def test_material_is_brought_before_the_server_starts(template: Template) -> None:
    spec = pod(hub_settings(template, "full"))
    fetch, merge = spec["initContainers"]
    common = {
        "MATERIAL_GIT": "git@git.example.edu:python/material.git",
        "MATERIAL_BRANCH": "main",
        "MATERIAL_DIR": "material",
        "MATERIAL_CACHE": "/srv/material",
    }
    assert environment(fetch) == {"HOME": "/tmp", **common}  # noqa: S108 - the pod's own
    assert environment(merge) == {"HOME": "/home/jovyan", **common}
    for container, name in ((fetch, "fetch"), (merge, "merge")):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]
        # Nothing in the folder that it stands in, or in a home, is code to it.
        assert f"python3 -I -m campus_hubs_lab.material {name}" in container["command"][-1]
        assert container["workingDir"] == "/"


def test_nothing_of_the_material_keeps_a_server_from_starting(template: Template, tmp_path: Path) -> None:
    (volume,) = [v for v in pod(hub_settings(template, "full"))["volumes"] if v["name"] == "material-key"]
    assert volume["secret"]["optional"] is True

    async def run(container: dict[str, Any]) -> int | None:
        (tmp_path / "python3").write_text("#!/bin/sh\nulimit -d > memory\nexit 7\n")
        (tmp_path / "python3").chmod(0o755)
        done = await asyncio.create_subprocess_exec(
            *container["command"], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, cwd=tmp_path
        )
        return await done.wait()

    for container in pod(hub_settings(template, "full"))["initContainers"]:
        assert asyncio.run(run(container)) == 0
        # A container that is killed for its memory ends the start, whatever its command ends with.
        assert container["resources"]["limits"]["memory"] == "1Gi"
        assert int((tmp_path / "memory").read_text()) <= 800 * 1024


def test_who_has_the_deploy_key_has_nothing_of_the_persons(template: Template) -> None:
    """Nor a folder in which it may leave a copy for the others."""
    spec = pod(hub_settings(template, "full"))
    mounts = {
        container["name"]: {mount["name"] for mount in container["volumeMounts"]}
        for container in spec["initContainers"] + spec["containers"]
    }
    assert [name for name, found in mounts.items() if "material-key" in found] == ["material-fetch"]
    others = set().union(*(found for name, found in mounts.items() if name != "material-fetch"))
    assert mounts["material-fetch"] & others == {"material"}
    assert "material" not in mounts["notebook"]


def test_no_material_no_container(template: Template) -> None:
    spec = pod(hub_settings(template, "minimal"))
    assert not spec.get("initContainers")
    assert {volume["name"] for volume in spec["volumes"]} == {"home", "tmp"}


def test_the_environment_is_taken_word_for_word(template: Template) -> None:
    dollars = "$$ $(TZ) $${x} $"
    extra = json.dumps({"OPTIONS": '{"depth": {"max": 3}}', "TZ": "Europe/Berlin", "OPEN": "{", "DOLLARS": dollars})
    made = hub_settings(template, "minimal", f"--set-json=singleuser.extraEnv={extra}")
    found = environment(pod(made)["containers"][0])
    assert found["OPTIONS"] == '{"depth": {"max": 3}}'
    assert found["TZ"] == "Europe/Berlin"
    assert found["OPEN"] == "{"
    assert found["DOLLARS"] == dollars


def test_the_campus_s_time_zone(template: Template) -> None:
    zone = "--set=timezone=Europe/Vienna"
    assert environment(pod(hub_settings(template, "minimal", zone))["containers"][0])["TZ"] == "Europe/Vienna"
    assert "TZ" not in environment(pod(hub_settings(template, "minimal"))["containers"][0])
    # What a course sets for itself counts, once.
    assert environment(pod(hub_settings(template, "full", zone))["containers"][0])["TZ"] == "Europe/Berlin"
    for values, hubs in (("minimal", "Europe/Vienna"), ("full", "Europe/Berlin")):
        (hub,) = [
            one
            for one in yaml.safe_load_all(template(values, zone))
            if one and (one["kind"], one["metadata"]["name"]) == ("Deployment", "hub")
        ]
        found = [each for each in hub["spec"]["template"]["spec"]["containers"][0]["env"] if each["name"] == "TZ"]
        assert found == [{"name": "TZ", "value": hubs}]


def test_the_system_s_own_environment_can_not_be_set(template: Template) -> None:
    made = hub_settings(template, "minimal", "--set=singleuser.extraEnv.COURSE_ID=other")
    assert environment(pod(made)["containers"][0])["COURSE_ID"] == "python-ws26"


@pytest.mark.parametrize(("values", "wanted"), [("minimal", None), ("full", "1")])
def test_grades_are_sent_on_feedback_where_the_course_says_so(
    template: Template, values: str, wanted: str | None
) -> None:
    found = environment(pod(hub_settings(template, values))["containers"][0])
    assert found.get("COURSE_SEND_GRADES_ON_FEEDBACK") == wanted


OWN: dict[str, dict[str, Any]] = {
    "volumes": {"name": "data", "nfs": {"server": "192.0.2.7", "path": "/data"}},
    "volume_mounts": {"name": "data", "mountPath": "/data"},
    "init_containers": {"name": "first", "image": "busybox"},
    "extra_containers": {"name": "beside", "image": "busybox"},
    "tolerations": {"key": "mine", "operator": "Exists"},
    "image_pull_secrets": {"name": "mine"},
}
ENVIRONMENT, LABELS = {"MINE": "1"}, {"example.edu/mine": "yes"}


def own(kind: str) -> dict[str, Any]:
    """Return settings of an administrator, with lists as lists or as dictionaries."""
    lists = {trait: [item] if kind == "list" else {"a": item} for trait, item in OWN.items()}
    return {**lists, "environment": ENVIRONMENT, "extra_labels": LABELS}


def without_ours(spec: dict[str, Any], usual: dict[str, Any]) -> dict[str, Any]:
    """Return what a pod has beside what it has without settings, which is all there."""
    found: dict[str, Any] = {}
    for name, part in (("", ""), *((name, "containers") for name in ("volumeMounts", "env"))):
        ours, all_of_it = (one[part][0] if part else one for one in (usual, spec))
        for field in [name] if name else ["volumes", "initContainers", "containers", "tolerations", "imagePullSecrets"]:
            before, after = ours.get(field) or [], all_of_it.get(field) or []
            if field == "containers":
                before, after = [one["name"] for one in before], [one["name"] for one in after]
            assert [one for one in before if one not in after] == [], field
            found[field] = [one for one in after if one not in before]
    return found


@pytest.mark.parametrize("kind", ["list", "dictionary"])
@pytest.mark.parametrize("way", ["KubeSpawner", "CourseSpawner", "profile", "one of two profiles"])
def test_what_an_administrator_adds_takes_nothing_away(template: Template, kind: str, way: str) -> None:
    if way.endswith("Spawner"):
        arguments = [f"--set-json=hub.config={json.dumps({way: own(kind)})}"]
    else:
        profiles = [{"display_name": "A", "slug": "a", "kubespawner_override": own(kind)}]
        profiles += [{"display_name": "B"}] if way != "profile" else []
        arguments = [f"--set-json=singleuser.profileList={json.dumps(profiles)}"]
    material = '--set-json=singleuser.material={"git":"https://a/b","branch":"","directory":"","secretName":""}'
    tolerated = '--set-json=singleuser.extraTolerations=[{"key":"gpu","operator":"Exists"}]'
    usual = pod(hub_settings(template, "minimal", material, *([tolerated] if way.endswith("Spawner") else [])))
    spec = pod(
        hub_settings(template, "minimal", material, *arguments, *([tolerated] if way.endswith("Spawner") else []))
    )
    found = without_ours(spec, usual)
    assert found["volumes"] == [OWN["volumes"]]
    assert found["volumeMounts"] == [OWN["volume_mounts"]]
    assert [container["name"] for container in found["initContainers"]] == ["first"]
    assert found["containers"] == ["beside"]
    assert found["tolerations"] == [OWN["tolerations"]]
    assert found["imagePullSecrets"] == [OWN["image_pull_secrets"]]
    assert {"name": "MINE", "value": "1"} in found["env"]
    assert len(spec["initContainers"]) == 3


def test_nothing_takes_the_place_of_ours(template: Template) -> None:
    """Also where nobody has checked the inventory."""
    wrong = {
        "volumes": [{"name": "home", "emptyDir": {}}],
        "volume_mounts": [{"name": "x", "mountPath": "/home/jovyan/"}, {"name": "home", "mountPath": "/mine"}],
    }
    spec = pod(hub_settings(template, "minimal", f"--set-json=hub.config={json.dumps({'KubeSpawner': wrong})}"))
    assert [volume for volume in spec["volumes"] if volume["name"] == "home"] == [
        {"name": "home", "persistentVolumeClaim": {"claimName": "home-uabcdefgh23456777"}}
    ]
    mounts = [(mount["name"], mount["mountPath"]) for mount in spec["containers"][0]["volumeMounts"]]
    assert mounts == [("home", "/home/jovyan"), ("tmp", "/tmp"), ("home", "/mine")]  # noqa: S108


def puller(template: Template, name: str, *arguments: str) -> dict[str, Any] | None:
    objects = [manifest for manifest in yaml.safe_load_all(template(name, *arguments)) if manifest]
    found = [manifest["spec"] for manifest in objects if manifest["kind"] == "DaemonSet"]
    return found[0] if found else None


def test_images_of_the_course_alone_are_held_on_the_nodes(template: Template) -> None:
    assert puller(template, "minimal") is None
    found = puller(template, "full")
    assert found
    spec = found["template"]["spec"]
    assert [container["image"] for container in spec["containers"]] == ["registry/training:1"]
    # Where user pods may run, and nowhere else.
    assert spec["nodeSelector"] == {"gpu": "yes"}
    assert {toleration["key"] for toleration in spec["tolerations"]} == {"gpu", GPU}
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in spec["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]


OF_PEOPLE = {"server", "sandbox", "home"}


@pytest.mark.parametrize("own", [[], ["mine"], "mine", [{"name": "mine"}]])
def test_every_pod_is_pulled_with_the_course_s_secrets(template: Template, own: Any) -> None:  # noqa: ANN401
    config = json.dumps({"KubeSpawner": {"image_pull_secrets": own}} if own else {})
    arguments = ['--set-json=imagePullSecrets=["registry"]', f"--set-json=hub.config={config}"]
    objects = [manifest for manifest in yaml.safe_load_all(template("full", *arguments)) if manifest]
    pods = {
        (m["kind"], m["metadata"]["name"]): m["spec"]["template"]["spec"]
        for m in objects
        if "template" in (m.get("spec") or {})
    }
    assert len(pods) == 4
    made = hub_settings(template, "full", *arguments)
    graded = settings.sandbox_settings(hub_values(template, "full", *arguments), made["KubeSpawner"])
    theirs = [{"name": "mine"}] if own else []
    for name, spec in {
        **{f"{kind} {name}": spec for (kind, name), spec in pods.items()},
        "server": pod(made),
        "sandbox": sandbox.sandbox_pod(graded, "sandbox-1", "u1", "token")["spec"],
        "home": homes.pod_manifest("u1", made["KubeSpawner"], [], teaches=False)["spec"],
    }.items():
        assert spec["imagePullSecrets"] == [{"name": "registry"}, *(theirs if name in OF_PEOPLE else [])], name
    (allowed,) = [m["data"]["pullSecrets"] for m in objects if m["metadata"]["name"] == "hub-pods"]
    assert allowed.split() == ["registry", *(["mine"] if own else [])]


def test_a_public_registry_needs_none(template: Template) -> None:
    assert "imagePullSecrets: []" not in template("full")
    assert not pod(hub_settings(template, "full")).get("imagePullSecrets")


def test_the_campus_s_authorities_are_trusted_where_others_are_reached(template: Template) -> None:
    authority = json.dumps("-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----\n")
    arguments = [f"--set-json=caCertificates={authority}", "--set=singleuser.extraEnv.https_proxy=http://proxy:3128"]
    objects = [manifest for manifest in yaml.safe_load_all(template("full", *arguments)) if manifest]
    (text,) = [m["data"]["ca.crt"] for m in objects if m["metadata"]["name"] == "ca"]
    assert json.dumps(text) == authority
    for name in ("hub", "exchange"):
        (found,) = [
            m["spec"]["template"] for m in objects if (m["kind"], m["metadata"]["name"]) == ("Deployment", name)
        ]
        (container,) = found["spec"]["containers"]
        assert environment(container)["SSL_CERT_FILE"] == "/etc/campus-hubs/ca/ca.crt"
        assert {"name": "ca", "mountPath": "/etc/campus-hubs/ca", "readOnly": True} in container["volumeMounts"]
        assert {"name": "ca", "configMap": {"name": "ca"}} in found["spec"]["volumes"]
        assert "checksum/ca" in found["metadata"]["annotations"]
    spec = pod(hub_settings(template, "full", *arguments))
    fetch, merge = spec["initContainers"]
    (server,) = spec["containers"]
    assert environment(server)["COURSE_CA_FILE"] == environment(fetch)["GIT_SSL_CAINFO"] == "/etc/campus-hubs/ca/ca.crt"
    assert environment(fetch)["https_proxy"] == "http://proxy:3128"
    assert [any(m["name"] == "ca" for m in container["volumeMounts"]) for container in (fetch, merge, server)] == [
        1,
        0,
        1,
    ]
    (allowed,) = [m["data"]["volumes"] for m in objects if m["metadata"]["name"] == "hub-pods"]
    assert "configMap:ca" in allowed.split()


def test_without_an_authority_there_is_nothing_of_it(template: Template) -> None:
    rendered = template("full")
    assert "SSL_CERT_FILE" not in rendered
    assert "configMap:ca" not in rendered
    assert "COURSE_CA_FILE" not in environment(pod(hub_settings(template, "full"))["containers"][0])
