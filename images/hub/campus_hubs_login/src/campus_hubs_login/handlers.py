"""The hub's pages for launches and for those who come without one."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import secrets
import sqlite3
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from jupyterhub.apihandlers.auth import OAuthAuthorizeHandler
from jupyterhub.handlers.base import BaseHandler
from jupyterhub.handlers.login import LogoutHandler
from jupyterhub.utils import get_browser_protocol, url_path_join
from ltiauthenticator.lti13.handlers import LTI13LoginInitHandler
from sqlalchemy.exc import SQLAlchemyError
from tornado.web import HTTPError

from . import lti11, lti13
from .errors import TELL_ADMINS, LaunchRefused
from .launch import Launch, launch_from_claims, launch_from_form
from .settings import origin

if TYPE_CHECKING:
    from .authenticator import CourseAuthenticator

# As images/proxy/course-proxy.mjs reads it.
VISITOR_COOKIE = "campus-hubs-user"
STATE_SECONDS = 600
# One per first digit of the state.
STATE_COOKIES = 16
JWKS_CACHE_SECONDS = 300
POLL_SECONDS = 5
# How long a launch waits for a server that is stopping, and how often it looks.
STOP_SECONDS = 60
LOOK_SECONDS = 0.1
# Everything else in a JWK (`d`, `p`, `q` ...) is the private key.
PUBLIC_JWK_MEMBERS = ("kty", "kid", "use", "alg", "n", "e")


class CoursePage(BaseHandler):  # type: ignore[misc] # JupyterHub has no type information
    """What all pages here have in common."""

    authenticator: CourseAuthenticator

    @property
    def public_origin(self) -> str:
        """Scheme and host as people's browsers see them."""
        public_url = self.settings.get("public_url")
        if public_url:
            return origin(public_url.geturl())
        return origin(f"{get_browser_protocol(self.request)}://{self.request.host}")

    def set_login_cookie(self, user: Any) -> None:  # noqa: ANN401 - JupyterHub's User
        """Let the proxy know, too, whose browser it is: it lets nobody's browser into another person's server."""
        super().set_login_cookie(user)
        if token := getattr(self.proxy, "auth_token", ""):
            proof = hmac.digest(token.encode(), f"{VISITOR_COOKIE}\n{user.name}".encode(), "sha256").hex()
            self._set_cookie(VISITOR_COOKIE, f"{user.name}.{proof}", encrypted=False, path=self.base_url)

    def clear_login_cookie(self, name: str | None = None) -> None:
        """Clear that as well."""
        super().clear_login_cookie(name)
        self.forget_cookie(VISITOR_COOKIE, self.base_url)

    def forget_cookie(self, name: str, path: str) -> None:
        """Clear a cookie with the attributes that it was set with, without which browsers keep it."""
        options = self.settings.get("cookie_options", {})
        kept = {key: value for key, value in options.items() if key in {"secure", "samesite"}}
        self.clear_cookie(name, path=path, **kept)

    async def show(self, template: str, status: int, **context: object) -> None:
        """Answer with a page that no cache may keep."""
        self.set_status(status)
        self.set_header("Cache-Control", "no-store")
        self.finish(await self.render_template(template, **context))

    async def show_way_in(self) -> None:
        """Tell people who come without a launch where the course is, and administrators what the LMS needs to know."""
        waiting = self.authenticator.waiting
        noted = self.authenticator.note_error(403, f"{self.request.path} without a launch")
        hub = self.public_origin + self.hub.base_url
        addresses = {
            "Tool URL": f"{self.public_origin}{self.base_url}",
            "Initiate login URL": f"{hub}lti13/oauth_login",
            "Redirection URI": f"{hub}lti13/oauth_callback",
            "Public keyset URL": f"{hub}lti13/jwks",
        }
        await self.show("open_from_lms.html", 403, reference=noted, addresses=addresses if waiting else {})


