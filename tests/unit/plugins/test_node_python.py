"""What runs on nodes runs under their own Python: 3.9 and newer, with nothing but its standard library and Ansible's.

By the grammar on every machine, and for real where there is a Python 3.9.
"""

from __future__ import annotations

import ast
import io
import json
import re
import string
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import ansible
import pytest
import yaml

from tests.unit.roles.role_variables import ROOT, flat

OLDEST = (3, 9)
PLUGINS = ROOT / "plugins"
PACKAGE = "ansible_collections.campus.hubs.plugins.module_utils"
# Modules of roles whose plays are on the control machine, or that have an action plugin which does the work there.
NODE_ROLES = ("node", "containerd", "kubeadm", "course_images")
# Newer than 3.9, and no question of grammar.
NEW_MODULES = {"tomllib", "compression", "annotationlib", "concurrent.interpreters", "string.templatelib"}
NEW_NAMES = {
    *(
        "pairwise",
        "batched",
        "UTC",
        "StrEnum",
        "ReprEnum",
        "chdir",
        "Self",
        "assert_never",
        "LiteralString",
        "TypeAlias",
    ),
    *("ParamSpec", "Concatenate", "TypeGuard", "override", "ExceptionGroup", "BaseExceptionGroup", "aclosing"),
    *(
        "bit_count",
        "walk_up",
        "add_note",
        "file_digest",
        "hardlink_to",
        "is_junction",
        "EncodingWarning",
        "aiter",
        "anext",
    ),
}
NEW_ARGUMENTS = {"zip": {"strict"}, "dataclass": {"slots", "kw_only", "weakref_slot"}, "relative_to": {"walk_up"}}


def modules() -> dict[str, Path]:
    """Return the modules that tasks of nodes use, by name."""
    tasks = [
        task
        for role in NODE_ROLES
        for path in (ROOT / "roles" / role / "tasks").glob("*.yml")
        for task in flat(yaml.safe_load(path.read_text()))
    ]
    names = {key.rpartition(".")[2] for task in tasks for key in task if key.startswith("campus.hubs.")}
    on_controller = {path.stem for path in (PLUGINS / "action").glob("*.py")}
    on_controller |= {
        path.stem for path in (PLUGINS / "modules").glob("*.py") if "k8s_auth_options" in path.read_text("utf-8")
    }
    return {name: PLUGINS / "modules" / f"{name}.py" for name in sorted(names - on_controller)}


def with_utils(paths: list[Path]) -> list[Path]:
    """Return Python files and the module_utils that they import, and these."""
    found: list[Path] = []
    while paths:
        path = paths.pop()
        if path not in found:
            found.append(path)
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE):
                    names = [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
                    files = [name.removeprefix(PACKAGE).strip(".").replace(".", "/") for name in names]
                    paths += [file for name in files if name and (file := PLUGINS / f"module_utils/{name}.py").exists()]
    return sorted(found)


FILES = with_utils(list(modules().values()))


def newer(text: str) -> Iterator[str]:
    """Return what a text has that Python 3.9 has not."""
    try:
        tree = ast.parse(text, feature_version=OLDEST)
    except SyntaxError as error:
        yield f"syntax: {error}"
        return
    if any(nested_quotes(text)):
        yield "quotes of an f-string within it"
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", "") or ""]
            yield from (f"import of {name}" for name in names if name in NEW_MODULES | NEW_NAMES)
        elif isinstance(node, ast.Attribute) and node.attr in NEW_NAMES:
            yield f"use of {node.attr}"
        elif isinstance(node, ast.Call):
            called = getattr(node.func, "id", getattr(node.func, "attr", ""))
            arguments = {keyword.arg for keyword in node.keywords}
            yield from (f"{called}({name}=)" for name in NEW_ARGUMENTS.get(called, set()) & arguments)
            if called in ("isinstance", "issubclass") and any(isinstance(one, ast.BinOp) for one in node.args):
                yield f"{called} with a union of types"
        elif isinstance(node, ast.Assign | ast.AnnAssign) and is_type_union(node.value):
            yield "a union of types at runtime"


def nested_quotes(text: str) -> Iterator[str]:
    """Return texts within f-strings that have the same quotes, which ended an f-string until Python 3.12."""
    open_quotes: list[str] = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        quotes = token.string.lstrip(string.ascii_letters)
        if token.type in (tokenize.STRING, tokenize.FSTRING_START) and quotes.startswith(tuple(open_quotes)):
            yield token.string
        if token.type == tokenize.FSTRING_START:
            open_quotes.append(quotes)
        elif token.type == tokenize.FSTRING_END:
            open_quotes.pop()


def is_type_union(node: ast.expr | None) -> bool:
    """Tell whether an expression is a union with a built-in type or None."""
    types = ("int", "str", "bytes", "float", "bool", "list", "dict", "set", "tuple", "Path")
    sides = (node.left, node.right) if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr) else ()
    return any(
        getattr(side, "id", "") in types or (isinstance(side, ast.Constant) and side.value is None) for side in sides
    )


