"""Files get their content, owner and mode, and only those that lack it are touched."""

from __future__ import annotations

import json
import os
import pwd
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.campus.hubs.plugins.modules import config_files


@pytest.fixture(autouse=True)
def me(monkeypatch: pytest.MonkeyPatch) -> None:
    """Own the files: only root can give them away."""
    monkeypatch.setattr(config_files, "OWNER", pwd.getpwuid(os.getuid()).pw_name)


def run(capsys: pytest.CaptureFixture[str], files: dict[str, Any], **options: bool) -> dict[str, Any]:
    """Run the module and return its result."""
    umask = os.umask(0o077)
    try:
        arguments = {"files": files} | {f"_ansible_{name}": value for name, value in options.items()}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            config_files.main()
    finally:
        os.umask(umask)
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def mode(path: Path) -> str:
    return oct(path.stat().st_mode & 0o777)


def test_what_is_missing_is_written_once(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    files = {str(tmp_path / "new" / "a.conf"): "one\n", str(tmp_path / "b.conf"): "two ä\n"}
    first = run(capsys, files)
    assert first["changed"]
    assert first["changed_files"] == list(files)
    assert [(entry["before"], entry["after"]) for entry in first["diff"]] == [("", "one\n"), ("", "two ä\n")]
    assert {path: Path(path).read_text("utf-8") for path in files} == files
    assert mode(tmp_path / "new") == "0o755"
    assert {mode(Path(path)) for path in files} == {"0o644"}

    assert run(capsys, files)["changed_files"] == []


def test_only_what_differs_is_written(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    same, other = tmp_path / "same", tmp_path / "other"
    for path in (same, other):
        path.write_text("as wanted")
        path.chmod(0o644)
    other.write_text("by hand")
    inode = same.stat().st_ino
    result = run(capsys, {str(same): "as wanted", str(other): "as wanted"})
    assert result["changed_files"] == [str(other)]
    assert result["diff"][0]["before"] == "by hand"
    assert other.read_text() == "as wanted"
    assert same.stat().st_ino == inode


def test_a_mode_is_put_right(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("x")
    path.chmod(0o666)
    assert run(capsys, {str(path): "x"}, check_mode=True)["changed_files"] == [str(path)]
    assert mode(path) == "0o666"
    assert run(capsys, {str(path): "x"})["changed_files"] == [str(path)]
    assert mode(path) == "0o644"


def test_a_check_writes_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "folder" / "a"
    result = run(capsys, {str(path): "x"}, check_mode=True)
    assert result["changed_files"] == [str(path)]
    assert result["diff"][0]["after"] == "x"
    assert not path.parent.exists()


@pytest.mark.parametrize("files", [{"relative": "x"}, {"relative": None}, {"/a": 7}, {"/a": ["x"]}])
def test_what_is_no_file_is_refused(capsys: pytest.CaptureFixture[str], files: dict[str, Any]) -> None:
    result = run(capsys, files)
    assert result["failed"]
    assert "expected text, or null, by absolute path" in result["msg"]


def test_what_can_not_be_written_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    result = run(capsys, {str(tmp_path / "file" / "a"): "x"})
    assert result["failed"]
    assert "A file could not be written" in result["msg"]


def test_what_is_not_wanted_is_removed_once(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "old.conf").write_text("old\n")
    files = {str(tmp_path / name): None for name in ("old.conf", "never-there.conf")}
    said = run(capsys, files, check_mode=True, diff=True)
    assert said["changed_files"] == [str(tmp_path / "old.conf")]
    assert [(entry["before"], entry["after"]) for entry in said["diff"]] == [("old\n", "")]
    assert (tmp_path / "old.conf").exists()
    assert run(capsys, files)["changed"]
    assert list(tmp_path.iterdir()) == []
    assert not run(capsys, files)["changed"]


@pytest.mark.parametrize("content", [b"A=b\r\n", b"A=b\n# f\xfcr\n"])
def test_other_line_ends_and_encodings_differ(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "a.conf"
    path.write_bytes(content)
    assert run(capsys, {str(path): "A=b\n"}, check_mode=True, diff=True)["changed_files"] == [str(path)]
    assert run(capsys, {str(path): "A=b\n"}, diff=True)["changed_files"] == [str(path)]
    assert path.read_bytes() == b"A=b\n"
