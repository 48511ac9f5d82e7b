"""What a person does on a node of the lab, and with kubectl on its first control plane."""

from __future__ import annotations

import subprocess

from tests.e2e import playbook

CONTROL_PLANE = "cp1"


def on_node(node: str, *command: str, stdin: str = "") -> str:
    """Run a command on a node of the lab and return what it prints.

    Raises:
        AssertionError: if it fails, with what it says.

    """
    program = [str(playbook.ROOT / "lab/lab"), "ssh", node, *command]
    done = subprocess.run(program, input=stdin, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, f"{node}: {' '.join(command)}: code {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout


def kubectl(line: str, namespace: str = "default", stdin: str = "") -> str:
    """Run a line of shell in which kubectl works on a namespace, and return what it prints.

    Raises:
        AssertionError: if it fails, with what it says.

    """
    begin = "export KUBECONFIG=/etc/kubernetes/admin.conf; "
    begin += f'kubectl() {{ command kubectl --namespace={namespace} "$@"; }}; '
    return on_node(CONTROL_PLANE, begin + line, stdin=stdin)
