# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Credentials of a container registry, for as long as they are needed and never in a file on disk."""

from __future__ import annotations

import base64
import contextlib
import ctypes
import json
import os
import secrets
import typing
from pathlib import Path

from ansible_collections.campus.hubs.plugins.module_utils._refusals import refusal

if typing.TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# The password has 256 random bits, so nobody guesses it, and the registry computes the hash at each request.
_BCRYPT_COST = 5


def bcrypt(password: str) -> str:
    """Return the bcrypt hash of a password, which is the only kind that the registry takes in an htpasswd file.

    By libcrypt, which all releases of Debian and Ubuntu have; Python has no function for it since 3.13.

    Raises OSError when the library is not there or cannot do it.
    """
    library = ctypes.CDLL("libcrypt.so.1")
    library.crypt_gensalt.restype = library.crypt.restype = ctypes.c_char_p
    salt = library.crypt_gensalt(b"$2b$", ctypes.c_ulong(_BCRYPT_COST), None, 0)
    hashed = library.crypt(password.encode("ascii"), ctypes.c_char_p(salt)) if salt else None
    if not hashed or not hashed.startswith(b"$2b$"):
        message = "libcrypt.so.1 computes no bcrypt hash"
        raise OSError(message)
    return str(hashed.decode("ascii"))


@contextlib.contextmanager
def account(htpasswd: Path) -> Iterator[tuple[str, str]]:
    """Add an account to a registry's htpasswd file, and take it away at the end of the block.

    The registry reads the file again when its modification time changes. The file stays the same one, with its owner.

    Args:
        htpasswd: the file, which must exist.

    Yields:
        The account's name and password, which nobody has had before.

    Raises:
        OSError: the file cannot be read or written, or no hash be made.
    """
    name, password = f"push-{secrets.token_hex(8)}", secrets.token_urlsafe(32)
    line = f"{name}:{bcrypt(password)}\n"
    with htpasswd.open("r+", encoding="ascii") as file:
        file.seek(0, os.SEEK_END)
        file.write(line)
    try:
        yield name, password
    finally:
        others = [other for other in htpasswd.read_text("ascii").splitlines(keepends=True) if other != line]
        htpasswd.write_text("".join(others), "ascii")


def known_logins(environment: Mapping[str, str], home: Path) -> dict[str, typing.Any]:
    """Return the content of the file with the machine's own logins, empty if there is none.

    Args:
        environment: of the build tools; `REGISTRY_AUTH_FILE` names the file.
        home: folder of the user who runs them.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not JSON, or not a dictionary.
    """
    given = environment.get("REGISTRY_AUTH_FILE")
    run = environment.get("XDG_RUNTIME_DIR") or f"/run/containers/{os.getuid()}"
    # The order of containers-auth.json(5).
    usual = [Path(run, "containers/auth.json"), Path(run, "auth.json")]
    usual += [home / ".config/containers/auth.json", home / ".docker/config.json"]
    for path in [Path(given)] if given else usual:
        if path.exists():
            content = json.loads(path.read_text("utf-8"))
            if not isinstance(content, dict):
                raise ValueError(refusal(str(path), "no dictionary", "logins as in containers-auth.json(5)"))
            return content
    return {}


@contextlib.contextmanager
def authfile(name: str, username: str, password: str, others: Mapping[str, typing.Any]) -> Iterator[str]:
    """Hand a login to buildah and skopeo as a file that is in memory only and ends with this process.

    Args:
        name: registry and repository that the login is for.
        username: the account's name.
        password: its password.
        others: content of an authentication file, containers-auth.json(5), with what else is needed.

    Yields:
        Path for their option `--authfile`, which root can read.
    """
    server = name.partition("/")[0]
    # The most specific key counts, and a helper before any of them.
    auths = {key: value for key, value in others.get("auths", {}).items() if not f"{name}/".startswith(f"{key}/")}
    auths[server] = {"auth": base64.b64encode(f"{username}:{password}".encode()).decode()}
    helpers = {key: value for key, value in others.get("credHelpers", {}).items() if key != server}
    descriptor = os.memfd_create("auth.json")
    try:
        os.write(descriptor, json.dumps({**others, "auths": auths, "credHelpers": helpers}).encode())
        yield f"/proc/{os.getpid()}/fd/{descriptor}"
    finally:
        os.close(descriptor)
