# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Holds the lock of a run for as long as the run lives.

A program of its own, because a task's process ends with the task: it reads a `Request` as JSON, answers with one line
of JSON, and stays until ansible-playbook is gone, however that ended. It imports nothing of Ansible, which would take
longer than the lock: the collection's folder is on its path, and the import of this collection is relative.

Two locks are held. A lock on a file (flock(2)) keeps out runs of the same inventory on this machine, even before there
is a cluster; the kernel frees it with this process. A Lease in the cluster (coordination.k8s.io/v1) keeps out all
others; it is deleted at the end. If this process was killed as well, it expires, and the next run on this machine takes
it over at once: it gets the file, which says whose the Lease was.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import select
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..module_utils._kubernetes.kubeconfig import read_kubeconfig

LEASE = "campus-hubs-run"
_LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"
_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"


@dataclass(frozen=True)
class Request:
    """What the task wants to be held.

    Attributes:
        file: the file to lock; made if it is not there.
        kubeconfig: of the cluster; it need not be there, or not yet.
        pid: process of ansible-playbook.
        holder: who runs it, for people: user@machine and process.
        since: when it asked for the lock, RFC 3339.
        renew_seconds: how often the Lease is renewed.
        expire_seconds: after that long without renewal the Lease is another's who asks for it.
    """

    file: str
    kubeconfig: str
    pid: int
    holder: str
    since: str
    renew_seconds: float = 10
    expire_seconds: float = 30


class BusyError(Exception):
    """Another run holds the lock."""

    def __init__(self, holder: str, since: str) -> None:
        """Take who it is, and since when."""
        super().__init__(holder)
        self.holder, self.since = holder, since


class HeldError(Exception):
    """The lock is held by this very run already."""


class Ended(Exception):  # noqa: N818 (it is no error)
    """The run has ended."""


def lock_file(request: Request) -> Request | None:
    """Lock the file until this process ends, and write into it who holds it.

    Returns:
        Who held it last, if that run has ended.

    Raises:
        BusyError: another process has locked it.
        HeldError: this very run has locked it.
        OSError: the file cannot be written or locked.
    """
    path = Path(request.file)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        other = read_request(path)
        if not other:  # it has only just been locked
            raise BusyError("a process on this machine", request.since) from None
        if other.pid == request.pid:
            raise HeldError from None
        raise BusyError(other.holder, other.since) from None
    last = read_request(path)
    os.truncate(descriptor, 0)
    os.write(descriptor, json.dumps(asdict(request)).encode())
    return last if last and has_ended(last, request) else None


def read_request(path: Path) -> Request | None:
    """Return what is in the file; None if that is no request."""
    try:
        return Request(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        return None


def has_ended(last: Request, request: Request) -> bool:
    """Tell whether the run of another request has certainly ended. Of other machines' runs nothing is known."""
    if last.holder.rpartition(" (")[0] != request.holder.rpartition(" (")[0]:
        return False
    try:
        sleeper(last.pid)(0)
    except Ended:
        return True
    return False


class Lease:
    """The Lease of the cluster, for one run."""

    def __init__(self, request: Request, sleep: Callable[[float], None], ended: Request | None = None) -> None:
        """Take whose it is to be, and whose it may be taken from at once; connects to nothing."""
        self._request, self._sleep = request, sleep
        self._owners = {(one.holder, one.since) for one in (request, ended) if one}
        # resourceVersion that may be overwritten.
        self._version = ""

    def keep(self) -> None:
        """Take or renew it.

        Raises:
            BusyError: it is another's.
            OSError: there is no cluster (yet), or its API server does not answer, or refuses.
        """
        for _attempt in range(5):  # others may be writing it
            status, answer = self._ask("PUT" if self._version else "POST", self._manifest())
            if status in (200, 201):
                self._version = answer["metadata"]["resourceVersion"]
                return
            if status not in (404, 409):
                raise OSError(answer.get("message") or f"the API server answers {status}")
            self._version = ""
            self._version = self._find_free()
        message = "the Lease is written by others all the time"
        raise OSError(message)

    def release(self) -> None:
        """Delete it, if it is still ours. What cannot be deleted expires."""
        if self._version:
            with contextlib.suppress(OSError):
                self._ask("DELETE", {"preconditions": {"resourceVersion": self._version}})

    def _find_free(self) -> str:
        """Return the version that may be overwritten, empty if there is no Lease.

        Clocks differ, and an API server that was down for a while kept the owner from renewing it. So a Lease that
        has expired is watched for longer than a living owner would leave it alone.
        """
        found = self._get()
        if found and not self._is_ours(found) and is_late(found["spec"]):
            self._sleep(1.5 * self._request.renew_seconds)
            before, found = found, self._get()
            if found and found["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]:
                return str(found["metadata"]["resourceVersion"])
        if found and not self._is_ours(found):
            raise BusyError(found["spec"].get("holderIdentity", "unknown"), found["spec"].get("acquireTime", "unknown"))
        return str(found["metadata"]["resourceVersion"]) if found else ""

    def _get(self) -> dict[str, Any] | None:
        status, answer = self._ask("GET")
        return answer if status == 200 else None

    def _is_ours(self, found: Mapping[str, Any]) -> bool:
        spec = found["spec"]
        return (spec.get("holderIdentity"), spec.get("acquireTime")) in self._owners

    def _manifest(self) -> dict[str, Any]:
        metadata = {"name": LEASE, "labels": {"app.kubernetes.io/managed-by": "campus.hubs"}}
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata | ({"resourceVersion": self._version} if self._version else {}),
            "spec": {
                "holderIdentity": self._request.holder,
                "acquireTime": self._request.since,
                "renewTime": datetime.now(UTC).strftime(_TIME),
                "leaseDurationSeconds": max(1, round(self._request.expire_seconds)),
            },
        }

    def _ask(self, method: str, body: object = None) -> tuple[int, dict[str, Any]]:
        """Make one request with the kubeconfig as it is now: the run may write it again."""
        access = read_kubeconfig(Path(self._request.kubeconfig))
        url = access.server + _LEASES + ("" if method == "POST" else f"/{LEASE}")
        data = None if body is None else json.dumps(body).encode()
        headers = {**access.headers, "Content-Type": "application/json", "Accept": "application/json"}
        request = urllib.request.Request(url, data, headers, method=method)  # noqa: S310 (the kubeconfig's)
        try:
            direct = urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=access.trust)
            with urllib.request.build_opener(*direct).open(request, timeout=5) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with contextlib.suppress(ValueError):
                return error.code, dict(json.loads(error.read()))
            return error.code, {}
        except (ValueError, http.client.HTTPException) as error:
            raise OSError(error) from error


