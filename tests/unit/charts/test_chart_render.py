"""What must hold for everything that the chart renders."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from ansible_collections.campus.hubs.plugins.module_utils._course_state.findings import DesiredCourse
from ansible_collections.campus.hubs.plugins.module_utils._course_state.impact import render
from ansible_collections.campus.hubs.plugins.module_utils._course_state.release import Chart, decode
from ansible_collections.campus.hubs.plugins.plugin_utils.release_values import chart_checksum

from tests.unit.helm import CHART, VALUES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.unit.charts.conftest import Manifest
    from tests.unit.helm import Template


EVERYWHERE = "0.0.0.0/0"
HUB = "http://hub.course-python-ws26.svc.cluster.local:8081"


def of_kind(manifests: list[Manifest], kind: str) -> dict[str, Manifest]:
    return {manifest["metadata"]["name"]: manifest for manifest in manifests if manifest["kind"] == kind}


def pods(manifests: list[Manifest]) -> Iterator[dict[str, Any]]:
    for deployment in of_kind(manifests, "Deployment").values():
        yield deployment["spec"]["template"]["spec"]


def containers(manifests: list[Manifest]) -> Iterator[dict[str, Any]]:
    for pod in pods(manifests):
        yield from pod["containers"] + pod.get("initContainers", [])


def objects(text: str) -> list[Manifest]:
    return [manifest for manifest in yaml.safe_load_all(text) if manifest]


def release(helm: Path, *arguments: str, chart: Path = CHART, name: str = "python-ws26") -> dict[str, Any]:
    """Return Helm's record of a release, as it would be kept."""
    command = [str(helm), "install", name, str(chart), f"--namespace=course-{name}", "--kubeconfig=/dev/null"]
    command += [f"--values={VALUES / 'minimal.yaml'}", "--dry-run=client", "--output=json", *arguments]
    done = subprocess.run(command, check=True, capture_output=True)  # noqa: S603
    record = json.loads(done.stdout)
    assert isinstance(record, dict)
    return record


@pytest.mark.parametrize("values", sorted(path.name for path in VALUES.glob("*.yaml")))
def test_lint(helm: Path, values: str) -> None:
    command = [str(helm), "lint", "--strict", str(CHART), f"--values={VALUES / values}"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("values", ["minimal", "full", "internal"])
def test_two_renders_are_byte_identical(template: Template, values: str) -> None:
    assert template(values) == template(values)


def test_one_of_each_name(manifests: list[Manifest]) -> None:
    names = [(manifest["kind"], manifest["metadata"]["name"]) for manifest in manifests]
    assert len(names) == len(set(names))
    assert set(of_kind(manifests, "Deployment")) == {"hub", "proxy", "exchange"}


def test_nothing_outside_the_namespace(manifests: list[Manifest]) -> None:
    cluster_wide = {"ClusterRole", "ClusterRoleBinding", "Namespace", "PriorityClass", "StorageClass"}
    assert not cluster_wide & {manifest["kind"] for manifest in manifests}
    assert not [m for m in manifests if m["metadata"].get("namespace", "course-python-ws26") != "course-python-ws26"]


def test_no_secret_is_rendered(manifests: list[Manifest]) -> None:
    assert not of_kind(manifests, "Secret")


def test_pods_are_restricted(manifests: list[Manifest]) -> None:
    for pod in pods(manifests):
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] == 1000
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["enableServiceLinks"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        assert {next(iter(set(volume) - {"name"})) for volume in pod.get("volumes", [])} <= {
            "configMap",
            "emptyDir",
            "persistentVolumeClaim",
            "secret",
        }


def test_containers_are_restricted_and_limited(manifests: list[Manifest]) -> None:
    for container in containers(manifests):
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["readOnlyRootFilesystem"] is True
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]
        assert container["resources"]["requests"]["memory"]
        assert {"readinessProbe", "livenessProbe"} <= set(container)


