"""Files that somebody sends: decoded, counted and checked before anything is stored."""

from __future__ import annotations

import binascii
import itertools
import json
import mmap
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO

from .errors import Refused

MAX_FILES = 1000
# Commas and brackets in the JSON: three for each file, and what stands in names.
MAX_MARKS = 100 * MAX_FILES
MAX_PATH = 1024
# Names of files have at most 255 bytes on Linux.
MAX_NAME = 255
# Of the form; clients send two. Each costs time and memory, however little stands in it.
MAX_FIELDS = 16
# Longest of the form's other fields, in bytes.
MAX_FIELD = 4096
# What stands in an upload beside contents, in bytes: names, mostly.
MAX_NAMES = 8 * 1024 * 1024
_WINDOW = 256 * 1024
_HEX = b"0123456789abcdefABCDEF"
# Of a form (%2B): how it looks, and what it means by its two digits.
_ESCAPE = re.compile(rb"%[0-9A-Fa-f]{2}")
_ESCAPES = {bytes(digits): bytes.fromhex(bytes(digits).decode()) for digits in itertools.product(_HEX, repeat=2)}
# A text of JSON that is base64, with line breaks and with escapes that mean ASCII.
_BASE64 = re.compile(rb'"(?:[A-Za-z0-9+/= ]++|\\[nrt/]|\\u00[0-7][0-9A-Fa-f])*+"')


@dataclass(frozen=True)
class SentFile:
    """One file of an upload.

    Attributes:
        path: relative, checked by `check_path`.
        content: its bytes.
    """

    path: str
    content: bytes | bytearray


def form_limit(max_upload_bytes: int) -> int:
    """Say how long a decoded form is that holds so many bytes of files.

    Base64 makes 4 of 3, and 78 of 76 with line breaks, two characters each in JSON; the rest is for names.
    """
    return max_upload_bytes * 7 // 5 + 4 * 1024 * 1024


def decoded_size(piece: bytes) -> int:
    """Say how much of a form is left of a piece of its body when `%2B` is one character again.

    A `%` without digits is no escape, and takes nothing away: a body of them would never be too long.
    """
    return len(piece) - 2 * len(_ESCAPE.findall(piece))


def read_form(spool: IO[bytes]) -> dict[str, bytes | bytearray]:
    """Read an `application/x-www-form-urlencoded` body piece by piece: it may be larger than what memory should hold.

    Args:
        spool: the body, in a real file.

    Returns:
        fields by name; of a repeated one the last.

    Raises:
        Refused: 400 for more than MAX_FIELDS fields, another field than `files` that is too long, and a `%` that is
            no escape.
    """
    spool.flush()
    if spool.seek(0, 2) == 0:
        return {}
    fields: dict[str, bytes | bytearray] = {}
    with mmap.mmap(spool.fileno(), 0, access=mmap.ACCESS_READ) as body:
        begin = count = 0
        while begin < len(body):
            count += 1
            if count > MAX_FIELDS:
                raise Refused(400, f"The form has more than {MAX_FIELDS} fields.")
            end = found if (found := body.find(b"&", begin)) != -1 else len(body)
            equals = body.find(b"=", begin, end)
            name_end = equals if equals != -1 else end
            if name_end - begin <= MAX_NAME:
                name = b"".join(_decoded(body, begin, name_end)).decode("utf-8", "replace")
                if name != "files" and end - name_end > MAX_FIELD:
                    raise Refused(400, f"The field {name[:100]!a} is too long.")
                value = bytearray()
                for piece in _decoded(body, min(name_end + 1, end), end):
                    value += piece
                fields[name] = value
            begin = end + 1
    return fields


def _decoded(body: mmap.mmap, begin: int, end: int) -> Iterator[bytes]:
    while begin < end:
        stop = min(begin + _WINDOW, end)
        # An escape (%2B) is not cut in two.
        if stop < end and (escape := body.rfind(b"%", stop - 2, stop)) != -1:
            stop = escape
        text, *escaped = body[begin:stop].replace(b"+", b" ").split(b"%")
        try:
            yield text + b"".join([_ESCAPES[part[:2]] + part[2:] for part in escaped])
        except KeyError:
            raise Refused(400, "The form is malformed: it holds a % that is no escape.") from None
        begin = stop


def read_files(document: bytes | bytearray | None, max_bytes: int) -> list[SentFile]:
    """Read ngshare's directory tree: JSON, a list of {"path", "content" in base64}.

    Args:
        document: value of the form's field `files`.
        max_bytes: largest sum of sizes.

    Raises:
        Refused: 400 for what is malformed or dangerous, 413 for what is too much.
    """
    if document is None:
        raise Refused(400, "Please supply files")
    # Base64 has none of these: a small document of a million parts would fill the memory when it is read.
    if sum(document.count(mark) for mark in (b",", b"[", b"{")) > MAX_MARKS:
        raise Refused(413, f"There are too many files; at most {MAX_FILES} are accepted. Make an archive of them.")
    names, contents = _without_contents(document)
    try:
        entries = json.loads(names)
    except (ValueError, RecursionError):
        raise Refused(400, "Files cannot be JSON decoded") from None
    if not isinstance(entries, list):
        raise Refused(400, "Files are not a list")
    if len(entries) > MAX_FILES:
        raise Refused(
            413, f"There are {len(entries)} files; at most {MAX_FILES} are accepted. Make an archive of them."
        )
    files: dict[str, SentFile] = {}
    total = 0
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("content"), str):
            raise Refused(400, "Each file needs a path and a content")
        path = check_path(entry.get("path"))
        if path in files:
            raise Refused(400, f"Illegal path: {path!r} is there twice")
        begin_end = contents.pop(entry["content"], None)
        try:
            content = _from_base64(document, *begin_end) if begin_end else _from_text(entry["content"])
        except ValueError:
            raise Refused(400, f"Content of {path!r} cannot be base64 decoded") from None
        total += len(content)
        if total > max_bytes:
            raise too_large(max_bytes)
        files[path] = SentFile(path, content)
    for path in files:
        parts = path.split("/")
        if any("/".join(parts[:count]) in files for count in range(1, len(parts))):
            raise Refused(400, f"Illegal path: {path!r} is below a file")
    return list(files.values())