class LaunchHandler(CoursePage):
    """A page that an LMS sends people to."""

    def check_xsrf_cookie(self) -> None:
        """Skip the hub's check: launches come from another site, and prove themselves otherwise."""

    async def guarded(self, step: Callable[[], Awaitable[None]]) -> None:
        """Run a step of a login; turn a refusal into a page."""
        try:
            await step()
        except LaunchRefused as refusal:
            await self._refuse(refusal)
        # The login's own files, and the hub's database.
        except (sqlite3.Error, SQLAlchemyError) as error:
            self.log.exception("the launch cannot be stored")
            self.db.rollback()
            where = f"The hub's volume may be full, or its file system read-only ({type(error).__name__})."
            reason = "The hub cannot store your login."
            await self._refuse(LaunchRefused(503, reason, lecturer=TELL_ADMINS, admin=where))

    async def _refuse(self, refusal: LaunchRefused) -> None:
        why = f"launch refused on {self.request.path}: {refusal.reason} {refusal.advice[2]}"
        noted = self.authenticator.note_error(refusal.status, why)
        await self.show(
            "launch_refused.html", refusal.status, reason=refusal.reason, advice=refusal.advice, reference=noted
        )

    async def get(self) -> None:
        """Answer a direct visit."""
        await self.show_way_in()

    def launch_arguments(self) -> dict[str, str]:
        """Read query and form, one value each.

        Raises:
            LaunchRefused: 400 for a parameter with several values or not in UTF-8.
        """
        arguments = {}
        for name, values in self.request.arguments.items():
            if len(set(values)) != 1:
                raise LaunchRefused(400, f"The launch gives {name[:64]!r} twice.")
            try:
                arguments[name] = values[0].decode("utf-8")
            except UnicodeDecodeError as error:
                raise LaunchRefused(400, "The launch is malformed.") from error
        return arguments

    async def enter(self, launch: Launch) -> None:
        """Sign in who was launched, and go on to JupyterLab."""
        await self._settled(launch.user_name)
        if launch.user_name != self.authenticator.synthetic_student:
            self.authenticator.binding.bind(launch)
        known = self.find_user(launch.user_name)
        roles = {group.name for group in known.groups} if known else set()
        user = await self.login_user({"launch": launch})
        if user is None:
            raise LaunchRefused(403, "You may not enter this course's hub.")
        if user.spawner.active and roles != {launch.role}:
            # What a server may is decided at its start: a lecturer's has the course's volume, a student's has not.
            self.log.info("%s is %s now: the server restarts", user.name, launch.role)
            await self.end_server(user)
        self.set_header("Cache-Control", "no-store")
        self.redirect(await self.next_page(user, launch), status=303)

    async def end_server(self, user: Any) -> None:  # noqa: ANN401 - JupyterHub's User
        """Stop somebody's server, or interrupt its start, and wait until it is gone.

        Raises:
            LaunchRefused: 503, if it takes too long.
        """
        spawner = user.spawner
        if spawner.pending == "spawn" and (start := spawner._spawn_future):
            start.cancel()
            await asyncio.wait({start}, timeout=STOP_SECONDS)
        deadline = time.monotonic() + STOP_SECONDS
        while spawner.pending and time.monotonic() < deadline:
            await asyncio.sleep(LOOK_SECONDS)
        if spawner.ready:
            await asyncio.wait({await self.stop_single_user(user)}, timeout=STOP_SECONDS)
        if spawner.active:
            raise LaunchRefused(
                503, "Your last server is still being stopped. Please open the course again in a minute."
            )

    async def _settled(self, name: str) -> None:
        """Wait for a server that is stopping, and for the removal of its user that may follow.

        Who is removed from the roster and comes back at once would else get a session of a user who is about to go.

        Raises:
            LaunchRefused: 503, if it takes too long.
        """
        deadline = time.monotonic() + STOP_SECONDS
        while (user := self.find_user(name)) and self.authenticator.is_leaving(user):
            if time.monotonic() > deadline:
                raise LaunchRefused(503, "Your last server is still being stopped.")
            await asyncio.sleep(LOOK_SECONDS)

    def set_login_cookie(self, user: Any) -> None:  # noqa: ANN401 - JupyterHub's User
        """Start a session of its own for each person: lab computers are shared.

        JupyterHub would keep the session id, and with it the last person's access to the last person's server.
        """
        last = self.get_current_user_cookie()
        if last is None or last.name != user.name:
            self.clear_login_cookie()
            if last is not None:
                path = url_path_join(self.base_url, "user", last.escaped_name, "/")
                self.forget_cookie(f"jupyterhub-user-{last.escaped_name}", path)
            self._session_id = uuid.uuid4().hex
            self._set_cookie("jupyterhub-session-id", self._session_id, encrypted=False, path=self.base_url)
        super().set_login_cookie(user)

    async def next_page(self, user: Any, launch: Launch) -> str:  # noqa: ANN401 - JupyterHub's User
        """Find where a launch leads: to the running server, else to its start, or to a place in it."""
        wanted = deep_link(self.base_url, self.hub.base_url, launch.target)
        if wanted:
            return wanted
        spawner = user.spawner
        if spawner.ready:
            # A server may have died a moment ago; the hub's own check runs twice a minute.
            try:
                await asyncio.wait_for(spawner.poll_and_notify(), POLL_SECONDS)
            except Exception as error:
                self.log.warning("Cannot ask for the state of %s's server: %s", user.name, error)
        return str(user.url if spawner.ready else url_path_join(self.hub.base_url, "spawn"))