def test_only_the_hub_has_a_token_and_little_to_do_with_it(manifests: list[Manifest]) -> None:
    for pod in pods(manifests):
        is_hub = pod["containers"][0]["name"] == "hub"
        assert pod.get("automountServiceAccountToken", True) is is_hub
        assert pod.get("serviceAccountName") == ("hub" if is_hub else None)
    (role,) = of_kind(manifests, "Role").values()
    rights = {
        (group, r): set(rule["verbs"])
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for r in rule["resources"]
    }
    assert set(rights) == {("", "pods"), ("", "persistentvolumeclaims"), ("", "events")}
    assert "delete" not in rights["", "persistentvolumeclaims"]


def test_data_outlives_the_release(manifests: list[Manifest]) -> None:
    claims = of_kind(manifests, "PersistentVolumeClaim")
    assert set(claims) == {"hub-db", "exchange", "course"}
    for claim in claims.values():
        assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_writers_of_one_database_never_overlap(manifests: list[Manifest]) -> None:
    for deployment in of_kind(manifests, "Deployment").values():
        assert deployment["spec"]["replicas"] == 1
        assert deployment["spec"]["strategy"] == {"type": "Recreate"}


def test_only_the_proxy_is_outside(manifests: list[Manifest]) -> None:
    services = of_kind(manifests, "Service")
    outside = services.pop("proxy")
    assert {port["port"] for port in outside["spec"]["ports"]} <= {80, 443}
    for service in services.values():
        assert service["spec"].get("type", "ClusterIP") == "ClusterIP"


def test_every_pod_is_found_by_a_budget(manifests: list[Manifest]) -> None:
    budgets = {
        b["spec"]["selector"]["matchLabels"]["component"] for b in of_kind(manifests, "PodDisruptionBudget").values()
    }
    labels = {
        d["spec"]["template"]["metadata"]["labels"]["component"] for d in of_kind(manifests, "Deployment").values()
    }
    assert labels <= budgets


def peers(rules: list[dict[str, Any]]) -> set[tuple[str, int]]:
    """Return (component or network, port) of rules."""
    result = set()
    for rule in rules:
        for port in rule.get("ports", [{"port": 0}]):
            for peer in rule.get("to", rule.get("from", [{}])):
                labels = peer.get("podSelector", {}).get("matchLabels", {})
                name = labels.get("component") or peer.get("ipBlock", {}).get("cidr") or ",".join(labels.values())
                result.add((name, port["port"]))
    return result


