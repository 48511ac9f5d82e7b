"""Credentials that exist for as long as they are needed."""

from __future__ import annotations

import base64
import ctypes
import json
from pathlib import Path

import pytest
from ansible_collections.campus.hubs.plugins.module_utils import _registry_login

NAME = "registry.example.edu:5000/campus-hubs/hub"


def verifies(password: str, hashed: str) -> bool:
    library = ctypes.CDLL("libcrypt.so.1")
    library.crypt.restype = ctypes.c_char_p
    return bool(library.crypt(password.encode(), hashed.encode()) == hashed.encode())


def test_a_hash_is_of_its_password_alone() -> None:
    first, second = _registry_login.bcrypt("secret"), _registry_login.bcrypt("secret")
    assert first != second
    assert verifies("secret", first)
    assert not verifies("Secret", first)


def test_an_account_exists_for_the_block(tmp_path: Path) -> None:
    htpasswd = tmp_path / "htpasswd"
    htpasswd.write_text("other:$2y$05$x\n")
    htpasswd.chmod(0o600)
    inode = htpasswd.stat().st_ino
    with (
        _registry_login.account(htpasswd) as (name, password),
        _registry_login.account(htpasswd) as (name_2, password_2),
    ):
        assert len({name, name_2, password, password_2}) == 4
        lines = dict(line.split(":") for line in htpasswd.read_text().splitlines())
        assert set(lines) == {"other", name, name_2}
        assert verifies(password, lines[name])
        assert verifies(password_2, lines[name_2])
        assert password not in htpasswd.read_text()
    assert htpasswd.read_text() == "other:$2y$05$x\n"
    assert (htpasswd.stat().st_ino, htpasswd.stat().st_mode & 0o777) == (inode, 0o600)


def test_an_account_ends_with_a_push_that_failed(tmp_path: Path) -> None:
    htpasswd = tmp_path / "htpasswd"
    htpasswd.touch()
    with pytest.raises(KeyError), _registry_login.account(htpasswd):
        raise KeyError
    assert htpasswd.read_text() == ""


def test_a_registry_that_is_not_there_gets_no_account(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), _registry_login.account(tmp_path / "htpasswd"):
        pass
    assert not list(tmp_path.iterdir())


def login_of(others: dict[str, object]) -> dict[str, dict[str, object]]:
    with _registry_login.authfile(NAME, "robot", "pass:wörd", others) as path:
        content: dict[str, dict[str, object]] = json.loads(Path(path).read_text())
    assert not Path(path).exists()
    return content


def test_a_login_is_in_memory_and_ends_with_the_block() -> None:
    def descriptors() -> list[Path]:
        return sorted(Path("/proc/self/fd").iterdir())

    before = len(descriptors())
    content = login_of({})
    assert len(descriptors()) == before
    auth = str(content["auths"]["registry.example.edu:5000"]["auth"])  # type: ignore[index]
    assert base64.b64decode(auth).decode() == "robot:pass:wörd"


def test_other_logins_stay_and_none_goes_before_this_one() -> None:
    others = {
        "auths": {
            "docker.io": {"auth": "a"},
            "registry.example.edu:5000/other": {"auth": "b"},
            "registry.example.edu:5000/campus-hubs": {"auth": "c"},
            "registry.example.edu:5000": {"auth": "d"},
        },
        "credHelpers": {"registry.example.edu:5000": "pass", "gcr.io": "gcloud"},
    }
    content = login_of(others)
    assert set(content["auths"]) == {"docker.io", "registry.example.edu:5000/other", "registry.example.edu:5000"}
    assert content["credHelpers"] == {"gcr.io": "gcloud"}
    assert content["auths"]["registry.example.edu:5000"] != {"auth": "d"}


def test_which_file_has_the_machines_logins(tmp_path: Path) -> None:
    run = tmp_path / "run"
    environment = {"XDG_RUNTIME_DIR": str(run)}
    assert _registry_login.known_logins(environment, tmp_path) == {}
    files = [
        tmp_path / ".docker/config.json",
        tmp_path / ".config/containers/auth.json",
        run / "containers/auth.json",
        tmp_path / "given.json",
    ]
    for number, path in enumerate(files):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"auths": {str(number): {}}}))
        if path.name == "given.json":
            environment["REGISTRY_AUTH_FILE"] = str(path)
        assert _registry_login.known_logins(environment, tmp_path) == {"auths": {str(number): {}}}


@pytest.mark.parametrize("text", ["", "{", "[]", '"x"', "null"])
def test_a_file_with_something_else(tmp_path: Path, text: str) -> None:
    path = tmp_path / "auth.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"auth.json|Expecting"):
        _registry_login.known_logins({"REGISTRY_AUTH_FILE": str(path)}, tmp_path)
