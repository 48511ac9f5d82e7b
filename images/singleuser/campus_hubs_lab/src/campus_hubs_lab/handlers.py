"""Which HTTP handlers a person's server offers: those of `handlers.json`, and no others.

    {"api/status": ["everybody", "GET", "is it alive"]}

A route's pattern is as its program registers it, without the server's base URL; then who has it (`everybody`, `graders`
or `nobody`), its methods, and what it is there for. Extensions come from many programs, and a new release of one adds
handlers: what is not listed is not offered. An image of a campus that adds an extension adds lines.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tornado.routing import PathMatches, Rule, RuleRouter

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FILE: Final = "handlers.json"
ROLES: Final = {"everybody", "graders", "nobody"}
# Whose page or script is on another origin, and asks first: nobody's.
_PREFLIGHT: Final = "OPTIONS"


def read(path: Path) -> dict[str, tuple[str, set[str]]]:
    """Read the list.

    Args:
        path: of the file.

    Returns:
        role and methods by pattern.

    Raises:
        ValueError: a line has no such form; the message names it.

    """
    listed = {}
    for pattern, line in json.loads(path.read_text(encoding="utf-8")).items():
        if not isinstance(line, list) or len(line) != 3 or line[0] not in ROLES or not line[2]:
            raise ValueError(f"{path}, {pattern}: found {line}, expected [role, methods, reason]")
        listed[pattern] = (line[0], set(line[1].split()))
    return listed


def routes(router: RuleRouter) -> Iterator[tuple[list[Rule], Rule]]:
    """List a router's rules that have a handler, each with the list that it stands in."""
    for rule in list(router.rules):
        if isinstance(rule.target, RuleRouter):
            yield from routes(rule.target)
        else:
            yield router.rules, rule


def pattern_of(rule: Rule, base: str) -> str:
    """Return a rule's pattern without the base URL, as the list has it."""
    text = rule.matcher.regex.pattern if isinstance(rule.matcher, PathMatches) else repr(rule.matcher)
    return text.removeprefix(base).removesuffix("$")


def methods_of(handler: Any) -> set[str]:  # noqa: ANN401 - a RequestHandler's class
    """Return the methods that a handler answers."""
    unimplemented = handler._unimplemented_method
    return {
        method
        for method in handler.SUPPORTED_METHODS
        if method != _PREFLIGHT and getattr(handler, method.lower()) is not unimplemented
    }


def restrict(web_app: Any, listed: Mapping[str, tuple[str, set[str]]], *, grades: bool) -> list[str]:  # noqa: ANN401
    """Take away what is not listed for a person.

    Args:
        web_app: the server's tornado application, with all its handlers.
        listed: by `read`.
        grades: whether the person is a lecturer or tutor.

    Returns:
        patterns that are on no line of the list.

    """
    base = web_app.settings["base_url"]
    unknown = set()
    for siblings, rule in routes(web_app.default_router):
        pattern = pattern_of(rule, base)
        role, methods = listed.get(pattern, ("", set()))
        if not role:
            unknown.add(pattern)
        if role == "everybody" or (role == "graders" and grades):
            # A page that says "not found" does so for each method.
            if methods:
                rule.target = type(rule.target.__name__, (rule.target,), {"SUPPORTED_METHODS": tuple(methods)})
        else:
            siblings.remove(rule)
    return sorted(unknown)
