"""What assignments and notebooks may be called: nbgrader uses the names in folders, patterns, addresses and columns."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .places import SOURCE, course_root

if TYPE_CHECKING:
    from collections.abc import Iterable

# Bytes: a file's name has 255, and the exchange and this package put something before and behind it.
LONGEST: Final = 100
# Patterns of folders, of addresses and of format strings; separators; what shells, HTML and Windows read otherwise.
FORBIDDEN: Final = r"""[](){}*?#%+/\:;|<>&"'`$!~^=,@"""
# What the course's folder holds beside assignments, or nbgrader leaves out of them.
OURS: Final = frozenset(
    {"feedback", "course", "source", "release", "submitted", "autograded", "nbgrader", "lost+found"}
)
NOTEBOOK: Final = ".ipynb"


def refusal(name: str, others: Iterable[str] = ()) -> str:
    """Say why an assignment cannot be called so, for a lecturer; '' if it can.

    Letters, digits, blanks, dots, hyphens and underscores make a name, in any script.

    Args:
        name: what it would be called.
        others: names of the course's assignments.

    """
    why = _why(name)
    same = next((other for other in others if other != name and folded(other) == folded(name)), None)
    if why is None:
        return "An assignment needs a name."
    if not why and (name.casefold() in OURS or name.casefold().endswith((NOTEBOOK, "_files"))):
        why = "this name is used for something else"
    if not why and same is not None:
        why = f"there is {same!r}, which differs in capital letters only"
    return f"An assignment cannot be called {_shown(name)}: {why}. {_ADVICE}" if why else ""


def notebook_refusal(file: str) -> str:
    """Say why a notebook of an assignment cannot be called so, for a lecturer; '' if it can.

    Args:
        file: its name with `.ipynb`.

    """
    why = _why(file.removesuffix(NOTEBOOK))
    if why is None:
        return "A notebook needs a name."
    return f"A notebook of an assignment cannot be called {_shown(file)}: {why}. {_ADVICE}" if why else ""


def path_refusal(path: Path, before: Path | None = None) -> str:
    """Say why nothing can be made at a path in the course's folder; '' if it can, or if the path lies elsewhere.

    Args:
        path: of a new folder or file.
        before: what is renamed to it.

    """
    source = (course_root() / SOURCE).resolve()
    parent = path.parent.resolve()
    if parent == source:
        renamed = before.name if before is not None and before.parent.resolve() == source else ""
        return refusal(path.name, [name for name in siblings(source) if name != renamed])
    if parent.parent == source and path.name.casefold().endswith(NOTEBOOK):
        return notebook_refusal(path.name)
    return ""


def siblings(source: Path) -> list[str]:
    """Return the names of the assignments in a folder."""
    return sorted(path.name for path in source.glob("*") if path.is_dir()) if source.is_dir() else []


def problems() -> list[str]:
    """Return a sentence for each of the course's assignments and notebooks that was made under a name that is none."""
    source = course_root() / SOURCE
    names = [name for name in siblings(source) if not name.startswith(".")]
    found = [refusal(name, names[:at]) for at, name in enumerate(names)]
    found += [notebook_refusal(file.name) for name in names for file in sorted((source / name).glob(f"*{NOTEBOOK}"))]
    return [sentence for sentence in found if sentence]


_ADVICE: Final = "Use letters, digits, blanks, dots, hyphens and underscores."


def _why(name: str) -> str | None:
    """Return a reason against a name, '' if there is none, None if there is no name."""
    if not name.strip():
        return None
    bad = sorted({c for c in name if c in FORBIDDEN})
    odd = sorted({c for c in name if not (c.isprintable() and c.isascii()) and not _letter(c)})
    if bad or odd:
        what = " ".join(bad) + (" and " if bad and odd else "") + " ".join(f"U+{ord(c):04X}" for c in odd)
        return f"it has {what}, which parts of nbgrader cannot handle"
    if name != name.strip():
        return "it begins or ends with a blank"
    if name[0] in ".-" or name[-1] == ".":
        return "it begins with a dot or hyphen, or ends with a dot"
    if unicodedata.normalize("NFC", name) != name:
        return "its accents are written as separate characters (it is not in Unicode's form NFC)"
    return f"it is longer than {LONGEST} bytes" if len(name.encode()) > LONGEST else ""


def _shown(name: str) -> str:
    """Return a name for a sentence."""
    return repr(name if len(name) <= LONGEST else f"{name[:LONGEST]}...")


def folded(name: str) -> str:
    """Return what is the same for names that some file systems take for one."""
    return unicodedata.normalize("NFC", name.casefold())


def _letter(character: str) -> bool:
    """Tell whether a character is a letter, mark or digit of any script."""
    return unicodedata.category(character)[0] in "LMN"