def test_default_is_to_deny(manifests: list[Manifest]) -> None:
    deny = of_kind(manifests, "NetworkPolicy")["default-deny"]
    assert deny["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert deny["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_policies_stay_in_the_namespace(manifests: list[Manifest]) -> None:
    for name, policy in of_kind(manifests, "NetworkPolicy").items():
        for direction in ("ingress", "egress"):
            for rule in policy["spec"].get(direction, []):
                for peer in rule.get("to", rule.get("from", [])):
                    assert "namespaceSelector" not in peer or name == "dns"


def test_what_a_user_pod_reaches(template: Template) -> None:
    policies = of_kind(objects(template("minimal")), "NetworkPolicy")
    user = policies["singleuser"]["spec"]
    assert user["podSelector"] == {"matchLabels": {"component": "singleuser-server"}}
    assert peers(user["ingress"]) == {("hub", 8888), ("proxy", 8888)}
    assert peers(user["egress"]) == {
        ("hub", 8081),
        ("proxy", 8000),
        ("exchange", 8080),
        (EVERYWHERE, 80),
        (EVERYWHERE, 443),
    }
    (internet,) = [p["ipBlock"] for rule in user["egress"] for p in rule["to"] if "ipBlock" in p]
    assert {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"} <= set(internet["except"])
    closed = objects(template("minimal", "--set-json=singleuser.networkPolicy.internetPorts=[]"))
    assert EVERYWHERE not in dict(peers(of_kind(closed, "NetworkPolicy")["singleuser"]["spec"]["egress"]))


URL = re.compile(r"https?://([^/:\"\s]+)")


@pytest.mark.parametrize("values", ["minimal", "full", "internal"])
def test_no_search_domain_of_a_node_is_asked(template: Template, values: str) -> None:
    known = objects(template(values, '--set-json=dns={"nameservers":["10.96.0.10"],"clusterDomain":"campus.test"}'))
    here = "course-python-ws26.svc.campus.test"
    data = json.loads(of_kind(known, "ConfigMap")["hub"]["data"]["values.json"])
    people = {"dnsPolicy": data["dns"]["policy"], "dnsConfig": data["dns"]["config"]}
    for pod in [*pods(known), people]:
        assert pod["dnsPolicy"] == "None"
        assert pod["dnsConfig"] == {
            "nameservers": ["10.96.0.10"],
            "searches": [here],
            "options": [{"name": "ndots", "value": "1"}],
        }
    # On a cluster whose name server is not known, a whole name is at least tried first.
    for pod in pods(objects(template(values))):
        assert "dnsPolicy" not in pod
        assert pod["dnsConfig"] == {"options": [{"name": "ndots", "value": "1"}]}
    ours = {host for pod in pods(known) for host in URL.findall(json.dumps(pod)) if "example.edu" not in host}
    assert ours == {f"hub.{here}"}
    assert data["hosts"] == {"hub": f"hub.{here}", "proxy": f"proxy-api.{here}", "exchange": f"exchange.{here}"}


def test_what_the_hub_reaches(template: Template) -> None:
    policies = of_kind(objects(template("full")), "NetworkPolicy")
    hub = policies["hub"]["spec"]
    assert peers(hub["ingress"]) == {("proxy", 8081), ("exchange", 8081), ("singleuser-server", 8081)}
    assert peers(hub["egress"]) == {
        ("192.0.2.11/32", 7443),
        ("192.0.2.12/32", 7443),
        ("192.0.2.80/32", 443),
        ("proxy", 8001),
        ("exchange", 8080),
        ("singleuser-server", 8888),
    }


def test_the_proxy_api_is_for_the_hub_only(manifests: list[Manifest]) -> None:
    proxy = of_kind(manifests, "NetworkPolicy")["proxy"]["spec"]
    assert {name for name, port in peers(proxy["ingress"]) if port == 8001} == {"hub"}
    assert {port for name, port in peers(proxy["ingress"]) if not name} <= {8000, 8443}


def test_policies_and_services_agree_with_the_ports(manifests: list[Manifest]) -> None:
    policies = of_kind(manifests, "NetworkPolicy")
    for name, deployment in of_kind(manifests, "Deployment").items():
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        assert {port["containerPort"] for port in container["ports"]} == {
            port for _, port in peers(policies[name]["spec"]["ingress"])
        }


def test_base_url_is_everywhere(template: Template) -> None:
    deployments = of_kind(objects(template("full")), "Deployment")
    hub = deployments["hub"]["spec"]["template"]["spec"]["containers"][0]
    assert {hub[probe]["httpGet"]["path"] for probe in hub if probe.endswith("Probe")} == {"/python/hub/health"}
    proxy = deployments["proxy"]["spec"]["template"]["spec"]["containers"][0]["command"]
    assert f"--error-target={HUB}/python/hub/error" in proxy
    assert f"--default-target={HUB}" in proxy
    exchange = deployments["exchange"]["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {"name": "JUPYTERHUB_API_URL", "value": f"{HUB}/python/hub/api"} in exchange


def test_https_is_optional(template: Template) -> None:
    plain, tls = (
        of_kind(objects(template(values)), "Service")["proxy"]["spec"]["ports"] for values in ("minimal", "full")
    )
    assert [port["port"] for port in plain] == [80]
    assert [port["port"] for port in tls] == [80, 443]


def checksum(text: str, deployment: str) -> dict[str, str]:
    annotations = of_kind(objects(text), "Deployment")[deployment]["spec"]["template"]["metadata"]["annotations"]
    assert isinstance(annotations, dict)
    return annotations


def test_what_rolls_the_hub(template: Template) -> None:
    before = template("minimal")
    culled = template("minimal", "--set=cull.timeout=60")
    assert checksum(culled, "hub") != checksum(before, "hub")
    assert checksum(culled, "proxy") == checksum(before, "proxy")
    renewed = template("minimal", "--set=checksum.secrets=other")
    for deployment in ("hub", "proxy", "exchange"):
        assert checksum(renewed, deployment) != checksum(before, deployment)
    program = template("minimal", "--set=hub.image.name=registry/hub@sha256:ff")
    others = [m for m in objects(program) if m not in objects(before)]
    assert [(m["kind"], m["metadata"]["name"]) for m in others] == [("Deployment", "hub"), ("Pod", "test")]
    edited = template("minimal", "--set=checksum.chart=other", "--set=exchange.resources.limits.memory=1Gi")
    assert checksum(edited, "hub") == checksum(before, "hub")


def test_the_secret_of_the_lti_version_is_mounted(template: Template) -> None:
    for values, secret in (("minimal", "lti11-consumer"), ("full", "lti13-key")):
        hub = of_kind(objects(template(values)), "Deployment")["hub"]["spec"]["template"]["spec"]
        (lti,) = [volume["secret"]["secretName"] for volume in hub["volumes"] if volume["name"] == "lti"]
        assert lti == secret


def test_values_reach_the_hub(template: Template) -> None:
    data = of_kind(objects(template("full")), "ConfigMap")["hub"]["data"]
    assert set(data) == {"values.json", "jupyterhub_config.py"}
    values = json.loads(data["values.json"])
    assert values["course"] == "python-ws26"
    assert values["singleuser"]["image"] == "registry/singleuser:1"
    assert values["config"]["CourseAuthenticator"]["course_title"] == "Programming in Python"
    # The program itself is in the hub's image.
    assert len(data["jupyterhub_config.py"].splitlines()) == 2


def test_the_exchange_knows_the_course_of_the_lms_as_the_hub_does(template: Template) -> None:
    login: dict[str, Any] = {"issuer": "site-id", "context_ids": ["57", "58"], "lti_roles": {"urn:x": "student"}}
    login["lti13_platform"] = {"issuer": "https://moodle.example.edu", "client_id": "abc", "deployment_id": "1"}
    config = json.dumps({"CourseAuthenticator": login})

    def environment(*options: str, values: str = "full") -> dict[str, str]:
        deployment = of_kind(objects(template(values, *options)), "Deployment")["exchange"]
        [container] = deployment["spec"]["template"]["spec"]["containers"]
        return {entry["name"]: entry["value"] for entry in container["env"] if entry["name"].startswith("LTI_")}

    names = {name: json.loads(value) if value else "" for name, value in environment().items()}
    assert names == {"LTI_ISSUER": "", "LTI_CONTEXTS": [], "LTI_ROLES": {}}
    told = environment(f"--set-json=hub.config={config}")
    assert told.pop("LTI_ISSUER") == "site-id"
    assert {name: json.loads(value) for name, value in told.items()} == {
        "LTI_CONTEXTS": ["57", "58"],
        "LTI_ROLES": {"urn:x": "student"},
    }
    # With LTI 1.1 the course has one as well, or several.
    lti11 = json.dumps({"CourseAuthenticator": {"context_ids": ["57", "58"]}})
    assert environment(f"--set-json=hub.config={lti11}", values="minimal") == {"LTI_CONTEXTS": '["57","58"]'}


def test_what_new_values_change_is_known_whatever_letters_they_have(helm: Path) -> None:
    values = yaml.safe_load((VALUES / "minimal.yaml").read_text())
    values["hub"]["config"] = {"CourseAuthenticator": {"course_title": "Data \U0001f4da \u00e9"}}
    rendered = render(str(helm), Chart.read(CHART), "python-ws26", DesiredCourse("course-python-ws26", values))
    assert rendered
    (text,) = [one["data"]["values.json"] for one in rendered if "values.json" in (one.get("data") or {})]
    assert "Data \U0001f4da \u00e9" in text


COMPONENT = "app.kubernetes.io/component"


def selected(manifest: Manifest) -> str:
    """Return the component of the pods that an object makes or selects; '' for all or several."""
    spec = manifest.get("spec", {})
    if manifest["kind"] == "Service":
        return str(spec["selector"]["component"])
    selector = spec.get("podSelector") or spec.get("selector") or {}
    return str(selector.get("matchLabels", {}).get("component", ""))


def test_every_object_has_the_recommended_labels(manifests: list[Manifest]) -> None:
    about = yaml.safe_load((CHART / "Chart.yaml").read_text())
    for manifest in manifests:
        labels = dict(manifest["metadata"]["labels"])
        component = labels.pop(COMPONENT, "")
        if manifest["kind"] == "Pod":
            assert labels.pop("component") == component
        assert labels == {
            "app.kubernetes.io/name": "course-hub",
            "app.kubernetes.io/instance": "python-ws26",
            "app.kubernetes.io/version": about["appVersion"],
            "app.kubernetes.io/managed-by": "Helm",
            "app.kubernetes.io/part-of": "campus.hubs",
            "helm.sh/chart": f"course-hub-{about['version']}",
            "campus.hubs/course": "python-ws26",
        }
        assert component == selected(manifest) or not selected(manifest)
    assert {m["metadata"]["name"] for m in manifests if COMPONENT not in m["metadata"]["labels"]} == {
        "default-deny",
        "dns",
    }
    claims = of_kind(manifests, "PersistentVolumeClaim")
    assert {name: claim["metadata"]["labels"][COMPONENT] for name, claim in claims.items()} == {
        "hub-db": "hub",
        "exchange": "exchange",
        "course": "singleuser-server",
    }


def test_selectors_are_those_of_releases_that_exist(template: Template) -> None:
    found = objects(template("full"))
    workloads = {**of_kind(found, "Deployment"), **of_kind(found, "DaemonSet")}
    assert {name: workload["spec"]["selector"] for name, workload in workloads.items()} == {
        name: {"matchLabels": {"component": name}} for name in ("hub", "proxy", "exchange", "image-puller")
    }
    services = of_kind(found, "Service")
    assert {name: service["spec"]["selector"] for name, service in services.items()} == {
        name: {"component": name.removesuffix("-api")} for name in ("hub", "proxy", "proxy-api", "exchange")
    }


def test_a_new_version_of_the_chart_restarts_no_pod(helm: Path, template: Template, tmp_path: Path) -> None:
    chart = tmp_path / "course-hub"
    shutil.copytree(CHART, chart)
    about = yaml.safe_load((chart / "Chart.yaml").read_text())
    (chart / "Chart.yaml").write_text(yaml.safe_dump({**about, "version": "9.8.7+dev", "appVersion": "7.0"}))
    images = '--set-json=prePuller.extraImages={"lab":{"name":"lab"}}'
    later = objects(str(release(helm, images, chart=chart)["manifest"]))
    before = {(m["kind"], m["metadata"]["name"]): m for m in objects(template("minimal", images, "--skip-tests"))}
    assert len(later) == len(before)
    for manifest in later:
        labels = manifest["metadata"]["labels"]
        assert labels["helm.sh/chart"] == "course-hub-9.8.7_dev"
        assert labels["app.kubernetes.io/version"] == "7.0"
        assert manifest.get("spec") == before[manifest["kind"], manifest["metadata"]["name"]].get("spec")
    templates = [m["spec"]["template"] for m in later if "template" in m.get("spec", {})]
    assert len(templates) == 4
    for pod in templates:
        assert set(pod["metadata"]["labels"]) == {
            "app.kubernetes.io/name",
            "app.kubernetes.io/instance",
            "app.kubernetes.io/managed-by",
            "campus.hubs/course",
            "component",
        }


@pytest.mark.parametrize("course", ["61", "no"])
def test_a_course_id_is_text_in_labels(helm: Path, course: str) -> None:
    for manifest in objects(str(release(helm, name=course)["manifest"])):
        pod = manifest.get("spec", {}).get("template", manifest)
        for labels in (manifest["metadata"]["labels"], pod["metadata"]["labels"]):
            assert labels["app.kubernetes.io/instance"] == labels["campus.hubs/course"] == course


def test_notes_say_what_somebody_by_hand_needs(helm: Path) -> None:
    def notes(*arguments: str) -> str:
        return str(release(helm, *arguments)["info"]["notes"])

    assert "get service proxy --output" in notes()
    assert "URL: http://ADDRESS/ with" in notes()
    assert "lti11-consumer: consumer_key" in notes()
    assert "lti13-key" not in notes()
    lti13 = notes(
        "--set=hub.publicUrl=https://hub.example.edu/", "--set=hub.config.CourseAuthenticator.lti13_platform.a=b"
    )
    assert "URL: https://hub.example.edu/\n" in lti13
    assert "ADDRESS" not in lti13
    assert "lti13-key: private.pem" in lti13
    https = notes(
        "--set=proxy.https.secretName=hub-tls", "--set=proxy.service.type=ClusterIP", "--set=imagePullSecrets={a,b}"
    )
    assert "URL: https://ADDRESS/ with the address of what leads to" in https
    assert "\n  hub-tls: " in https
    assert "to pull images: a, b\n" in https


def test_notes_are_no_part_of_what_is_deployed_and_compared(helm: Path, template: Template) -> None:
    record = release(helm)
    data = base64.b64encode(base64.b64encode(json.dumps(record).encode())).decode()
    kept = decode({"metadata": {"namespace": "course-python-ws26", "name": "x"}, "data": {"release": data}})
    rendered = objects(template("minimal", "--skip-tests"))
    assert record["info"]["notes"].splitlines()[0] not in template("minimal") + kept.manifest
    assert [m["kind"] for m in kept.objects()] == [m["kind"] for m in objects(kept.manifest)]
    assert len(kept.objects()) == len(rendered)
    assert Chart.read(CHART).changed_files(kept) == []


def test_another_readme_is_no_other_chart(helm: Path, tmp_path: Path) -> None:
    chart = tmp_path / "course-hub"
    shutil.copytree(CHART, chart)
    (chart / "README.md").write_text("x")
    assert chart_checksum(chart) == chart_checksum(CHART)
    assert Chart.read(chart) == Chart(chart, "course-hub", Chart.read(CHART).files, Chart.read(CHART).defaults)
    names = [file["name"] for file in release(helm, chart=chart)["chart"]["files"]]
    assert names == [".helmignore"]
    (chart / "templates" / "NOTES.txt").write_text("x")
    assert chart_checksum(chart) != chart_checksum(CHART)


@pytest.mark.parametrize(("secret", "url", "port"), [("", "http://", 8000), ("a-secret", "https://", 8443)])
def test_helm_test_asks_by_the_proxy_and_reaches_nothing_else(
    template: Template, secret: str, url: str, port: int
) -> None:
    made = objects(template("minimal", f"--set=proxy.https.secretName={secret}"))
    pod, policy = of_kind(made, "Pod")["test"], of_kind(made, "NetworkPolicy")["test"]
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == policy["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert pod["spec"]["containers"][0]["command"][-1] == f"{url}proxy.course-python-ws26.svc.cluster.local/hub/health"
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    (way,) = policy["spec"]["egress"]
    assert way == {
        "to": [{"podSelector": {"matchLabels": {"component": "proxy"}}}],
        "ports": [{"protocol": "TCP", "port": port}],
    }
