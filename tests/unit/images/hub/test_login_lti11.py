"""Verification of LTI 1.1 launches."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

import pytest
from campus_hubs_login.errors import LaunchRefused
from campus_hubs_login.lti11 import WINDOW_SECONDS, Consumer, verify_form
from oauthlib.oauth1.rfc5849 import Client, signature

from tests.unit.images.hub.login_lab import signed_form

URL = "http://hub.example.edu/hub/lti11/launch"
CONSUMER = Consumer("consumer", "secret")


def verify(body: str, url: str = URL, query: str = "", consumer: Consumer = CONSUMER) -> dict[str, str]:
    return verify_form(url, query, body, consumer=consumer)


def refused(body: str, url: str = URL, query: str = "") -> int:
    with pytest.raises(LaunchRefused) as refusal:
        verify(body, url, query)
    return refusal.value.status


def test_a_good_launch_passes() -> None:
    form = verify(signed_form(URL, "secret"))
    assert (form["user_id"], form["roles"]) == ("4711", "Learner")


def test_unicode_and_special_characters_survive() -> None:
    name = "Ångström & Søn = 50% + «∑» \U0001f600 ~*'()"
    assert verify(signed_form(URL, "secret", lis_person_name_full=name))["lis_person_name_full"] == name


def test_the_query_is_signed_too() -> None:
    body = signed_form(URL + "?next=/user-redirect/lab", "secret")
    assert verify(body, query="next=/user-redirect/lab")["next"] == "/user-redirect/lab"
    assert refused(body, query="next=/elsewhere") == 401
    assert refused(body) == 401


def test_a_parameter_in_query_and_form_with_the_same_value_is_no_ambiguity() -> None:
    body = signed_form(URL + "?custom_a=1", "secret", custom_a="1")
    assert verify(body, query="custom_a=1")["custom_a"] == "1"


@pytest.mark.parametrize(
    "url", ["http://hub.example.edu:80/hub/lti11/launch", "http://HUB.example.edu/hub/lti11/launch"]
)
def test_urls_are_compared_as_oauth_says(url: str) -> None:
    verify(signed_form(url, "secret"))


@pytest.mark.parametrize(
    "url",
    [
        "https://hub.example.edu/hub/lti11/launch",
        "http://hub2.example.edu/hub/lti11/launch",
        "http://hub.example.edu:8080/hub/lti11/launch",
        "http://hub.example.edu/hub/lti11/launch/",
        "http://hub.example.edu/hub/lti/launch",
    ],
)
def test_a_launch_of_another_tool_is_refused(url: str) -> None:
    assert refused(signed_form(url, "secret")) == 401


@pytest.mark.parametrize("age", [0, WINDOW_SECONDS - 10, -(WINDOW_SECONDS - 10)])
def test_within_the_window(age: int) -> None:
    verify(signed_form(URL, "secret", timestamp=int(time.time()) - age))


@pytest.mark.parametrize("age", [WINDOW_SECONDS + 10, -(WINDOW_SECONDS + 10), 10**9])
def test_outside_the_window(age: int) -> None:
    assert refused(signed_form(URL, "secret", timestamp=int(time.time()) - age)) == 401


@pytest.mark.parametrize("url", ["", "/hub/lti11/launch", "http:///hub/lti11/launch", "http://[/"])
def test_an_odd_host_is_no_traceback(url: str) -> None:
    assert refused(signed_form(URL, "secret"), url=url) == 400


def test_wrong_signers_are_refused() -> None:
    assert refused(signed_form(URL, "guessed")) == 401
    assert refused(signed_form(URL, "")) == 401
    assert refused(signed_form(URL, "secret", key="another")) == 401
    assert refused(signed_form(URL, "secret", key="cönsumer")) == 401


@pytest.mark.parametrize(
    "name",
    [
        "user_id",
        "resource_link_id",
        "lti_version",
        "lti_message_type",
        "oauth_consumer_key",
        "oauth_nonce",
        "oauth_timestamp",
        "oauth_signature",
        "oauth_signature_method",
        "oauth_version",
    ],
)
def test_incomplete_forms_are_refused(name: str) -> None:
    pairs = parse_qsl(signed_form(URL, "secret"))
    assert refused(urlencode([pair for pair in pairs if pair[0] != name])) == 400
    assert refused(urlencode([(key, "" if key == name else value) for key, value in pairs])) == 400


@pytest.mark.parametrize(
    ("name", "value"),
    [("user_id", "1"), ("roles", "Instructor"), ("lis_person_name_full", "Eve"), ("context_id", "other"), ("new", "1")],
)
def test_nothing_can_be_changed_or_added(name: str, value: str) -> None:
    pairs = [pair for pair in parse_qsl(signed_form(URL, "secret")) if pair[0] != name]
    assert refused(urlencode([*pairs, (name, value)])) == 401


def test_a_second_value_is_refused() -> None:
    """Two readers of one form must not see two launches."""
    body = signed_form(URL, "secret")
    assert refused(f"{body}&user_id=1") == 400
    assert refused(f"user_id=1&{body}") == 400
    assert refused(body, query="user_id=1") == 400
    assert refused(f"{body}&oauth_signature=x") == 400


@pytest.mark.parametrize(
    "changes",
    [
        {"lti_message_type": "ContentItemSelectionRequest"},
        {"lti_version": "LTI-2p0"},
        {"lti_version": "1.3.0"},
    ],
)
def test_other_messages_are_refused(changes: dict[str, Any]) -> None:
    assert refused(signed_form(URL, "secret", **changes)) == 400


@pytest.mark.parametrize("method", ["PLAINTEXT", "RSA-SHA1", "HMAC-SHA256", "hmac-sha1", "none"])
def test_the_form_does_not_choose_how_it_is_signed(method: str) -> None:
    pairs = [
        (key, method if key == "oauth_signature_method" else value)
        for key, value in parse_qsl(signed_form(URL, "secret"))
    ]
    assert refused(urlencode(pairs)) == 400


@pytest.mark.parametrize("timestamp", ["-1", "1e9", "٣٤٥٦٧٨٩٠١٢", "99999999999999999999", "0x10", " 1", "now"])
def test_odd_time_stamps_are_no_traceback(timestamp: str) -> None:
    pairs = [
        (k, timestamp if k == "oauth_timestamp" else v)
        for k, v in parse_qsl(signed_form(URL, "secret"))
        if k != "oauth_signature"
    ]
    base = signature.signature_base_string("POST", URL, signature.normalize_parameters(pairs))
    pairs.append(
        ("oauth_signature", signature.sign_hmac_sha1_with_client(base, Client("consumer", client_secret="secret")))
    )
    assert refused(urlencode(pairs)) == 401


@pytest.mark.parametrize("body", ["", "&&&", "a", "%", "%zz=1", "\x00", "ä=ö", "a=" + "%ff" * 100, "=" * 1000])
def test_odd_bodies_are_no_traceback(body: str) -> None:
    assert refused(body) == 400


def test_the_signature_may_be_written_as_a_browser_does() -> None:
    body = "&".join(f"{quote(k, safe='')}={quote(v, safe='')}" for k, v in parse_qsl(signed_form(URL, "secret")))
    verify(body.replace("%20", "+"))


def test_consumer_comes_from_a_mounted_secret(tmp_path: Path) -> None:
    (tmp_path / "consumer_key").write_text("key\n")
    (tmp_path / "shared_secret").write_text("secret\n")
    consumer = Consumer.from_directory(tmp_path)
    assert (consumer.key, consumer.secret) == ("key", "secret")
    assert "secret'" not in repr(consumer)


@pytest.mark.parametrize(
    ("key", "secret"), [("", "secret"), ("key", ""), ("key", " \n"), (None, "secret"), ("key", None)]
)
def test_an_empty_or_missing_secret_lets_nobody_in(tmp_path: Path, key: str | None, secret: str | None) -> None:
    for name, value in (("consumer_key", key), ("shared_secret", secret)):
        if value is not None:
            (tmp_path / name).write_text(value)
    with pytest.raises(LaunchRefused) as refusal:
        Consumer.from_directory(tmp_path)
    assert refusal.value.status == 503
