from __future__ import annotations

import hashlib

import pytest
from ansible_collections.campus.hubs.plugins.module_utils._container_image import (
    Image,
    ImageBackend,
    ImageError,
    Result,
    build_command,
    lookup_command,
    manifest_digest,
    push_command,
)

MANIFEST = b'{"schemaVersion": 2}\n'
DIGEST = "sha256:" + hashlib.sha256(MANIFEST).hexdigest()
UNKNOWN = Result(1, b"", 'level=fatal msg="reading manifest t in h/hub: manifest unknown: manifest unknown"')
IMAGE = Image("h/hub", "t", "/src/hub")


class Tools:
    """Stands in for buildah and skopeo: a registry that has what was pushed."""

    def __init__(self, *, has: bool = False, failing: str = "", loses: bool = False) -> None:
        """Start with or without the image; fail at the command with this word; forget what is pushed."""
        self.has, self.failing, self.loses = has, failing, loses
        self.commands: list[list[str]] = []

    def __call__(self, command: list[str]) -> Result:
        """Run one command."""
        self.commands.append(command)
        if self.failing and self.failing in command:
            return Result(125, b"", "\n".join(f"line {n}" for n in range(40)))
        if command[0] == "skopeo":
            return Result(0, MANIFEST, "") if self.has else UNKNOWN
        self.has = self.has or ("push" in command and not self.loses)
        return Result(0, b"", "")


def test_digest_is_over_the_manifest_as_it_is() -> None:
    assert manifest_digest(MANIFEST) == DIGEST
    assert manifest_digest(MANIFEST.strip()) != DIGEST


def test_image_that_is_there_is_only_looked_up() -> None:
    tools = Tools(has=True)
    assert ImageBackend(IMAGE, tools).digest() == DIGEST
    assert tools.commands == [["skopeo", "inspect", "--raw", "--tls-verify=true", "docker://h/hub:t"]]


def test_missing_image_is_built_pushed_and_looked_up_again() -> None:
    tools = Tools()
    backend = ImageBackend(IMAGE, tools)
    assert backend.digest() is None
    assert backend.build() == DIGEST
    assert [[command[0], command[1]] for command in tools.commands] == [
        ["skopeo", "inspect"],
        ["buildah", "bud"],
        ["buildah", "push"],
        ["skopeo", "inspect"],
    ]


@pytest.mark.parametrize(
    "words",
    [
        "reading manifest t in h/hub: manifest unknown: manifest unknown",
        "reading manifest t in h/hub: name unknown: repository name not known to registry",
        "errors: denied? no: NAME_UNKNOWN",
        "reading manifest t in h/hub: unknown: artifact campus-hubs/hub:t not found",
        "Error reading manifest t: StatusCode: 404, page",
    ],
)
def test_absent_in_the_words_of_several_registries(words: str) -> None:
    assert ImageBackend(IMAGE, lambda _command: Result(1, b"", words)).digest() is None


@pytest.mark.parametrize(
    "words",
    [
        "pinging container registry h: connect: connection refused",
        "unauthorized: authentication required",
        "x509: certificate signed by unknown authority",
        "lookup h: no such host",
        "open /etc/auth.json: file not found",
    ],
)
def test_a_registry_that_cannot_be_asked_is_not_an_empty_one(words: str) -> None:
    with pytest.raises(ImageError, match=r"cannot look for h/hub:t .*") as caught:
        ImageBackend(IMAGE, lambda _command: Result(1, b"", words)).digest()
    assert words in str(caught.value)


@pytest.mark.parametrize(("failing", "step"), [("bud", "build"), ("push", "push")])
def test_failure_names_step_image_and_the_tools_last_words(failing: str, step: str) -> None:
    with pytest.raises(ImageError) as caught:
        ImageBackend(IMAGE, Tools(failing=failing)).build()
    assert str(caught.value).startswith(f"cannot {step} h/hub:t: line 25\n")
    assert str(caught.value).endswith("line 39")


def test_push_that_the_registry_did_not_keep_is_an_error() -> None:
    with pytest.raises(ImageError, match="was pushed, but its registry does not have it"):
        ImageBackend(IMAGE, Tools(loses=True)).build()


def test_commands_carry_all_options_in_a_stable_order() -> None:
    image = Image(
        "h/hub",
        "t",
        "/src",
        containerfiles=["python/Containerfile", "hub/Containerfile"],
        build_args={"B": "2", "A": "1"},
        build_secrets={"pip.conf": "/etc/pip.conf", "ca-bundle": "/etc/ca.crt"},
        build_options=["--network=host"],
        storage="/var/build",
        tls_verify=False,
    )
    assert lookup_command(image) == ["skopeo", "inspect", "--raw", "--tls-verify=false", "docker://h/hub:t"]
    buildah = "unshare --mount buildah --root /var/build/layers --runroot /var/build/run"
    build, push = " ".join(build_command(image)), " ".join(push_command(image))
    assert build == (
        f"{buildah} bud --layers --network=host --build-arg A=1 --build-arg B=2 --secret id=ca-bundle,src=/etc/ca.crt "
        "--secret id=pip.conf,src=/etc/pip.conf --file=/src/python/Containerfile --file=/src/hub/Containerfile "
        "--tag h/hub:t /src"
    )
    assert push == f"{buildah} push --tls-verify=false h/hub:t docker://h/hub:t"
