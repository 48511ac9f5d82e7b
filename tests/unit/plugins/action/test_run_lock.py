"""Two runs exclude each other: real processes, locks and ends; the API server keeps Leases as the real one does."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.campus.hubs.plugins.action.run_lock import lock_path
from ansible_collections.campus.hubs.plugins.plugin_utils.run_lock_holder import LEASE, BusyError, Lease, Request

from tests.unit.plugins.kubeconfigs import write_kubeconfig

ROOT = Path(__file__).resolve().parents[4]
TOKEN = "sesame"
RENEW_SECONDS, EXPIRE_SECONDS = 0.5, 20


class Leases(ThreadingHTTPServer):
    """Keeps Leases by the API's rules: 409 for what exists or was written since, 404 for what does not exist."""

    def __init__(self, port: int = 0) -> None:
        """Listen."""
        super().__init__(("127.0.0.1", port), _Handler)
        self.objects: dict[str, dict[str, Any]] = {}
        self.count = 0
        self.guard = threading.Lock()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        """Be away."""
        self.shutdown()
        self.server_close()

    @property
    def spec(self) -> dict[str, Any] | None:
        """The Lease's; None if there is none."""
        found = self.objects.get(LEASE)
        return found and found["spec"]

    def put(self, holder: str, age: float) -> None:
        """Write another's Lease that was renewed that long ago."""
        time_ = (datetime.now(UTC) - timedelta(seconds=age)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = {
            "holderIdentity": holder,
            "acquireTime": time_,
            "renewTime": time_,
            "leaseDurationSeconds": EXPIRE_SECONDS,
        }
        with self.guard:
            self.count += 1
            self.objects[LEASE] = {"metadata": {"name": LEASE, "resourceVersion": str(self.count)}, "spec": spec}


class _Handler(BaseHTTPRequestHandler):
    server: Leases

    def answer(self) -> tuple[int, dict[str, Any]]:
        """Do what is asked."""
        assert self.path.startswith("/apis/coordination.k8s.io/v1/namespaces/kube-system/leases")
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "{}")
        found = self.server.objects.get(LEASE)
        version = body.get("metadata", body.get("preconditions", {})).get("resourceVersion")
        if self.command == "POST":
            if found:
                return 409, {"message": "already exists"}
        elif not found:
            return 404, {"message": "not found"}
        elif version and version != found["metadata"]["resourceVersion"]:
            return 409, {"message": "the object has been modified"}
        if self.command == "GET" and found:
            return 200, found
        if self.command == "DELETE":
            return 200, self.server.objects.pop(LEASE)
        self.server.count += 1
        body["metadata"]["resourceVersion"] = str(self.server.count)
        self.server.objects[LEASE] = body
        return 201 if self.command == "POST" else 200, body

    def handle_any(self) -> None:
        """Answer one request."""
        with self.server.guard:
            known = self.headers["Authorization"] == f"Bearer {TOKEN}"
            status, document = self.answer() if known else (401, {"message": "Unauthorized"})
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815 (http.server's names)

    def log_message(self, *_: object) -> None:
        """Be silent."""


@pytest.fixture
def leases(tmp_path: Path) -> Iterator[Leases]:
    server = Leases()
    write_kubeconfig(tmp_path / "kubeconfig", {"server": f"http://127.0.0.1:{server.server_port}"}, {"token": TOKEN})
    yield server
    server.stop()


class Runner:
    """Stands for one ansible-playbook, with its holder."""

    def __init__(self, folder: Path, name: str, machine: str = "here", pid: int | None = None) -> None:
        """Start both and read the answer."""
        self.main = None if pid else subprocess.Popen(["/bin/sleep", "60"])
        self.request = Request(
            file=str(folder / machine / "lock"),
            kubeconfig=str(folder / "kubeconfig"),
            pid=pid or (self.main.pid if self.main else 0),
            holder=name,
            since=datetime.now(UTC).isoformat(),
            renew_seconds=RENEW_SECONDS,
            expire_seconds=EXPIRE_SECONDS,
        )
        self.holder = subprocess.Popen(
            [sys.executable, "-P", "-m", "plugins.plugin_utils.run_lock_holder"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert self.holder.stdin
        assert self.holder.stdout
        self.holder.stdin.write(json.dumps(self.request.__dict__) + "\n")
        self.holder.stdin.close()
        self.answer: dict[str, Any] = json.loads(self.holder.stdout.read())

    def end(self, number: int = signal.SIGKILL) -> None:
        """End ansible-playbook and wait until the holder has noticed."""
        if self.main:
            self.main.send_signal(number)
            self.main.wait()
        self.holder.wait(timeout=20)


type Start = Callable[..., Runner]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    runners: list[Runner] = []

    def begin(name: str, machine: str = "here", pid: int | None = None) -> Runner:
        runners.append(Runner(tmp_path, name, machine, pid))
        return runners[-1]

    yield begin
    for runner in runners:
        runner.end()


def wait_until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Wait for something that has to come true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.02)


def test_one_machine_without_a_cluster(start: Start) -> None:
    first = start("anna")
    assert "kubeconfig" in first.answer["why"]
    second = start("bert")
    assert second.answer == {"holder": "anna", "since": first.request.since}
    first.end()
    assert "why" in start("bert").answer


def test_the_same_run_may_ask_again(start: Start) -> None:
    first = start("anna")
    assert start("anna", pid=first.request.pid).answer == {"why": ""}
    assert start("bert").answer["holder"] == "anna"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_two_machines(leases: Leases, start: Start, number: int) -> None:
    first = start("anna", machine="desk")
    assert first.answer == {"why": ""}
    assert start("bert", machine="server").answer == {"holder": "anna", "since": first.request.since}
    first.end(number)
    assert leases.spec is None
    assert start("bert", machine="server").answer == {"why": ""}


def test_the_lease_is_renewed(leases: Leases, start: Start) -> None:
    start("anna")
    assert leases.spec
    renewed = leases.spec["renewTime"]
    wait_until(lambda: leases.spec and leases.spec["renewTime"] > renewed)
    assert leases.spec["holderIdentity"] == "anna"


def test_a_signal_to_all_processes_does_not_end_the_holder_early(leases: Leases, start: Start) -> None:
    first = start("anna")
    first.holder.terminate()
    time.sleep(2 * RENEW_SECONDS)
    assert first.holder.poll() is None
    assert start("bert", machine="server").answer["holder"] == "anna"


def test_a_dead_machines_lease_is_taken_over(leases: Leases, start: Start) -> None:
    first = start("anna", machine="desk")
    first.holder.kill()
    assert start("bert", machine="server").answer["holder"] == "anna"
    leases.put("anna", age=EXPIRE_SECONDS + 1)
    assert start("bert", machine="server").answer == {"why": ""}
    assert leases.spec
    assert leases.spec["holderIdentity"] == "bert"


def test_a_run_killed_with_its_holder_is_in_nobodys_way_on_its_machine(leases: Leases, start: Start) -> None:
    first = start("anna@desk (process 1)", machine="desk")
    first.holder.kill()
    first.end()
    assert leases.spec
    assert start("anna@server (process 2)", machine="server").answer["holder"] == first.request.holder
    assert start("anna@desk (process 3)", machine="desk").answer == {"why": ""}
    assert leases.spec["holderIdentity"] == "anna@desk (process 3)"


def test_a_run_that_has_lost_its_holder_goes_on_alone(leases: Leases, start: Start) -> None:
    first = start("anna@desk (process 1)")
    first.holder.kill()
    first.holder.wait()
    assert start("anna@desk (process 2)").answer["holder"] == first.request.holder


def test_another_machines_run_is_not_known_to_have_ended(leases: Leases, start: Start) -> None:
    """The file is in a home folder that two machines share, and its lock holds on one of them only."""
    first = start("anna@desk (process 1)")
    first.holder.kill()
    first.end()
    assert start("anna@server (process 2)").answer["holder"] == first.request.holder


def test_a_slow_clock_does_not_give_the_lease_away(leases: Leases, start: Start) -> None:
    """It looks expired, but somebody renews it."""
    leases.put("anna", age=100)
    over = threading.Event()

    def renew() -> None:
        while not over.wait(0.05):
            leases.put("anna", age=100)

    thread = threading.Thread(target=renew)
    thread.start()
    try:
        assert start("bert").answer["holder"] == "anna"
    finally:
        over.set()
        thread.join()


def test_the_cluster_comes_and_goes(tmp_path: Path, leases: Leases, start: Start) -> None:
    port = leases.server_port
    leases.stop()
    first = start("anna")
    assert "refused" in first.answer["why"]
    later = Leases(port)
    try:
        wait_until(lambda: later.spec and later.spec["holderIdentity"] == "anna")
        later.objects.clear()  # somebody has deleted it
        wait_until(lambda: later.spec and later.spec["holderIdentity"] == "anna")
        first.end()
        assert later.spec is None
    finally:
        later.stop()


def test_what_was_taken_away_is_left_alone(leases: Leases, start: Start) -> None:
    first = start("anna")
    leases.put("bert", age=0)
    first.end()
    assert leases.spec
    assert leases.spec["holderIdentity"] == "bert"


def test_one_of_many_gets_it(tmp_path: Path, leases: Leases) -> None:
    """Conflicts of versions are resolved: nobody waits for ever, and only one has it."""
    leases.put("gone", age=100)
    won: list[str] = []
    lost: list[str] = []

    def take(name: str) -> None:
        request = Request("", str(tmp_path / "kubeconfig"), 0, name, name, RENEW_SECONDS, EXPIRE_SECONDS)
        try:
            Lease(request, time.sleep).keep()
            won.append(name)
        except BusyError:
            lost.append(name)

    threads = [threading.Thread(target=take, args=[f"person-{number}"]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert leases.spec
    assert won == [leases.spec["holderIdentity"]]
    assert len(lost) == 7


def test_an_api_server_that_refuses(tmp_path: Path, leases: Leases, start: Start) -> None:
    write_kubeconfig(tmp_path / "kubeconfig", {"server": f"http://127.0.0.1:{leases.server_port}"}, {"token": "wrong"})
    assert start("anna").answer == {"why": "Unauthorized"}


PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - campus.hubs.run_lock:
      run_once: true
    - ansible.builtin.wait_for: {path: "{{ inventory_dir }}/go", sleep: 1}
      run_once: true
      delegate_to: localhost
"""


def playbook(folder: Path, *options: str) -> subprocess.Popen[str]:
    """Start a run."""
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(folder / "hosts"), *options]
    return subprocess.Popen(  # noqa: S603
        [*command, str(folder / "play.yml")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env=os.environ | {"XDG_CACHE_HOME": str(folder / "cache"), "ANSIBLE_FORCE_COLOR": "0"},
    )


def test_the_second_run_refuses_in_words(tmp_path: Path, leases: Leases, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "play.yml").write_text(PLAY)
    host = f"localhost ansible_connection=local kubeadm_kubeconfig={tmp_path}/kubeconfig"
    (tmp_path / "hosts").write_text(f"[control_plane]\n{host}\n")
    first = playbook(tmp_path)
    try:
        wait_until(lambda: leases.spec, 60)
        assert lock_path(tmp_path / "kubeconfig").exists()
        output, _ = playbook(tmp_path).communicate(timeout=60)
        assert re.search(r"Another run is under way: \S+@\S+ \(process \d+\), since [0-9T:-]+Z\.", output), output
        assert f"(process {first.pid})" in output
        assert "Nothing was changed." in output
        assert "failed=1" in output
        (tmp_path / "go").touch()
        output, _ = playbook(tmp_path, "--check").communicate(timeout=60)
        assert "failed=0" in output
        output, _ = first.communicate(timeout=60)
        assert "changed=0" in output
        assert "failed=0" in output
    finally:
        first.kill()
        first.wait()
    wait_until(lambda: leases.spec is None)