def test_modules_of_nodes_are_found() -> None:
    expected = {"apt_keyring", "ca_trust", "config_files", "container_image", "kernel_settings", "node_info"}
    assert expected | {"pinned_packages", "service_info", "swap_off"} <= set(modules())
    names = {path.stem for path in FILES}
    assert {
        "_apt_packages",
        "_container_image",
        "_node_machine",
        "_openpgp_keys",
        "_refusals",
        "_registry_login",
        "_systemd",
    } <= names


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_nothing_is_newer(path: Path) -> None:
    text = path.read_text("utf-8")
    assert list(newer(text)) == []
    assert "from __future__ import annotations" in text


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_nothing_else_is_imported(path: Path) -> None:
    """Ubuntu's python3 has the standard library."""
    imports = [
        node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    names = {
        name.partition(".")[0]
        for node in imports
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    assert names - sys.stdlib_module_names - {"ansible", "ansible_collections"} == set()


@pytest.mark.parametrize(
    "text",
    [
        "match x:\n    case 1: pass",
        "try: pass\nexcept* OSError: pass",
        "type X = int",
        "def f[T](x: T) -> T: return x",
        "f'{x['a']}'",
        'f"""{x[f"""a"""]}"""',
        "isinstance(x, int | str)",
        "Either = int | str",
        "Maybe = dict[str, int] | None",
        "import tomllib",
        "from itertools import pairwise",
        "from datetime import UTC",
        "now = datetime.datetime.now(datetime.UTC)",
        "zip(a, b, strict=True)",
        "@dataclasses.dataclass(slots=True)\nclass A: pass",
    ],
)
def test_what_is_newer_is_found(text: str) -> None:
    assert list(newer(text))


@pytest.mark.parametrize(
    "text", ["x = 1 | 2", "a = flags | {'x'}", "d |= {}", "def f(x: int | None) -> str | None: ...", "f'{x[\"a\"]}'"]
)
def test_what_is_not_newer(text: str) -> None:
    assert list(newer(f"from __future__ import annotations\n{text}")) == []


# ---- with a Python 3.9 ----


def oldest_python() -> Path | None:
    """Return a Python 3.9 of this machine."""
    found = [*Path("~/.pyenv/versions").expanduser().glob("3.9.*/bin/python3.9"), Path("/usr/bin/python3.9")]
    return next((path for path in found if path.exists()), None)


PYTHON = oldest_python()
needs_python = pytest.mark.skipif(PYTHON is None, reason="there is no Python 3.9 here")
# Modules run in check mode, so they change nothing here.
RUN = """
import importlib, json, sys
sys.path[:0] = json.loads(sys.argv[1])
from ansible.module_utils.testing import patch_module_args
module = importlib.import_module("ansible_collections.campus.hubs.plugins.modules." + sys.argv[2])
for name, value in json.loads(sys.argv[4]).items():
    setattr(module, name, [value] if name == "SYSTEMCTL" else importlib.import_module("pathlib").Path(value))
with patch_module_args({"_ansible_check_mode": True, **json.loads(sys.argv[3])}):
    module.main()
"""


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run code under Python 3.9."""
    # Without bytecode, which would lie among the files of another version; and without what that Python has installed.
    command = [str(PYTHON), "-I", "-B", "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (our own arguments)


# Ansible's own package for modules, and ours, without the control machine's other libraries.
@pytest.fixture
def paths(tmp_path: Path) -> str:
    (tmp_path / "ansible").mkdir()
    (tmp_path / "ansible/__init__.py").touch()
    (tmp_path / "ansible/module_utils").symlink_to(Path(ansible.__file__).parent / "module_utils")
    return json.dumps([str(tmp_path), str(ROOT / ".collections")])


@needs_python
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_module_of_the_nodes_compiles_under_their_oldest_python(path: Path) -> None:
    done = python("import sys; compile(open(sys.argv[1]).read(), sys.argv[1], 'exec')", str(path))
    assert done.returncode == 0, done.stderr


MACHINE = {"address": "127.0.0.1", "packages": ["dpkg", "no-such"], "services": ["x"], "ports": [1], "time": 0}
RUNS: dict[str, tuple[dict[str, object], dict[str, str], str]] = {
    "apt_keyring": ({"url": "http://127.0.0.1:1/x", "path": "{tmp}/k.asc", "fingerprints": ["A" * 40]}, {}, "fetched"),
    "ca_trust": ({}, {"AUTHORITIES": "{tmp}", "BUNDLE": "{tmp}/none"}, "newer_files"),
    "config_files": ({"files": {"{tmp}/new": "text", "{tmp}/none": None}}, {}, '"changed": true'),
    "container_image": ({"name": "127.0.0.1:1/x", "tag": "y", "username": "u", "password": "p"}, {}, "127.0.0.1:1/x:y"),
    "kernel_settings": ({"parameters": {"net.ipv4.ip_forward": 7}}, {}, '"set": ["net.ipv4.ip_forward"]'),
    "kubeadm_certificates": ({"config": ""}, {}, "kubeadm certs check-expiration"),
    "kubeadm_components": ({"config": ""}, {}, "cluster: found none, expected one"),
    "kubeadm_join_credentials": ({}, {}, '"token": ""'),
    "kubeadm_kubelet": ({"config": ""}, {}, "kubeadm init phase kubelet-start"),
    "kubeadm_marks": ({"node_name": "x", "takes_pods": True}, {}, '"has_volumes": false'),
    "kubeadm_node": ({"control_plane": True, "state": "joined", "config": ""}, {}, '"changed": true'),
    "kubeadm_static_pods": ({"config": "", "node_name": "x", "pods": []}, {}, '"restarted": []'),
    "node_info": (MACHINE, {}, '"packages": ["dpkg"]'),
    "pinned_packages": ({"packages": {"dpkg": "*", "no-such": "1.*"}}, {}, '"installed": ["no-such"]'),
    "service_info": ({"name": "x", "files": ["{tmp}/*"], "validate": ["false"]}, {"SYSTEMCTL": "{tmp}/ctl"}, "code 1"),
    "swap_off": ({}, {"SYSTEMCTL": "{tmp}/ctl", "FSTAB": "{tmp}/none"}, '"devices"'),
}


def test_each_module_is_run() -> None:
    assert set(RUNS) == set(modules())


@needs_python
@pytest.mark.parametrize("name", sorted(RUNS))
def test_each_module_of_the_nodes_runs_under_their_oldest_python(name: str, paths: str, tmp_path: Path) -> None:
    (tmp_path / "ctl").write_text("#!/bin/sh\necho ExecMainStartTimestamp=Mon 2026-11-30 14:29:40 UTC\n")
    (tmp_path / "ctl").chmod(0o755)
    arguments, constants, said = RUNS[name]
    given = [json.dumps(part).replace("{tmp}", str(tmp_path)) for part in (arguments, constants)]
    done = python(RUN, paths, name, *given)
    assert done.stderr == "", done.stderr
    assert said in done.stdout
    (result,) = (json.loads(line) for line in done.stdout.splitlines() if line)
    # ansible-core 2.19 says beside that of each failure and warning where it comes from.
    assert not re.search("Traceback|SyntaxError|ImportError", result.get("msg", ""))
    assert not (tmp_path / "new").exists()