def too_large(max_bytes: int) -> Refused:
    """Say that the files are more than may be sent at once."""
    return Refused(
        413,
        f"The files are too large: at most {readable_size(max_bytes)} together are accepted. "
        "Remove data files and large outputs, and try again.",
    )


def readable_size(size: int) -> str:
    """Write a number of bytes for people: `100 MiB`."""
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.4g} {unit}"
        size /= 1024  # type: ignore[assignment]
    return f"{size:.4g} GiB"


def check_path(path: object) -> str:
    """Accept the name of a file below a folder, and nothing that leaves the folder on any system.

    Raises:
        Refused: 400.
    """
    if not isinstance(path, str) or not path:
        raise Refused(400, "Illegal path: it is empty or no text")
    parts = path.split("/")
    if (
        len(path) > MAX_PATH
        or "\\" in path
        or any(unicodedata.category(char) in {"Cc", "Cs"} for char in path)
        or any(part in {"", ".", ".."} for part in parts)
        or any(len(part.encode()) > MAX_NAME for part in parts)
    ):
        raise Refused(400, f"Illegal path: {path[:100]!a}")
    return path


def check_assignment_name(name: str) -> str:
    """Accept an assignment's name: one folder's name, without `+`, which nbgrader's cache uses as a separator.

    Raises:
        Refused: 400.
    """
    if "/" in check_path(name) or "+" in name or name.startswith("."):
        raise Refused(400, f"Illegal assignment name: {name[:100]!a}")
    return name


# As `campus_hubs_lab.names` has it in the user image, where a lecturer reads what is wrong before anything is released.
_LONGEST_NEW = 100
_FORBIDDEN_NEW = frozenset(r"""[](){}*?#%+/\:;|<>&"'`$!~^=,@""")


def check_new_assignment(name: str, others: Iterable[str]) -> str:
    """Accept the name of an assignment that is released for the first time: one that all of nbgrader can handle.

    Args:
        name: of the assignment.
        others: names of the course's assignments.

    Raises:
        Refused: 400.
    """
    kinds = {unicodedata.category(char)[0] for char in name if not (char.isascii() and char.isprintable())}
    twin = {unicodedata.normalize("NFC", other.casefold()) for other in others if other != name}
    if (
        _FORBIDDEN_NEW & set(name)
        or not kinds <= set("LMN")
        or name != name.strip()
        or name[:1] in {"", ".", "-"}
        or name.endswith(".")
        or unicodedata.normalize("NFC", name) != name
        or len(name.encode()) > _LONGEST_NEW
    ):
        wanted = "letters, digits, blanks, dots, hyphens and underscores"
        raise Refused(400, f"An assignment cannot be called {name[:100]!a}: use {wanted}.")
    if unicodedata.normalize("NFC", name.casefold()) in twin:
        raise Refused(400, f"An assignment cannot be called {name[:100]!a}: another differs in capital letters only.")
    return name


def _without_contents(document: bytes | bytearray) -> tuple[bytes, dict[str, tuple[int, int]]]:
    """Put a number in the place of each content.

    Python keeps a text with four bytes for each character if one of them is far enough from ASCII: what is as large as
    an upload never becomes a text.

    Returns:
        the JSON, and where the contents are (without quotes) by what stands in their place.

    Raises:
        Refused: 413, if what is left is large.
    """
    places = [found.span() for found in _BASE64.finditer(document) if found.end() - found.start() > MAX_PATH]
    if len(document) - sum(end - begin for begin, end in places) > MAX_NAMES:
        raise Refused(413, "What the upload holds beside base64 is too large.")
    pieces, last = [], 0
    for number, (begin, end) in enumerate(places):
        pieces += [document[last:begin], b'"\\u0000%d"' % number]
        last = end
    contents = {f"\0{number}": (begin + 1, end - 1) for number, (begin, end) in enumerate(places)}
    return b"".join([*pieces, document[last:]]), contents


def _from_base64(document: bytes | bytearray, begin: int, end: int) -> bytearray:
    """Decode a content where it stands, piece by piece; raises ValueError."""
    content, rest, padded = bytearray(), b"", False
    while begin < end:
        stop = min(begin + _WINDOW, end)
        # An escape is not cut in two.
        if stop < end and (escape := document.rfind(b"\\", stop - 5, stop)) != -1:
            stop = escape
        piece = bytes(document[begin:stop])
        if b"\\" in piece:
            piece = json.loads(b'"%b"' % piece).encode()
        # ngshare-exchange breaks lines in some calls and not in others.
        piece = rest + b"".join(piece.split())
        whole = len(piece) if stop == end else len(piece) // 4 * 4
        if padded and piece:
            raise ValueError("padding before the end")
        padded = b"=" in piece[:whole]
        content += binascii.a2b_base64(piece[:whole], strict_mode=True)
        rest, begin = piece[whole:], stop
    return content


def _from_text(text: str) -> bytes:
    return binascii.a2b_base64("".join(text.split()), strict_mode=True)
