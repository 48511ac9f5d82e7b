"""Ask a hub whether it is well, for `helm test`: `python -m campus_hubs_hub.health URL`."""

from __future__ import annotations

import ssl
import sys
import urllib.request

SECONDS = 10


def main(url: str) -> str | None:
    """Return why a hub is not well, None if it is.

    Args:
        url: its `/hub/health`, by a name inside of the cluster, which no certificate has.
    """
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with urllib.request.urlopen(url, timeout=SECONDS, context=context):  # noqa: S310 - the chart's own URL
            return None
    except (OSError, ValueError) as error:
        return f"{url}: {error}"


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
