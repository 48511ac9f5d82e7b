"""The campus's own certificate authorities, for all programs of a server that do not ask the system whom to trust."""

from __future__ import annotations

import os
from pathlib import Path

PUBLIC = Path("/etc/ssl/certs/ca-certificates.crt")
# requests and pip, OpenSSL, curl, git, Node.js.
VARIABLES = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS")


def trust(folder: Path, public: Path = PUBLIC) -> None:
    """Have this process and its children trust the authorities of $COURSE_CA_FILE beside the public ones.

    Args:
        folder: where a file with all of them is written.
        public: the system's own.

    """
    try:
        texts = [path.read_text() for path in (public, Path(os.environ["COURSE_CA_FILE"])) if path.exists()]
        bundle = folder / "campus-hubs-ca.crt"
        bundle.write_text("\n".join(texts))
    except (KeyError, OSError):
        return  # there are none, or there is no room: all else works
    for name in VARIABLES:
        os.environ.setdefault(name, str(bundle))
