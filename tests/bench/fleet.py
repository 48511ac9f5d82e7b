"""A run that finds nothing to do, over 10, 100 and 1000 courses, beside the plain loop of kubernetes.core.helm.

All of it against an API server of its own (control_plane.py). The first course is installed by helm with the
collection's chart; the others are the same release under their own names, with objects applied as helm applies them.
Deployments have no replicas, since there is no node to run them. CPU and memory are those of the command and all
processes that it starts; calls are what the API server has noted. The floor is what one would ask by hand to see
releases and objects. The courses have LTI 1.1: rosters are read in the courses' pods, by a request for each.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import yaml

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from ansible.plugins.loader import init_plugin_loader  # noqa: E402

init_plugin_loader([str(ROOT / ".collections")])

from ansible.parsing.dataloader import DataLoader  # noqa: E402
from ansible_collections.campus.hubs.plugins.module_utils._course_state.release import decode  # noqa: E402
from ansible_collections.campus.hubs.plugins.module_utils._course_state.snapshot import namespace_labels  # noqa: E402
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.client import connect  # noqa: E402
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.kinds import NODE  # noqa: E402
from ansible_collections.campus.hubs.plugins.plugin_utils.course_inputs import InventoryCourses  # noqa: E402

from tests.bench.control_plane import control_plane, programs  # noqa: E402

COUNTS = (10, 100, 1000)
# Of the playbook; the median is shown.
RUNS = 3
# The plain loop takes about a second for each course, and is run once.
LOOP_UP_TO = 100
REPLICAS = '{{ ternary 0 1 (hasPrefix "fleet-" .Release.Name) }}'
BIN = Path(sys.executable).parent
VARIABLES: dict[str, Any] = {"course_hub_lms_url": "https://moodle.example.edu", "course_hub_service_type": "ClusterIP"}
SECRETS = ("course-secrets", "lti11-consumer")
# What the floor asks for: the kinds of the release's objects.
KINDS = "deployments,services,configmaps,serviceaccounts,roles,rolebindings,networkpolicies,persistentvolumeclaims"
PLAIN = """
- hosts: localhost
  gather_facts: false
  tasks:
    - kubernetes.core.helm:
        binary_path: {helm}
        name: "{{{{ item }}}}"
        namespace: "course-{{{{ item }}}}"
        chart_ref: {chart}
        values: "{{{{ lookup('ansible.builtin.file', values ~ '/' ~ item ~ '.json') | from_json }}}}"
      loop: "{{{{ courses }}}}"
"""


@dataclass(frozen=True)
class Cost:
    """What a command took: seconds by the clock, CPU seconds, MiB of memory at the most, calls, and what it printed."""

    wall: float
    cpu: float
    memory: float
    calls: int
    output: str


def course_of(number: int) -> str:
    """Return a course's id; all have the same length."""
    return f"fleet-{number:04}"


def own_variables(course: str) -> dict[str, Any]:
    """Return what a course has of its own."""
    return {
        "course_hub_title": f"Course {course}",
        "course_hub_url": f"https://hubs.example.edu/{course}/",
    }


class Plane(Protocol):
    """An API server: how users reach it, and how often they did."""

    def kubeconfig(self, user: str) -> str:
        """Return the text of a kubeconfig."""

    def calls(self) -> Counter[str]:
        """Count the requests so far, by user."""


