# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An image in a registry that is built only when its tag is not there yet, by buildah and skopeo."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import typing

if typing.TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

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
    """One image: ``name`` is registry and repository without tag, ``tag`` stands for its content."""

    name: str
    tag: str
    context: str = ""
    build_args: Mapping[str, str] = dataclasses.field(default_factory=dict)
    build_secrets: Mapping[str, str] = dataclasses.field(default_factory=dict)
    build_options: Sequence[str] = ()
    storage: str = ""
    tls_verify: bool = True

    @property
    def tagged(self) -> str:
        """The reference by tag."""
        return f"{self.name}:{self.tag}"


def lookup_command(image: Image) -> list[str]:
    """Return the command that prints the manifest of ``image`` exactly as the registry stores it."""
    return ["skopeo", "inspect", "--raw", f"--tls-verify={str(image.tls_verify).lower()}", f"docker://{image.tagged}"]


def build_commands(image: Image) -> list[list[str]]:
    """Return the commands that build ``image`` and push it, in order.

    ``bud`` is the name of ``build`` that also buildah 1.23 (Ubuntu 22.04) knows.
    """
    buildah = ["buildah"]
    if image.storage:
        # A second folder, as the machine's own images keep their state of mounts in the default one; and mounts of its
        # own, as buildah leaves some behind, and a folder with mounts below it cannot be removed.
        storage = ["--root", f"{image.storage}/layers", "--runroot", f"{image.storage}/run"]
        buildah = ["unshare", "--mount", "buildah", *storage]
    build = [*buildah, "bud", "--layers", *image.build_options]
    for key, value in sorted(image.build_args.items()):
        build += ["--build-arg", f"{key}={value}"]
    for key, path in sorted(image.build_secrets.items()):
        build += ["--secret", f"id={key},src={path}"]
    build += ["--tag", image.tagged, image.context]
    push = [*buildah, "push", f"--tls-verify={str(image.tls_verify).lower()}", image.tagged, f"docker://{image.tagged}"]
    return [build, push]


def manifest_digest(manifest: bytes) -> str:
    """Return the digest of a manifest (OCI image specification 1.1, descriptors): over its bytes as they are."""
    return f"sha256:{hashlib.sha256(manifest).hexdigest()}"


class ImageBackend:
    """Looks an image up in its registry, and builds and pushes it when it is not there."""

    def __init__(self, image: Image, run: Callable[[list[str]], Result]) -> None:
        """Keep ``image``; ``run`` executes a command and never raises for an exit code."""
        self.image = image
        self._run = run

    def digest(self) -> str | None:
        """Return the digest that the registry has under the tag, or None when it has none.

        Raises ImageError when the registry cannot be asked.
        """
        result = self._run(lookup_command(self.image))
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
        for command in build_commands(self.image):
            result = self._run(command)
            if result.returncode != 0:
                step = "push" if "push" in command else "build"
                words = _last_lines(result.stderr or result.stdout.decode(errors="replace"))
                message = f"cannot {step} {self.image.tagged}: {words}"
                raise ImageError(message)
        digest = self.digest()
        if digest is None:
            message = f"{self.image.tagged} was pushed, but its registry does not have it"
            raise ImageError(message)
        return digest


def _last_lines(text: str, count: int = 15) -> str:
    return "\n".join(text.strip().splitlines()[-count:])
