"""A proxy of a node's sessions is for the internet: no request of role kubeadm to the cluster goes through it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible.parsing.dataloader import DataLoader
from ansible.playbook.play import Play
from ansible.vars.manager import VariableManager

from tests.unit.roles.role_variables import ROOT

PROXIES = {"http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY"}


def tasks() -> Iterator[tuple[str, dict[str, Any]]]:
    """Return the file of each task of the role, and the environment that Ansible gives it."""
    loader = DataLoader()
    data = {"hosts": "all", "gather_facts": False, "roles": [str(ROOT / "roles/kubeadm")]}
    play = Play.load(data, variable_manager=VariableManager(loader=loader), loader=loader)
    for role in play.roles:
        blocks = list(role.get_task_blocks())
        while blocks:
            task = blocks.pop()
            if hasattr(task, "block"):
                blocks += [*task.block, *task.rescue, *task.always]
            elif path := task.get_path():
                layers = [layer for layer in task.environment or () if isinstance(layer, dict)]
                environment = {name: value for layer in layers for name, value in layer.items()}
                yield Path(path.rpartition(":")[0]).name, environment


def test_only_packages_come_through_a_proxy() -> None:
    found = [(name, {proxy: environment.get(proxy) for proxy in PROXIES}) for name, environment in tasks()]
    assert {"gather.yml", "validate.yml", "packages.yml", "main.yml", "kubeconfig.yml"} <= {name for name, _ in found}
    for name, proxies in found:
        # kubeadm writes those that are not empty into what it makes run.
        wanted = None if name == "packages.yml" else ""
        assert proxies == dict.fromkeys(PROXIES, wanted), name
