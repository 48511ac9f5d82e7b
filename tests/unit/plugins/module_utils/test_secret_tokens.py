"""Tokens, and with them what all Secrets have in common: adopting, refusing, meeting others."""

from __future__ import annotations

import re
from typing import Any

import pytest
from ansible_collections.campus.hubs.plugins.module_utils._managed_secret import (
    MANAGED_BY,
    OWNER,
    Outcome,
    SecretError,
    ensure_absent,
    ensure_present,
)
from ansible_collections.campus.hubs.plugins.module_utils._secret_tokens import TokenBackend, parse_keys

from tests.unit.plugins.memory_store import NOW, MemoryStore

A, B = b"a" * 64, b"b" * 64


def present(store: MemoryStore, *names: str, check_mode: bool = False) -> Outcome:
    return ensure_present(TokenBackend(dict.fromkeys(names, 32)), store, NOW, check_mode=check_mode)


def test_created_with_all_tokens(store: MemoryStore) -> None:
    outcome = present(store, "one", "two")
    assert outcome.changed
    assert outcome.reasons == ["one is missing", "two is missing"]
    assert sorted(store.data) == ["one", "two"]
    assert all(re.fullmatch(rb"[0-9a-f]{64}", value) for value in store.data.values())
    assert store.data["one"] != store.data["two"]
    assert store.content is not None
    assert store.content.labels == {MANAGED_BY: OWNER}


def test_second_run_changes_nothing(store: MemoryStore) -> None:
    present(store, "one")
    before = dict(store.data)
    outcome = present(store, "one")
    assert (outcome.changed, outcome.reasons, store.writes) == (False, [], ["create"])
    assert store.data == before


def test_partial_secret_gets_only_what_is_missing(store: MemoryStore) -> None:
    store.put({"one": A, "of others": b"\x00"})
    outcome = present(store, "one", "two")
    assert outcome.reasons == ["two is missing"]
    assert store.data["one"] == A
    assert store.data["of others"] == b"\x00"
    assert sorted(store.data) == ["of others", "one", "two"]


def test_check_mode_writes_nothing_and_tells_the_same(store: MemoryStore) -> None:
    checked = present(store, "one", check_mode=True)
    assert store.content is None
    assert store.writes == []
    applied = present(store, "one")
    assert (checked.changed, checked.reasons, checked.after) == (applied.changed, applied.reasons, applied.after)


def test_neither_diff_nor_values_hold_a_token(store: MemoryStore) -> None:
    store.put({"one": A})
    outcome = present(store, "one", "two")
    told = repr(outcome)
    assert "aaaa" not in told
    assert store.data["two"].decode() not in told
    assert (outcome.before, outcome.after) == ({"keys": ["one"]}, {"keys": ["one", "two"]})


def test_unlabelled_secret_is_adopted(store: MemoryStore) -> None:
    store.put({"one": A}, labels={"mine": "yes"})
    outcome = present(store, "one")
    assert outcome.changed
    assert "adopted" in outcome.reasons[0]
    assert store.content is not None
    assert store.content.labels == {"mine": "yes", MANAGED_BY: OWNER}
    assert not present(store, "one").changed


def test_complete_secret_of_somebody_else_is_used_as_it_is(store: MemoryStore) -> None:
    store.put({"one": A}, labels={MANAGED_BY: "Helm"})
    assert not present(store, "one").changed


@pytest.mark.parametrize(
    ("data", "other", "words"),
    [
        ({"one": A}, {"type": "kubernetes.io/tls"}, "type: found kubernetes.io/tls, expected Opaque"),
        ({"one": A}, {"labels": {MANAGED_BY: "Helm"}}, "managed-by: found Helm, expected campus.hubs"),
        ({"one": A}, {"immutable": True}, "immutable: found true, expected false"),
        ({"one": b""}, {}, "one: found an empty text"),
        ({"one": A + b"\n"}, {}, "line break"),
        ({"one": b"\xff" * 64}, {}, "not printable ASCII"),
        ({"one": b"g" * 64}, {}, "64 hexadecimal digits"),
        ({"one": b"hunter2"}, {}, "one: found a text of 7 characters, expected 64"),
    ],
)
@pytest.mark.parametrize("check_mode", [False, True])
def test_something_else_is_refused_and_kept(
    store: MemoryStore, data: dict[str, bytes], other: dict[str, Any], words: str, *, check_mode: bool
) -> None:
    store.put(data, **other)
    before = store.content
    with pytest.raises(SecretError, match=re.escape(words)) as error:
        present(store, "one", "two", check_mode=check_mode)
    assert store.content is before
    assert "hunter2" not in str(error.value)