class Fleet:
    """Courses on a control plane, and an inventory of them."""

    def __init__(self, folder: Path, plane: Plane) -> None:
        """Copy the collection, with a chart that starts no pods for the fleet."""
        self.folder, self.plane = folder, plane
        self.checkout, self.inventory, self.values = (folder / name for name in ("checkout", "inventory", "values"))
        names = ("ansible.cfg", "charts", "meta", "playbooks", "plugins", "roles", "galaxy.yml")
        listed = subprocess.run(  # noqa: S603
            ["git", "ls-files", *names],  # noqa: S607
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for name in listed:
            target = self.checkout / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
        for template in (self.checkout / "charts/course-hub/templates").glob("*.yaml"):
            template.write_text(template.read_text().replace("\n  replicas: 1\n", f"\n  replicas: {REPLICAS}\n"))
        link = self.checkout / ".collections/ansible_collections/campus/hubs"
        link.parent.mkdir(parents=True)
        link.symlink_to(self.checkout)
        self.inventory.mkdir()
        self.values.mkdir()
        self.courses: list[str] = []
        for user in ("ours", "admin", "loop", "floor"):
            (folder / f"kubeconfig-{user}").write_text(plane.kubeconfig(user))
        self.api = connect({"kubeconfig": str(folder / "kubeconfig-admin")})
        self.kinds = {(kind.group, kind.kind): kind for kind in self.api.kinds()}
        self.helm = helm_program()

    def _create(self, manifest: dict[str, Any], namespace: str = "") -> None:
        kind = self.kinds["", manifest["kind"]]
        self.api.create(kind, namespace, {"apiVersion": "v1", **manifest})

    def make_site(self) -> None:
        """Have in the cluster what is there before courses."""
        address = {"type": "InternalIP", "address": "192.0.2.11"}
        self._create({"kind": "Node", "metadata": {"name": "cp1"}})
        status = {"status": {"addresses": [address], "conditions": [{"type": "Ready", "status": "True"}]}}
        media = ("application/json", "application/merge-patch+json")
        self.api.request("PATCH", f"{NODE.url(name='cp1')}/status", status, media=media)
        networks = "networking: {podSubnet: 10.244.0.0/16, serviceSubnet: 10.96.0.0/12}"
        data = {"ClusterConfiguration": networks}
        self._create({"kind": "ConfigMap", "metadata": {"name": "kubeadm-config"}, "data": data}, "kube-system")
        self._create({"kind": "Namespace", "metadata": {"name": "campus-hubs"}})
        images = {
            name: f"registry.example.edu/{name}@sha256:{64 * 'a'}"
            for name in ("hub", "singleuser", "proxy", "exchange")
        }
        self._create({"kind": "ConfigMap", "metadata": {"name": "course-images"}, "data": images}, "campus-hubs")

    def grow(self, count: int) -> None:
        """Have so many courses, each deployed as the inventory says."""
        new = [course_of(number) for number in range(len(self.courses) + 1, count + 1)]
        self.courses += new
        self.write_inventory({})
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(self.prepare, new))
            self.write_values({course: own_variables(course) for course in new})
            if course_of(1) in new:
                self._install_first(new.pop(0))
            list(pool.map(self._multiply, new))
        self._settle()

    def write_inventory(self, more: dict[str, dict[str, Any]]) -> None:
        """Write the inventory of the fleet, and of more courses with their variables."""
        hosts = {course: own_variables(course) for course in self.courses} | more
        first = {"ansible_host": "192.0.2.11", "kubeadm_kubeconfig": f"{self.folder}/kubeconfig-ours"}
        control_plane = {"hosts": {"cp1": first}}
        groups = {"control_plane": control_plane, "courses": {"hosts": hosts, "vars": VARIABLES}}
        (self.inventory / "hosts.yml").write_text(yaml.safe_dump({"all": {"children": groups}}))

    def write_values(self, courses: dict[str, dict[str, Any]]) -> None:
        """Write the values of the chart for courses with their variables."""
        raw = {course: {**VARIABLES, **own, "inventory_hostname": course} for course, own in courses.items()}
        wanted = InventoryCourses(raw, DataLoader(), self.api, check=False, collection=self.checkout)
        for course in courses:
            found = wanted.course(course)
            assert found.values is not None, found.why
            (self.values / f"{course}.json").write_text(json.dumps(found.values))

    def prepare(self, course: str) -> None:
        """Make a course's namespace and Secrets, as the role does."""
        labels = namespace_labels(course)
        self._create({"kind": "Namespace", "metadata": {"name": f"course-{course}", "labels": labels}})
        ours = {"app.kubernetes.io/managed-by": "campus.hubs"}
        for name in SECRETS:
            self._create({"kind": "Secret", "metadata": {"name": name, "labels": ours}}, f"course-{course}")

    def install(self, course: str) -> None:
        """Install the release of a course that has been prepared."""
        values = self.values / f"{course}.json"
        command = [self.helm, "install", course, str(self.checkout / "charts/course-hub"), f"--values={values}"]
        command += [f"--namespace=course-{course}", f"--kubeconfig={self.folder}/kubeconfig-admin"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603

    def _install_first(self, course: str) -> None:
        self.install(course)
        secrets = self.kinds["", "Secret"].url(f"course-{course}")
        self._secret = self.api.request("GET", f"{secrets}/sh.helm.release.v1.{course}.v1")

    def _multiply(self, course: str) -> None:
        """Deploy a course as the first one was, under its own name and with its own checksum of Secrets."""
        first = course_of(1)
        checksums = [
            json.loads((self.values / f"{name}.json").read_text())["checksum"]["secrets"] for name in (first, course)
        ]

        def renamed(text: str) -> str:
            return text.replace(first, course).replace(*checksums)

        record = gzip.decompress(base64.b64decode(base64.b64decode(self._secret["data"]["release"]))).decode()
        data = base64.b64encode(base64.b64encode(gzip.compress(renamed(record).encode()))).decode()
        metadata = {key: self._secret["metadata"][key] for key in ("name", "labels")}
        secret = {"kind": "Secret", "type": self._secret["type"], "metadata": metadata}
        secret = {**json.loads(renamed(json.dumps(secret))), "data": {"release": data}}
        self._create(secret, f"course-{course}")
        for manifest in decode(
            {"metadata": {"name": course, "namespace": course}, "data": {"release": data}}
        ).objects():
            group = manifest["apiVersion"].rpartition("/")[0]
            self.api.apply(self.kinds[group, manifest["kind"]], f"course-{course}", manifest)

    def _settle(self) -> None:
        """Wait until the controllers have seen all Deployments."""
        kind = self.kinds["apps", "Deployment"]
        end = time.monotonic() + 300
        while any(
            item["status"].get("observedGeneration") != item["metadata"]["generation"]
            for item in self.api.objects(kind)
        ):
            assert time.monotonic() < end, "the controller manager has not seen all Deployments"
            time.sleep(1)

    # ---- what is compared ----

    def run_courses(self) -> Cost:
        """Run the playbook of the courses."""
        command = [str(BIN / "ansible-playbook"), "-i", str(self.inventory), "playbooks/courses.yml"]
        return self.measure("ours", [command], self.checkout)

    def ours(self) -> Cost:
        """Run the playbook of the courses; it must find nothing to do."""
        found = self.run_courses()
        count = len(self.courses)
        assert f"{count} of {count} courses are in sync." in found.output, found.output[-3000:]
        assert "changed=0" in found.output, found.output[-3000:]
        return found

    def loop(self) -> Cost:
        """Run the plain loop; it must find nothing to do."""
        play = self.folder / "plain.yml"
        play.write_text(PLAIN.format(helm=self.helm, chart=self.checkout / "charts/course-hub"))
        extra = self.folder / "plain-courses.json"
        extra.write_text(json.dumps({"courses": self.courses, "values": str(self.values)}))
        command = [str(BIN / "ansible-playbook"), "-i", "localhost,", "-c", "local", str(play), "-e", f"@{extra}"]
        command += ["-e", f"ansible_python_interpreter={sys.executable}"]
        found = self.measure("loop", [command], self.checkout)
        assert "changed=0" in found.output, found.output[-3000:]
        return found

    def floor(self) -> Cost:
        """Ask helm and kubectl for what there is."""
        asked = [
            programs()["kubectl"],
            "get",
            KINDS,
            "--all-namespaces",
            "--selector=app.kubernetes.io/managed-by=Helm",
        ]
        listed = [self.helm, "list", "--all-namespaces", f"--max={len(self.courses)}"]
        return self.measure("floor", [listed, [*asked, "--output=json"]], self.folder)

    def measure(self, user: str, commands: Iterable[Sequence[str]], folder: Path) -> Cost:
        """Run commands one after the other as a user of the API; they must succeed."""
        kubeconfig = f"{self.folder}/kubeconfig-{user}"
        plain = {
            "ANSIBLE_CONFIG": str(self.checkout / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_FORCE_COLOR": "0",
        }
        environment = {**os.environ, **plain, "KUBECONFIG": kubeconfig, "K8S_AUTH_KUBECONFIG": kubeconfig}
        calls = self.plane.calls()[user]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        begin = time.monotonic()
        memory, output = 0.0, b""
        for command in commands:
            with tempfile.TemporaryFile() as log:
                process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)  # noqa: S603
                with Watch(process.pid) as watch:
                    process.wait()
                memory = max(memory, watch.peak)
                log.seek(0)
                output = log.read()
            assert process.returncode == 0, output.decode()[-3000:]
        wall = time.monotonic() - begin
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        time.sleep(1)  # the API server writes its log a moment later
        return Cost(wall, cpu, memory, self.plane.calls()[user] - calls, output.decode())


class Watch:
    """Looks a few times a second how much memory a process and all that it has started take together (PSS)."""

    def __init__(self, pid: int) -> None:
        """Take the process."""
        self._pid, self.peak, self._over = pid, 0.0, threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Watch:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.25):
            pids, total = [self._pid], 0
            for pid in pids:
                try:
                    for task in Path(f"/proc/{pid}/task").iterdir():
                        pids += map(int, (task / "children").read_text().split())
                    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
                    total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
                except (OSError, StopIteration):  # it has just ended
                    continue
            self.peak = max(self.peak, total / 1024)


