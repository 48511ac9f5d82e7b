"""What sounds like a secret, and what only does so."""

from __future__ import annotations

import pytest
from ansible_collections.campus.hubs.plugins.module_utils._secret_names import is_secret


@pytest.mark.parametrize(
    "name",
    [
        "ansible_become_password",
        "course_hub_shared_secret",
        "client_secret",
        "authkey",
        "auth_key",
        "AUTH_KEY",
        "apikey",
        "proxy-token",
        "privateKey",
        "DB_PASSWORD",
        "passphrase",
        "aws_credentials",
        "secretprofile",
        "tokenname",
        "CURL_TOKEN",
        "secretfile",
    ],
)
def test_secrets(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize(
    "name",
    [
        "token_endpoint",
        "token_audience",
        "TOKEN_URL",
        "secretName",
        "secretKeyRef",
        "tokenPath",
        "tokenExpirationSeconds",
        "course_hub_show_secret",
        "checksum/secrets",
        "automountServiceAccountToken",
        "deploy_secret_name",
        "private_key_file",
        "password_max_age_days",
        "title",
    ],
)
def test_names_that_only_sound_like_one(name: str) -> None:
    assert not is_secret(name)
