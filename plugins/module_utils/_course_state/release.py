# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Helm's releases as Helm keeps them: Secrets of type helm.sh/release.v1 in the release's namespace."""

from __future__ import annotations

import base64
import functools
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.campus.hubs.plugins.module_utils._course_state.ownership import ABSENT, json_path

try:
    import yaml
except ImportError:  # the kubernetes client needs it as well, and the module asks for that
    yaml = None  # type: ignore[assignment]

Manifest = dict[str, Any]
# Its README.md is for people: another one is no other chart.
_FOR_PEOPLE = "README.md"
# All that helm refuses to go on from, and an upgrade that did not come to its end.
STUCK = ("pending-install", "pending-upgrade", "pending-rollback", "uninstalling", "failed")
# Each begins with the character that is looked for, which is ten times as fast as to look behind.
_DOCUMENT = re.compile(r"\n---[^\S\n]*(?=\n)")
_DIGEST = re.compile(r'"[0-9a-f]{64}"')
# Before a name: a part of a longer word, or an escape.
_INSIDE = re.compile(r"[\w\\]")


class StateError(Exception):
    """Something keeps the state of courses from being known; the text says what."""


@dataclass(frozen=True)
class Release:
    """One revision of a release.

    Attributes:
        name: of the release.
        namespace: where it is.
        revision: counts up.
        status: `deployed`, or one of `STUCK`.
        time: when it was made, RFC 3339.
        chart: name of its chart.
        values: the values that it was given.
        files: the chart's files, path to content; without Chart.yaml and values.yaml, which Helm keeps only parsed.
        defaults: the chart's values.yaml, parsed.
        manifest: all objects, as YAML documents.
    """

    name: str
    namespace: str
    revision: int
    status: str
    time: str
    chart: str
    values: Mapping[str, Any]
    files: Mapping[str, bytes]
    defaults: Mapping[str, Any]
    manifest: str

    def objects(self, parser: Parser | None = None) -> list[Manifest]:
        """Return what the release consists of, with the annotations that Helm adds.

        Args:
            parser: has read releases of the same chart before.

        Raises:
            StateError: the manifest is no YAML.
        """
        try:
            documents = (parser or Parser()).parse(self.manifest, self.name)
        except yaml.YAMLError as error:
            message = f"release {self.name} in {self.namespace}: its manifest is no YAML ({error})"
            raise StateError(message) from error
        return [_as_deployed(document, self) for document in documents]


def parse_manifest(text: str) -> list[Manifest]:
    """Read the YAML documents of a rendered chart.

    Raises:
        yaml.YAMLError: it is none.
    """
    documents = (_parse(part) for part in _documents(text))
    return [document for document in documents if document]


def _documents(text: str) -> list[str]:
    return _DOCUMENT.split(f"\n{text}\n")


def _parse(text: str) -> Any:  # noqa: ANN401
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


class Parser:
    """Reads the manifests of many releases of one chart; what differs in names and digests only is parsed once.

    For that the release's name and quoted SHA-256 digests are taken out of the text, and put into what was parsed: JSON
    takes a tenth of YAML's time.
    """

    def __init__(self) -> None:
        """Begin with nothing known."""
        self._known: dict[str, str] = {}

    def parse(self, text: str, name: str) -> list[Manifest]:
        """Read the YAML documents of a rendered chart.

        Args:
            text: the documents.
            name: of the release.

        Raises:
            yaml.YAMLError: it is none.
        """
        # A name that is a number, or YAML's yes or no, cannot be taken out: it changes what its place means.
        if "the-part-" in text or not re.search("[a-z]", name) or not isinstance(_parse(name), str):
            return parse_manifest(text)
        names = re.compile(rf"{re.escape(name)}(?!\w)")
        documents = (self._document(document, names) for document in _documents(text))
        return [document for document in documents if document]

    def _document(self, text: str, names: re.Pattern[str]) -> Any:  # noqa: ANN401
        taken: dict[str, str] = {}

        def take(match: re.Match[str]) -> str:
            if _INSIDE.match(match.string[match.start() - 1]):
                return match[0]
            return taken.setdefault(match[0], f"the-part-{len(taken)}-of-this")

        def take_quoted(match: re.Match[str]) -> str:
            return f'"{taken.setdefault(match[0][1:-1], f"the-part-{len(taken)}-of-this")}"'

        bare = _DIGEST.sub(take_quoted, names.sub(take, text))
        known = self._known.get(bare)
        if known is None:
            parsed = _parse(bare)
            try:
                known = json.dumps(parsed)
                if json.loads(known) != parsed:
                    known = ""
            except TypeError:  # a date
                known = ""
            self._known[bare] = known
        if not known:
            return _parse(text)
        for part, place in taken.items():
            known = known.replace(place, part)
        return json.loads(known)