class BoundToBrowser(LaunchHandler):
    """A step whose answer must come from the browser that was asked, which keeps a secret; others see its hash."""

    version = ""

    @property
    def _over_https(self) -> bool:
        return self.public_origin.startswith("https:")

    @property
    def state_path(self) -> str:
        """Path of the state cookies."""
        return "/" if self._over_https else str(url_path_join(self.hub.base_url, self.version))

    def state_cookie(self, state: str) -> str:
        """Name the cookie that belongs to a state.

        One of sixteen, so that launches in several tabs do not meet, and nobody can fill the browser with cookies.
        `__Host-` keeps neighbours in the same domain from planting theirs.
        """
        return f"{'__Host-' if self._over_https else ''}{self.version}-state-{state[:1]}"

    def give_secret(self) -> tuple[str, str]:
        """Give this browser a secret; return it and its state."""
        for _ in range(2 * STATE_COOKIES):
            secret = secrets.token_hex(32)
            state = derived(secret, "state")
            # Another tab's login may be on its way.
            if not self.get_cookie(self.state_cookie(state)):
                break
        # No SameSite over http: the answer is a POST from another site, which a browser sends Lax cookies with only
        # in the first two minutes, and only if Lax was not asked for.
        options = {"samesite": "None", "secure": True} if self._over_https else {"samesite": None}
        self._set_cookie(
            self.state_cookie(state),
            secret,
            encrypted=True,
            path=self.state_path,
            max_age=STATE_SECONDS,
            expires_days=None,
            **options,
        )
        return secret, state

    def take_secret(self, state: str) -> str:
        """Get the secret that this browser was given with the login request.

        Raises:
            LaunchRefused: 400, if the state is not from this browser or older than ten minutes.
        """
        if not state:
            raise LaunchRefused(400, "The launch is incomplete (state is missing).")
        name = self.state_cookie(state) if state[:1] in "0123456789abcdef" else ""
        # Read from the header's own cookie only: a signed value that comes as a parameter proves nothing about the
        # browser.
        secret = ((name and self.get_secure_cookie(name, max_age_days=STATE_SECONDS / 86400)) or b"").decode(
            "ascii", "replace"
        )
        if not secret or not hmac.compare_digest(state.encode(), derived(secret, "state").encode()):
            raise LaunchRefused(
                400,
                "Your browser did not bring back the cookie of this login. It took more than ten minutes, or the "
                "browser blocks cookies inside the LMS's page: open the course again, in a new window.",
            )
        options = {"samesite": "None", "secure": True} if self._over_https else {}
        self.clear_cookie(name, path=self.state_path, **options)
        return secret


