"""A Secret that lives in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from ansible_collections.campus.hubs.plugins.module_utils._managed_secret import (
    MANAGED_BY,
    OWNER,
    Conflict,
    SecretContent,
)

NOW = datetime(2026, 10, 1, 6, 0, tzinfo=UTC)


class MemoryStore:
    """A `SecretStore` with the API server's rules: create fails if it exists, replace and delete if it has changed.

    Attributes:
        content: the Secret.
        writes: what was done to it by way of the store.
        interfere: called once, in the middle of the next write, as somebody else would come in between.
    """

    def __init__(self) -> None:
        """Start without a Secret."""
        self.content: SecretContent | None = None
        self.version = 0
        self.writes: list[str] = []
        self.interfere: Callable[[MemoryStore], None] | None = None

    def put(self, data: Mapping[str, bytes], **other: object) -> None:
        """Store something as somebody else would."""
        self.version += 1
        fields = {"labels": {MANAGED_BY: OWNER}, "created": NOW, "manifest": {"version": self.version}, **other}
        self.content = SecretContent(dict(data), **fields)  # type: ignore[arg-type]

    def read(self) -> SecretContent | None:
        """See `SecretStore`."""
        return self.content

    def _meet_others(self) -> None:
        if self.interfere:
            interfere, self.interfere = self.interfere, None
            interfere(self)

    def _same(self, found: SecretContent) -> bool:
        return self.content is not None and found.manifest["version"] == self.version

    def create(self, data: Mapping[str, bytes], labels: Mapping[str, str]) -> None:
        """See `SecretStore`."""
        self._meet_others()
        if self.content is not None:
            raise Conflict
        self.writes.append("create")
        self.put(data, labels=labels)

    def replace(self, found: SecretContent, data: Mapping[str, bytes], labels: Mapping[str, str]) -> None:
        """See `SecretStore`."""
        self._meet_others()
        if not self._same(found):
            raise Conflict
        self.writes.append("replace")
        self.put(data, labels=labels, created=found.created)

    def delete(self, found: SecretContent) -> None:
        """See `SecretStore`."""
        self._meet_others()
        if not self._same(found):
            raise Conflict
        self.writes.append("delete")
        self.content = None

    @property
    def data(self) -> Mapping[str, bytes]:
        """Return the fields of the Secret that must be there."""
        assert self.content is not None
        return self.content.data
