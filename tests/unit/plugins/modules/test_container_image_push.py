"""The module with real tools and a real registry, whose push side wants an account."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.campus.hubs.plugins.module_utils import _registry_login
from ansible_collections.campus.hubs.plugins.modules import container_image

from tests.unit.roles.role_variables import compute, render

# Writes down what everybody sees of a tool, and what it is handed.
TOOL = """#!/bin/sh
printf '%s\\n' "$@" >>"{folder}/argv"
tr '\\0' '\\n' </proc/$$/environ >>"{folder}/environ"
all=$*
while [ "$1" != --authfile ]; do shift; done
cat "$2" >"{folder}/seen"
case $0:$all in
  *buildah:*docker://*) touch "{folder}/pushed" ;;
  *skopeo:*) [ -e "{folder}/pushed" ] || {{ echo manifest unknown >&2; exit 1; }} ;;
esac
"""
APT = "/usr/bin/apt-get"
KNOWN = "robot", "a password: of the campus's"


@dataclass(frozen=True)
class Registry:
    """Two sides of one registry, as role course_images configures them."""

    push: str
    pull: str
    htpasswd: Path


def status(url: str, method: str = "GET", login: tuple[str, str] | None = None) -> int:
    """Return a registry's answer to somebody; 0 for none."""
    request = urllib.request.Request(url, method=method)  # noqa: S310 (http)
    if login:
        request.add_header("Authorization", "Basic " + base64.b64encode(":".join(login).encode()).decode())
    try:
        with urllib.request.urlopen(request) as answer:  # noqa: S310 (http)
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return int(error.code)
    except OSError:
        return 0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return Debian's docker-registry. Not installed: its package would start a service."""
    found = shutil.which("docker-registry")
    if found:
        return found
    folder = tmp_path_factory.mktemp("registry")
    download = [APT, "download", "-qq", "docker-registry"]
    if subprocess.run(download, cwd=folder, check=False).returncode:  # noqa: S603 (our own arguments)
        subprocess.run([APT, "update", "-qq"], check=True)  # noqa: S603 (our own arguments)
        subprocess.run(download, cwd=folder, check=True)  # noqa: S603 (our own arguments)
    subprocess.run(["/usr/bin/dpkg", "-x", str(next(folder.glob("*.deb"))), str(folder)], check=True)  # noqa: S603 (our own arguments)
    return str(folder / "usr/bin/docker-registry")


@pytest.fixture
def registry(program: str, tmp_path: Path) -> Iterator[Registry]:
    """Run both sides with the role's own configuration, but for ports and folders."""
    paths = {"_course_images_registry_storage": str(tmp_path / "data"), "_course_images_accounts": str(tmp_path / "ht")}
    ports = {"_course_images_push_port": free_port(), "course_images_registry_port": free_port()}
    processes = []
    (tmp_path / "ht").touch(mode=0o600)
    for side in compute("course_images", "_course_images_registry_sides", ports):
        path = tmp_path / f"{side['side']}.yml"
        path.write_text(render("course_images", "registry.yml.j2", {**paths, "item": side}))
        processes.append(subprocess.Popen([program, "serve", str(path)], stderr=subprocess.DEVNULL))  # noqa: S603 (our own arguments)
        url = f"http://127.0.0.1:{side['port']}/v2/"
        for _attempt in range(200):
            if status(url) == side["anonymous"]:
                break
            time.sleep(0.05)
    push, pull = (f"127.0.0.1:{port}" for port in ports.values())
    yield Registry(push, pull, tmp_path / "ht")
    for process in processes:
        process.kill()
        process.wait()


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return arguments for an image that is built in no time, by tools that find no login and no registry but ours."""
    context = tmp_path / "context"
    context.mkdir()
    (context / "Containerfile").write_text("FROM scratch\nCOPY Containerfile /\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("STORAGE_DRIVER", "vfs")
    monkeypatch.setenv("BUILDAH_ISOLATION", "chroot")
    return {"tag": "t", "context": str(context), "storage": str(tmp_path / "storage"), "tls_verify": False}


def run(capsys: pytest.CaptureFixture[str], **arguments: object) -> dict[str, Any]:
    with patch_module_args(arguments), pytest.raises(SystemExit):
        container_image.main()
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def listed(name: str) -> set[str]:
    """Return a repository's tags as anybody may read them."""
    server, _slash, repository = name.partition("/")
    try:
        with urllib.request.urlopen(f"http://{server}/v2/{repository}/tags/list") as answer:
            return set(json.load(answer)["tags"])
    except urllib.error.HTTPError:
        return set()