def helm_program() -> str:
    """Find helm in the cache of the control machine."""
    cache = os.environ.get("CAMPUS_HUBS_CACHE") or Path.home() / ".cache/campus-hubs"
    found = sorted(Path(cache, "helm").glob("v*/helm"))
    assert found, f"{cache}/helm has no helm: site.yml puts it there"
    return str(found[-1])


def show(count: int, what: str, cost: Cost) -> None:
    """Print one line."""
    times = f"{cost.wall:>7.1f} s{1000 * cost.wall / count:>10.1f} ms{cost.cpu:>7.1f} s"
    print(f"{count:<10}{what:<28}{times}{cost.memory:>6.0f} MiB{cost.calls:>11}", flush=True)


def main() -> None:
    """Print the table."""
    # So that the control plane ends with this, whoever ends it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    counts = [int(argument) for argument in sys.argv[1:]] or list(COUNTS)
    print(f"{'':<10}{'':<28}{'wall':>9}{'per course':>13}{'CPU':>9}{'memory':>10}{'API calls':>11}", flush=True)
    with tempfile.TemporaryDirectory(prefix="fleet-") as name:
        folder = Path(name)
        (folder / "plane").mkdir()
        with control_plane(folder / "plane", ["ours", "loop", "floor"]) as plane:
            fleet = Fleet(folder, plane)
            fleet.make_site()
            for count in counts:
                fleet.grow(count)
                show(count, "helm list, kubectl get", fleet.floor())
                ours = sorted((fleet.ours() for _ in range(RUNS)), key=lambda cost: cost.wall)[RUNS // 2]
                show(count, f"courses.yml, median of {RUNS}", ours)
                if count <= LOOP_UP_TO:
                    plain = fleet.loop()
                    show(count, "loop of kubernetes.core.helm", plain)
                    print(f"{count:<10}the loop takes {plain.cpu / ours.cpu:.1f} times the CPU seconds", flush=True)


if __name__ == "__main__":
    main()
