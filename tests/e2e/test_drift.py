"""What people change by hand in a course is found, named with its author and put right; nothing else is called drift.

`make test-full` makes every edit there is here, on a course of its own, and prints how many of them a loop of
kubernetes.core.helm would have seen. CI makes five.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e import playbook
from tests.e2e.cluster import Cluster
from tests.e2e.lti import Lms
from tests.e2e.nodes import kubectl
from tests.e2e.waiting import wait_for

COURSE = "drift-demo"
NAMESPACE = f"course-{COURSE}"
LIMIT = f"--limit={COURSE}"
CHART = playbook.ROOT / "charts/course-hub"
PAUSE = "registry.k8s.io/pause:3.10.2"
RELEASE = f"Release {COURSE}"
HAND_EDIT, SECRET, INTERRUPTED, INVENTORY = "hand edit", "secret", "interrupted deployment", "inventory change"
OPEN_DOOR = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: open-door}
spec: {podSelector: {}, policyTypes: [Egress], egress: [{}]}
"""
# What an operator or a newer Kubernetes may do: an admission policy that fills in a field of every Deployment.
DEFAULTS = f"""
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {{name: {COURSE}-defaults}}
spec:
  reinvocationPolicy: Never
  matchConstraints:
    namespaceSelector: {{matchLabels: {{campus.hubs/course: {COURSE}}}}}
    resourceRules: [{{apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [deployments]}}]
  mutations:
    - patchType: ApplyConfiguration
      applyConfiguration: {{expression: "Object{{spec: Object.spec{{revisionHistoryLimit: 3}}}}"}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {{name: {COURSE}-defaults}}
spec: {{policyName: {COURSE}-defaults}}
"""


@dataclass(frozen=True)
class Edit:
    """One thing that a person does, and what the report is to say of it.

    Attributes:
        line: of shell, with kubectl working on the course's namespace; or what does it.
        thing: kind and name.
        path: a part of the field's JSONPath; empty for a whole object.
        author: the manager's name, or its beginning; empty where the API server knows none.
        what: see docs/drift.md.
        group: the entry's class.
        stdin: of the line.
        undo: how a person takes back what no run ever removes.
    """

    line: str | Callable[[Cluster], None]
    thing: str
    path: str = ""
    author: str = ""
    what: str = "changed"
    group: str = HAND_EDIT
    stdin: str = ""
    undo: str = ""

    def make(self, cluster: Cluster) -> None:
        """Do it."""
        if isinstance(self.line, str):
            kubectl(self.line, NAMESPACE, self.stdin)
        else:
            self.line(cluster)

    def named(self, entries: list[dict[str, Any]]) -> bool:
        """Tell whether the report says it."""
        return any(
            f"{entry['kind']} {entry['name']}" == self.thing
            and entry["what"] == self.what
            and entry["class"] == self.group
            and self.path in entry["path"]
            and (entry["manager"].startswith(self.author) if self.author else not entry["manager"])
            for entry in entries
        )


def upgrade(timeout: str) -> list[str]:
    """Return the command line of a person's own upgrade, which restarts the hub and waits for it."""
    options = ("--reuse-values", "--set-string=hub.extraEnv.BY_HAND=1", "--wait", f"--timeout={timeout}")
    return playbook.helm(COURSE, "upgrade", str(CHART), *options)