def document(url: str) -> dict[str, Any]:
    """Return a manifest of an image, or what it refers to."""
    request = urllib.request.Request(url, headers={"Accept": "application/vnd.oci.image.manifest.v1+json"})  # noqa: S310
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        found: dict[str, Any] = json.load(answer)
    return found


def test_a_push_with_an_account_of_its_own(
    capsys: pytest.CaptureFixture[str], registry: Registry, image: dict[str, Any]
) -> None:
    names = {"name": f"{registry.pull}/campus-hubs/hub", "push_name": f"{registry.push}/campus-hubs/hub"}
    check = run(capsys, **image, **names, push_htpasswd=str(registry.htpasswd), _ansible_check_mode=True)
    assert (check["changed"], check["digest"], listed(names["name"])) == (True, "", set())
    first = run(capsys, **image, **names, push_htpasswd=str(registry.htpasswd))
    assert first["changed"], first
    assert first["reference"] == f"{names['name']}@{first['digest']}"
    assert listed(names["name"]) == {"t"}
    assert registry.htpasswd.read_text() == ""
    again = run(capsys, **image, **names, push_htpasswd=str(registry.htpasswd))
    assert (again["changed"], again["digest"]) == (False, first["digest"])


def test_nobody_else_pushes(capsys: pytest.CaptureFixture[str], registry: Registry, image: dict[str, Any]) -> None:
    uploads = f"http://{registry.push}/v2/campus-hubs/hub/blobs/uploads/"
    names = {"name": f"{registry.pull}/campus-hubs/hub", "push_name": f"{registry.push}/campus-hubs/hub"}
    with _registry_login.account(registry.htpasswd) as (name, password):
        assert status(uploads, "POST") == 401
        for login in (
            (name, ""),
            (name, password.swapcase()),
            ("", password),
            ("root", password),
            (name.upper(), password),
        ):
            assert status(uploads, "POST", login) == 401, login
        assert status(uploads, "POST", (name, password)) == 202
    assert status(uploads, "POST", (name, password)) == 401
    assert status(f"http://{registry.push}/v2/campus-hubs/hub/manifests/t", "DELETE") == 401
    failed = run(capsys, **image, **names)
    assert "cannot push" in failed["msg"]
    assert "authentication required" in failed["msg"]
    assert listed(names["name"]) == set()


def test_a_registry_with_an_account_of_the_campus(
    capsys: pytest.CaptureFixture[str], registry: Registry, image: dict[str, Any], tmp_path: Path
) -> None:
    registry.htpasswd.write_text(f"{KNOWN[0]}:{_registry_login.bcrypt(KNOWN[1])}\n")
    name = f"{registry.push}/campus-hubs/hub"
    refused = run(capsys, **image, name=name)
    assert "unauthorized" in refused["msg"]
    refused = run(capsys, **image, name=name, username=KNOWN[0], password="wrong")
    assert "unauthorized" in refused["msg"] or "authentication" in refused["msg"]
    # An old login of the machine itself does not get in its way.
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker/config.json").write_text(json.dumps({"auths": {name: {"auth": "eDp5"}}}))
    built = run(capsys, **image, name=name, username=KNOWN[0], password=KNOWN[1])
    assert built["changed"], built
    again = run(capsys, **image, name=name, username=KNOWN[0], password=KNOWN[1])
    assert (again["changed"], again["digest"]) == (False, built["digest"])
    # What is built on an image of that registry.
    recipe = Path(image["context"]) / "Containerfile"
    recipe.write_text(f"FROM {built['reference']}\nLABEL a=b\n")
    options = ["--tls-verify=false"]
    more = run(capsys, **image | {"tag": "u"}, build_options=options, name=name, username=KNOWN[0], password=KNOWN[1])
    assert more["changed"], more
    assert listed(f"{registry.pull}/campus-hubs/hub") == {"t", "u"}