def _as_deployed(manifest: Manifest, release: Release) -> Manifest:
    metadata = dict(manifest.get("metadata") or {})
    notes = {"meta.helm.sh/release-name": release.name, "meta.helm.sh/release-namespace": release.namespace}
    metadata["annotations"] = {**(metadata.get("annotations") or {}), **notes}
    metadata["labels"] = {**(metadata.get("labels") or {}), "app.kubernetes.io/managed-by": "Helm"}
    return {**manifest, "metadata": metadata}


# Releases of one chart have the same files, which are kept once.
_file = functools.lru_cache(maxsize=256)(base64.b64decode)
_GZIP = b"\x1f\x8b"


def decode(secret: Mapping[str, Any]) -> Release:
    """Read a release from Helm's Secret: base64 (Helm's), gzip, JSON.

    Args:
        secret: the Secret as the API gives it.

    Raises:
        StateError: it holds something else.
    """
    metadata = secret["metadata"]
    try:
        data = base64.b64decode(base64.b64decode(secret["data"]["release"]))
        record = json.loads(zlib.decompress(data, wbits=31) if data[:2] == _GZIP else data)
        chart = record.get("chart") or {}
        return Release(
            name=record["name"],
            namespace=record["namespace"],
            revision=int(record["version"]),
            status=record["info"]["status"],
            time=record["info"].get("last_deployed") or "",
            chart=(chart.get("metadata") or {}).get("name") or "",
            values=record.get("config") or {},
            files={
                file["name"]: _file(file.get("data") or "")
                for file in [*(chart.get("templates") or []), *(chart.get("files") or [])]
            },
            defaults=chart.get("values") or {},
            manifest=record.get("manifest") or "",
        )
    except (AttributeError, KeyError, TypeError, ValueError, zlib.error) as error:
        message = f"Secret {metadata['namespace']}/{metadata['name']} is no release of Helm's ({error!r})"
        raise StateError(message) from error


def chart_files(folder: Path) -> list[Path]:
    """Return the files that a chart consists of, in the order of their paths, as its .helmignore leaves them to Helm.

    Hidden files and README.md do not count.
    """
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.name != _FOR_PEOPLE
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]


@dataclass(frozen=True)
class Chart:
    """A chart on disk, as far as a release can be compared with it."""

    folder: Path
    name: str
    files: Mapping[str, bytes]
    defaults: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path) -> Chart:
        """Read a chart's folder.

        Raises:
            StateError: there is none.
        """
        try:
            about = _parse((folder / "Chart.yaml").read_text())
            defaults = _parse((folder / "values.yaml").read_text())
            files = {str(path.relative_to(folder)): path.read_bytes() for path in chart_files(folder)}
        except (OSError, yaml.YAMLError) as error:
            message = f"chart {folder}: {error}"
            raise StateError(message) from error
        return cls(folder, about["name"], files, defaults or {})

    def changed_files(self, release: Release) -> list[str]:
        """Return the paths of the files that are not the ones of the release, new and removed ones included."""
        parsed = {"Chart.yaml", "Chart.lock", "values.yaml", "values.schema.json", ".helmignore"}
        ours, theirs = set(self.files) - parsed, set(release.files) - parsed
        changed = {name for name in ours & theirs if self.files[name] != release.files[name]}
        if self.defaults != release.defaults:
            changed.add("values.yaml")
        return sorted(changed | (ours ^ theirs))


def value_differences(wanted: object, found: object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any, Any]]:
    """Find the values that are not the ones of the release; lists are compared as a whole.

    Yields:
        JSONPath, the wanted value, the release's value; ABSENT where there is none.
    """
    if isinstance(wanted, Mapping) and isinstance(found, Mapping):
        for name in sorted({*wanted, *found}, key=str):
            yield from value_differences(wanted.get(name, ABSENT), found.get(name, ABSENT), (*path, f"f:{name}"))
    elif wanted != found or isinstance(wanted, bool) != isinstance(found, bool):
        yield json_path(path), wanted, found
