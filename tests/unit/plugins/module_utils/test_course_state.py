"""What counts as drift: objects as the API server stores them, with what it notes of who wrote which field."""

from __future__ import annotations

import base64
import copy
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import yaml
from ansible_collections.campus.hubs.plugins.module_utils._course_state.compare import (
    candidate_drift,
    confirmed,
    quantity,
    repair_patch,
)
from ansible_collections.campus.hubs.plugins.module_utils._course_state.findings import HIDDEN, finding_of, redact
from ansible_collections.campus.hubs.plugins.module_utils._course_state.ownership import (
    ABSENT,
    Managers,
    json_path,
    resolve,
)
from ansible_collections.campus.hubs.plugins.module_utils._course_state.release import (
    Parser,
    StateError,
    decode,
    parse_manifest,
    value_differences,
)
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.client import Api, Connection

from tests.unit.plugins.courses import (
    CONTAINER,
    DEPLOYMENT,
    HOME,
    KINDS,
    LATER,
    MANIFEST,
    FewObjects,
    container,
    entry,
    live,
    secret,
    states,
)


def pod_fields(fields: dict[str, Any]) -> dict[str, Any]:
    return {"f:spec": {"f:template": {"f:spec": {"f:containers": {CONTAINER: fields}}}}}


def found_in(found: dict[str, Any]) -> dict[str, tuple[Any, Any, str]]:
    """Return what is candidates: path to wanted, found and manager."""
    managers = Managers()
    managers.learn(found["metadata"])
    return {
        json_path(item.path): (item.wanted, item.found, item.writer.manager if item.writer else "")
        for item in candidate_drift(DEPLOYMENT, found, managers)
    }


def test_defaults_quantities_and_a_controllers_notes_are_no_drift() -> None:
    assert found_in(live()) == {}


def test_a_changed_field_is_found_with_its_author() -> None:
    found = live()
    container(found)["image"] = "evil:1"
    del found["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:template"]["f:spec"]["f:containers"][CONTAINER][
        "f:image"
    ]
    found["metadata"]["managedFields"].append(entry("kubectl-set", pod_fields({"f:image": {}})))
    path = "$.spec.template.spec.containers[?@.name=='hub'].image"
    assert found_in(found) == {path: ("hub:1", "evil:1", "kubectl-set")}


def test_removed_fields_and_items_are_found_without_an_author() -> None:
    found = live()
    container(found)["env"] = [{"name": "TZ", "value": "UTC"}]
    found["metadata"]["labels"] = {}
    fields = found["metadata"]["managedFields"][0]["fieldsV1"]
    del fields["f:metadata"]
    items = fields["f:spec"]["f:template"]["f:spec"]["f:containers"][CONTAINER]["f:env"]
    items['k:{"name":"TZ"}'] = items.pop(HOME)
    assert found_in(found) == {
        "$.spec.template.spec.containers[?@.name=='hub'].env[?@.name=='HOME']": (
            {"name": "HOME", "value": "/tmp"},  # noqa: S108 (a value)
            ABSENT,
            "",
        ),
        "$.metadata.labels['app.kubernetes.io/managed-by']": ("Helm", ABSENT, ""),
    }


def test_what_somebody_adds_is_found_although_the_release_does_not_set_it() -> None:
    found = live()
    container(found)["env"].append({"name": "EXTRA", "value": "1"})
    found["spec"]["template"]["spec"]["nodeSelector"] = {"disk": "ssd"}
    fields: dict[str, Any] = pod_fields({"f:env": {'k:{"name":"EXTRA"}': {".": {}, "f:name": {}, "f:value": {}}}})
    fields["f:spec"]["f:template"]["f:spec"]["f:nodeSelector"] = {}
    found["metadata"]["managedFields"].append(entry("kubectl-edit", fields))
    assert found_in(found) == {
        "$.spec.template.spec.containers[?@.name=='hub'].env[?@.name=='EXTRA']": (
            ABSENT,
            {"name": "EXTRA", "value": "1"},
            "kubectl-edit",
        ),
        "$.spec.template.spec.nodeSelector": (ABSENT, {"disk": "ssd"}, "kubectl-edit"),
    }


