"""What an assignment may be called: nbgrader uses the name as a folder, in patterns, in addresses and in columns."""

from __future__ import annotations

import unicodedata
from typing import Final

# Bytes: a file's name has 255, and the exchange and this package put something before and behind it.
LONGEST: Final = 100
# Patterns of folders, of addresses and of format strings; separators; what shells, HTML and Windows read otherwise.
FORBIDDEN: Final = r"""[](){}*?#%+/\:;|<>&"'`$!~^=,@"""
# What the course's folder holds beside assignments, or nbgrader leaves out of them.
OURS: Final = frozenset(
    {"feedback", "course", "source", "release", "submitted", "autograded", "nbgrader", "lost+found"}
)


def refusal(name: str) -> str:
    """Say why an assignment cannot be called so, for a lecturer; '' if it can.

    Letters, digits, blanks, dots, hyphens and underscores make a name, in any script.
    """
    if not name.strip():
        return "An assignment needs a name."
    bad = sorted({c for c in name if c in FORBIDDEN})
    odd = sorted({c for c in name if not (c.isprintable() and c.isascii()) and not _letter(c)})
    if bad or odd:
        what = " ".join(bad) + (" and " if bad and odd else "") + " ".join(f"U+{ord(c):04X}" for c in odd)
        why = f"it has {what}, which parts of nbgrader cannot handle"
    elif name != name.strip():
        why = "it begins or ends with a blank"
    elif name[0] in ".-" or name[-1] == ".":
        why = "it begins with a dot or hyphen, or ends with a dot"
    elif unicodedata.normalize("NFC", name) != name:
        why = "its accents are written as separate characters (it is not in Unicode's form NFC)"
    elif len(name.encode()) > LONGEST:
        why = f"it is longer than {LONGEST} bytes"
    elif name.casefold() in OURS or name.endswith((".ipynb", "_files")):
        why = "this name is used for something else"
    else:
        return ""
    return (
        f"An assignment cannot be called {name!r}: {why}. Use letters, digits, blanks, dots, hyphens and underscores."
    )


def _letter(character: str) -> bool:
    """Tell whether a character is a letter, mark or digit of any script."""
    return unicodedata.category(character)[0] in "LMN"
