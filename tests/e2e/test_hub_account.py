"""What a course's hub could do with its account if it were taken over: asked of the cluster as a dry run."""

from __future__ import annotations

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.conftest import LTI11_COURSE, LTI13_COURSE
from tests.unit.charts.hub_pods import CLAIM, CLAIMS, MESSAGE, NODE, REFUSED, HubsAccount, Manifest, changed

POD: Manifest = {
    "metadata": {"name": "user-taken-over"},
    "spec": {
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": "notebook",
                "image": "registry.example.edu/x",
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            }
        ],
    },
}


@pytest.mark.parametrize("course", [LTI11_COURSE, LTI13_COURSE])
def test_the_hubs_account_makes_servers_and_homes_only(cluster: Cluster, course: str) -> None:
    hub = HubsAccount(cluster.core.api_client, f"course-{course}")
    assert (hub.refusal(POD), hub.refusal(CLAIM, "claim")) == ("", "")
    for name, change in {**REFUSED, **NODE}.items():
        refusal = hub.refusal(changed(POD, change))
        assert (MESSAGE if name in REFUSED else "forbidden") in refusal, (name, refusal)
    for name, change in CLAIMS.items():
        assert MESSAGE in hub.refusal(changed(CLAIM, change), "claim"), name
