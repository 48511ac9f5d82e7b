"""What counts as drift: objects as the API server stores them, with what it notes of who wrote which field."""

from __future__ import annotations

import base64
import copy
import gzip
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import yaml
from ansible_collections.campus.hubs.plugins.module_utils._course_state.certificates import (
    cluster_certificates,
    course_certificates,
)
from ansible_collections.campus.hubs.plugins.module_utils._course_state.compare import (
    confirmed,
    quantity,
    repair_patch,
    suspicions,
)
from ansible_collections.campus.hubs.plugins.module_utils._course_state.findings import HIDDEN, finding_of, redact
from ansible_collections.campus.hubs.plugins.module_utils._course_state.ownership import (
    ABSENT,
    Managers,
    json_path,
    resolve,
)
from ansible_collections.campus.hubs.plugins.module_utils._course_state.release import (
    Chart,
    Decoder,
    Parser,
    StateError,
    decode,
    parse_manifest,
    value_differences,
)
from ansible_collections.campus.hubs.plugins.module_utils._course_state.report import metrics, page, report_document
from ansible_collections.campus.hubs.plugins.module_utils._course_state.state import Survey, Wanted
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.client import Api, Connection
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.kinds import Kind
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
THEN, LATER = "2026-11-24T10:00:00Z", "2026-11-24T11:00:00Z"
CONTAINER = 'k:{"name":"hub"}'
HOME = 'k:{"name":"HOME"}'

DEPLOYMENT: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "hub", "labels": {"app.kubernetes.io/managed-by": "Helm"}},
    "spec": {
        "replicas": 1,
        "template": {
            "spec": {
                "containers": [
                    {
                        "name": "hub",
                        "image": "hub:1",
                        "env": [{"name": "HOME", "value": "/tmp"}],  # noqa: S108 (a value)
                        "resources": {"limits": {"cpu": 0.5, "memory": "1Gi"}},
                        "command": ["jupyterhub", "--upgrade-db"],
                    }
                ],
                "volumes": [],
            }
        },
    },
}


def entry(manager: str, fields: dict[str, Any], time: str = LATER, subresource: str = "") -> dict[str, Any]:
    found = {"manager": manager, "operation": "Apply" if manager == "helm" else "Update", "time": time}
    return {**found, "fieldsV1": fields, **({"subresource": subresource} if subresource else {})}


def live() -> dict[str, Any]:
    """Return the Deployment as it is stored right after helm has applied it."""
    found = copy.deepcopy(DEPLOYMENT)
    spec = found["spec"]["template"]["spec"]
    del spec["volumes"]
    spec["containers"][0]["resources"] = {"limits": {"cpu": "500m", "memory": "1024Mi"}}
    spec["containers"][0]["terminationMessagePath"] = "/dev/termination-log"
    spec["dnsPolicy"] = "ClusterFirst"
    found["metadata"] |= {"resourceVersion": "7", "annotations": {"deployment.kubernetes.io/revision": "1"}}
    pod: dict[str, Any] = {
        "f:containers": {
            CONTAINER: {
                ".": {},
                "f:name": {},
                "f:image": {},
                "f:command": {},
                "f:env": {HOME: {".": {}, "f:name": {}, "f:value": {}}},
                "f:resources": {"f:limits": {"f:cpu": {}, "f:memory": {}}},
            }
        }
    }
    helm = {
        "f:metadata": {"f:labels": {"f:app.kubernetes.io/managed-by": {}}},
        "f:spec": {"f:replicas": {}, "f:template": {"f:spec": pod}},
    }
    status: dict[str, Any] = {
        "f:metadata": {"f:annotations": {"f:deployment.kubernetes.io/revision": {}}},
        "f:status": {},
    }
    found["metadata"]["managedFields"] = [
        entry("helm", helm, THEN),
        entry("kube-controller-manager", status, subresource="status"),
    ]
    return found


def container(found: dict[str, Any]) -> dict[str, Any]:
    item: dict[str, Any] = found["spec"]["template"]["spec"]["containers"][0]
    return item


def pod_fields(fields: dict[str, Any]) -> dict[str, Any]:
    return {"f:spec": {"f:template": {"f:spec": {"f:containers": {CONTAINER: fields}}}}}


