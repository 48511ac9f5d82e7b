"""Put pip into an empty virtual environment from Python's own ensurepip, with get-pip.py's arguments.

ansible-test downloads get-pip.py from a server of its own, and where that is out of reach it takes a file from its
cache: tests/sanity/run puts this one there.
"""

from __future__ import annotations

import ensurepip
import subprocess
import sys

ensurepip.bootstrap()
arguments = [argument for argument in sys.argv[1:] if argument not in ("--no-setuptools", "--no-wheel")]
sys.exit(subprocess.call([sys.executable, "-m", "pip", "install", *arguments]))  # noqa: S603  ansible-test's own arguments
