"""Inventories as people write them, and as nobody should: any value of any variable, as YAML text."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from ansible.parsing.dataloader import DataLoader
from ansible_collections.campus.hubs.plugins.plugin_utils.inventory_reader import read_roles
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[3]
ROLES, DEFAULTS = read_roles(ROOT / "roles", DataLoader())
COURSE_OPTIONS = {name: spec for role in ROLES if role.name == "course_hub" for name, spec in role.options.items()}
NODE_OPTIONS = {name: spec for role in ROLES if role.name != "course_hub" for name, spec in role.options.items()}
NODE_OPTIONS |= {"ansible_host": {"type": "str"}, "ansible_port": {"type": "int"}}
COURSES = ("python-ws26", "stats-ws26")


class Raw(str):
    """YAML as it stands, for what JSON has no words for."""

    __slots__ = ()


def to_yaml(value: object) -> str:
    """Write a value in YAML's flow style."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{to_yaml(name)}: {to_yaml(part)}" for name, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(to_yaml, value)) + "]"
    if isinstance(value, str):
        return str(yaml.safe_dump(str(value), default_style='"', width=10**9)).rstrip("\n")
    return json.dumps(value)


# fmt: off
ODD_YAML = [
    "yes", "no", "on", "True", "null", "~", "", "=", "<<", "{<<: {}}", "0123", "0o17", "0b11", "0x1F", "1_000", "1:30",
    "190:20:30", "1e308", "1e400", "-1e308", "1.0e308", ".inf", "-.inf", ".nan", "2026-10-01", "2026-10-01 10:00:00",
    "2026-10-01T10:00:00+02:00", "1.10", "+1", "-0.0", "6.", ".5", "1e3", "9" * 400,
    "!!binary aGk=", "!!set {a, b}", "!!omap [a: 1]", "!!timestamp 2026-10-01", "!!str 5", "!!float 5", "!!int '5'",
    "{5: a}", "{yes: a}", "{null: a}", "{1.5: a}", "{2026-10-01: a}", "[{on: 1}]", "{a: {5: b}}", "{? [a] : b}",
    "{? {a: b} : c}", "!unsafe '{{ a }}'", "!vault |\n  a", "!nothing a", "!!python/name:os.system", "*alias",
    "&a [*a]", "&a {b: *a}", "[" * 60 + "]" * 60, "{a: " * 60 + "}" * 60,
    '"\\uD800"', '"\\0"', '"a\\u0085b"', '"\\x7F"', '"\\u2028"', '"\\uFEFF"', '"\\uFFFE"', '"\\e[31m"', '"\\r"',
]
ODD_TEXTS = [
    "", " ", "-", "--help", "/", "//", ".", "..", "~", "*", "#", "%", "%h", "$(id)", "${HOME}", "`id`", ";", "a;b",
    "a b", "a\tb", "'", '"', "\\", "'''", '"""', "a'b\"c", "{", "}", "{{", "}}", "{{ nope }}", "{% for %}", "{#",
    "{0}", "{username}", "{{ 1 }}", "a\nb", "\n", "a\n", "a: b", "- a", "a #b", "x\n\n[Service]\nExecStart=/bin/sh",
    "x\nSigned-By: y", "a,b", "[a]", "a=b", "'\n[x]", "192.0.2.300", "192.0.2.1", "192.0.2", "1.2.3.4.5",
    "192.0.2.1/24", "192.0.2.0/24", "0.0.0.0/0", "::/0", "0.0.0.0", "127.0.0.1", "2001:db8::1", "[2001:db8::1]",  # noqa: S104
    "[2001:db8::1]:6443", "fe80::1%eth0", "2001:db8::/32", "::ffff:192.0.2.1", "192.0.2.9-192.0.2.8",
    "https://a", "http://a/", "https://a.example.edu/x y", "http://[::1", "http://[::1]/", "https://a:99999",
    "https://a:b", "https:///x", "https://\u00fc.example.edu/x", "https://u:p@a/", "ftp://a/", "file:///etc/passwd",
    "https://a/?q#f", "https://a/x'y", 'https://a/"', "git@a:b", "ssh://git@a:22/b", "//a/b", "a.example.edu",
    "a.example.edu.", "A.EXAMPLE.EDU", "a_b", "-a", "a-", "a..b", "a" * 64, "a" * 254, "a.b" * 90, "\u00fc",
    "\u673a\u5668", "\U0001f393", "a/b:c", "quay.io/", "quay.io/a/b:1", "a/b@sha256:" + "0" * 64,
    "localhost:5000/a:1", "registry.example.edu/a:1", "a:latest", "a/b:\u00fc", "v1.2.3", "1.2.3", "1.36.3", "4.3.1",
    "2.0.0", "\u0664.\u0663.\u0661", "v1.2.3\n", "1.2", "1.2.3 ", "1.2.3-rc.1", "\u0661\u0662", "\u00b2",
    "\uff11\uff12", "5Gi", "5G", "5", "0Gi", "-5Gi", "1e3Gi", "5 Gi", "5gi", "0.001Gi", "9" * 30 + "Ti", "512M",
    "2G", "100Mi", "\u0665Gi", "5Gi\n", "1.5Gi", "daily", "*-*-* 03:15:00", "every day", "a@b", "a@b\nBcc: c@d",
    "root", "a@\u00fc.example", "A <a@b>", "true", "True", "0", "1", "on", "python-ws26", "PYTHON", "none", "None",
    "metallb", "instructor", "/srv/course", "/home/jovyan", "/data", "/home/jovyan/data", "data", "C:\\x",
    "a\u202eb", "x" * 5000, "x" * 100_001,
]
ODD_NUMBERS = [
    0, 1, -1, 2, 22, 80, 365, 1500, 65535, 65536, 10**6, 2**31, 2**53 + 1, 2**63, 2**64, -(2**63), 10**30,
    0.5, -0.1, 1.5, 1e-9, 1e15, 1e17,
]
# fmt: on

