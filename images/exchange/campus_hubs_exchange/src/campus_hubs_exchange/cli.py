"""The program `campus-hubs-exchange`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys

from .server import serve
from .settings import Settings


def main() -> None:
    """Run the command; its settings come from the environment."""
    parser = argparse.ArgumentParser(prog="campus-hubs-exchange", description="nbgrader's exchange of one course.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve", help="serve until SIGTERM")
    parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        asyncio.run(serve(Settings.from_environment(os.environ)))
    except ValueError as error:
        sys.exit(f"campus-hubs-exchange: {error}")