def test_an_atomic_list_that_somebody_wrote_is_compared_as_a_whole() -> None:
    found = live()
    container(found)["command"] = ["jupyterhub", "--upgrade-db", "--debug"]
    found["metadata"]["managedFields"].append(entry("kubectl-edit", pod_fields({"f:command": {}})))
    ((path, (wanted, have, who)),) = found_in(found).items()
    assert path.endswith(".command")
    assert (wanted, have, who) == (container(DEPLOYMENT)["command"], container(found)["command"], "kubectl-edit")


def test_an_autoscalers_replicas_are_its_job_and_a_persons_are_not() -> None:
    for manager, drift in (("kube-controller-manager", 0), ("kubectl", 1)):
        found = live()
        found["spec"]["replicas"] = 3
        del found["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:replicas"]
        claim = entry(manager, {"f:spec": {"f:replicas": {}}}, subresource="scale")
        found["metadata"]["managedFields"].append(claim)
        assert len(found_in(found)) == drift, manager


def test_who_writes_status_is_a_controller_unless_it_is_kubectl() -> None:
    found = live()
    found["metadata"]["annotations"]["metallb.io/pool"] = "campus"
    fields: dict[str, Any] = {"f:metadata": {"f:annotations": {"f:metallb.io/pool": {}}}}
    found["metadata"]["managedFields"].append(entry("controller", fields))
    assert list(found_in(found)) == ["$.metadata.annotations['metallb.io/pool']"]
    found["metadata"]["managedFields"].append(entry("controller", {"f:status": {}}, subresource="status"))
    assert found_in(found) == {}
    for claim in found["metadata"]["managedFields"][-2:]:
        claim["manager"] = "kubectl-edit"
    assert len(found_in(found)) == 1


def test_kubectls_own_notes_are_no_drift() -> None:
    found = live()
    notes = {"kubectl.kubernetes.io/restartedAt": LATER}
    found["spec"]["template"]["metadata"] = {"annotations": notes}
    annotations: dict[str, Any] = {"f:annotations": {".": {}, "f:kubectl.kubernetes.io/restartedAt": {}}}
    fields: dict[str, Any] = {"f:spec": {"f:template": {"f:metadata": annotations}}}
    found["metadata"]["managedFields"].append(entry("kubectl-rollout", fields))
    assert found_in(found) == {}
    # The same annotation from somebody else is.
    found["metadata"]["managedFields"][-1]["manager"] = "curl"
    assert len(found_in(found)) == 1


def test_an_applied_copy_of_what_lives_is_suspected_and_acquitted_by_the_dry_run() -> None:
    found = live()
    fields: dict[str, Any] = {"f:spec": {"f:template": {"f:spec": {"f:dnsPolicy": {}}}}}
    found["metadata"]["managedFields"].append(entry("kubectl", fields))
    managers = Managers()
    candidates = candidate_drift(DEPLOYMENT, found, managers)
    removal = {"op": "remove", "path": "/spec/template/spec/dnsPolicy"}
    assert repair_patch(candidates, found) == [
        {"op": "replace", "path": "/metadata/resourceVersion", "value": "7"},
        removal,
    ]
    assert confirmed(candidates, found) == []  # the server sets it again
    without = copy.deepcopy(found)
    del without["spec"]["template"]["spec"]["dnsPolicy"]
    assert confirmed(candidates, without) == candidates


