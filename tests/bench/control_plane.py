"""A Kubernetes API of its own: etcd, API server and controller manager as processes, with the lab's programs.

There is no node, so pods cost nothing, and nothing else can be hit. The API server notes who has asked what, so that
calls can be counted by program without anything in between.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import requests
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.unit.images.exchange.exchange_lab import free_port

START_TIMEOUT = 120.0  # seconds
_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata", "userGroups": ["counted"]}, {"level": "None"}],
}


class ControlPlane:
    """A running API server.

    Attributes:
        url: where it answers.
    """

    def __init__(self, folder: Path, url: str) -> None:
        """Take its folder and address."""
        self._folder, self.url = folder, url

    def kubeconfig(self, user: str) -> str:
        """Return the text of a kubeconfig; the users are those that `control_plane` was given, and admin."""
        cluster = {"server": self.url, "certificate-authority": str(self._folder / "certificates/apiserver.crt")}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "bench",
            "clusters": [{"name": "bench", "cluster": cluster}],
            "users": [{"name": user, "user": {"token": f"token-of-{user}"}}],
            "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": user}}],
        }
        return yaml.safe_dump(document)

    def calls(self) -> Counter[str]:
        """Count the requests so far, by user."""
        log = self._folder / "audit.log"
        lines = log.read_text().splitlines() if log.exists() else []
        return Counter(json.loads(line)["user"]["username"] for line in lines)


def programs() -> dict[str, str]:
    """Find the programs in the lab's cache."""
    cache = os.environ.get("CAMPUS_HUBS_CACHE") or Path.home() / ".cache/campus-hubs"
    found = {}
    for name in ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl"):
        places = sorted(Path(cache, "store").glob(f"*/{name}"))
        assert places, f"{cache}/store has no {name}: lab/lab mirror fetches it"
        found[name] = str(places[-1])
    return found


@contextmanager
def control_plane(folder: Path, users: list[str]) -> Iterator[ControlPlane]:
    """Run a control plane that ends with the block.

    Args:
        folder: for its data, empty.
        users: who may do everything, and whose requests are counted.
    """
    program = programs()
    client, peer, port = free_port(), free_port(), free_port()
    plane = ControlPlane(folder, f"https://127.0.0.1:{port}")
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "accounts.key").write_bytes(key.private_bytes(*pem))
    (folder / "policy.yaml").write_text(yaml.safe_dump(_POLICY))
    people = [f'token-of-{user},{user},{user},"system:masters,counted"' for user in users]
    (folder / "tokens.csv").write_text("\n".join(["token-of-admin,admin,admin,system:masters", *people]) + "\n")
    (folder / "tokens.csv").chmod(0o600)
    with ExitStack() as stack:

        def start(name: str, *options: str) -> subprocess.Popen[bytes]:
            log = stack.enter_context((folder / f"{name}.log").open("wb"))
            process = subprocess.Popen([program[name], *options], stdout=log, stderr=log, cwd=folder)  # noqa: S603
            stack.callback(process.wait)
            stack.callback(process.terminate)
            return process

        etcd = f"http://127.0.0.1:{client}"
        start(
            "etcd",
            f"--data-dir={folder}/etcd",
            f"--listen-client-urls={etcd}",
            f"--advertise-client-urls={etcd}",
            f"--listen-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-cluster=default=http://127.0.0.1:{peer}",
            "--unsafe-no-fsync",
        )
        server = start(
            "kube-apiserver",
            f"--etcd-servers={etcd}",
            "--bind-address=127.0.0.1",
            f"--secure-port={port}",
            f"--cert-dir={folder}/certificates",
            f"--token-auth-file={folder}/tokens.csv",
            "--authorization-mode=RBAC",
            "--service-account-issuer=https://bench.example",
            f"--service-account-key-file={folder}/accounts.key",
            f"--service-account-signing-key-file={folder}/accounts.key",
            "--service-cluster-ip-range=10.96.0.0/12",
            f"--audit-policy-file={folder}/policy.yaml",
            f"--audit-log-path={folder}/audit.log",
            "--audit-log-maxsize=10000",
        )
        _wait_until_ready(plane, server, folder)
        (folder / "manager.kubeconfig").write_text(plane.kubeconfig("admin"))
        start(
            "kube-controller-manager",
            f"--kubeconfig={folder}/manager.kubeconfig",
            f"--service-account-private-key-file={folder}/accounts.key",
            "--leader-elect=false",
            "--secure-port=0",
            "--kube-api-qps=500",
            "--kube-api-burst=500",
        )
        yield plane


def _wait_until_ready(plane: ControlPlane, server: subprocess.Popen[bytes], folder: Path) -> None:
    end = time.monotonic() + START_TIMEOUT
    while time.monotonic() < end:
        assert server.poll() is None, (folder / "kube-apiserver.log").read_text()[-2000:]
        try:
            headers = {"Authorization": "Bearer token-of-admin"}
            certificate = str(folder / "certificates/apiserver.crt")
            if requests.get(f"{plane.url}/readyz", headers=headers, verify=certificate, timeout=5).ok:
                return
        except (requests.RequestException, OSError):
            pass
        time.sleep(0.5)
    message = f"the API server is not ready after {START_TIMEOUT:.0f} s"
    raise AssertionError(message)
