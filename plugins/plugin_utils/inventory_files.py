# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an inventory's files say and its variables do not show any more: changed numbers, keys written twice."""

from __future__ import annotations

import ast
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleError
from ansible.inventory.manager import IGNORED
from ansible.parsing.dataloader import DataLoader
from ansible_collections.campus.hubs.plugins.module_utils._secret_names import is_secret
from ansible_collections.campus.hubs.plugins.plugin_utils.inventory_model import Mistake, did_you_mean

Spec = Mapping[str, Any]

QUOTES = "put it in quotes"
# Their content is Kubernetes' or JupyterHub's, where 0644 is a file mode.
FREE = frozenset({"course_hub_config", "course_hub_values", "kubeadm_kubelet_config", "kubeadm_kube_proxy_config"})
SECTIONS = ("hosts", "children", "vars")
_EXTENSIONS = ("", ".yml", ".yaml", ".json")
_OF_INVENTORIES = (*_EXTENSIONS, ".ini", ".toml")
_TAG = "tag:yaml.org,2002:"
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INI_PAIR = re.compile(r"(?<![\w.])([A-Za-z_]\w*)\s*=\s*([-+]?\.?\d[-+\w.]*)(?=\s|$)")


@dataclass(frozen=True)
class File:
    """A file of variables, or the text of an option -e.

    Attributes:
        name: as messages call it.
        text: its content.
        is_inventory: whether it holds groups and hosts (or could); else variables alone.
        is_yaml: whether its name says that it is YAML.
    """

    name: str
    text: str
    is_inventory: bool = False
    is_yaml: bool = True


@dataclass(frozen=True)
class Changed:
    """A number that YAML has changed.

    Attributes:
        written: what stands in the file.
        number: what YAML makes of it.
        where: file and line.
    """

    written: str
    number: float
    where: str

    def __str__(self) -> str:
        """Say all of it."""
        return f"{self.written}, which YAML reads as {self.number} ({self.where})"


@dataclass
class Findings:
    """What the files show.

    Attributes:
        mistakes: all that is wrong with the files.
        changed: variables of others in which a number was changed, to how it is written and where.
    """

    mistakes: list[Mistake]
    changed: dict[str, Changed]


def find_files(sources: Iterable[str], playbook_dir: str, extra: Iterable[str], loader: DataLoader) -> Iterator[File]:
    """Return all files in which Ansible looks for variables of hosts.

    Args:
        sources: what `-i` names.
        playbook_dir: folder of the playbook; empty if there is none.
        extra: the texts of the options -e.
        loader: reads and decrypts.
    """
    found: dict[Path, bool] = {}
    folders = [Path(playbook_dir)] if playbook_dir else []
    for source in map(Path, sources):
        if source.is_dir():
            found |= {path: True for path in _inventories(source) if path.suffix in _OF_INVENTORIES}
            folders.append(source)
        elif source.is_file():
            found[source] = True
            folders.append(source.parent)
    for folder in folders:
        for kind in ("group_vars", "host_vars"):
            found |= {path: False for path in sorted((folder / kind).rglob("*")) if path.is_file()}
    for option in extra:
        if option.startswith("@"):
            found[Path(option[1:])] = False
        elif option.startswith(("{", "[")):
            yield File("-e", option)
    for path, is_inventory in found.items():
        hidden = path.name.startswith(".") or path.name.endswith("~")
        if not hidden and path.name != "kubeconfig" and (is_inventory or path.suffix in _EXTENSIONS):
            try:
                text = loader.get_text_file_contents(str(path))
            except AnsibleError:
                continue  # encrypted, without the password
            yield File(path.name, text, is_inventory, is_yaml=path.suffix in _EXTENSIONS[1:] or not is_inventory)


def _inventories(folder: Path) -> Iterator[Path]:
    """Return the files of an inventory's folder, and of the folders in it, that Ansible does not ignore."""
    for path in sorted(folder.iterdir()):
        if not IGNORED.search(os.fsencode(path.name)):
            yield from _inventories(path) if path.is_dir() else [path]


def check_files(files: Iterable[File], options: Mapping[str, Spec]) -> Findings:
    """Find what is wrong with the files themselves.

    Args:
        files: see `find_files`.
        options: our variables to their argument specs.
    """
    reader = _Reader(options)
    for file in files:
        reader.read(file)
    return reader.findings