def test_removals_in_a_list_go_from_its_end() -> None:
    found = live()
    names = ["A", "B"]
    container(found)["env"] += [{"name": name, "value": "1"} for name in names]
    items: dict[str, Any] = {f'k:{{"name":"{name}"}}': {".": {}, "f:name": {}} for name in names}
    found["metadata"]["managedFields"].append(entry("kubectl-edit", pod_fields({"f:env": items})))
    patch = repair_patch(candidate_drift(DEPLOYMENT, found, Managers()), found)
    env = "/spec/template/spec/containers/0/env"
    assert [item["path"] for item in patch[1:]] == [f"{env}/2", f"{env}/1"]


@pytest.mark.parametrize(("one", "other"), [("0.5", "500m"), (1, "1"), ("1Gi", "1024Mi"), ("1e3", "1k"), (0.1, "100m")])
def test_quantities_are_equal_however_they_are_written(one: object, other: object) -> None:
    assert quantity(one) == quantity(other) is not None


def test_what_is_no_quantity_is_none() -> None:
    assert [quantity(value) for value in ("half", "1 Gi", True, None, "..")] == [None] * 5


def test_paths_lead_into_objects_and_can_be_shown() -> None:
    path = ("f:a/b", 'k:{"name":"it\'s","port":1}', "v:2", "i:0")
    assert json_path(path) == "$['a/b'][?@.name=='it\\'s' && @.port==1][?@==2][0]"
    assert resolve({"a/b": [{"name": "x"}]}, path)[1].startswith("/a~1b/-")


def test_secrets_are_not_shown() -> None:
    values = {"API_TOKEN": "x", "env": [{"name": "DB_PASSWORD", "value": "x"}, {"name": "TZ", "value": "UTC"}]}
    assert redact(values) == {
        "API_TOKEN": HIDDEN,
        "env": [{"name": "DB_PASSWORD", "value": HIDDEN}, {"name": "TZ", "value": "UTC"}],
    }
    found = live()
    container(found)["env"].append({"name": "MY_TOKEN", "value": "very"})
    items: dict[str, Any] = {'k:{"name":"MY_TOKEN"}': {".": {}, "f:name": {}, "f:value": {}}}
    found["metadata"]["managedFields"].append(entry("kubectl-set", pod_fields({"f:env": items})))
    (difference,) = candidate_drift(DEPLOYMENT, found, Managers())
    assert "very" not in json.dumps(finding_of("Deployment", "hub", difference).document())


def test_values_differ_by_path_and_lists_as_a_whole() -> None:
    wanted = {"a": {"b": 1, "c": [1, 2]}, "same": 0.5, "on": True}
    found = {"a": {"b": 2, "c": [1]}, "same": 0.5, "on": 1, "gone": "x"}
    assert [path for path, _, _ in value_differences(wanted, found)] == ["$.a.b", "$.a.c", "$.gone", "$.on"]


# ---- whole courses, against an API server of a few objects ----


def test_a_course_is_in_sync_drifted_stuck_absent_or_orphaned(tmp_path: Path) -> None:
    api = FewObjects(secret("a"), secret("b", "pending-upgrade"), secret("c"), secret("d"), secret("gone"))
    container(api.deployments[2])["image"] = "evil:1"
    found = states(tmp_path, api, "a", "b", "c", "e")
    assert {name: state.state for name, state in found.items()} == {
        "a": "in_sync",
        "b": "stuck",
        "c": "drifted",
        "e": "absent",
        "d": "orphaned",
        "gone": "orphaned",
    }
    assert not found["a"].document()["reasons"]
    assert "pending-upgrade" in found["b"].reasons[0]
    assert found["c"].consequences == ["restarts the hub of c: nobody online, their servers keep running"]
    assert {name for name, state in found.items() if state.needs_deployment()} == {"b", "e"}
    assert {name for name, state in found.items() if state.repairable()} == {"c"}
    assert "remove_course.yml -e course=gone" in found["gone"].reasons[0]


