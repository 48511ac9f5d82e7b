"""How long the module waits, and what it says then."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.campus.hubs.plugins.module_utils._course_readiness import Crash
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.errors import ApiError, KubernetesError
from ansible_collections.campus.hubs.plugins.modules import course_ready

from tests.unit.plugins.api_server import Answers, api_of

PODS: dict[str, Any] = {"containerStatuses": [{}]}


def seen(*unready: str, crashes: tuple[Crash, ...] = ()) -> Any:  # noqa: ANN401 (what a Look answers)
    def newest(name: str) -> list[dict[str, Any]]:
        return [{"metadata": {"name": name}, "status": {}}, {"metadata": {"name": f"{name}-1"}, "status": PODS}]

    return SimpleNamespace(unready=lambda: list(unready), crashes=lambda: list(crashes), newest=newest)


def course(*looks: Any) -> Any:  # noqa: ANN401 (a part of a Course)
    left = list(looks)

    def look() -> Any:  # noqa: ANN401
        found = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(found, Exception):
            raise found
        return found

    def last_words(pod: str, *, previous: bool) -> str:
        return f"{'before' if previous else 'now'} {pod}"

    return SimpleNamespace(look=look, warnings=lambda _look: ["no room"], last_words=last_words)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let a second pass whenever the module sleeps."""
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(course_ready, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    return now


def test_the_wait_lasts_until_all_run_whatever_the_api_server_says_meanwhile(clock: list[float]) -> None:
    last = course_ready.wait(course(seen("hub"), ApiError(500, ""), seen("hub"), seen()), 60)
    assert last.unready() == []
    assert clock[0] == 3


def test_the_wait_ends_when_its_time_is_over(clock: list[float]) -> None:
    assert course_ready.wait(course(seen("hub")), 60).unready() == ["hub"]
    assert clock[0] == 60
    with pytest.raises(KubernetesError):
        course_ready.wait(course(ApiError(500, "")), 5)


def test_a_loop_ends_it_at_once_and_its_last_words_are_those_of_before(clock: list[float]) -> None:
    looping = seen("hub", crashes=(Crash("hub-1", "hub", 3),))
    place = course(seen("hub"), looping)
    assert course_ready.wait(place, 300) is looping
    assert clock[0] == 1
    said = course_ready.reason(place, looping, "course-x", 300)
    assert said.startswith("In namespace course-x hub has ended 4 times (hub-1). Kubernetes warns: no room.")
    assert said.endswith("Last words of hub-1: before hub-1")


def test_a_log_is_one_line_at_most() -> None:
    assert (
        course_ready.one_line("  File x, line 1\n\nImportError: nowhere\n") == "File x, line 1 | ImportError: nowhere"
    )
    assert course_ready.one_line("x" * 9999 + "the end").endswith("xthe end")
    assert len(course_ready.one_line("x" * 9999)) < 1000
    assert course_ready.one_line("") == ""


def test_else_it_says_how_long_it_waited() -> None:
    said = course_ready.reason(course(seen()), seen("hub"), "course-x", 300)
    assert said.startswith("After 300 seconds hub in namespace course-x not ready. Kubernetes warns: no room.")
    assert said.endswith("Last words of hub-1: now hub-1")


def test_it_asks_for_the_programs_and_for_a_log_of_some_lines() -> None:
    core, apps = "/api/v1/namespaces/course-x", "/apis/apps/v1/namespaces/course-x"
    kinds = (f"{apps}/deployments", f"{apps}/replicasets", f"{core}/pods", f"{core}/events")
    pool = Answers({f"{core}/pods/hub-1/log": b"one\n\ntwo\n", **{path: {"items": []} for path in kinds}})
    place = course_ready.Course(api_of(pool), "course-x")
    look = place.look()
    assert look.unready() == ["hub", "proxy", "exchange"]
    assert place.warnings(look) == []
    assert [path.partition("?")[0] for _, path, _ in pool.asked] == list(kinds)
    assert "labelSelector=component+in+%28hub%2C+proxy%2C+exchange%29" in pool.asked[2][1]
    assert "fieldSelector=type%3DWarning" in pool.asked[3][1]
    assert place.last_words("hub-1", previous=True) == "one | two"
    assert pool.asked[-1][1].endswith("/log?tailLines=5&previous=true")
    assert place.last_words("hub-2", previous=False) == ""  # it has none yet
