"""The one form of all refusals."""

from __future__ import annotations

import pytest
from ansible_collections.campus.hubs.plugins.module_utils._refusals import difference, refusal


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (("gpu", -1, "0 to 64"), "gpu: found -1, expected 0 to 64."),
        (("gpu", 0, 1), "gpu: found 0, expected 1."),
        (("name", "", "text", ""), "name: expected text."),
        (("title", 5, "text", "put it in quotes"), "title: found 5, expected text. Fix: put it in quotes."),
        (
            ("mode", '"chekc"', "one of check", "Did you mean check?"),
            'mode: found "chekc", expected one of check. Did you mean check?',
        ),
    ],
)
def test_refusal(parts: tuple[str, ...], said: str) -> None:
    assert refusal(*parts) == said


def test_difference_has_no_end() -> None:
    assert difference("replicas", 0, 1) == "replicas: found 0, expected 1"
