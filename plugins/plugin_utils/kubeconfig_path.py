# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where the cluster's kubeconfig is on the control machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

VARIABLE = "kubeadm_kubeconfig"
# Nobody commits what is in there.
FOLDER = "~/.kube/campus-hubs"


def kubeconfig_path(variables: Mapping[str, Any]) -> str:
    """Return the path that the first control plane's kubeadm_kubeconfig gives, else the default for its inventory.

    The default holds the inventory's whole path: nobody's courses are compared with, or put into, another cluster.

    Args:
        variables: of a task; `hostvars` and `groups` count.
    """
    host = variables["hostvars"][variables["groups"]["control_plane"][0]]
    given = host.get(VARIABLE) or f"{FOLDER}/{host['inventory_dir'] or ''}/kubeconfig"
    return str(Path(given).expanduser())