def fail_upgrade(cluster: Cluster) -> None:
    """Upgrade by hand, with a deadline that no hub can meet."""
    del cluster
    done = subprocess.run(upgrade("1s"), capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode != 0, done.stdout


def kill_upgrade(cluster: Cluster) -> None:
    """Upgrade by hand, and kill helm in the midst of it."""
    run = subprocess.Popen(upgrade("5m"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603
    selector = "owner=helm,status=pending-upgrade"
    try:
        wait_for(
            "helm to begin",
            lambda: cluster.core.list_namespaced_secret(NAMESPACE, label_selector=selector).items,
            30,
            pause=0.05,
        )
    finally:
        run.kill()
        run.wait()


def json_patch(operation: str, path: str, value: str = "") -> str:
    """Write a JSON patch for kubectl patch."""
    operations = [{"op": operation, "path": path, **({"value": json.loads(value)} if value else {})}]
    return f"--type=json --patch='{json.dumps(operations)}'"


CONTAINER = "/spec/template/spec/containers/0"
EDITS = {
    "image": Edit(
        f"kubectl set image deployment/hub hub={PAUSE}", "Deployment hub", "[?@.name=='hub'].image", "kubectl-set"
    ),
    "environment": Edit(
        "kubectl set env deployment/hub BY_HAND=1", "Deployment hub", "env[?@.name=='BY_HAND']", "kubectl-set"
    ),
    "resources": Edit(
        "kubectl set resources deployment/proxy --limits=memory=1Gi",
        "Deployment proxy",
        "resources.limits.memory",
        "kubectl-set",
    ),
    "replicas": Edit("kubectl scale deployment/proxy --replicas=2", "Deployment proxy", "$.spec.replicas", "kubectl"),
    # The API server notes no author of a zero.
    "stopped": Edit("kubectl scale deployment/exchange --replicas=0", "Deployment exchange", "$.spec.replicas"),
    "paused": Edit("kubectl rollout pause deployment/hub", "Deployment hub", "$.spec.paused", "kubectl-rollout"),
    "security context": Edit(
        f"kubectl patch deployment/hub {json_patch('replace', f'{CONTAINER}/securityContext/readOnlyRootFilesystem', 'false')}",  # noqa: E501
        "Deployment hub",
        "readOnlyRootFilesystem",
        "kubectl-patch",
    ),
    "volume": Edit(
        "kubectl patch deployment/exchange --patch='"
        '{"spec":{"template":{"spec":{"volumes":[{"name":"by-hand","emptyDir":{}}],"containers":'
        '[{"name":"exchange","volumeMounts":[{"name":"by-hand","mountPath":"/mnt"}]}]}}}}\'',
        "Deployment exchange",
        "volumeMounts[?@.mountPath=='/mnt']",
        "kubectl-patch",
    ),
    "probe": Edit(
        f"kubectl patch deployment/exchange {json_patch('remove', f'{CONTAINER}/livenessProbe')}",
        "Deployment exchange",
        "livenessProbe",
    ),
    "strategy": Edit(
        'kubectl patch deployment/hub --patch=\'{"spec":{"strategy":{"type":"RollingUpdate"}}}\'',
        "Deployment hub",
        "$.spec.strategy",
        "kubectl-patch",
    ),
    "applied again": Edit(
        "kubectl get deployment/proxy --output=yaml"
        " | sed 's/terminationGracePeriodSeconds: 5$/terminationGracePeriodSeconds: 55/' | kubectl apply --filename=-",
        "Deployment proxy",
        "terminationGracePeriodSeconds",
        "kubectl-client-side-apply",
    ),
    "label": Edit("kubectl label deployment/hub team=web", "Deployment hub", "$.metadata.labels.team", "kubectl-label"),
    "label removed": Edit(
        "kubectl label deployment/exchange app.kubernetes.io/managed-by-",
        "Deployment exchange",
        "app.kubernetes.io/managed-by",
    ),
    "annotation": Edit(
        "kubectl annotate service/proxy example.org/note=kept", "Service proxy", "example.org/note", "kubectl-annotate"
    ),
    "finalizer": Edit(
        'kubectl patch configmap/hub --type=merge --patch=\'{"metadata":{"finalizers":["example.org/wait"]}}\'',
        "ConfigMap hub",
        "$.metadata.finalizers",
        "kubectl-patch",
    ),
    "configuration": Edit(
        "KUBE_EDITOR='sed -i s/cull/kull/' kubectl edit configmap/hub", "ConfigMap hub", "$.data", "kubectl-edit"
    ),
    "configuration key": Edit(
        'kubectl patch configmap/hub --patch=\'{"data":{"by_hand.py":"c.x = 1"}}\'',
        "ConfigMap hub",
        "$.data['by_hand.py']",
        "kubectl-patch",
    ),
    "configuration deleted": Edit("kubectl delete configmap/hub", "ConfigMap hub", what="missing"),
    "service type": Edit(
        'kubectl patch service/hub --patch=\'{"spec":{"type":"NodePort"}}\'',
        "Service hub",
        "$.spec.type",
        "kubectl-patch",
    ),
    "service port": Edit(
        f"kubectl patch service/exchange {json_patch('replace', '/spec/ports/0/port', '8090')}",
        "Service exchange",
        "$.spec.ports[?@.port==8090",
        "kubectl-patch",
    ),
    "service selector": Edit(
        "kubectl set selector service/proxy component=hub", "Service proxy", "$.spec.selector", "kubectl-set"
    ),
    "deployment deleted": Edit("kubectl delete deployment/exchange", "Deployment exchange", what="missing"),
    "network policy deleted": Edit("kubectl delete networkpolicy/sandbox", "NetworkPolicy sandbox", what="missing"),
    "network policy widened": Edit(
        'kubectl patch networkpolicy/sandbox --type=merge --patch=\'{"spec":{"egress":[{}]}}\'',
        "NetworkPolicy sandbox",
        "$.spec.egress",
        "kubectl-patch",
    ),
    "network policy added": Edit(
        "kubectl apply --filename=-",
        "NetworkPolicy open-door",
        author="kubectl-client-side-apply",
        what="additional",
        stdin=OPEN_DOOR,
        undo="kubectl delete networkpolicy/open-door",
    ),
    "disruption budget deleted": Edit(
        "kubectl delete poddisruptionbudget/hub", "PodDisruptionBudget hub", what="missing"
    ),
    "disruption budget replaced": Edit(
        "kubectl get poddisruptionbudget/proxy --output=yaml | sed 's/maxUnavailable: 1$/maxUnavailable: 100%/'"
        " | kubectl replace --filename=-",
        "PodDisruptionBudget proxy",
        "$.spec.maxUnavailable",
        "kubectl-replace",
    ),
    "role widened": Edit(
        "kubectl patch role/hub "
        + json_patch("add", "/rules/-", '{"apiGroups": [""], "resources": ["secrets"], "verbs": ["*"]}'),
        "Role hub",
        "$.rules",
        "kubectl-patch",
    ),
    "role binding widened": Edit(
        "kubectl set subject rolebinding/hub --serviceaccount=default:default",
        "RoleBinding hub",
        "$.subjects",
        "kubectl-set",
    ),
    "role binding replaced": Edit(
        "kubectl delete rolebinding/hub"
        f" && kubectl create rolebinding hub --clusterrole=admin --serviceaccount={NAMESPACE}:hub",
        "RoleBinding hub",
        "$.roleRef",
        "kubectl-create",
    ),
    "role binding added": Edit(
        f"kubectl create rolebinding by-hand --clusterrole=admin --serviceaccount={NAMESPACE}:default",
        "RoleBinding by-hand",
        author="kubectl-create",
        what="additional",
        undo="kubectl delete rolebinding/by-hand",
    ),
    "service account": Edit(
        "kubectl patch serviceaccount/hub --patch='{\"automountServiceAccountToken\":false}'",
        "ServiceAccount hub",
        "$.automountServiceAccountToken",
        "kubectl-patch",
    ),
    "claim label": Edit(
        "kubectl label persistentvolumeclaim/hub-db owner=nobody",
        "PersistentVolumeClaim hub-db",
        "$.metadata.labels.owner",
        "kubectl-label",
    ),
    "namespace label": Edit(
        f"kubectl label --overwrite namespace/{NAMESPACE} pod-security.kubernetes.io/enforce=privileged",
        f"Namespace {NAMESPACE}",
        "pod-security.kubernetes.io/enforce",
        "kubectl-label",
    ),
    "deployment added": Edit(
        f"kubectl create deployment by-hand --image={PAUSE}",
        "Deployment by-hand",
        author="kubectl-create",
        what="additional",
        undo="kubectl delete deployment/by-hand",
    ),
    "secret": Edit(
        f"kubectl patch secret/course-secrets --patch='{json.dumps({'stringData': {'proxy-token': 'ab' * 32}})}'",
        RELEASE,
        "$.checksum.secrets",
        "kubectl-patch",
        group=SECRET,
    ),
    "release deleted": Edit("kubectl delete secret --selector=owner=helm", RELEASE, what="missing", group=INVENTORY),
    "release failed": Edit(fail_upgrade, RELEASE, group=INTERRUPTED),
    "release stuck": Edit(kill_upgrade, RELEASE, group=INTERRUPTED),
}
FIVE = ("environment", "network policy deleted", "role widened", "configuration key", "claim label")


@dataclass
class Score:
    """Who has seen which edit."""

    ours: list[str] = field(default_factory=list)
    plain: list[str] = field(default_factory=list)
    made: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Say it in one line."""
        plain = ", ".join(self.plain) or "none"
        return (
            f"{len(self.made)} edits by hand: {len(self.ours)} named by playbooks/drift.yml and put right by "
            f"playbooks/courses.yml; a loop of kubernetes.core.helm saw {len(self.plain)}: {plain}"
        )


@dataclass(frozen=True)
class Demo:
    """The course that all this happens to."""

    inventory: Path
    folder: Path

    def entries(self) -> list[dict[str, Any]]:
        """Run the report and return what it says of the course; nothing if the course is in sync."""
        run = playbook.run("playbooks/drift.yml", LIMIT, f"--extra-vars=drift_report={self.folder}", **self.where())
        document = json.loads((self.folder / "drift.json").read_text())
        assert run.returncode == (0 if document["clean"] else 2), run.output[-3000:]
        assert not run.changed, run.changed_tasks()
        return [entry for course in document["courses"] if course["course"] == COURSE for entry in course["entries"]]

    def repair(self) -> playbook.Run:
        """Run what puts courses right."""
        return playbook.run("playbooks/courses.yml", LIMIT, **self.where()).assert_good()

    def plain_loop_sees(self) -> bool:
        """Tell whether kubernetes.core.helm says anything; if it does not in a check, a run does nothing, either."""
        run = playbook.run(str(self.folder / "plain.yml"), "--check", **self.where())
        return bool(run.changed) or run.returncode != 0

    def write_plain_loop(self) -> None:
        """Write the play that people use: the course's values as they are now, and the chart."""
        command = playbook.helm(COURSE, "get values", "--output=json")
        shown = subprocess.run(command, stdout=subprocess.PIPE, check=True)  # noqa: S603
        arguments = {
            "binary_path": playbook.helm(COURSE, "")[0],
            "kubeconfig": str(playbook.KUBECONFIG),
            "name": COURSE,
            "namespace": NAMESPACE,
            "chart_ref": str(CHART),
            "values": json.loads(shown.stdout),
        }
        variables = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
        task = {"name": "Deploy the release", "kubernetes.core.helm": arguments}
        play = {"hosts": "localhost", "gather_facts": False, "vars": variables, "tasks": [task]}
        (self.folder / "plain.yml").write_text(yaml.safe_dump([play]))

    def where(self) -> dict[str, Any]:
        """Return what all runs have in common."""
        return {"inventory": self.inventory}


@pytest.fixture(scope="module")
def demo(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """Deploy a course of one line; afterwards the lab has the courses that it had before."""
    del cluster  # there is one
    folder = tmp_path_factory.mktemp("drift")
    copy = playbook.inventory_with(folder, COURSE)
    course = Demo(copy, folder)
    course.repair()
    course.write_plain_loop()
    yield course
    playbook.remove_course(COURSE, copy).assert_good()


@pytest.fixture(scope="module")
def score(artifacts: Path, request: pytest.FixtureRequest) -> Iterator[Score]:
    """Count, and say in the end what came of it."""
    count = Score()
    yield count
    # What is captured is seen only where a test fails.
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\n{count}")
    (artifacts / "drift_score.txt").write_text(f"{count}\n")


def test_a_fresh_course_has_not_drifted(demo: Demo) -> None:
    assert demo.entries() == []


def test_five_edits_at_once_are_named_and_put_right(cluster: Cluster, demo: Demo) -> None:
    for name in FIVE:
        EDITS[name].make(cluster)
    entries = demo.entries()
    assert [name for name in FIVE if not EDITS[name].named(entries)] == [], entries
    run = demo.repair()
    assert set(run.changed) == {COURSE}, run.changed_tasks()
    assert demo.entries() == []


def batches() -> list[list[str]]:
    """Return all edits, such together as are of different objects; those of the release are each alone."""
    found: list[list[str]] = []
    for name, edit in EDITS.items():
        free = [
            batch
            for batch in found
            if edit.thing != RELEASE and {edit.thing, RELEASE}.isdisjoint(EDITS[other].thing for other in batch)
        ]
        if free:
            free[0].append(name)
        else:
            found.append([name])
    return found


@pytest.mark.full
@pytest.mark.parametrize("names", batches(), ids=", ".join)
def test_edits_are_named_and_put_right(names: list[str], cluster: Cluster, demo: Demo, score: Score) -> None:
    score.made += names
    edits = [EDITS[name] for name in names]
    kept = [edit for edit in edits if edit.undo]
    for edit in edits:
        edit.make(cluster)
    try:
        entries = demo.entries()
        assert [name for name in names if not EDITS[name].named(entries)] == [], entries
        if demo.plain_loop_sees():
            score.plain += names
        run = demo.repair()
        assert set(run.changed) == ({COURSE} if len(edits) > len(kept) else set()), run.changed_tasks()
        # Nobody knows whose they are: they are reported until a person removes them.
        entries = demo.entries()
        assert all(edit.named(entries) for edit in kept), entries
    finally:
        for edit in kept:
            kubectl(edit.undo, NAMESPACE)
    assert demo.entries() == []
    score.ours += names


@pytest.mark.full
def test_a_restart_is_no_drift(demo: Demo) -> None:
    kubectl("kubectl rollout restart deployment/hub deployment/proxy", NAMESPACE)
    kubectl("for name in hub proxy; do kubectl rollout status deployment/$name --timeout=120s; done", NAMESPACE)
    assert demo.entries() == []


@pytest.mark.full
def test_people_at_work_are_no_drift(lms: Lms, cluster: Cluster, demo: Demo) -> None:
    playbook.run("lab/lms.yml", **demo.where()).assert_good()
    try:
        person = lms.enter_lab(COURSE, "student-1")
        assert cluster.user_pod(COURSE, person.name)
        assert demo.entries() == []
    finally:
        cluster.stop_servers(COURSE)
        playbook.run("lab/lms.yml").assert_good()


@pytest.mark.full
def test_a_field_that_is_filled_in_by_the_cluster_is_no_drift(demo: Demo) -> None:
    """Neither a default that somebody has written down, nor what an admission policy sets."""
    kubectl('kubectl patch service/hub --patch=\'{"spec":{"sessionAffinity":"None"}}\'', NAMESPACE)
    assert demo.entries() == []
    kubectl("kubectl apply --filename=-", NAMESPACE, DEFAULTS)
    read = "kubectl get deployment/proxy --output=jsonpath={.spec.revisionHistoryLimit}"
    try:
        note = "kubectl annotate --overwrite deployment/proxy kubectl.kubernetes.io/looked-at=$(date +%s)"
        wait_for("the policy to work", lambda: kubectl(f"{note} >&2 && {read}", NAMESPACE) == "3", 60, pause=2)
        assert demo.entries() == []
    finally:
        kubectl("kubectl delete --filename=-", NAMESPACE, DEFAULTS)
        # Nobody has set it: without the policy it stays until somebody writes it.
        reset = f"kubectl patch deployment/proxy {json_patch('remove', '/spec/revisionHistoryLimit')}"
        wait_for("the policy's end", lambda: kubectl(f"{reset} >&2 && {read}", NAMESPACE) == "10", 60, pause=2)
    assert demo.entries() == []


@pytest.mark.full
def test_what_is_applied_as_it_is_has_not_drifted(demo: Demo) -> None:
    kinds = "deployments,services,configmaps,persistentvolumeclaims,serviceaccounts"
    kinds += ",networkpolicies,roles,rolebindings,poddisruptionbudgets"
    selector = "--selector=app.kubernetes.io/managed-by=Helm"
    kubectl(f"kubectl get {kinds} {selector} --output=yaml | kubectl apply --filename=-", NAMESPACE)
    assert demo.entries() == []