def test_images_with_their_first_stages_in_common(
    capsys: pytest.CaptureFixture[str], registry: Registry, image: dict[str, Any]
) -> None:
    stages = {
        "first": "ARG BASE=nothing.example/x\nFROM ${BASE} AS first\nCOPY first/Containerfile /a\nENV A=b\n",
        "second": "FROM first AS second\nCOPY second/Containerfile /b\n",
        "last": "FROM first\nCOPY --from=second /b /c\nUSER 1000:1000\n",
    }
    for name, text in stages.items():
        (Path(image["context"]) / name).mkdir()
        (Path(image["context"]) / name / "Containerfile").write_text(text)
    names = {"name": f"{registry.pull}/campus-hubs/hub", "push_name": f"{registry.push}/campus-hubs/hub"}
    files = [f"{name}/Containerfile" for name in stages]
    built = run(
        capsys,
        **image | names,
        containerfiles=files,
        build_args={"BASE": "scratch"},
        push_htpasswd=str(registry.htpasswd),
    )
    assert built["changed"], built
    repository = f"http://{registry.pull}/v2/campus-hubs/hub"
    manifest = document(f"{repository}/manifests/t")
    config = document(f"{repository}/blobs/{manifest['config']['digest']}")["config"]
    assert config["User"] == "1000:1000"
    assert "A=b" in config["Env"]
    # Of the first file and of the last one.
    assert len(manifest["layers"]) == 2


def test_a_password_is_in_no_command_line_and_in_no_file(
    capsys: pytest.CaptureFixture[str], image: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("skopeo", "buildah"):
        (tools / name).write_text(TOOL.format(folder=tmp_path))
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    result = run(capsys, **image, name="registry.example.edu/hub", username=KNOWN[0], password=KNOWN[1])
    assert result["changed"], result
    assert KNOWN[1] not in json.dumps(result)
    (tmp_path / "seen").unlink()
    for path in tmp_path.rglob("*"):
        if path.is_file():
            text = path.read_text(errors="replace")
            assert KNOWN[1] not in text, path
    assert "--authfile" in (tmp_path / "argv").read_text()


def test_options_that_contradict(capsys: pytest.CaptureFixture[str], image: dict[str, Any]) -> None:
    assert "password" in run(capsys, **image, name="h/x", username="u")["msg"]
    both = run(capsys, **image, name="h/x", username="u", password="p", push_htpasswd="/x")
    assert "mutually exclusive" in both["msg"]


def test_a_registry_of_ones_own_that_does_not_run(
    capsys: pytest.CaptureFixture[str], registry: Registry, image: dict[str, Any]
) -> None:
    registry.htpasswd.unlink()
    names = {"name": f"{registry.pull}/campus-hubs/hub", "push_name": f"{registry.push}/campus-hubs/hub"}
    failed = run(capsys, **image, **names, push_htpasswd=str(registry.htpasswd))
    assert str(registry.htpasswd) in failed["msg"]
    assert failed["failed"]


def test_the_service_starts_without_an_account() -> None:
    side = compute("course_images", "_course_images_registry_sides", {})[0]
    service = render("course_images", "registry.service.j2", {"item": side})
    assert "RuntimeDirectory=campus-hubs-registry\nRuntimeDirectoryMode=0700\n" in service
    assert "ExecStartPre=/bin/sh -c 'umask 077 && : > /run/campus-hubs-registry/htpasswd'\n" in service
    config = yaml.safe_load(render("course_images", "registry.yml.j2", {"item": side}))
    assert config["auth"]["htpasswd"]["path"] == "/run/campus-hubs-registry/htpasswd"
    assert config["http"]["addr"] == "127.0.0.1:5001"