class _Reader:
    """Walks through the nodes of YAML files, which still know how each scalar is written."""

    def __init__(self, options: Mapping[str, Spec]) -> None:
        self._options = options
        self._file = File("", "")
        self.findings = Findings([], {})

    def read(self, file: File) -> None:
        """Add what is wrong with a file."""
        self._file = file
        try:
            root = yaml.compose(file.text.encode(), Loader=_Loader)
        except UnicodeEncodeError as error:
            line = file.text.count("\n", 0, error.start) + 1
            self._add(line, "the file", "what is no UTF-8", "text in UTF-8", "save it in that encoding")
        except yaml.YAMLError as error:
            if file.is_yaml:
                self._unreadable(error)
            else:
                self._read_ini()
        else:
            self._root(root)

    def _root(self, root: yaml.Node | None) -> None:
        if root is not None and root.tag == f"{_TAG}null":
            return  # nothing but ---
        if isinstance(root, yaml.MappingNode):
            self._twice(root, set())
            if not self._file.is_inventory:
                self._variables(root)
            elif "plugin" not in {key.value for key, _value in root.value}:
                for name, group in root.value:
                    self._group(name, group)
        elif root is not None and self._file.is_yaml:
            expected = "a dictionary of groups" if self._file.is_inventory else "a dictionary of variables"
            self._add(_line(root), "the file", _kind(root), expected)
        elif root is not None:
            self._read_ini()

    def _add(self, line: int, variable: str, found: str, expected: str, fix: str = "") -> None:
        where = f"{self._file.name}, line {line}" if self._file.name != "-e" else "-e"
        self.findings.mistakes.append(Mistake(where, variable, found, expected, fix))

    def _unreadable(self, error: yaml.YAMLError) -> None:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        found = self._file.text.splitlines()[line - 1 : line]
        tab = bool(found and re.match(r"\s*\t", found[0]))
        fix = (
            "use spaces, as YAML takes no tabs in front of a line" if tab else "look at this line and the one before it"
        )
        problem = re.sub(r"\s+", " ", str(getattr(error, "problem", None) or getattr(error, "reason", error)))
        self._add(line, "the file", f"no YAML ({problem})", "YAML", fix)

    def _group(self, name: yaml.Node, group: yaml.Node) -> None:
        if not self._is_name(name, "a group's name"):
            return
        if not isinstance(group, yaml.MappingNode):
            if group.tag != f"{_TAG}null":
                expected = "a dictionary with hosts, children or vars"
                self._add(_line(group), f"group {name.value}", _kind(group), expected)
            return
        for section, part in group.value:
            if section.value in SECTIONS:
                self._section(name.value, section.value, part)
            else:
                # Ansible passes over it with a warning, and over what is in it.
                hint = did_you_mean(str(section.value), SECTIONS)
                expected = f"one of {', '.join(SECTIONS)}"
                self._add(_line(section), f"{name.value}.{section.value}", "an unknown name", expected, hint)

    def _section(self, group: str, section: str, node: yaml.Node) -> None:
        if not isinstance(node, yaml.MappingNode):
            if node.tag != f"{_TAG}null" and (node.tag != f"{_TAG}str" or section == "vars"):
                self._add(_line(node), f"{group}.{section}", _kind(node), "a dictionary, with a colon behind each name")
        elif section == "vars":
            self._variables(node)
        elif section == "children":
            for member, value in node.value:
                self._group(member, value)
        else:
            for member, value in node.value:
                if not self._is_name(member, "a host's name"):
                    continue
                if isinstance(value, yaml.MappingNode):
                    self._variables(value)
                elif value.tag != f"{_TAG}null":
                    self._add(_line(value), f"host {member.value}", _kind(value), "its variables, or nothing")

    def _is_name(self, node: yaml.Node, what: str) -> bool:
        if node.tag == f"{_TAG}str":
            return True
        self._add(_line(node), what, _kind(node), "text", QUOTES)
        return False

    def _twice(self, node: yaml.Node, seen: set[int]) -> None:
        """Find keys that one dictionary has twice, of which Ansible takes the last."""
        if id(node) in seen:
            return
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            lines: dict[str, int] = {}
            for key, value in node.value:
                if isinstance(key, yaml.ScalarNode) and key.tag != f"{_TAG}merge":
                    if key.value in lines:
                        fix = f"remove one of the two, as it is in line {lines[key.value]} as well"
                        self._add(_line(key), key.value, "it twice", "it once", fix)
                    lines.setdefault(key.value, _line(key))
                self._twice(value, seen)
        elif isinstance(node, yaml.SequenceNode):
            for item in node.value:
                self._twice(item, seen)

    def _variables(self, node: yaml.MappingNode) -> None:
        for key, value in node.value:
            if key.tag == f"{_TAG}merge":
                for part in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    if isinstance(part, yaml.MappingNode):
                        self._variables(part)
            elif key.value in self._options:
                self._walk(key.value, value, self._options[key.value], free=key.value in FREE)
            else:
                self._note(key.value, value, set())

    def _walk(self, path: str, node: yaml.Node, spec: Spec, *, free: bool) -> None:
        if isinstance(node, yaml.MappingNode):
            options = spec.get("options") or {}
            for key, value in node.value:
                if isinstance(key, yaml.ScalarNode):
                    self._walk(f"{path}.{key.value}", value, options.get(key.value) or {}, free=free)
        elif isinstance(node, yaml.SequenceNode):
            inner = {**spec, "type": spec.get("elements") or "str"}
            for index, item in enumerate(node.value):
                self._walk(f"{path}[{index}]", item, inner, free=free)
        elif (number := _changed(node, spec.get("type") or "str", free=free)) is not None:
            found = (
                "(hidden)" if is_secret(path) or spec.get("no_log") else f"{node.value}, which YAML reads as {number}"
            )
            expected = "text" if spec.get("type") in (None, "str", "path") else "a number as people write it"
            fix = QUOTES if expected == "text" else "write it without leading zeros, '_' and ':'"
            self._add(_line(node), path, found, expected, fix)

    def _note(self, name: str, node: yaml.Node, seen: set[int]) -> None:
        if id(node) in seen:
            return
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            for _key, value in node.value:
                self._note(name, value, seen)
        elif isinstance(node, yaml.SequenceNode):
            for item in node.value:
                self._note(name, item, seen)
        elif (number := _changed(node, "str", free=False)) is not None:
            where = f"{self._file.name}, line {_line(node)}"
            self.findings.changed[name] = Changed(str(node.value), number, where)

    def _read_ini(self) -> None:
        """Find numbers that Ansible changes in INI, where values are read as Python."""
        for index, line in enumerate(self._file.text.splitlines()):
            for name, text in _INI_PAIR.findall(line.partition("#")[0]):
                spec = self._options.get(name) or {}
                try:
                    number = ast.literal_eval(text)
                except (ValueError, SyntaxError):
                    continue  # text it is, then
                if spec.get("type") in ("str", "path") and str(number) != text:
                    found = f"{text}, which Ansible reads as {number}"
                    in_toml = self._file.name.endswith(".toml")
                    fix = QUOTES if in_toml else """put it into two pairs of quotes: "'...'\""""
                    self._add(index + 1, name, found, "text", fix)


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _kind(node: yaml.Node) -> str:
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    if isinstance(node, yaml.MappingNode):
        return "a dictionary"
    kinds = {"int": "a number", "float": "a number", "bool": "true or false", "timestamp": "a date", "null": "nothing"}
    kind = kinds.get(node.tag.removeprefix(_TAG))
    return f"{node.value or '(empty)'}, which is {kind} to YAML" if kind else str(node.value)


def _changed(node: yaml.Node, kind: str, *, free: bool) -> int | float | None:
    """Return the number that YAML makes of a scalar if it is no more what is written there."""
    text, tag = str(node.value), node.tag.removeprefix(_TAG)
    if tag not in ("int", "float") or re.fullmatch(r"0|-?[1-9]\d*", text):
        return None
    try:
        number = yaml.load(text, Loader=_Loader)  # noqa: S506 (a safe one)
    except (ValueError, yaml.YAMLError):
        return None
    if not isinstance(number, (int, float)) or not math.isfinite(number):
        return None  # the value itself shows it
    if ":" in text:
        return number
    if free or (kind not in ("str", "path") and tag == "float"):
        return None
    return None if str(number) == text else number
