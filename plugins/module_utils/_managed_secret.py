# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Adopt or create one Kubernetes Secret: the decisions, without any input or output.

A backend knows one kind of content (random tokens, an LTI key, an LTI consumer). `ensure_present` and `ensure_absent`
bring backend and store together; the store is anything with `read`, `create`, `replace` and `delete`.
"""

from __future__ import annotations

import abc
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from ansible_collections.campus.hubs.plugins.module_utils._refusals import refusal

MANAGED_BY = "app.kubernetes.io/managed-by"
OWNER = "campus.hubs"
ATTEMPTS = 5


class SecretError(Exception):
    """Something a person has to decide; the text says what was found, what is expected and what to do."""


class Conflict(Exception):  # noqa: N818 (the API's own word: 409 Conflict)
    """Somebody else wrote the Secret between our read and our write."""


@dataclass(frozen=True)
class SecretContent:
    """One Secret as it was read, with decoded data.

    Attributes:
        data: field name to value.
        type: the Secret's type, `Opaque` for all that this collection makes.
        labels: the Secret's labels.
        created: when the API server made the Secret.
        immutable: the API server refuses every change of data.
        manifest: the object as read; it goes back with a replace, so that foreign labels and annotations stay.
    """

    data: Mapping[str, bytes]
    type: str = "Opaque"
    labels: Mapping[str, str] = field(default_factory=dict)
    created: datetime | None = None
    immutable: bool = False
    manifest: Mapping[str, Any] = field(default_factory=dict)


class SecretStore(Protocol):
    """Where one Secret lives. Every method may raise `SecretError`; the writing ones also `Conflict`."""

    def read(self) -> SecretContent | None:
        """Return the Secret, or None if it (or its namespace) does not exist."""

    def create(self, data: Mapping[str, bytes], labels: Mapping[str, str]) -> None:
        """Make the Secret; `Conflict` if it exists by now."""

    def replace(self, found: SecretContent, data: Mapping[str, bytes], labels: Mapping[str, str]) -> None:
        """Replace what was read; `Conflict` if it is not what was read any more."""

    def delete(self, found: SecretContent) -> None:
        """Delete what was read; `Conflict` if it is not what was read any more."""


class SecretBackend(abc.ABC):
    """One kind of content. Call order: `set_existing`, `needs_change`, and `generate` if a change is to be made."""

    @abc.abstractmethod
    def set_existing(self, data: Mapping[str, bytes], created: datetime | None, now: datetime) -> None:
        """Take in what the Secret holds now (nothing: it is new).

        Args:
            data: decoded fields, empty if there is no Secret.
            created: creation time of the Secret, None if there is none.
            now: current time, UTC.

        Raises:
            SecretError: the Secret holds something else.
        """

    @abc.abstractmethod
    def needs_change(self) -> list[str]:
        """Say why the content has to change, one sentence each; empty if it need not."""

    @abc.abstractmethod
    def generate(self) -> dict[str, bytes]:
        """Make the whole new content, generating what is missing."""

    @abc.abstractmethod
    def describe(self, *, planned: bool) -> dict[str, Any]:
        """Describe the content for a diff, without any secret: as it is, or as `generate` would make it."""

    @abc.abstractmethod
    def dump(self) -> dict[str, Any]:
        """Return what the module returns about the existing content."""


@dataclass(frozen=True)
class Outcome:
    """What was done, or in check mode would be done."""

    changed: bool
    reasons: list[str]
    before: dict[str, Any]
    after: dict[str, Any]
    values: dict[str, Any]


def ensure_present(backend: SecretBackend, store: SecretStore, now: datetime, *, check_mode: bool) -> Outcome:
    """Adopt the Secret if it holds what the backend wants, complete or create it otherwise.

    Never overwrites what another run or person wrote meanwhile: on a conflict it reads and decides again.

    Args:
        backend: the kind of content.
        store: the Secret.
        now: current time, UTC.
        check_mode: decide, but neither generate nor write.

    Raises:
        SecretError: the Secret holds something else, belongs to somebody else, or kept changing.
    """
    for _attempt in range(ATTEMPTS):
        found = store.read()
        if found:
            _refuse_other_type(found)
        backend.set_existing(found.data if found else {}, found.created if found else None, now)
        before = backend.describe(planned=False) if found else {}
        reasons = backend.needs_change()
        owner = found.labels.get(MANAGED_BY) if found else OWNER
        if found and not owner:
            reasons.append(f"the Secret is adopted: it gets the label {MANAGED_BY}={OWNER}")
        if not reasons:
            return Outcome(changed=False, reasons=[], before=before, after=before, values=backend.dump())
        if found:
            _refuse_unchangeable(found, reasons)
        if check_mode:
            planned = backend.describe(planned=True)
            return Outcome(changed=True, reasons=reasons, before=before, after=planned, values=backend.dump())
        data = backend.generate()
        try:
            if found:
                store.replace(found, data, {**found.labels, MANAGED_BY: OWNER})
            else:
                store.create(data, {MANAGED_BY: OWNER})
        except Conflict:
            continue
        backend.set_existing(data, found.created if found else now, now)
        after = backend.describe(planned=False)
        return Outcome(changed=True, reasons=reasons, before=before, after=after, values=backend.dump())
    message = f"It was changed by somebody else {ATTEMPTS} times while this task ran. Nothing was written; run again."
    raise SecretError(message)


def ensure_absent(backend: SecretBackend, store: SecretStore, now: datetime, *, check_mode: bool) -> Outcome:
    """Delete the Secret if it is ours.

    Raises:
        SecretError: the Secret is not labelled as ours, or holds something else, or kept changing.
    """
    for _attempt in range(ATTEMPTS):
        found = store.read()
        if not found:
            return Outcome(changed=False, reasons=[], before={}, after={}, values={})
        if found.labels.get(MANAGED_BY) != OWNER:
            expected = f"{OWNER}, which all have that this collection has made or adopted"
            fix = "delete the Secret with kubectl if it really is to go; it is kept"
            raise SecretError(refusal(f"label {MANAGED_BY}", found.labels.get(MANAGED_BY) or "none", expected, fix))
        _refuse_other_type(found)
        backend.set_existing(found.data, found.created, now)
        before = backend.describe(planned=False)
        if not check_mode:
            try:
                store.delete(found)
            except Conflict:
                continue
        return Outcome(changed=True, reasons=["state is absent"], before=before, after={}, values={})
    message = f"It was changed by somebody else {ATTEMPTS} times while this task ran. It was not deleted; run again."
    raise SecretError(message)


def _refuse_other_type(found: SecretContent) -> None:
    if found.type != "Opaque":
        fix = "choose another name, or delete the Secret if nothing uses it; it is left as it is"
        raise SecretError(refusal("type", found.type, "Opaque", fix))


def _refuse_unchangeable(found: SecretContent, reasons: list[str]) -> None:
    why = "; ".join(reasons)
    owner = found.labels.get(MANAGED_BY, OWNER)
    if owner != OWNER:
        expected = f"{OWNER}, as the Secret has to change ({why})"
        fix = f"let {owner} make the change, or set the label to {OWNER}"
        raise SecretError(refusal(f"label {MANAGED_BY}", owner, expected, fix))
    if found.immutable:
        expected = f"false, as the Secret has to change ({why})"
        raise SecretError(refusal("immutable", "true", expected, "delete the Secret, and run again to get a new one"))


def hex_token(size: int) -> bytes:
    """Return `size` random bytes as lower-case hexadecimal digits, from the operating system's generator."""
    return secrets.token_hex(size).encode("ascii")


def read_text(data: Mapping[str, bytes], name: str) -> str:
    """Return one field as text.

    Args:
        data: fields of the Secret.
        name: field name.

    Raises:
        SecretError: the field is missing, empty, not printable ASCII, or has blanks around it.
    """
    if name not in data:
        there = ", ".join(sorted(data)) or "none"
        fix = "complete the Secret, or choose another name; it is left as it is"
        raise SecretError(refusal(f"field {name}", f"nothing (there: {there})", "text", fix))
    value = data[name]
    if not value:
        raise SecretError(refusal(f"field {name}", "an empty text", "text", "fill the field, or remove it"))
    if value.strip() != value:
        found = "a blank or a line break at the beginning or end"
        raise SecretError(refusal(f"field {name}", found, "text without", "store it again (echo -n)"))
    if not re.fullmatch(rb"[\x21-\x7e]+", value):
        found = "a blank, or something that is not printable ASCII"
        raise SecretError(refusal(f"field {name}", found, "printable ASCII without blanks"))
    return value.decode("ascii")
