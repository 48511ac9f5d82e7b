# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What all modules that let kubeadm change something have in common."""

from __future__ import annotations


class ModuleDocFragment:
    """Documentation fragment `campus.hubs.kubeadm`."""

    DOCUMENTATION = r"""
options:
  config:
    description:
      - The documents of kubeadm's configuration (C(InitConfiguration), C(ClusterConfiguration),
        C(KubeletConfiguration), C(KubeProxyConfiguration)), YAML. kubeadm reads them from its standard input.
    type: str
    required: true
"""
