"""The control machine's time zone."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.campus.hubs.plugins.plugin_utils.timezones import local_timezone, timezones


@pytest.mark.parametrize(
    ("said", "zone"),
    [
        (("Europe/Vienna", "/usr/share/zoneinfo/Europe/Berlin", ""), "Europe/Vienna"),
        ((":Europe/Vienna", None, None), "Europe/Vienna"),
        (("CEST-2", "/usr/share/zoneinfo/Europe/Berlin", ""), "Europe/Berlin"),
        (("", "../usr/share/zoneinfo/posix/America/Argentina/Salta", ""), "America/Argentina/Salta"),
        (("", None, "Asia/Kathmandu\n"), "Asia/Kathmandu"),
        (("", "/usr/share/zoneinfo/localtime", "Nowhere/At_All"), "UTC"),
        (("", None, None), "UTC"),
    ],
)
def test_the_machine_says_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: tuple[str, str | None, str | None], zone: str
) -> None:
    variable, link, text = said
    monkeypatch.setenv("TZ", variable)
    if link:
        # Absent on the machine that tests: what a link says counts, not what is there.
        place = tmp_path / link.lstrip("./")
        place.parent.mkdir(parents=True)
        place.touch()
        (tmp_path / "localtime").symlink_to(place)
    if text is not None:
        (tmp_path / "timezone").write_text(text)
    assert local_timezone(tmp_path) == zone


def test_names_of_files_are_no_zones() -> None:
    assert {"Europe/Berlin", "UTC", "CET"} <= timezones()
    assert not {"localtime", "posixrules", "Factory", ""} & timezones()