def test_new_values_and_chart_files_outdate_a_release(tmp_path: Path) -> None:
    state = states(tmp_path, FewObjects(secret("a")), "a", values={"a": 2})["a"]
    assert (state.state, state.outdated) == ("outdated", [{"path": "$.a", "wanted": 2, "found": 1}])
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "hub.yaml").write_text("new")
    state = states(tmp_path, FewObjects(secret("a")), "a")["a"]
    assert (state.state, state.chart_files) == ("outdated", ["templates/hub.yaml"])


def test_missing_and_additional_objects_count(tmp_path: Path) -> None:
    api = FewObjects(secret("a"))
    api.deployments.clear()
    api.add("ConfigMap", "notes")
    found = [(item.kind, item.name, item.what) for item in states(tmp_path, api, "a")["a"].findings]
    assert found == [("Deployment", "hub", "missing"), ("ConfigMap", "notes", "additional")]


def test_additional_objects_alone_are_reported_and_not_repaired(tmp_path: Path) -> None:
    api = FewObjects(secret("a"))
    api.add("ConfigMap", "notes")
    state = states(tmp_path, api, "a")["a"]
    assert (state.state, state.repairable(), state.needs_deployment()) == ("drifted", [], False)
    assert "kubectl-create, " + LATER in state.reasons[0]


def test_what_controllers_the_hub_and_this_collection_make_is_managed(tmp_path: Path) -> None:
    role: dict[str, Any] = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "hub"}}
    role["rules"] = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["create"]}]
    api = FewObjects(secret("a", manifest=f"{MANIFEST}\n---\n{json.dumps(role)}", config={"tls": "hub-tls"}))
    server = {"campus.hubs/course": "a", "component": "singleuser-server"}
    server["app.kubernetes.io/managed-by"] = "kubespawner"
    kept = {"meta.helm.sh/release-name": "a", "helm.sh/resource-policy": "keep"}
    api.add("ConfigMap", "of-an-older-chart", annotations=kept, managedFields=[entry("helm", {"f:data": {}})])
    api.add("Pod", "jupyter-u1", labels=server)
    api.add("Pod", "hub-1", ownerReferences=[{"kind": "ReplicaSet"}])
    api.add("Secret", "hub-tls")
    api.add("Secret", "course-secrets", labels={"app.kubernetes.io/managed-by": "campus.hubs"})
    api.add("ConfigMap", "kube-root-ca.crt", managedFields=[entry("kube-controller-manager", {"f:data": {}})])
    api.add("Pod", "elsewhere", course="other")
    state = states(tmp_path, api, "a", values={"tls": "hub-tls"})["a"]
    assert [item.sentence() for item in state.findings] == ["Role hub is missing"]
    assert state.users_online == 1
    api.add("Pod", "by-hand")
    assert "by-hand" in states(tmp_path, api, "a", values={"tls": "hub-tls"})["a"].reasons[-1]


def test_a_namespace_that_lets_everything_in_is_drift(tmp_path: Path) -> None:
    api = FewObjects(secret("a"))
    api.others["Namespace"][0]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] = "privileged"
    (finding,) = states(tmp_path, api, "a")["a"].findings
    assert (finding.kind, finding.wanted, finding.found) == ("Namespace", "restricted", "privileged")


def test_the_number_of_calls_does_not_depend_on_the_number_of_courses(tmp_path: Path) -> None:
    calls = set()
    for count in (1, 10, 100):
        api = FewObjects(*(secret(f"c{number}") for number in range(count)))
        found = states(tmp_path, api, *(f"c{number}" for number in range(count)))
        assert {state.state for state in found.values()} == {"in_sync"}
        calls.add(api.calls)
    assert len(calls) == 1