texts = st.sampled_from(ODD_TEXTS) | st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
scalars = (
    texts
    | st.sampled_from(ODD_NUMBERS)
    | st.integers(-5, 70000)
    | st.booleans()
    | st.none()
    | st.sampled_from(ODD_YAML).map(Raw)
)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=4
)
_SIMPLE = {
    "int": st.sampled_from(ODD_NUMBERS) | st.integers(-5, 70000),
    "float": st.sampled_from(ODD_NUMBERS) | st.floats(allow_nan=False, allow_infinity=False),
    "bool": st.booleans() | st.sampled_from(["yes", "no", "True", "0"]),
}


def near(spec: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    """Return values of an option's own type, at any depth, and a few of no type."""
    kind = spec.get("type") or "str"
    if kind == "list":
        inner = near({**spec, "type": spec.get("elements") or "str"})
        return st.lists(inner, max_size=3) | inner.map(lambda item: [item, item])
    if kind == "dict" and spec.get("options"):
        parts = {name: value_of(option) for name, option in spec["options"].items()}
        return st.fixed_dictionaries({}, optional=parts)
    if kind == "dict":
        return st.dictionaries(texts, scalars | st.dictionaries(texts, scalars, max_size=2), max_size=2)
    if spec.get("choices"):
        return st.sampled_from(list(spec["choices"])) | texts
    return _SIMPLE.get(kind, texts)


def right(spec: Mapping[str, Any]) -> list[Any]:
    """Return what an option's spec shows: its default, and the values in its description."""
    shown = re.findall(r"\bV\(([^)]+)\)", str(spec.get("description")))
    lists = spec.get("type") == "list"
    return [*([spec["default"]] if "default" in spec else []), *([text] if lists else text for text in shown)]


def value_of(spec: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    """Return values for an option: mostly of its type."""
    known = st.sampled_from(right(spec)) if right(spec) else near(spec)
    return st.one_of(known, near(spec), near(spec), anything)


def changes(options: Mapping[str, Mapping[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Return one or two variables with their values."""
    one = st.sampled_from(sorted(options)).flatmap(lambda name: st.tuples(st.just(name), value_of(options[name])))
    return st.lists(one, min_size=1, max_size=2, unique_by=lambda pair: pair[0]).map(dict)


def text_of(node: Mapping[str, Any], courses: Mapping[str, Mapping[str, Any]], aliases: str = "&alias a") -> str:
    """Write an inventory of three nodes and two courses, with some variables."""
    own = {name: value for name, value in node.items() if name in ("ansible_host", "ansible_port")}
    common = {
        "scheduled_run_repository": "git@git.example.edu:inventory.git",
        "load_balancer_addresses": ["198.51.100.8/29"],
    }
    cluster = {**common, **{name: value for name, value in node.items() if name not in own}}
    hosts = {
        "one": {"ansible_host": "192.0.2.11"},
        "two": {"ansible_host": "192.0.2.12", **own},
        "three": {"ansible_host": "192.0.2.13"},
    }

    def block(variables: Mapping[str, Any], indent: int) -> str:
        lines = [f"{to_yaml(name)}: {to_yaml(value)}" for name, value in variables.items()] or ["{}"]
        return "\n" + textwrap.indent("\n".join(lines), " " * indent)

    parts = [f"all:\n  vars:\n    a_word: {aliases}\n  children:"]
    for group, members in (("control_plane", ["one"]), ("workers", ["two", "three"])):
        parts.append(
            f"    {group}:\n      hosts:" + "".join(f"\n        {name}:{block(hosts[name], 10)}" for name in members)
        )
    parts.append(
        f"    cluster:\n      children:\n        control_plane:\n        workers:\n      vars:{block(cluster, 8)}"
    )
    parts.append(
        "    courses:\n      hosts:"
        + "".join(f"\n        {name}:{block(given, 10)}" for name, given in courses.items())
    )
    return "\n".join(parts) + "\n"
