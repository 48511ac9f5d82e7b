"""An LMS with real keys, a real hub to launch against, and a browser."""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import jwt
import requests
from campus_hubs_login.lti13 import Platform
from cryptography.hazmat.primitives.asymmetric import rsa
from oauthlib.oauth1 import SIGNATURE_TYPE_BODY, Client

from tests.image_packages import sources

HERE = Path(__file__).parent
SOURCES = [*sources("membership", "hub"), str(HERE), str(HERE.parents[3])]
LTI = "https://purl.imsglobal.org/spec/lti/claim/"
type Keys = tuple[rsa.RSAPrivateKey, rsa.RSAPrivateKey]
MEMBERSHIP = "http://purl.imsglobal.org/vocab/lis/v2/membership"


def new_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def public_jwk(key: rsa.RSAPrivateKey, kid: str, **members: str) -> dict[str, str]:
    return {**jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid, "use": "sig", **members}


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def raw_token(header: dict[str, Any] | str, claims: dict[str, Any], signature: bytes = b"") -> str:
    """Build a token that no library would make."""
    head = header if isinstance(header, str) else json.dumps(header)
    return f"{b64(head.encode())}.{b64(json.dumps(claims).encode())}.{b64(signature)}"


@dataclass
class Lms:
    """A platform: its keys, its registration, and a server for its key set."""

    key: rsa.RSAPrivateKey = field(default_factory=new_key)
    kid: str = "key-1"
    document: bytes | None = None
    fetches: int = 0
    behaviour: str = ""
    port: int = 0
    client_id: str = "python-ws26"
    deployment_id: str = "7"
    server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        """Serve the key set."""
        lms = self

        class KeySetServer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                lms.fetches += 1
                if lms.behaviour == "slow":
                    time.sleep(20)
                if lms.behaviour == "redirect" and self.path == "/jwks":
                    self.send_response(302)
                    self.send_header("Location", "/elsewhere")
                    self.end_headers()
                    return
                self.send_response(500 if lms.behaviour == "broken" else 200)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(lms.jwks)

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), KeySetServer)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def jwks(self) -> bytes:
        """The document at `jwks_uri`."""
        return (
            self.document
            if self.document is not None
            else json.dumps({"keys": [public_jwk(self.key, self.kid)]}).encode()
        )

    @property
    def issuer(self) -> str:
        """Its `iss`."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def registration(self) -> dict[str, str]:
        """What an administrator enters in the inventory."""
        return {
            "issuer": self.issuer,
            "client_id": self.client_id,
            "deployment_id": self.deployment_id,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
        }

    @property
    def platform(self) -> Platform:
        """The same, checked."""
        return Platform.from_dict(self.registration)

    def claims(self, nonce: str, /, **changes: object) -> dict[str, Any]:
        """Make the claims of a good launch; a change to None removes the claim, short LTI names are completed."""
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": self.issuer,
            "aud": self.client_id,
            "sub": "4711",
            "iat": now,
            "exp": now + 300,
            "nonce": nonce,
            "name": "Ada Lovelace",
            "given_name": "Ada",
            "family_name": "Lovelace",
            "email": "ada@example.edu",
            LTI + "message_type": "LtiResourceLinkRequest",
            LTI + "version": "1.3.0",
            LTI + "deployment_id": self.deployment_id,
            LTI + "target_link_uri": "http://hub.example.edu/",
            LTI + "resource_link": {"id": "31"},
            LTI + "roles": [f"{MEMBERSHIP}#Learner"],
            LTI + "context": {"id": "course-9", "label": "PY1", "title": "Python"},
            LTI + "ext": {"user_username": "ada", "lms": "moodle-2"},
            "https://purl.imsglobal.org/spec/lti-nrps/claim/namesroleservice": {
                "context_memberships_url": f"{self.issuer}/nrps/9",
                "service_versions": ["2.0"],
            },
            "https://purl.imsglobal.org/spec/lti-ags/claim/endpoint": {
                "scope": ["https://purl.imsglobal.org/spec/lti-ags/scope/score"],
                "lineitems": f"{self.issuer}/ags/9/lineitems?type_id=7",
            },
        }
        for name, value in changes.items():
            claim = LTI + name if LTI + name in claims else name
            if value is None:
                claims.pop(claim)
            else:
                claims[claim] = value
        return claims

    def token(self, claims: dict[str, Any], *, key: rsa.RSAPrivateKey | None = None, kid: str | None = "") -> str:
        """Sign claims; without key id if `kid` is None."""
        headers = {} if kid is None else {"kid": kid or self.kid}
        # Below jwt.encode, which would refuse to sign some of the claims that are tried.
        return jwt.api_jws.encode(json.dumps(claims).encode(), key or self.key, algorithm="RS256", headers=headers)


def signed_form(
    url: str,
    secret: str,
    *,
    key: str = "consumer",
    timestamp: int | None = None,
    nonce: str | None = None,
    **changes: str | None,
) -> str:
    """Sign an LTI 1.1 launch with oauthlib, as a consumer does; a change to None removes the parameter."""
    form: dict[str, Any] = {
        "lti_message_type": "basic-lti-launch-request",
        "lti_version": "LTI-1p0",
        "resource_link_id": "31",
        "user_id": "4711",
        "roles": "Learner",
        "context_id": "course-9",
        "context_title": "Python",
        "lis_person_name_full": "Ada Lovelace",
        "lis_person_contact_email_primary": "ada@example.edu",
        "ext_user_username": "ada",
        "tool_consumer_instance_guid": "moodle.example.edu",
        "oauth_callback": "about:blank",
        **changes,
    }
    client = Client(
        key,
        client_secret=secret,
        signature_type=SIGNATURE_TYPE_BODY,
        nonce=nonce,
        timestamp=str(timestamp) if timestamp else None,
    )
    body = urlencode({name: value for name, value in form.items() if value is not None})
    _, _, signed = client.sign(
        url, http_method="POST", body=body, headers={"Content-Type": "application/x-www-form-urlencoded"}
    )
    return str(signed)


@dataclass
class Hub:
    """A running JupyterHub."""

    directory: Path
    lms: Lms
    url: str
    hub_port: int
    shared_secret: str = "s3cret-of-the-course"
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    authenticator: dict[str, Any] = field(default_factory=dict)
    leases: dict[str, Any] = field(default_factory=dict)
    # Seconds of idleness after which a server gives way to staff, and to students.
    room: tuple[float, float] | None = None
    proxy: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    opened_for: str = ""

    @property
    def origin(self) -> str:
        """Where the hub really listens."""
        return f"http://127.0.0.1:{self.hub_port}"

    @property
    def base_url(self) -> str:
        """Path of the hub, `/` or `/course/`."""
        return urlsplit(self.url).path

    @property
    def log(self) -> str:
        """All that the hub has logged."""
        return (self.directory / "hub.log").read_text()

    def start(self) -> None:
        """Start the hub, again if need be, and wait for it."""
        consumer = self.directory / "consumer"
        consumer.mkdir(exist_ok=True)
        (consumer / "consumer_key").write_text("consumer\n")
        (consumer / "shared_secret").write_text(self.shared_secret)
        self.write_tool_keys("tool-1")
        settings = {
            "authenticator": {
                "course_id": "python-ws26",
                "course_title": "Python <WS26>",
                "lms_url": f"{self.lms.issuer}/course/9",
                "lti13_platform": self.lms.registration,
                "lti11_consumer_dir": str(consumer),
                "tool_jwks_file": str(self.directory / "jwks.json"),
                "context_ids": ["course-9"],
                **self.authenticator,
            },
            "public_url": self.url,
            "base_url": self.base_url,
            "bind_url": self.url,
            "hub_bind_url": self.origin,
            "lms_urls": [self.lms.issuer],
            "token": self.token,
            "opened_for": self.opened_for,
            "leases": self.leases,
            "room": self.room,
            "proxy": self.proxy,
        }
        environment = {
            **os.environ,
            "HUB_UNDER_TEST": json.dumps(settings),
            "JUPYTERHUB_CRYPT_KEY": "ab" * 32,
            "CONFIGPROXY_AUTH_TOKEN": "unused",
            "PYTHONPATH": os.pathsep.join(SOURCES),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        with (self.directory / "hub.log").open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - our own interpreter and file
                [sys.executable, "-m", "jupyterhub", "--debug", "-f", str(HERE / "hub_config.py")],
                cwd=self.directory,
                env=environment,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 600
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"the hub ended:\n{self.log[-4000:]}")
            try:
                if requests.get(f"{self.origin}{self.base_url}hub/health", timeout=30).ok:
                    return
            except requests.ConnectionError:
                time.sleep(0.2)
        raise RuntimeError(f"the hub does not answer:\n{self.log[-4000:]}")

    def stop(self) -> None:
        """End the hub as Kubernetes does."""
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def write_tool_keys(self, kid: str) -> None:
        """Write the tool's key set, by mistake with a private member."""
        document = {"keys": [{"kty": "RSA", "kid": kid, "n": "AQAB", "e": "AQAB", "d": "private!"}]}
        (self.directory / "jwks.json").write_text(json.dumps(document))

    def api(self, path: str) -> Any:  # noqa: ANN401 - JSON
        """Ask the hub's REST API as a service."""
        answer = requests.get(
            f"{self.origin}{self.base_url}hub/api{path}", headers={"Authorization": f"token {self.token}"}, timeout=10
        )
        answer.raise_for_status()
        return answer.json()

    def page(self, path: str) -> str:
        """Give the URL that reaches the hub for a path below its base."""
        return f"{self.origin}{self.base_url}{path}"


