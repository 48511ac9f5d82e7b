# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What all modules that ask the Kubernetes API have in common: options for the connection, and their end in errors."""

from __future__ import annotations

from typing import Any, NoReturn

from ansible_collections.kubernetes.core.plugins.module_utils.args_common import AUTH_ARG_SPEC
from ansible_collections.kubernetes.core.plugins.module_utils.k8s.core import AnsibleK8SModule


def new_module(arguments: dict[str, Any], **more: Any) -> Any:  # noqa: ANN401 (kubernetes.core is untyped)
    """Return a module with the connection's options, which supports check mode.

    Args:
        arguments: its own options, as in an argument spec.
        more: what else an `AnsibleModule` takes.
    """
    spec = {**AUTH_ARG_SPEC, **arguments}
    # Most kubeconfigs do not need the Kubernetes client; who needs it says so.
    checks = {"check_k8s": False, "check_pyyaml": False}
    return AnsibleK8SModule(argument_spec=spec, supports_check_mode=True, **checks, **more)


def fail(module: Any, message: str) -> NoReturn:  # noqa: ANN401 (kubernetes.core is untyped)
    """End the module with one readable message."""
    module.fail_json(msg=message)
    raise AssertionError("fail_json returned")