def test_two_runs_that_create_end_with_the_first_ones_tokens(store: MemoryStore) -> None:
    store.interfere = lambda other: other.put({"one": B})
    outcome = present(store, "one")
    assert not outcome.changed
    assert store.data == {"one": B}


def test_two_runs_that_complete_lose_no_token(store: MemoryStore) -> None:
    store.put({"one": A})
    store.interfere = lambda other: other.put({"one": A, "two": B})
    outcome = present(store, "one", "two", "three")
    assert outcome.reasons == ["three is missing"]
    assert (store.data["one"], store.data["two"]) == (A, B)


def test_a_secret_that_never_rests_is_an_error(store: MemoryStore) -> None:
    store.put({"one": A})

    def touch(other: MemoryStore) -> None:
        other.put({"one": A})
        other.interfere = touch

    store.interfere = touch
    with pytest.raises(SecretError, match="Nothing was written"):
        present(store, "one", "two")
    assert store.data == {"one": A}


def test_deleted_between_read_and_write_is_created(store: MemoryStore) -> None:
    store.put({"one": A})
    store.interfere = lambda other: setattr(other, "content", None)
    assert present(store, "one", "two").changed
    assert store.writes == ["create"]
    assert store.data["one"] != A


def test_absent_deletes_what_is_ours_and_is_idempotent(store: MemoryStore) -> None:
    store.put({"one": A})
    backend = TokenBackend({})
    assert ensure_absent(backend, store, NOW, check_mode=True).changed
    assert store.content is not None
    assert ensure_absent(backend, store, NOW, check_mode=False).changed
    assert store.content is None
    assert not ensure_absent(backend, store, NOW, check_mode=False).changed


@pytest.mark.parametrize("labels", [{}, {MANAGED_BY: "Helm"}])
def test_absent_keeps_what_is_not_ours(store: MemoryStore, labels: dict[str, str]) -> None:
    store.put({"one": A}, labels=labels)
    with pytest.raises(SecretError, match="is kept"):
        ensure_absent(TokenBackend({}), store, NOW, check_mode=False)
    assert store.content is not None


def test_absent_does_not_delete_what_has_changed_meanwhile_into_something_else(store: MemoryStore) -> None:
    store.put({"one": A})
    store.interfere = lambda other: other.put({"one": A}, labels={})
    with pytest.raises(SecretError, match="is kept"):
        ensure_absent(TokenBackend({}), store, NOW, check_mode=False)
    assert store.writes == []


@pytest.mark.parametrize(
    ("keys", "sizes"),
    [
        (["one", "two"], {"one": 32, "two": 32}),
        ({"one": {"bytes": 16}, "two": None, "three": {}}, {"one": 16, "two": 32, "three": 32}),
        ({"one": {"bytes": "64"}}, {"one": 64}),
    ],
)
def test_keys(keys: object, sizes: dict[str, int]) -> None:
    assert parse_keys(keys) == sizes


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ("one", "expected a list of names"),
        (None, "expected a list of names"),
        ([], "at least one name"),
        ({}, "at least one name"),
        ([1], "the name 1"),
        (["a b"], "the name 'a b'"),
        (["one", "one"], "twice"),
        ({"one": 32}, "keys.one: found"),
        ({"one": {"size": 32}}, "keys.one: found"),
        ({"one": {"bytes": 8}}, "keys.one.bytes: found 8, expected 16 to 512"),
        ({"one": {"bytes": True}}, "bytes: found True"),
        ({"one": {"bytes": "many"}}, "bytes: found 'many'"),
    ],
)
def test_wrong_keys(keys: object, words: str) -> None:
    with pytest.raises(SecretError, match=re.escape(words)):
        parse_keys(keys)