class Browser(requests.Session):
    """Somebody's browser: keeps cookies, does not follow redirects unless told."""

    def __init__(self, hub: Hub) -> None:
        """Open a browser with no cookies."""
        super().__init__()
        self.hub = hub
        # The hub believes in its public host; cookies belong to the host that is asked.
        self.headers["Host"] = urlsplit(hub.url).netloc

    def request(  # type: ignore[override]
        self,
        method: str,
        url: str,
        **options: Any,  # noqa: ANN401 - of requests
    ) -> requests.Response:
        """Ask without following redirects."""
        options.setdefault("timeout", 60)
        return super().request(method, url, **{"allow_redirects": False, **options})

    def get(self, url: str, **options: Any) -> requests.Response:  # type: ignore[override]  # noqa: ANN401 - the same
        """Ask for a page, without following redirects as Session.get does."""
        return self.request("GET", url, **options)

    def begin(self, **changes: str | None) -> dict[str, str]:
        """Let the LMS announce us; return what the hub asks the LMS."""
        arguments = {
            "iss": self.hub.lms.issuer,
            "login_hint": "4711",
            "target_link_uri": self.hub.url,
            "lti_message_hint": '{"cmid":5}',
            "client_id": self.hub.lms.client_id,
            "lti_deployment_id": self.hub.lms.deployment_id,
            **changes,
        }
        answer = self.post(
            self.hub.page("hub/lti13/oauth_login"),
            data={name: value for name, value in arguments.items() if value is not None},
        )
        assert answer.status_code == 302, answer.text
        location = answer.headers["Location"]
        assert location.startswith(f"{self.hub.lms.issuer}/authorize?")
        return dict(parse_qsl(urlsplit(location).query))

    def launch13(self, **changes: object) -> requests.Response:
        """Launch by LTI 1.3 with a good token, but for the changes."""
        asked = self.begin()
        return self.callback(asked["state"], self.hub.lms.token(self.hub.lms.claims(asked["nonce"], **changes)))

    def callback(self, state: str, token: str) -> requests.Response:
        """Bring the LMS's answer."""
        return self.post(self.hub.page("hub/lti13/oauth_callback"), data={"state": state, "id_token": token})

    @property
    def launch11_url(self) -> str:
        """The launch URL as the LMS knows it."""
        return f"{self.hub.url}hub/lti11/launch"

    def launch11(
        self,
        *,
        headers: dict[str, str] | None = None,
        secret: str | None = None,
        key: str = "consumer",
        timestamp: int | None = None,
        **changes: str | None,
    ) -> requests.Response:
        """Launch by LTI 1.1 with a good form, but for the changes."""
        form = signed_form(self.launch11_url, secret or self.hub.shared_secret, key=key, timestamp=timestamp, **changes)
        return self.post11(form, headers=headers)

    def post11(self, form: str, *, query: str = "", headers: dict[str, str] | None = None) -> requests.Response:
        """Post a form to the launch URL, from a page of the LMS."""
        usual = {"Content-Type": "application/x-www-form-urlencoded", "Origin": self.hub.lms.issuer}
        return self.post(self.hub.page(f"hub/lti11/launch{query}"), data=form, headers={**usual, **(headers or {})})

    def confirm(self, page: requests.Response, **changes: str) -> requests.Response:
        """Press the button of the page that asks whether it was us."""
        fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page.text))
        return self.post(
            self.hub.page("hub/lti11/confirm"),
            data={**fields, **changes},
            headers={"Origin": self.hub.url.removesuffix(self.hub.base_url)},
        )

    def whoami(self) -> str:
        """Give the name that the hub knows this browser by, or ''."""
        page = self.get(self.hub.page("hub/home"))
        found = re.search(r'user: "([^"]+)"', page.text)
        return found[1] if found and page.ok else ""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