class Lti11LaunchHandler(BoundToBrowser):
    """`/hub/lti11/launch`: LTI 1.1's launch, a signed form."""

    version = "lti11"

    async def post(self) -> None:
        """Verify the form and sign in."""
        await self.guarded(self._launch)

    async def _launch(self) -> None:
        authenticator = self.authenticator
        authenticator.require_registration()
        if not authenticator.lti11_consumer_dir:
            raise LaunchRefused(404, "This course does not use LTI 1.1.")
        consumer = lti11.Consumer.from_directory(authenticator.lti11_consumer_dir)
        content_type = self.request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if content_type != "application/x-www-form-urlencoded":
            # OAuth 1.0 signs no other body (RFC 5849, 3.4.1.3.1).
            raise LaunchRefused(400, "The launch is not a form.")
        try:
            body = self.request.body.decode("utf-8")
        except UnicodeDecodeError as error:
            raise LaunchRefused(400, "The launch form is malformed.") from error
        form = lti11.verify_form(self.public_origin + self.request.path, self.request.query, body, consumer=consumer)
        launch = launch_from_form(form, issuer=authenticator.identity_of_lms, roles=authenticator.lti_roles)
        authenticator.check_entitled(launch)
        sent_by_lms = self._sent_by_lms() or launch.user_name == authenticator.synthetic_student
        if not authenticator.replay.spend("lti11", consumer.key, form["oauth_timestamp"], form["oauth_nonce"]):
            raise LaunchRefused(401, "This launch was used before. Please open the course again from your LMS.")
        await (self.enter(launch) if sent_by_lms else self._ask_person(launch))

    def _sent_by_lms(self) -> bool:
        """Tell whether the LMS's page has sent the form; LTI 1.1 has no state that would tell.

        Whoever has an account in the LMS could else sign others in as himself, and read what they write. A browser says
        where a form comes from.

        Raises:
            LaunchRefused: 403, if it comes from another site than the LMS.
        """
        sender = self.request.headers.get("Origin")
        known = self.authenticator.lms_origins
        # From an https page to an http one a browser does not say it (Fetch, "append a request Origin header").
        unsaid = sender == "null" and self.public_origin.startswith("http:") and "https:" in {o[:6] for o in known}
        if self.authenticator.check_origin and sender and known and sender not in known and not unsaid:
            lms = ", ".join(sorted(known))
            raise LaunchRefused(
                403,
                f"The launch was sent by {sender[:200]}, which is not this course's LMS ({lms}).",
                admin="The LMS hides where forms come from: give it a Referrer-Policy that names the origin. Or set "
                "CourseAuthenticator.check_origin to false in course_hub_config: then people confirm who they are."
                if sender == "null"
                else "If it is, set course_hub_lms_url to the course's page there; a group's value may be another's.",
            )
        return sender in known

    async def _ask_person(self, launch: Launch) -> None:
        """Let the person in the browser say that it was them, and see as whom they come in."""
        _, state = self.give_secret()
        sealed = self.create_signed_value("lti11-launch", json.dumps({"state": state, "launch": asdict(launch)}))
        # Nobody lays another page over the button.
        self.set_header("Content-Security-Policy", "frame-ancestors 'none'")
        person = launch.details["full_name"] or launch.details["email"] or launch.details["login"]
        await self.show(
            "confirm.html", 200, person=person or f"user {launch.subject}", state=state, launch=sealed.decode("ascii")
        )


