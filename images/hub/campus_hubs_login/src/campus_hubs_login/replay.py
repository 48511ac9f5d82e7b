"""Nonces that were used, kept over a restart of the hub."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from pathlib import Path

# Longer than any launch can stay valid (LTI 1.3: 600 s + leeway; LTI 1.1: 300 s both ways).
KEEP_SECONDS = 3600


class ReplayStore:
    """Remembers each accepted launch, so that it is accepted once.

    A file beside the hub's database, because a restarted hub must refuse what the last one has accepted. The other
    way, to refuse whatever was issued before this process started, compares the LMS's clock with ours: within the
    leeway a replay would pass, and launches on their way during a restart would fail. Only launches with a valid
    signature are kept, so strangers cannot fill it.
    """

    def __init__(self, path: str | Path) -> None:
        """Open or create the database.

        Args:
            path: SQLite file, or `:memory:` in tests.

        Raises:
            sqlite3.Error: if it cannot be written; better no hub than one that accepts replays.
        """
        self._connection = sqlite3.connect(path, timeout=1, isolation_level=None)
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS used (launch BLOB PRIMARY KEY, until INTEGER NOT NULL) WITHOUT ROWID"
        )

    def spend(self, *parts: str) -> bool:
        """Use a launch up.

        Args:
            parts: what makes the launch unique (kind, client, nonce ...).

        Returns:
            False if it was used before.
        """
        now = int(time.time())
        # Length-prefixed, so that ("a", "bc") and ("ab", "c") differ.
        launch = hashlib.sha256(
            b"".join(b"%d:%s" % (len(raw), raw) for raw in (part.encode() for part in parts))
        ).digest()
        self._connection.execute("DELETE FROM used WHERE until < ?", (now,))
        added = self._connection.execute("INSERT OR IGNORE INTO used VALUES (?, ?)", (launch, now + KEEP_SECONDS))
        return added.rowcount == 1

    def close(self) -> None:
        """Close the file."""
        self._connection.close()