def is_late(spec: Mapping[str, Any]) -> bool:
    """Tell whether a Lease has not been renewed in time."""
    try:
        renewed = datetime.fromisoformat(spec["renewTime"])
    except (KeyError, ValueError):
        return True
    return (datetime.now(UTC) - renewed).total_seconds() > float(spec.get("leaseDurationSeconds", 0))


def sleeper(pid: int) -> Callable[[float], None]:
    """Return a function that sleeps for some seconds, and raises `Ended` as soon as the process has ended."""
    if not hasattr(os, "pidfd_open"):  # not Linux

        def look(seconds: float) -> None:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                try:
                    os.kill(pid, 0)
                except ProcessLookupError:
                    raise Ended from None
                time.sleep(0.2)

        return look
    poll = select.poll()
    try:
        poll.register(os.pidfd_open(pid), select.POLLIN)
    except ProcessLookupError:
        raise Ended from None

    def sleep(seconds: float) -> None:
        if poll.poll(seconds * 1000):
            raise Ended

    return sleep


def hold(request: Request, answer: Callable[[Mapping[str, Any]], None]) -> None:
    """Take both locks, answer, and hold them until the run has ended.

    Args:
        request: what is to be held.
        answer: takes what is to be told to the task, once.
    """
    sleep = sleeper(request.pid)
    try:
        lease = Lease(request, sleep, lock_file(request))
    except HeldError:
        answer({"why": ""})
        return
    except BusyError as busy:
        answer({"holder": busy.holder, "since": busy.since})
        return
    except OSError as error:
        answer({"error": f"{request.file}: {error}"})
        return
    told = False
    try:
        while True:
            why = ""
            try:
                lease.keep()
            except BusyError as busy:
                if not told:
                    answer({"holder": busy.holder, "since": busy.since})
                    return
                # The run goes on whatever becomes of the Lease: to stop it in the middle would be worse.
            except OSError as error:
                why = str(error)
            if not told:
                answer({"why": why})
            told = True
            sleep(request.renew_seconds)
    except Ended:
        lease.release()


def main() -> None:
    """Read the request, hold the lock, end with the run."""
    # Who stops a service or a terminal stops all its processes; this one ends after the run and not before.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    request = Request(**json.loads(sys.stdin.readline()))

    def answer(document: Mapping[str, Any]) -> None:
        print(json.dumps(document), flush=True)
        # Nobody should wait for the end of this process because it still has somebody's pipe.
        nothing = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(nothing, number)

    with contextlib.suppress(Ended):
        hold(request, answer)


if __name__ == "__main__":
    main()
