# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An image in a registry that is built only when its tag is not there yet, by buildah and skopeo."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import re
import typing
from pathlib import Path

from ansible_collections.campus.hubs.plugins.module_utils import _registry_login

if typing.TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

# What registries say of a manifest or repository that is not there (OCI distribution specification 1.1, error codes,
# and Harbor's own words), as skopeo passes it on. Nothing wider: "not found" alone may as well be a credentials file.
_ABSENT = re.compile(
    r"(manifest|name|repository)[ _]unknown|(artifact|repository) \S+ not found|statuscode: 404", re.IGNORECASE
)


class ImageError(Exception):
    """A tool failed; the message has the image, the step and the tool's own words."""


@dataclasses.dataclass(frozen=True)
class Result:
    """What a program left: exit code, standard output (bytes, as a digest is taken of them) and standard error."""

    returncode: int
    stdout: bytes
    stderr: str


@dataclasses.dataclass(frozen=True)
class Image:
    """One image.

    Attributes:
        name: registry and repository without tag, which it is pulled from.
        tag: stands for its content.
        context: folder that it is built from.
        containerfiles: paths below it, read as one file.
        build_args: arguments by name.
        build_secrets: files on the machine that the build may read, by identifier.
        build_options: more options of ``buildah build``.
        push_name: the name under which the registry takes it, when that is another one.
        storage: folder for layers.
        tls_verify: whether its registry has HTTPS with a trusted certificate.
    """

    name: str
    tag: str
    context: str = ""
    containerfiles: Sequence[str] = ("Containerfile",)
    push_name: str = ""
    build_args: Mapping[str, str] = dataclasses.field(default_factory=dict)
    build_secrets: Mapping[str, str] = dataclasses.field(default_factory=dict)
    build_options: Sequence[str] = ()
    storage: str = ""
    tls_verify: bool = True

    @property
    def tagged(self) -> str:
        """The reference by tag."""
        return f"{self.name}:{self.tag}"


@dataclasses.dataclass(frozen=True)
class Access:
    """How the registry lets somebody push.

    Attributes:
        username: of a login; empty for none, or for the machine's own logins.
        password: of that login.
        htpasswd: file with the accounts of a registry on this machine, which gets one for the time of a push.
    """

    username: str = ""
    password: str = dataclasses.field(default="", repr=False)
    htpasswd: str = ""


def lookup_command(image: Image, login: Sequence[str] = ()) -> list[str]:
    """Return the command that prints the manifest of ``image`` exactly as the registry stores it."""
    verify = f"--tls-verify={str(image.tls_verify).lower()}"
    return ["skopeo", "inspect", "--raw", *login, verify, f"docker://{image.tagged}"]


def _buildah(image: Image) -> list[str]:
    buildah = ["buildah"]
    if image.storage:
        # A second folder, as the machine's own images keep their state of mounts in the default one; and mounts of its
        # own, as buildah leaves some behind, and a folder with mounts below it cannot be removed.
        storage = ["--root", f"{image.storage}/layers", "--runroot", f"{image.storage}/run"]
        buildah = ["unshare", "--mount", "buildah", *storage]
    return buildah


def build_command(image: Image, login: Sequence[str] = ()) -> list[str]:
    """Return the command that builds ``image``.

    ``bud`` is the name of ``build`` that also buildah 1.23 (Ubuntu 22.04) knows.
    """
    build = [*_buildah(image), "bud", "--layers", *login, *image.build_options]
    for key, value in sorted(image.build_args.items()):
        build += ["--build-arg", f"{key}={value}"]
    for key, path in sorted(image.build_secrets.items()):
        build += ["--secret", f"id={key},src={path}"]
    # buildah makes one list of the stages of all files; its manual says less (see its test).
    build += [f"--file={image.context}/{path}" for path in image.containerfiles]
    return [*build, "--tag", image.tagged, image.context]


def push_command(image: Image, login: Sequence[str] = ()) -> list[str]:
    """Return the command that pushes ``image``, when it is built."""
    verify, name = f"--tls-verify={str(image.tls_verify).lower()}", image.push_name or image.name
    return [*_buildah(image), "push", *login, verify, image.tagged, f"docker://{name}:{image.tag}"]


def manifest_digest(manifest: bytes) -> str:
    """Return the digest of a manifest (OCI image specification 1.1, descriptors): over its bytes as they are."""
    return f"sha256:{hashlib.sha256(manifest).hexdigest()}"


class ImageBackend:
    """Looks an image up in its registry, and builds and pushes it when it is not there."""

    def __init__(self, image: Image, run: Callable[[list[str]], Result], access: Access | None = None) -> None:
        """Keep ``image`` and ``access``; ``run`` executes a command and never raises for an exit code."""
        self.image = image
        self._run = run
        self._access = access or Access()

    def digest(self) -> str | None:
        """Return the digest that the registry has under the tag, or None when it has none.

        Raises ImageError when the registry cannot be asked.
        """
        with self._login() as login:
            result = self._run(lookup_command(self.image, login))
        if result.returncode == 0:
            return manifest_digest(result.stdout)
        if _ABSENT.search(result.stderr):
            return None
        message = f"cannot look for {self.image.tagged} in its registry: {_last_lines(result.stderr)}"
        raise ImageError(message)

    def build(self) -> str:
        """Build the image, push it, and return the digest under which the registry has it.

        Raises ImageError when a step fails or the registry does not have the image afterwards.
        """
        with self._login() as login:
            self._do("build", build_command(self.image, login))
        with self._push_login() as login:
            self._do("push", push_command(self.image, login))
        digest = self.digest()
        if digest is None:
            message = f"{self.image.tagged} was pushed, but its registry does not have it"
            raise ImageError(message)
        return digest

    def _do(self, step: str, command: list[str]) -> None:
        result = self._run(command)
        if result.returncode != 0:
            words = _last_lines(result.stderr or result.stdout.decode(errors="replace"))
            message = f"cannot {step} {self.image.tagged}: {words}"
            raise ImageError(message)

    @contextlib.contextmanager
    def _login(self) -> Iterator[list[str]]:
        """Yield options that log in to the registry, for as long as the block lasts."""
        if not self._access.username:
            yield []
            return
        try:
            others = _registry_login.known_logins(os.environ, Path.home())
        except (OSError, ValueError) as error:
            message = f"cannot read the machine's own logins to registries: {error}"
            raise ImageError(message) from error
        with _registry_login.authfile(self.image.name, self._access.username, self._access.password, others) as path:
            yield ["--authfile", path]

    def _push_login(self) -> contextlib.AbstractContextManager[list[str]]:
        """Return options that log in for a push, for as long as a block lasts."""
        return self._account() if self._access.htpasswd else self._login()

    @contextlib.contextmanager
    def _account(self) -> Iterator[list[str]]:
        """Yield options that log in to our own registry as an account that does not outlive the block."""
        name = self.image.push_name or self.image.name
        with _registry_login.account(Path(self._access.htpasswd)) as account:
            username, password = account
            with _registry_login.authfile(name, username, password, {}) as path:
                yield ["--authfile", path]


def _last_lines(text: str, count: int = 15) -> str:
    return "\n".join(text.strip().splitlines()[-count:])
