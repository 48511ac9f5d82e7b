"""A check of bare servers ends where a cluster is needed; with a kubeconfig, an API server that is away is an error."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.plugins.kubeconfigs import write_kubeconfig

ROOT = Path(__file__).resolve().parents[3]
PLAY = """
- name: Configure it
  hosts: control_plane
  gather_facts: false
  environment:
    K8S_AUTH_KUBECONFIG: "{{ lookup('campus.hubs.kubeconfig') }}"
  tasks:
    - ansible.builtin.include_tasks: "{{ root }}/playbooks/tasks/api_server.yml"
    - ansible.builtin.debug: {msg: went on}
"""


@pytest.mark.parametrize(
    ("there", "code", "said"),
    [(False, 0, "Configure it: would come as soon as there is a cluster."), (True, 2, "found no answer (")],
)
def test_a_check_knows_bare_servers_from_a_cluster_that_is_away(
    tmp_path: Path, there: bool, code: int, said: str
) -> None:
    if there:
        write_kubeconfig(tmp_path / "kubeconfig", {"server": "http://127.0.0.1:9"}, {"token": "a-token"})
    (tmp_path / "play.yml").write_text(PLAY)
    host = f"localhost ansible_connection=local kubeadm_kubeconfig={tmp_path}/kubeconfig"
    (tmp_path / "hosts").write_text(f"[control_plane]\n{host}\n")
    program = Path(sys.executable).with_name("ansible-playbook")
    command = [str(program), "--check", f"-eroot={ROOT}", "-i", str(tmp_path / "hosts"), str(tmp_path / "play.yml")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    assert (done.returncode, said in " ".join(done.stdout.split())) == (code, True), done.stdout
    assert "went on" not in done.stdout
