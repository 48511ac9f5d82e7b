"""The program `campus-hubs-exchange`."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import sys
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import ProxyHandler, Request, build_opener

from .server import serve
from .settings import Settings

# A roster of thousands is many pages.
ROSTER_SECONDS = 300


def main() -> None:
    """Run the command; its settings come from the environment."""
    parser = argparse.ArgumentParser(prog="campus-hubs-exchange", description="nbgrader's exchange of one course.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve", help="serve until SIGTERM")
    roster = commands.add_parser("roster", help="bring the members up to date from the LMS; prints JSON")
    roster.add_argument("--check", action="store_true", help="only say what would change")
    roster.add_argument("--confirm-removals", action="store_true", help="also if more than half of the members leave")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        settings = Settings.from_environment(os.environ)
        if arguments.command == "serve":
            asyncio.run(serve(settings))
        else:
            confirm = "all" if arguments.confirm_removals else ""
            print(json.dumps(ask_for_roster(settings, check=arguments.check, confirm=confirm)))
    except ValueError as error:
        sys.exit(f"campus-hubs-exchange: {error}")


def ask_for_roster(settings: Settings, *, check: bool, confirm: str = "") -> object:
    """Have the running service read the roster.

    Returns:
        its document.

    Raises:
        ValueError: with the service's reason.
    """
    url = f"http://127.0.0.1:{settings.port}/api/roster?{urlencode({'check': int(check), 'confirm': confirm})}"
    request = Request(url, b"", {"Authorization": f"token {settings.token}"})
    try:
        # No proxy of the environment stands between two programs of one pod.
        with build_opener(ProxyHandler({})).open(request, timeout=ROSTER_SECONDS) as answer:
            return json.load(answer)
    except HTTPError as error:
        try:
            reason = json.load(error)["error"]
        except (ValueError, KeyError):
            reason = f"the service answered {error.code}"
        raise ValueError(reason) from None
    except (OSError, HTTPException) as error:  # also while it restarts in the middle of an answer
        raise ValueError(f"the service does not answer at {url}: {error}") from None
