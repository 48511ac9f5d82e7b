"""What the probe reads of a course, and that it takes the home's volume with the home."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from ansible_collections.campus.hubs.plugins.module_utils._course_probe import LMS, ProbeError, subject, user_name
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.client import Api
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.errors import ApiError
from ansible_collections.campus.hubs.plugins.modules import course_probe

from tests.unit.plugins.api_server import Answers, api_of

PLATFORM = {"issuer": "https://moodle.example.edu", "client_id": "c", "deployment_id": "1"}


def api(config: dict[str, Any], secrets: dict[str, dict[str, str]], url: str = "http://10.1.2.3/") -> Api:
    values, place = {"config": config, "publicUrl": url, "baseUrl": "/"}, "/api/v1/namespaces/course-x"
    objects = {f"{place}/configmaps/hub": {"kind": "ConfigMap", "data": {"values.json": json.dumps(values)}}}
    for name, fields in secrets.items():
        data = {key: base64.b64encode(f"{value}\n".encode()).decode() for key, value in fields.items()}
        objects[f"{place}/secrets/{name}"] = {"kind": "Secret", "data": data}
    return api_of(Answers(objects))


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


def test_a_course_that_is_not_there_is_named() -> None:
    with pytest.raises(ProbeError, match="ConfigMap hub: found nothing, expected the one that the role course_hub"):
        course_probe.read_course(api_of(Answers({})), "course-x")


CLAIMS = "/api/v1/namespaces/course-x/persistentvolumeclaims/home-u1"
VOLUMES = "/api/v1/persistentvolumes/pv-1"


def test_the_volume_goes_with_its_claim() -> None:
    pool = Answers({CLAIMS: {"kind": "PersistentVolumeClaim", "spec": {"volumeName": "pv-1"}}, VOLUMES: {}})
    course_probe.remove_home(api_of(pool), "course-x", "u1")
    done = [(method, path.partition("?")[0]) for method, path, _ in pool.asked]
    assert done == [("GET", CLAIMS), ("PATCH", VOLUMES), ("DELETE", CLAIMS)]
    assert pool.asked[1][2] == {"spec": {"persistentVolumeReclaimPolicy": "Delete"}}


def test_a_home_that_was_never_made_is_no_error_but_a_refusal_is() -> None:
    course_probe.remove_home(api_of(Answers({})), "course-x", "u1")
    # Its volume went meanwhile.
    course_probe.remove_home(api_of(Answers({CLAIMS: {"kind": "X", "spec": {"volumeName": "pv-1"}}})), "course-x", "u1")
    with pytest.raises(ApiError):
        course_probe.remove_home(api_of(Answers({CLAIMS: 403})), "course-x", "u1")
