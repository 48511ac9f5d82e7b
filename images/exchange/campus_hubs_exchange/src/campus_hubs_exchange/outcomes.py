"""LTI 1.1 Basic Outcomes: one score per person and link, from 0 to 1 (LTI 1.1.1, section 6)."""

from __future__ import annotations

import uuid
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from oauthlib.oauth1 import Client

from .lms import Http, LmsError, failure

_NAMESPACE = "http://www.imsglobal.org/services/ltiv1p1/xsd/imsoms_v1p0"
_MESSAGE = """<?xml version="1.0" encoding="UTF-8"?>
<imsx_POXEnvelopeRequest xmlns="{namespace}"><imsx_POXHeader><imsx_POXRequestHeaderInfo>\
<imsx_version>V1.0</imsx_version><imsx_messageIdentifier>{identifier}</imsx_messageIdentifier>\
</imsx_POXRequestHeaderInfo></imsx_POXHeader><imsx_POXBody><{operation}Request><resultRecord><sourcedGUID>\
<sourcedId>{sourcedid}</sourcedId></sourcedGUID>{result}</resultRecord></{operation}Request></imsx_POXBody>\
</imsx_POXEnvelopeRequest>"""
_RESULT = "<result><resultScore><language>en</language><textString>{score}</textString></resultScore></result>"


@dataclass(frozen=True)
class Consumer:
    """The course's LTI 1.1 consumer.

    Attributes:
        folder: with consumer_key and shared_secret; read at each use, so that a rotated secret is followed.
    """

    folder: Path

    def read(self) -> tuple[str, str]:
        """Return key and secret.

        Raises:
            LmsError: they cannot be read.
        """
        try:
            return (self.folder / "consumer_key").read_text().strip(), (
                self.folder / "shared_secret"
            ).read_text().strip()
        except OSError as error:
            raise LmsError(f"This course's LTI 1.1 secret cannot be read: {error.__class__.__name__}.") from None


async def send_total(http: Http, consumer: Consumer, url: str, sourcedid: str, total: float | None) -> None:
    """Replace a person's result, or delete it.

    Args:
        http: what the request goes through.
        consumer: the LTI 1.1 consumer.
        url: `lis_outcome_service_url`.
        sourcedid: `lis_result_sourcedid`.
        total: 0 to 1, or None for no result.

    Raises:
        LmsError: the LMS refuses or fails.
    """
    key, secret = consumer.read()
    operation = "deleteResult" if total is None else "replaceResult"
    body = _MESSAGE.format(
        namespace=_NAMESPACE,
        identifier=uuid.uuid4().hex,
        operation=operation,
        sourcedid=escape(sourcedid),
        result="" if total is None else _RESULT.format(score=f"{total:.6f}"),
    )
    # oauthlib adds the hash of a body that is no form (OAuth Request Body Hash 1.0), as LTI 1.1 wants.
    _, headers, _ = Client(key, client_secret=secret).sign(
        url, http_method="POST", body=body, headers={"Content-Type": "application/xml"}
    )
    answer = await http.send("POST", url, headers, body.encode())
    if not 200 <= answer.code < 300:
        raise failure(answer)
    code, description = _status(answer.body)
    if code != "success":
        raise LmsError(
            f"{code}: {description or 'no reason given'}"[:300],
            status=answer.code,
            final=code in {"failure", "unsupported"},
            # It is no answer of this service: of a login or maintenance page before it, for instance.
            uncertain=code in _NO_ANSWER,
            refusal=code in _NO_ANSWER,
        )


_NO_ANSWER = ("no XML", "no code")


def _status(body: bytes) -> tuple[str, str]:
    """Read imsx_codeMajor and imsx_description."""
    try:
        root = ET.fromstring(body)  # noqa: S314 - of the LMS, limited in size; expat limits what entities may become
    except (ET.ParseError, ValueError, LookupError):  # the latter for encodings that expat does not know
        return _NO_ANSWER[0], "The LMS's answer is not in the format of LTI 1.1."
    texts = {element.tag.rpartition("}")[2]: (element.text or "").strip() for element in root.iter()}
    return texts.get("imsx_codeMajor", "").lower() or _NO_ANSWER[1], texts.get("imsx_description", "")