class Lti11ConfirmHandler(BoundToBrowser):
    """`/hub/lti11/confirm`: the button below "Continue as ...", where nothing tells that the LMS has sent the form."""

    version = "lti11"

    async def post(self) -> None:
        """Sign in who was launched."""
        await self.guarded(self._confirm)

    async def _confirm(self) -> None:
        authenticator = self.authenticator
        authenticator.require_registration()
        if self.request.headers.get("Origin") not in {None, self.public_origin}:
            raise LaunchRefused(403, "The button was not pressed on this hub's page.")
        arguments = self.launch_arguments()
        state = arguments.get("state", "")
        self.take_secret(state)
        sealed = self.get_secure_cookie("lti11-launch", arguments.get("launch", ""), max_age_days=STATE_SECONDS / 86400)
        content: dict[str, Any] = json.loads(sealed) if sealed else {"state": ""}
        if content["state"] != state or not authenticator.replay.spend("lti11-confirm", state):
            raise LaunchRefused(401, "This launch was used before, or is too old.")
        launch = Launch(**content["launch"])
        authenticator.check_entitled(launch)
        await self.enter(launch)


class Lti13LoginHandler(BoundToBrowser, LTI13LoginInitHandler):  # type: ignore[misc] # the same
    """`/hub/lti13/oauth_login`: the LMS announces somebody; we ask the LMS who it is."""

    version = "lti13"

    async def get(self) -> None:
        """Start a login, or answer a direct visit."""
        if self.request.arguments:
            await self.guarded(self._ask)
        else:
            await self.show_way_in()

    async def post(self) -> None:
        """Start a login."""
        await self.guarded(self._ask)

    async def _ask(self) -> None:
        platform = self.authenticator.required_platform()
        arguments = self.launch_arguments()
        lti13.check_login_initiation(arguments, platform)
        # The LMS sees hashes of the secret; who brings back a launch must also have the secret.
        secret, state = self.give_secret()
        self.set_header("Cache-Control", "no-store")
        self.authorize_redirect(
            client_id=platform.client_id,
            login_hint=arguments["login_hint"],
            lti_message_hint=arguments.get("lti_message_hint"),
            nonce=derived(secret, "nonce"),
            redirect_uri=self.public_origin + url_path_join(self.hub.base_url, "lti13/oauth_callback"),
            state=state,
        )


class Lti13CallbackHandler(Lti13LoginHandler):
    """`/hub/lti13/oauth_callback`: the LMS's answer, which is the launch."""

    async def get(self) -> None:
        """Answer a direct visit; launches come as POST."""
        await self.show_way_in()

    async def post(self) -> None:
        """Verify the id_token and sign in."""
        await self.guarded(self._launch)

    async def _launch(self) -> None:
        authenticator = self.authenticator
        platform = authenticator.required_platform()
        arguments = self.launch_arguments()
        secret = self.take_secret(arguments.get("state", ""))
        if arguments.get("error"):
            raise LaunchRefused(401, f"Your LMS has answered with an error ({arguments['error'][:64]}).")
        nonce = derived(secret, "nonce")
        token = arguments.get("id_token", "")
        claims = await lti13.verify_id_token(token, platform=platform, keys=authenticator.keys, nonce=nonce)
        launch = launch_from_claims(claims, issuer=authenticator.identity_of_lms, roles=authenticator.lti_roles)
        authenticator.check_entitled(launch)
        if not authenticator.replay.spend("lti13", platform.issuer, nonce):
            raise LaunchRefused(401, "This launch was used before. Please open the course again from your LMS.")
        await self.enter(launch)


