"""What a cell has put out, as a person would see it in the end, and no more of it than is kept.

What was cleared, overwritten by a carriage return or replaced under its display id is gone, however much it was. Of
what is left a head is kept, with a sentence where it was cut. Errors, and the result that may be a score, always are.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

# Bytes of one error, and of a result's text.
MAX_ERROR: Final = 64 * 1024
MAX_TEXT: Final = 16 * 1024
# Outputs of one cell: each costs something, also an empty one.
MAX_OUTPUTS: Final = 5000
# Types whose content is JSON; that of all others is text (nbformat's mimebundle).
_JSON: Final = re.compile(r"application/(.*\+)?json")


class Outputs:
    """The outputs of one cell.

    Args:
        limit: bytes of JSON that are kept.

    """

    def __init__(self, limit: int) -> None:
        """Begin without any."""
        self.limit = limit
        self._kept: list[dict[str, Any]] = []
        self._size = 0
        # Bytes that would be kept if there were no limit.
        self.shown = 0
        self._clear_next = False

    def add(self, kind: str, content: dict[str, Any]) -> None:
        """Take a message of the kernel (jupyter-client.readthedocs.io, Messaging, IOPub).

        Args:
            kind: the message's type; types that put out nothing are ignored.
            content: what it says.

        """
        if kind == "clear_output":
            if content.get("wait"):
                self._clear_next = True
            else:
                self.clear()
        elif kind == "update_display_data":
            self._update(content)
        elif kind in {"stream", "display_data", "execute_result", "error"}:
            if self._clear_next:
                self.clear()
            if kind == "stream":
                self._stream(str(content.get("name")), str(content.get("text")))
            elif kind == "error":
                self.error(str(content.get("ename")), str(content.get("evalue")), content.get("traceback") or [])
            else:
                self._display(kind, content)

    def clear(self) -> None:
        """Forget all; what was cleared does not count."""
        self._kept, self._size, self.shown, self._clear_next = [], 0, 0, False

    def error(self, ename: str, evalue: str, traceback: list[Any]) -> None:
        """Add an error; there is always room for it."""
        lines = [str(line) for line in traceback]
        while len(lines) > 2 and sum(map(len, lines)) > MAX_ERROR // 4:
            del lines[len(lines) // 2]
        made = {"output_type": "error", "ename": ename[:200], "evalue": evalue[: MAX_ERROR // 8]}
        made["traceback"] = [line[: MAX_ERROR // 8] for line in lines]  # type: ignore[assignment]
        self.shown += len(evalue) + sum(map(len, lines))
        if sum(output["output_type"] == "error" for output in self._kept) < 4:
            self._kept.append(made)

    def has_error(self, ename: str) -> bool:
        """Tell whether an error of a name is among them."""
        return any(output["output_type"] == "error" and output["ename"] == ename[:200] for output in self._kept)

    def list(self) -> list[dict[str, Any]]:
        """Return them in nbformat's terms."""
        made = []
        for output in self._kept:
            each = {key: value for key, value in output.items() if not key.startswith("_")}
            if "_lines" in output:
                each["text"] = "".join(output["_lines"]) + output.get("_cut", output["_line"].rstrip("\r"))
            made.append(each)
        return made

    def _fits(self, size: int) -> bool:
        return self._size + size <= self.limit and len(self._kept) < MAX_OUTPUTS

    def _stream(self, name: str, text: str) -> None:
        if name not in {"stdout", "stderr"}:
            return
        last = self._kept[-1] if self._kept else {}
        if last.get("name") != name:
            if len(self._kept) >= MAX_OUTPUTS + 2:
                self.shown += _size(text)
                return
            last = {"output_type": "stream", "name": name, "_lines": [], "_line": "", "_of": 0}
            self._kept.append(last)
        whole, line = collapsed(last["_line"], text)
        self.shown -= last["_of"]
        if "_cut" not in last:
            self._size -= last["_of"]
        self.shown += _size(whole)
        self._keep(last, whole)
        last["_line"], last["_of"] = line, _size(line)
        self.shown += last["_of"]
        if "_cut" not in last and self._fits(last["_of"]):
            self._size += last["_of"]
        elif "_cut" not in last or last["_of"] > MAX_TEXT:
            # What is not kept is only counted; a carriage return may still take back a line that is not too long.
            self._keep(last, line)
            last["_line"], last["_of"] = "", 0

    def _keep(self, stream: dict[str, Any], text: str) -> None:
        """Keep a text of a stream, or what there is room for."""
        if "_cut" in stream or not text:
            return
        size = _size(text)
        if self._fits(size):
            self._size += size
            stream["_lines"].append(text)
            return
        room = max(0, self.limit - self._size)
        stream["_lines"].append(text[:room] if _size(text[:room]) <= room + 2 else text[: room // 6])
        stream["_cut"] = f"\n[... cut here: a cell's outputs may have {self.limit} bytes ...]\n"
        self._size = self.limit

    def _display(self, kind: str, content: dict[str, Any]) -> None:
        made: dict[str, Any] = {"output_type": kind, "metadata": {}, "_id": _display_id(content)}
        if kind == "execute_result":
            made["execution_count"] = content.get("execution_count")
        data = content.get("data")
        made["data"], size, whole = self._bundle(data if isinstance(data, dict) else {}, kind)
        self.shown += whole
        made["_of"] = size
        if self._fits(size) or kind == "execute_result":
            self._kept.append(made)
            self._size += size
        elif len(self._kept) == MAX_OUTPUTS:
            self._kept.append(_said(f"[... cut here: a cell may have {MAX_OUTPUTS} outputs ...]"))

    def _bundle(self, data: dict[str, Any], kind: str) -> tuple[dict[str, Any], int, int]:
        """Take what there is room for of a bundle of representations; the sizes of that and of all."""
        kept: dict[str, Any] = {}
        room = self.limit - self._size
        size = whole = 0
        data = {str(mime): value if _JSON.fullmatch(str(mime)) else _text(value) for mime, value in data.items()}
        for mime in sorted(data, key=lambda m: (m != "text/plain", _size(data[m]))):
            own = _size(data[mime])
            whole += own
            if size + own <= room:
                kept[mime] = data[mime]
                size += own
            elif mime == "text/plain" and kind == "execute_result":
                kept["text/plain"] = data[mime][:MAX_TEXT]
        left_out = whole - size
        if left_out > 0 and not (kind == "execute_result" and kept):
            kept["text/plain"] = (
                f"[... cut here: an output of {whole} bytes; a cell's outputs may have {self.limit} ...]"
            )
            size += _size(kept["text/plain"])
        return kept, min(size, room), whole

    def _update(self, content: dict[str, Any]) -> None:
        display_id = _display_id(content)
        data = content.get("data")
        for output in self._kept:
            if display_id and output.get("_id") == display_id and isinstance(data, dict):
                self._size -= output["_of"]
                self.shown -= output["_of"]
                output["data"], output["_of"], whole = self._bundle(data, output["output_type"])
                self._size += output["_of"]
                self.shown += min(whole, output["_of"])


def _text(value: Any) -> str:  # noqa: ANN401 - JSON
    """Return a representation as text; one's own classes may give anything."""
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "".join(value)
    return value if isinstance(value, str) else str(value)


def _said(text: str) -> dict[str, Any]:
    return {"output_type": "stream", "name": "stdout", "text": f"\n{text}\n"}


def _display_id(content: dict[str, Any]) -> str:
    transient = content.get("transient")
    return str(transient.get("display_id") or "") if isinstance(transient, dict) else ""


def collapsed(line: str, text: str) -> tuple[str, str]:
    """Apply carriage returns and backspaces as a terminal does, more or less: what stands before one is overwritten.

    Args:
        line: the last line so far.
        text: what comes.

    Returns:
        whole lines, and the last that is not ended yet; both may be ''.

    """
    # By far the most has none; and the line may be long.
    if "\r" in text or "\b" in text or line.endswith("\r"):
        lines = [_overwritten(each) for each in (line + text).replace("\r\n", "\n").split("\n")]
        line, text = "", "\n".join([*(each.rstrip("\r") for each in lines[:-1]), lines[-1]])
    whole, newline, rest = text.rpartition("\n")
    return (line + whole + newline, rest) if newline else ("", line + rest)


def _overwritten(line: str) -> str:
    # One at the very end overwrites with what is still to come.
    parts = [part for part in line.split("\r") if part] or [""]
    made = parts[-1]
    if "\b" in made:
        left: list[str] = []
        for character in made:
            if character != "\b":
                left.append(character)
            elif left:
                left.pop()
        made = "".join(left)
    return made + ("\r" if line.endswith("\r") else "")


def _size(value: Any) -> int:  # noqa: ANN401 - JSON
    """Return how many bytes a value takes as JSON."""
    if isinstance(value, str):
        if not value:
            return 0
        # Most texts are plain; escapes take up to six.
        return len(value) + 2 if value.isascii() and value.isprintable() else len(json.dumps(value))
    return len(json.dumps(value))