def found_in(found: dict[str, Any]) -> dict[str, tuple[Any, Any, str]]:
    """Return what is suspected: path to wanted, found and manager."""
    managers = Managers()
    managers.learn(found["metadata"])
    return {
        json_path(item.path): (item.wanted, item.found, item.writer.manager if item.writer else "")
        for item in suspicions(DEPLOYMENT, found, managers)
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
    suspected = suspicions(DEPLOYMENT, found, managers)
    removal = {"op": "remove", "path": "/spec/template/spec/dnsPolicy"}
    assert repair_patch(suspected, found) == [
        {"op": "replace", "path": "/metadata/resourceVersion", "value": "7"},
        removal,
    ]
    assert confirmed(suspected, found) == []  # the server sets it again
    without = copy.deepcopy(found)
    del without["spec"]["template"]["spec"]["dnsPolicy"]
    assert confirmed(suspected, without) == suspected


def test_removals_in_a_list_go_from_its_end() -> None:
    found = live()
    names = ["A", "B"]
    container(found)["env"] += [{"name": name, "value": "1"} for name in names]
    items: dict[str, Any] = {f'k:{{"name":"{name}"}}': {".": {}, "f:name": {}} for name in names}
    found["metadata"]["managedFields"].append(entry("kubectl-edit", pod_fields({"f:env": items})))
    patch = repair_patch(suspicions(DEPLOYMENT, found, Managers()), found)
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
    (difference,) = suspicions(DEPLOYMENT, found, Managers())
    assert "very" not in json.dumps(finding_of("Deployment", "hub", difference).document())


def test_values_differ_by_path_and_lists_as_a_whole() -> None:
    wanted = {"a": {"b": 1, "c": [1, 2]}, "same": 0.5, "on": True}
    found = {"a": {"b": 2, "c": [1]}, "same": 0.5, "on": 1, "gone": "x"}
    assert [path for path, _, _ in value_differences(wanted, found)] == ["$.a.b", "$.a.c", "$.gone", "$.on"]


# ---- whole courses, against an API server of a few objects ----

MANIFEST = json.dumps(DEPLOYMENT)
KINDS = [
    Kind("", "v1", "Secret", "secrets", namespaced=True, verbs=frozenset({"list"})),
    Kind("", "v1", "Namespace", "namespaces", namespaced=False, verbs=frozenset({"list"})),
    Kind("", "v1", "Pod", "pods", namespaced=True, verbs=frozenset({"list"})),
    Kind("", "v1", "ConfigMap", "configmaps", namespaced=True, verbs=frozenset({"list"})),
    Kind("apps", "v1", "Deployment", "deployments", namespaced=True, verbs=frozenset({"list"})),
]


def secret(course: str, status: str = "deployed", version: int = 1, **record: Any) -> dict[str, Any]:  # noqa: ANN401
    chart = {"metadata": {"name": "course-hub"}, "templates": [], "files": [], "values": {}}
    namespace = f"course-{course}"
    document = {"name": course, "namespace": namespace, "version": version, "chart": chart, "config": {"a": 1}}
    document |= {"info": {"status": status, "last_deployed": THEN}, "manifest": MANIFEST, **record}
    data = base64.b64encode(base64.b64encode(gzip.compress(json.dumps(document).encode()))).decode()
    labels = {"owner": "helm", "name": course, "version": str(version), "status": status}
    return {
        "metadata": {"name": f"{course}.v{version}", "namespace": namespace, "labels": labels},
        "data": {"release": data},
    }


class FewObjects:
    """Answers lists from memory."""

    def __init__(self, *secrets: dict[str, Any]) -> None:
        """Take Helm's Secrets; each course has its Deployment."""
        self.secrets, self.calls = secrets, 0
        self.others: dict[str, list[dict[str, Any]]] = {kind.kind: [] for kind in KINDS}
        self.deployments = []
        for item in secrets:
            course = item["metadata"]["labels"]["name"]
            metadata = {"meta.helm.sh/release-name": course, "meta.helm.sh/release-namespace": f"course-{course}"}
            found = live()
            found["metadata"]["namespace"] = f"course-{course}"
            found["metadata"]["annotations"] |= metadata
            self.deployments.append(found)
            labels = {"campus.hubs/course": course, "app.kubernetes.io/managed-by": "campus.hubs"}
            labels["pod-security.kubernetes.io/enforce"] = "restricted"
            self.others["Namespace"].append({"metadata": {"name": f"course-{course}", "labels": labels}})

    def kinds(self) -> list[Kind]:
        """See `Api`."""
        return KINDS

    def objects(
        self, kind: Kind, *, labels: str = "", fields: str = "", metadata_only: bool = False
    ) -> list[dict[str, Any]]:
        """See `Api`."""
        assert fields in ("", "type=kubernetes.io/tls")
        self.calls += 1
        if kind.kind == "Secret" and "owner=helm" in labels:
            return list(self.secrets)
        if kind.kind == "Deployment" and not metadata_only:
            return self.deployments
        return self.others[kind.kind]

    def patch(self, *_: object, dry: bool) -> dict[str, Any]:
        """Answer as if the repair had worked."""
        assert dry
        return live()

    def add(self, kind: str, name: str, course: str = "a", **metadata: Any) -> None:  # noqa: ANN401
        """Put an object of kubectl's into a course's namespace."""
        claims = [entry("kubectl-create", {"f:data": {}})]
        place = {"name": name, "namespace": f"course-{course}", "creationTimestamp": LATER, "managedFields": claims}
        self.others[kind].append({"metadata": {**place, **metadata}})


def chart(tmp_path: Path) -> Chart:
    (tmp_path / "Chart.yaml").write_text("name: course-hub\n")
    (tmp_path / "values.yaml").write_text("{}\n")
    return Chart.read(tmp_path)


def states(tmp_path: Path, api: FewObjects, *courses: str, values: Any = None) -> dict[str, Any]:  # noqa: ANN401
    wanted = {course: Wanted(f"course-{course}", values or {"a": 1}) for course in courses}
    survey = Survey(api, chart(tmp_path))  # type: ignore[arg-type]
    survey.look(course.namespace for course in wanted.values())
    return {state.course: state for state in survey.judge(wanted)}


def test_each_state(tmp_path: Path) -> None:
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


def test_what_controllers_the_hub_and_this_collection_make_is_no_stranger(tmp_path: Path) -> None:
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


def test_records_are_read_the_same_beside_others_as_alone() -> None:
    """The chart of the one before is not parsed again, wherever its text is in the record."""
    chart, other = {"metadata": {"name": "course-hub"}, "files": []}, {"metadata": {"name": "other"}}
    records = [
        {"name": "a", "chart": chart, "manifest": "x"},
        {"name": "b", "chart": chart, "manifest": 'y "chart":{"metadata":'},
        {"name": "c", "config": {"chart": chart}, "chart": other},
        {"name": "d", "config": {"chart": chart}, "chart": chart},
        {"name": "e", "info": {"chart": chart}},
        {"name": "f", "chart": None, "config": {"chart": chart}},
        {"name": "g", "chart": other},
        {"name": "h", "chart": {**chart, "values": {"a": 1}}},
        {"name": "i", "chart": chart},
    ]
    for order in (records, records[::-1], [records[0], *records]):
        decoder = Decoder()
        for record in order:
            assert decoder.record(json.dumps(record, separators=(",", ":"))) == record


def test_a_broken_record_stops_its_own_course_only(tmp_path: Path) -> None:
    broken = secret("a")
    broken["data"]["release"] = "AAAA"
    found = states(tmp_path, FewObjects(broken, secret("b")), "a", "b")
    assert [(state.state, state.needs_deployment()) for state in found.values()] == [
        ("stuck", True),
        ("in_sync", False),
    ]


# ---- the report ----


def report(tmp_path: Path, api: FewObjects, *courses: str, values: Any = None) -> dict[str, Any]:  # noqa: ANN401
    found = [state.document() for state in states(tmp_path, api, *courses, values=values).values()]
    return report_document(found, datetime(2026, 11, 24, 12, tzinfo=UTC), "apply")


def test_a_clean_report_names_no_course(tmp_path: Path) -> None:
    document = report(tmp_path, FewObjects(secret("a")), "a")
    assert (document["clean"], document["courses"], document["states"]["in_sync"]) == (True, [], 1)
    assert "All courses are in sync" in page(document)
    assert 'campus_hubs_courses{state="in_sync"} 1\n' in metrics(document)
    assert metrics(document).endswith(f"{document_time(document)}\n")


def document_time(document: dict[str, Any]) -> str:
    return f"campus_hubs_drift_report_timestamp_seconds {datetime.fromisoformat(document['time']).timestamp():.0f}"


def test_a_report_names_class_author_and_action(tmp_path: Path) -> None:
    api = FewObjects(secret("a"), secret("b", "failed"), secret("gone"))
    api.add("ConfigMap", "<b>notes")
    document = report(tmp_path, api, "a", "b", "c", values={"a": 1})
    courses = {course["course"]: course for course in document["courses"]}
    assert {name: course["action"] for name, course in courses.items()} == {
        "a": "none",
        "b": "deploy",
        "c": "deploy",
        "gone": "none",
    }
    entry_of = {name: course["entries"][0] for name, course in courses.items()}
    classes = {name: item["class"] for name, item in entry_of.items()}
    assert classes == {"a": "hand edit", "b": "interrupted deployment", "c": "inventory change", "gone": "orphan"}
    assert (entry_of["a"]["manager"], entry_of["a"]["time"]) == ("kubectl-create", LATER)
    assert 'campus_hubs_course_findings{course="a",class="hand edit"} 1' in metrics(document)
    html = page(document)
    assert "&lt;b&gt;notes" in html
    assert "<b>" not in html
    assert "http" not in html  # needs nothing else
    json.dumps(document)


def test_values_have_a_class_each(tmp_path: Path) -> None:
    config = {"checksum": {"chart": "1", "secrets": "1"}, "hub": {"image": {"name": "r@1"}}, "title": "x"}
    wanted = {"checksum": {"chart": "2", "secrets": "2"}, "hub": {"image": {"name": "r@2"}}, "title": "y"}
    document = report(tmp_path, FewObjects(secret("a", config=config)), "a", values=wanted)
    found = {item["path"]: item["class"] for item in document["courses"][0]["entries"]}
    assert found == {
        "$.checksum.chart": "version",
        "$.checksum.secrets": "secret",
        "$.hub.image.name": "version",
        "$.title": "inventory change",
    }


@pytest.mark.parametrize("deployed", ["2026-11-24T10:59:59.9Z", "2026-11-24T12:30:00.1+02:00"])
def test_who_changed_a_secret_after_the_deployment_is_named(tmp_path: Path, deployed: str) -> None:
    release = secret("a", config={"checksum": {"secrets": "1"}}, info={"status": "deployed", "last_deployed": deployed})
    api = FewObjects(release)
    api.add("Secret", "course-secrets", labels={"app.kubernetes.io/managed-by": "campus.hubs"})
    document = report(tmp_path, api, "a", values={"checksum": {"secrets": "2"}})
    found = {item["path"]: (item["class"], item["manager"], item["time"]) for item in document["courses"][0]["entries"]}
    assert found == {"$.checksum.secrets": ("secret", "kubectl-create", LATER)}


def tls_secret(days: float, course: str = "a") -> dict[str, Any]:
    """Return a Secret with a certificate that ends after some days."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hub")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, NOW - timedelta(1), NOW + timedelta(days))
    pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    metadata = {"name": "tls", "namespace": f"course-{course}"}
    return {"metadata": metadata, "data": {"tls.crt": base64.b64encode(pem).decode()}}


@pytest.mark.parametrize(("days", "soon"), [(20.5, False), (13.5, True), (-1.0, True)])
def test_a_certificate_that_ends_soon_is_reported(tmp_path: Path, days: float, soon: bool) -> None:
    api = FewObjects(secret("a"))
    courses = states(tmp_path, api, "a")
    api.others["Secret"] = [tls_secret(days), tls_secret(1, "of-another"), {"metadata": tls_secret(1)["metadata"]}]
    names = {("course-a", "tls"): "a"}
    found = course_certificates(api, names)  # type: ignore[arg-type]
    document = report_document([state.document() for state in courses.values()], NOW, "report", found)
    (end,) = document["certificates"]
    assert (end["name"], end["course"], end["days"], end["soon"]) == ("Secret tls", "a", int(days // 1), soon)
    assert ("expiring certificate" in page(document)) is soon
    assert document["clean"] is not soon
    line = 'campus_hubs_certificate_end_timestamp_seconds{name="Secret tls",course="a"}'
    assert f"{line} {(NOW + timedelta(days)).timestamp():.0f}" in metrics(document)


def test_no_list_is_made_for_courses_without_certificates() -> None:
    api = FewObjects()
    assert course_certificates(api, {}) == []  # type: ignore[arg-type]
    assert api.calls == 0


def test_the_api_server_s_and_the_kubeconfig_s_ends_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    pem = base64.b64decode(tls_secret(29.5)["data"]["tls.crt"])
    asked = []

    def answer(address: tuple[str, int], timeout: float) -> str:
        asked.append(address)
        return pem.decode()

    monkeypatch.setattr("ssl.get_server_certificate", answer)
    found = cluster_certificates("https://192.0.2.11:6443", pem.decode())
    assert asked == [("192.0.2.11", 6443)]
    assert [(end.name, end.document(NOW)["soon"]) for end in found] == [("API server", True), ("kubeconfig", True)]


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