class JwksHandler(CoursePage):
    """`/hub/lti13/jwks`: the tool's public keys, for the LMS."""

    def get_content_type(self) -> str:
        """Return JSON's media type."""
        return "application/json"

    async def get(self) -> None:
        """Answer with the file's content of now: a rotated key must be there at once."""
        try:
            document = public_jwks(Path(self.authenticator.tool_jwks_file).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            self.log.error("Cannot serve the tool's key set from %r: %s", self.authenticator.tool_jwks_file, error)
            self.set_status(503)
            self.set_header("Cache-Control", "no-store")
            self.finish(json.dumps({"error": "The tool's key set is not available."}))
            return
        self.set_header("Cache-Control", f"public, max-age={JWKS_CACHE_SECONDS}")
        self.finish(document)

    head = get


class LaunchFirstHandler(CoursePage):
    """`/hub/login`: no password form, only the way to the LMS."""

    def check_xsrf_cookie(self) -> None:
        """Skip the hub's check: nothing is changed here."""

    async def get(self) -> None:
        """Send people who are signed in to where they want to go, and others to the LMS."""
        user = self.current_user
        if user is None:
            await self.show_way_in()
            return
        # As JupyterHub does: the server's cookie may have been cleared.
        self.set_login_cookie(user)
        self.redirect(self.get_next_url(user))

    async def post(self) -> None:
        """Answer programs that try passwords."""
        await self.show_way_in()


class NoPage(CoursePage):
    """Pages of JupyterHub for what nobody has here: tokens of one's own, servers that somebody shares."""

    def prepare(self) -> None:
        """Answer as if there were none."""
        raise HTTPError(404)


class AuthorizeHandler(OAuthAuthorizeHandler):  # type: ignore[misc] # the same
    """`/hub/api/oauth2/authorize`, where a server asks who its visitor is: nobody confirms that to another's server.

    JupyterHub refuses the question, but not the answer of a form that comes without the question.
    """

    def post(self) -> None:
        """Take the answer."""
        user = self.current_user
        own = {spawner.oauth_client_id for spawner in user.spawners.values()} if user else set()
        for client_id in self.get_arguments("client_id"):
            client = self.oauth_provider.fetch_by_client_id(client_id)
            if client and client.spawner and client_id not in own:
                raise HTTPError(403, "This is somebody else's server.")
        super().post()


class LogoutPage(CoursePage, LogoutHandler):  # type: ignore[misc] # the same
    """`/hub/logout`: ends with a page of its own instead of the way in, which would look like a refusal."""

    async def render_logout_page(self) -> None:
        """Say that it is done, and that the LMS is another matter."""
        self.set_header("Cache-Control", "no-store")
        self.finish(await self.render_template("logout.html"))


def derived(secret: str, purpose: str) -> str:
    """Derive the public half of a secret for one purpose (`state` or `nonce`)."""
    return hashlib.sha256(f"{purpose}:{secret}".encode()).hexdigest()


def deep_link(base_url: str, hub_url: str, target: str) -> str:
    """Turn the URL that a verified launch asks for into a path of this hub, or ''.

    Only `user-redirect/...` is followed (a notebook, a git-pull link, in the person's own server); the rest, such as
    the launch URL itself, means the course as such. The host of the target is never used, so no launch leads elsewhere.

    Args:
        base_url: the hub's base, `/` or `/course/`.
        hub_url: base of the hub's own pages, `/hub/` or `/course/hub/`.
        target: `target_link_uri` of LTI 1.3, `custom_next` of LTI 1.1.
    """
    try:
        parts = urlsplit(target)
    except ValueError:
        return ""
    for prefix in (url_path_join(hub_url, "user-redirect/"), url_path_join(base_url, "user-redirect/")):
        rest = parts.path.removeprefix(prefix)
        if (
            rest != parts.path
            and target.isprintable()
            and not any(bad in unquote(f"/{rest}") for bad in ("..", "\\", "//"))
        ):
            return f"{url_path_join(hub_url, 'user-redirect/')}{rest}" + (f"?{parts.query}" if parts.query else "")
    return ""


def public_jwks(document: str) -> str:
    """Reduce a key set to its public members.

    Raises:
        ValueError: if it is no key set.
    """
    content = json.loads(document)
    keys = content.get("keys") if isinstance(content, dict) else None
    if not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys):
        raise ValueError("not a JSON Web Key Set")
    return json.dumps({"keys": [{name: key[name] for name in PUBLIC_JWK_MEMBERS if name in key} for key in keys]})