class Server:
    """Answers lists in pages, as the API server does; stands for the client and its connections."""

    def __init__(self, count: int) -> None:
        """Have so many objects."""
        self.items = [{"metadata": {"name": f"o{number}"}} for number in range(count)]

    def request(self, method: str, url: str, **_: object) -> SimpleNamespace:
        """Answer one page."""
        query = dict(parse_qsl(urlsplit(url).query))
        begin, limit = int(query.get("continue", 0)), int(query["limit"])
        end = begin + limit
        metadata = {"continue": str(end)} if end < len(self.items) else {}
        assert method == "GET"
        answer = {"items": self.items[begin:end], "metadata": metadata}
        return SimpleNamespace(status=200, data=json.dumps(answer).encode())


@pytest.mark.parametrize(("count", "calls"), [(0, 1), (1, 1), (10, 1), (100, 1), (500, 1), (501, 2), (2600, 6)])
def test_more_objects_are_more_pages_and_nothing_else(count: int, calls: int) -> None:
    server = Server(count)
    api = Api(Connection("https://192.0.2.11", server, dict, ""))
    assert api.objects(KINDS[0], labels="a=b") == server.items
    assert api.calls == calls


def test_the_newest_revision_counts(tmp_path: Path) -> None:
    api = FewObjects(secret("a", version=9), secret("a", "failed", version=10))
    state = states(tmp_path, api, "a")["a"]
    assert (state.state, state.revision) == ("stuck", 10)


def test_a_secret_that_is_no_release_is_named() -> None:
    broken = secret("a")
    broken["data"]["release"] = "AAAA"
    with pytest.raises(StateError, match=r"course-a/a\.v1 is no release"):
        decode(broken)


@pytest.mark.parametrize("record", [b"null", b"[]", b"7", b"{", b"\xff"])
def test_a_record_that_holds_something_else_is_no_release(record: bytes) -> None:
    broken = secret("a")
    broken["data"]["release"] = base64.b64encode(base64.b64encode(record)).decode()
    with pytest.raises(StateError, match="is no release"):
        decode(broken)


def test_a_broken_record_stops_its_own_course_only(tmp_path: Path) -> None:
    broken = secret("a")
    broken["data"]["release"] = "AAAA"
    found = states(tmp_path, FewObjects(broken, secret("b")), "a", "b")
    assert [(state.state, state.needs_deployment()) for state in found.values()] == [
        ("stuck", True),
        ("in_sync", False),
    ]


# ---- parsing ----


def manifest(name: str, digest: str) -> str:
    return f"""---
apiVersion: v1
metadata: {{name: {name}, namespace: course-{name}, labels: {{"in/{name}": "x{name}", hub: yes, {name}x: hub-{name}}}}}
data: {{text: "a\\n{name}: \\t", number: 1, 2: two, digest: "{digest}", word: {digest}, plain: {name}}}
---
kind: ConfigMap
data: |
  {name} {digest}
  "{digest}" {name}-{name}
---
when: 2026-01-01
name: {name}
"""


@pytest.mark.parametrize(
    "names", [["abc", "python-ws26", "e5"], ["hub", "data", "kind", "n"], ["1", "on", "yes", "x1"]]
)
def test_a_manifest_is_read_as_if_it_were_alone(names: list[str]) -> None:
    parser = Parser()
    for name in [*names, *names]:
        for digest in ("a" * 64, "1" * 64, "0123456789abcdef" * 4):
            text = manifest(name, digest)
            assert parser.parse(text, name) == parse_manifest(text)


def test_what_differs_in_names_and_digests_only_is_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = []
    load = yaml.load

    def counted(text: str, Loader: type) -> Any:  # noqa: ANN401, N803 (as the original)
        parsed.append(text)
        return load(text, Loader=Loader)

    monkeypatch.setattr(yaml, "load", counted)
    parser = Parser()
    text = 'kind: Deployment\nname: {name}\nsecrets: "{digest}"\n'
    for number in range(10):
        name, digest = f"course-{number}", f"{number:064}"
        (found,) = parser.parse(text.format(name=name, digest=digest), name)
        assert found == {"kind": "Deployment", "name": name, "secrets": digest}
    assert len(parsed) == 1 + 10  # and what each name alone would mean
