"""The LTI 1.1 consumer: adopted, made, renamed, renewed, and its secret shown on request only."""

from __future__ import annotations

import re

import pytest
from ansible_collections.campus.hubs.plugins.module_utils._lti_consumer_secret import ConsumerBackend
from ansible_collections.campus.hubs.plugins.module_utils._managed_secret import Outcome, SecretError, ensure_present

from tests.unit.plugins.memory_store import NOW, MemoryStore


def present(
    store: MemoryStore, key: str | None = None, *, renew: bool = False, shown: bool = False, check_mode: bool = False
) -> Outcome:
    backend = ConsumerBackend(key, renew=renew, return_secret=shown)
    return ensure_present(backend, store, NOW, check_mode=check_mode)


def test_made_with_a_random_key(store: MemoryStore) -> None:
    outcome = present(store)
    assert re.fullmatch(rb"[0-9a-f]{32}", store.data["consumer_key"])
    assert re.fullmatch(rb"[0-9a-f]{64}", store.data["shared_secret"])
    assert outcome.values == {"consumer_key": store.data["consumer_key"].decode()}
    assert store.data["shared_secret"].decode() not in repr(outcome)
    assert not present(store).changed


def test_made_with_the_wanted_key(store: MemoryStore) -> None:
    checked = present(store, "stats", check_mode=True)
    assert store.content is None
    applied = present(store, "stats")
    assert checked.after == applied.after == {"consumer_key": "stats", "shared_secret": "(new)"}
    assert checked.values == applied.values == {"consumer_key": "stats"}
    assert not present(store, "stats").changed


def test_check_mode_knows_no_key_yet(store: MemoryStore) -> None:
    outcome = present(store, shown=True, check_mode=True)
    assert outcome.values == {"consumer_key": "", "shared_secret": ""}
    assert outcome.after["consumer_key"] == "(generated when applied)"


def test_existing_one_is_adopted(store: MemoryStore) -> None:
    store.put({"consumer_key": b"old", "shared_secret": b"s3cr3t"})
    outcome = present(store)
    assert (outcome.changed, outcome.values) == (False, {"consumer_key": "old"})


def test_secret_is_returned_on_request_only(store: MemoryStore) -> None:
    store.put({"consumer_key": b"old", "shared_secret": b"s3cr3t"})
    assert "s3cr3t" not in repr(present(store))
    assert present(store, shown=True).values["shared_secret"] == "s3cr3t"


def test_another_key_keeps_the_secret(store: MemoryStore) -> None:
    store.put({"consumer_key": b"old", "shared_secret": b"s3cr3t"})
    outcome = present(store, "new")
    assert outcome.reasons == ["consumer_key: found old, expected new"]
    assert store.data == {"consumer_key": b"new", "shared_secret": b"s3cr3t"}
    assert outcome.before == {"consumer_key": "old", "shared_secret": "(set)"}
    assert outcome.after == {"consumer_key": "new", "shared_secret": "(set)"}


def test_renewed_once(store: MemoryStore) -> None:
    store.put({"consumer_key": b"old", "shared_secret": b"s3cr3t"})
    assert present(store, renew=True, check_mode=True).after["shared_secret"] == "(new)"
    outcome = present(store, renew=True)
    assert outcome.after == {"consumer_key": "old", "shared_secret": "(new)"}
    assert store.data["shared_secret"] != b"s3cr3t"
    assert len(store.writes) == 1


def test_what_another_run_renewed_meanwhile_is_not_renewed_again(store: MemoryStore) -> None:
    store.put({"consumer_key": b"old", "shared_secret": b"s3cr3t"})
    store.interfere = lambda other: other.put({"consumer_key": b"old", "shared_secret": b"n3w"})
    assert not present(store, renew=True).changed
    assert store.data["shared_secret"] == b"n3w"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"consumer_key": b"old"}, "shared_secret: found nothing (there: consumer_key)"),
        ({"shared_secret": b"s3cr3t"}, "consumer_key: found nothing"),
        ({"something": b"else"}, "consumer_key: found nothing (there: something)"),
        ({"consumer_key": b"old", "shared_secret": b""}, "shared_secret: found an empty text"),
        ({"consumer_key": b"old", "shared_secret": b"s3cr3t\n"}, "line break"),
        ({"consumer_key": b"o ld", "shared_secret": b"s3cr3t"}, "consumer_key: found a blank"),
    ],
)
def test_something_else_is_refused_and_kept(store: MemoryStore, data: dict[str, bytes], words: str) -> None:
    store.put(data)
    with pytest.raises(SecretError, match=re.escape(words)) as error:
        present(store, "new", renew=True)
    assert store.data == data
    assert "s3cr3t" not in str(error.value)


@pytest.mark.parametrize("key", ["", "a b", "schlüssel"])
def test_wrong_key_is_refused(key: str) -> None:
    with pytest.raises(SecretError, match="consumer_key"):
        ConsumerBackend(key)
