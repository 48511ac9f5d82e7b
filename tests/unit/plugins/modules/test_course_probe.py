"""What the probe reads of a course, and that it takes the home's volume with the home."""

from __future__ import annotations

import base64
import json
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.campus.hubs.plugins.module_utils._course_probe import LMS, ProbeError, subject, user_name
from ansible_collections.campus.hubs.plugins.modules import course_probe
from kubernetes.client.exceptions import ApiException

PLATFORM = {"issuer": "https://moodle.example.edu", "client_id": "c", "deployment_id": "1"}


def api(config: dict[str, Any], secrets: dict[str, dict[str, str]], url: str = "http://10.1.2.3/") -> Any:  # noqa: ANN401
    values = {"config": config, "publicUrl": url, "baseUrl": "/"}

    def secret(name: str, _namespace: str) -> SimpleNamespace:
        return SimpleNamespace(data={key: base64.b64encode(f"{v}\n".encode()) for key, v in secrets[name].items()})

    return SimpleNamespace(
        read_namespaced_config_map=lambda *_: SimpleNamespace(data={"values.json": json.dumps(values)}),
        read_namespaced_secret=secret,
    )


def test_a_course_with_lti_13_has_no_consumer() -> None:
    known = {"CourseAuthenticator": {"issuer": PLATFORM["issuer"], "lti13_platform": PLATFORM}}
    url, course = course_probe.read_course(api(known, {"course-secrets": {"probe-token": "t"}}), "course-x")
    assert url == "http://10.1.2.3/"
    assert (course.platform, course.key, course.secret) == (PLATFORM, "", "")
    assert course.user == user_name("moodle.example.edu", subject("t"))


def test_a_course_with_lti_11_is_launched_with_its_consumer() -> None:
    secrets = {
        "course-secrets": {"probe-token": "t"},
        "lti11-consumer": {"consumer_key": "x", "shared_secret": "s"},
    }
    url, course = course_probe.read_course(api({}, secrets, url=""), "course-x")
    assert url == "http://proxy.course-x/"
    assert (course.key, course.secret) == ("x", "s")
    assert course.user == user_name(LMS, subject("t"))


def test_without_a_token_it_says_where_that_comes_from() -> None:
    with pytest.raises(ProbeError, match="found no probe-token, expected the one that the role course_hub makes"):
        course_probe.read_course(api({}, {"course-secrets": {}}), "course-x")


class Volumes:
    """Claims and volumes of an API server."""

    def __init__(self, status: int = 0) -> None:
        """Refuse with a status, if there is one."""
        self.status, self.done = status, list[tuple[Any, ...]]()

    def read_namespaced_persistent_volume_claim(self, *_: str) -> SimpleNamespace:
        """Return a bound claim."""
        if self.status:
            raise ApiException(status=self.status)
        return SimpleNamespace(spec=SimpleNamespace(volume_name="pv-1"))

    def patch_persistent_volume(self, name: str, body: dict[str, Any]) -> None:
        """Note it."""
        self.done.append((name, body["spec"]["persistentVolumeReclaimPolicy"]))

    def delete_namespaced_persistent_volume_claim(self, *name: str) -> None:
        """Note it."""
        self.done.append(name)


def test_the_volume_goes_with_its_claim() -> None:
    volumes = Volumes()
    course_probe.remove_home(volumes, "course-x", "u1")
    assert volumes.done == [("pv-1", "Delete"), ("home-u1", "course-x")]


def test_a_home_that_was_never_made_is_no_error_but_a_refusal_is() -> None:
    course_probe.remove_home(Volumes(404), "course-x", "u1")
    with pytest.raises(ApiException):
        course_probe.remove_home(Volumes(403), "course-x", "u1")
