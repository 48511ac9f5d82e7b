"""Web server settings."""

from __future__ import annotations

import pytest
from campus_hubs_login.settings import origin, tornado_settings


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://lms.example.edu/course?id=1", "https://lms.example.edu"),
        ("https://LMS.example.edu:443/", "https://lms.example.edu"),
        ("http://10.89.7.6", "http://10.89.7.6"),
        ("http://10.89.7.6:8080/x", "http://10.89.7.6:8080"),
        ("http://[::1]:8000/", "http://[::1]:8000"),
        ("https://user:password@lms.example.edu/", "https://lms.example.edu"),
        ("https://Müller.example:8443/kurs", "https://xn--mller-kva.example:8443"),
        ("https://лмс.example", "https://xn--k1acp.example"),
        (f"https://{'ü' * 64}.example", ""),
        ("", ""),
        ("moodle.example.edu", ""),
        ("javascript:alert(1)", ""),
        ("https://", ""),
        ("https://host:port", ""),
        ("https://[::1", ""),
    ],
)
def test_origin(url: str, expected: str) -> None:
    assert origin(url) == expected


def test_https_cookies_work_inside_an_lms_frame() -> None:
    settings = tornado_settings(
        "https://hub.example.edu/", ["https://lms.example.edu/course/1", "https://lms.example.edu", "lms"]
    )
    assert settings["cookie_options"] == {"samesite": "None", "secure": True, "expires_days": None}
    assert settings["headers"] == {"Content-Security-Policy": "frame-ancestors https://lms.example.edu"}


def test_http_cookies_are_lax() -> None:
    for url in ("http://10.89.7.201/", ""):
        assert tornado_settings(url)["cookie_options"] == {"samesite": "Lax", "expires_days": None}


def test_nobody_frames_a_hub_without_lms() -> None:
    assert "headers" not in tornado_settings("https://hub.example.edu/", [""])


def test_wrong_public_url_is_named() -> None:
    with pytest.raises(ValueError, match=r"public_url: found 'hub\.example\.edu'"):
        tornado_settings("hub.example.edu")
