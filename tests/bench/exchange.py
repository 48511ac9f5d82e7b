"""How long a student waits for "submitted": the exchange beside plain ngshare 0.6.0, on the same machine.

Thirty students submit once each, at random moments within ten seconds, and then all at the same moment; each round is
repeated. Both services run as processes of their own with the packages of their images, and ask the same stand-in for
the hub who somebody is. ngshare has SQLAlchemy 1.4.54, with which it is correct. Needs no lab.
"""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.unit.images.exchange.client import form  # noqa: E402
from tests.unit.images.exchange.exchange_lab import COURSE, Exchange, Hub, free_port  # noqa: E402

STUDENTS, SECONDS, ROUNDS = 30, 10.0, 3
LOCK = ROOT / "images/exchange/requirements.txt"
NGSHARE = ["ngshare==0.6.0", "requests", "SQLAlchemy==1.4.54", "jupyterhub==6.1.1", "setuptools<81"]
# A notebook with a few plots, and a table.
FILES = {"ps1.ipynb": os.urandom(300_000), "data/measured.csv": os.urandom(100_000)}


def environment(name: str, *packages: str) -> str:
    """Make an environment of its own, once; returns its Python."""
    folder = ROOT / "build/bench" / name
    python = folder / "bin/python"
    if not (folder / "complete").exists():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True)  # noqa: S603
        (folder / "complete").touch()
    return str(python)


@contextmanager
def exchange(hub: Hub, folder: Path) -> Iterator[str]:
    """Run the exchange with the packages of its image; gives the URL of ngshare's protocol."""
    python = environment("exchange", "--require-hashes", "-r", str(LOCK))
    service = Exchange(folder, hub, [python, "-c", "from campus_hubs_exchange.cli import main; main()"])
    service.start()
    service.enrol("teacher", "instructor")
    for number in range(STUDENTS):
        service.enrol(f"s{number}")
    yield f"{service.url}/ngshare"
    service.stop()


@contextmanager
def ngshare(hub: Hub, folder: Path) -> Iterator[str]:
    """Run plain ngshare; gives its URL."""
    python, port = environment("ngshare", *NGSHARE), free_port()
    own = {
        "JUPYTERHUB_API_URL": hub.api,
        "JUPYTERHUB_API_TOKEN": "token-admin",
        "JUPYTERHUB_CLIENT_ID": "service-ngshare",
        "JUPYTERHUB_SERVICE_PREFIX": "/ngshare/",
        "JUPYTERHUB_SERVICE_URL": f"http://127.0.0.1:{port}",
    }
    options = ["--admins", "admin", "--prefix", "/ngshare/", "--storage", str(folder / "files")]
    argv = [python, "-m", "ngshare", *options, "--database", f"sqlite:///{folder}/ngshare.db"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(argv, env=os.environ | own, stdout=log, stderr=log)  # noqa: S603
    url = f"http://127.0.0.1:{port}/ngshare"
    try:
        for _ in range(300):
            try:
                requests.get(f"{url}/healthz", timeout=5).raise_for_status()
                break
            except requests.RequestException:
                assert process.poll() is None, (folder / "log").read_text()
                time.sleep(0.1)
        call("POST", f"{url}/course/{COURSE}", "admin", {"instructors": '["teacher"]'})
        person = {"first_name": "", "last_name": "", "email": ""}
        for number in range(STUDENTS):
            call("POST", f"{url}/student/{COURSE}/s{number}", "teacher", person)
        yield url
    finally:
        process.terminate()
        process.wait()


def call(method: str, url: str, user: str, data: dict[str, str] | None = None) -> requests.Response:
    """Send a request as somebody; it must succeed."""
    headers = {"Authorization": f"token token-{user}"}
    answer = requests.request(method, url, data=data, headers=headers, timeout=120)
    assert answer.json()["success"], answer.text
    return answer


def submit_all(url: str, moments: list[float]) -> list[float]:
    """Let each student submit at their moment (seconds from now); returns what each waited, in milliseconds."""
    waits: list[float] = []
    body = form(FILES)
    begin = time.monotonic() + 0.5

    def submit(number: int) -> None:
        time.sleep(max(begin + moments[number] - time.monotonic(), 0))
        started = time.monotonic()
        call("POST", f"{url}/submission/{COURSE}/ps1", f"s{number}", body)
        waits.append(1000 * (time.monotonic() - started))

    threads = [threading.Thread(target=submit, args=[number]) for number in range(STUDENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(waits) == STUDENTS, f"{STUDENTS - len(waits)} submissions failed"
    return waits


def measure(service: Callable[[Hub, Path], object], hub: Hub) -> list[list[float]]:
    """Run all rounds at a fresh service; returns the waits of both kinds of rounds."""
    generator = random.Random(30)  # noqa: S311
    spread, together = [], []
    with tempfile.TemporaryDirectory(dir=ROOT / "build/bench") as folder, service(hub, Path(folder)) as url:  # type: ignore[attr-defined]
        call("POST", f"{url}/assignment/{COURSE}/ps1", "teacher", form({"ps1.ipynb": b"{}"}))
        for _ in range(ROUNDS):
            spread += submit_all(url, [generator.uniform(0, SECONDS) for _ in range(STUDENTS)])
            together += submit_all(url, [0.0] * STUDENTS)
        listed = call("GET", f"{url}/submissions/{COURSE}/ps1", "teacher").json()["submissions"]
    assert len(listed) == 2 * ROUNDS * STUDENTS, f"{len(listed)} submissions are there"
    return [spread, together]


def main() -> None:
    """Print the table."""
    (ROOT / "build/bench").mkdir(parents=True, exist_ok=True)
    hub = Hub()
    results = {"exchange": measure(exchange, hub), "plain ngshare 0.6.0": measure(ngshare, hub)}
    size = sum(map(len, FILES.values())) // 1000
    print(f"{STUDENTS} students submit {size} kB each, {ROUNDS} rounds; milliseconds until the answer, none failed")
    print(f"{'':<22}{'within 10 s':>22}{'all at once':>22}")
    print(f"{'':<22}{'p50':>11}{'p95':>11}{'p50':>11}{'p95':>11}")
    for name, rounds in results.items():
        numbers = (
            value for waits in rounds for value in (statistics.median(waits), statistics.quantiles(waits, n=20)[-1])
        )
        print(f"{name:<22}" + "".join(f"{number:>11.0f}" for number in numbers))


if __name__ == "__main__":
    main()
