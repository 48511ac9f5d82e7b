"""The authenticator of a course: who has a valid launch for this course comes in, nobody else."""

from __future__ import annotations

import math
import time
from functools import cached_property
from pathlib import Path
from typing import Any

from campus_hubs_membership.identity import USER_NAME, printable
from campus_hubs_membership.roles import COURSE_ROLES
from jupyterhub.app import JupyterHub
from jupyterhub.auth import Authenticator
from traitlets import Bool, Dict, Enum, Set, TraitError, Unicode, default, validate

from .binding import Binding
from .errors import ERROR_ADVICE, LaunchRefused, reference
from .handlers import (
    AuthorizeHandler,
    JwksHandler,
    LaunchFirstHandler,
    LogoutPage,
    Lti11ConfirmHandler,
    Lti11LaunchHandler,
    Lti13CallbackHandler,
    Lti13LoginHandler,
    NoPage,
)
from .keyset import KeySet
from .launch import Launch
from .lti13 import Platform
from .replay import ReplayStore
from .settings import origin

# How soon after the stop of their server the hub has removed a user whom it removes.
REMOVAL_SECONDS = 1
TEMPLATES = Path(__file__).parent / "templates"


class CourseAuthenticator(Authenticator):  # type: ignore[misc] # JupyterHub has no type information
    """LTI 1.1 and LTI 1.3 for one course."""

    course_id = Unicode(config=True, help="Id of the course, for the log.")
    course_title = Unicode(config=True, help="Title of the course, for people.")
    lms_url = Unicode(config=True, help="Where people open the course in the LMS; may be empty.")
    issuer = Unicode(
        config=True,
        help="""Identity of the LMS that user names are made from, for both LTI versions. Empty: the issuer of
        `lti13_platform`, else the LMS's `tool_consumer_instance_guid`, else its consumer key.""",
    )
    lti13_platform = Dict(
        config=True,
        help="""LTI 1.3 registration: issuer, client_id, deployment_id, authorization_endpoint, token_endpoint,
        jwks_uri, perhaps token_audience. Empty: no LTI 1.3.""",
    )
    lti11_consumer_dir = Unicode(
        config=True, help="Directory with the files consumer_key and shared_secret. Empty: no LTI 1.1."
    )
    tool_jwks_file = Unicode(config=True, help="File with the tool's public key set, served at /hub/lti13/jwks.")
    context_ids = Set(
        Unicode(),
        config=True,
        help="Ids of the LMS courses (contexts) that may launch. Empty: the one that a lecturer launches first.",
    )
    context_database = Unicode(
        "lti-context.sqlite",
        config=True,
        help="SQLite file for the LMS course that the course was bound to; must survive a restart of the hub.",
    )
    lti_roles = Dict(
        value_trait=Enum(COURSE_ROLES),
        config=True,
        help="What roles that only this LMS has mean: role as the launch names it -> role in the course.",
    )
    synthetic_student = Unicode(
        config=True, help="Name of who proves that the course works; their launch is of no course of the LMS."
    )
    check_origin = Bool(
        True,
        config=True,
        help="""Refuse LTI 1.1 launches whose browser says that the form came from elsewhere than the LMS, as far as
        `issuer` or `lms_url` tell where that is. Else people are asked whether it was them.""",
    )
    replay_database = Unicode(
        "lti-replay.sqlite",
        config=True,
        help="SQLite file for the nonces that were used; must survive a restart of the hub.",
    )

    def __init__(self, **kwargs: Any) -> None:  # noqa: ANN401 - traitlets
        """Register the package's templates with the hub, below the administrator's own and above JupyterHub's."""
        super().__init__(**kwargs)
        self._stopped: dict[str, float] = {}
        if isinstance(self.parent, JupyterHub):
            hubs_own = self.parent.trait_defaults("template_paths")
            configured = [path for path in self.parent.template_paths if path not in hubs_own]
            self.parent.template_paths = [*configured, str(TEMPLATES), *hubs_own]
            self.parent.template_vars = {
                "course_title": self.course_title,
                "lms_url": self.lms_url,
                "error_advice": ERROR_ADVICE,
                # JupyterHub calls what it can call, with the user.
                "note_error": lambda _user: self.note_error,
                **self.parent.template_vars,
            }

    @default("allow_all")
    def _allow_all(self) -> bool:
        # A valid launch for this course is the permission; JupyterHub >= 5 lets nobody in by default.
        return True

    @default("manage_groups")
    def _manage_groups(self) -> bool:
        return True

    @default("enable_auth_state")
    def _enable_auth_state(self) -> bool:
        return True

    @validate("lms_url")
    def _valid_lms_url(self, proposal: Any) -> str:  # noqa: ANN401 - traitlets' Bunch
        url = str(proposal["value"]).strip()
        if url and not origin(url):
            raise TraitError(f"lms_url: found {url!r}, expected an http or https URL, or nothing.")
        return url

    @validate("lti13_platform")
    def _valid_platform(self, proposal: Any) -> dict[str, Any]:  # noqa: ANN401 - traitlets' Bunch
        values: dict[str, Any] = proposal["value"]
        if values:
            try:
                Platform.from_dict(values)
            except ValueError as error:
                raise TraitError(str(error)) from error
        return values

    def note_error(self, status: int, why: object) -> str:
        """Write into the log why a page says no; return the reference for the page."""
        found = reference()
        self.log.warning("Reference %s: %s %s", found, status, printable(str(why), limit=2048))
        return found

    @property
    def platform(self) -> Platform | None:
        """The LTI 1.3 registration, if there is one."""
        return Platform.from_dict(self.lti13_platform) if self.lti13_platform else None

    def required_platform(self) -> Platform:
        """Give the LTI 1.3 registration.

        Raises:
            LaunchRefused: 404, if there is none; 403, while the LMS has not given it.
        """
        if self.platform is None:
            raise LaunchRefused(404, "This course does not use LTI 1.3.")
        self.require_registration()
        return self.platform

    @property
    def waiting(self) -> bool:
        """Whether the LMS of the course is known, but has not registered it yet."""
        return self.platform is not None and not self.platform.registered

    def require_registration(self) -> None:
        """Refuse all launches while the course waits for its registration.

        Raises:
            LaunchRefused: 403.
        """
        if self.waiting:
            raise LaunchRefused(
                403,
                "This course waits for its registration in the LMS.",
                student="Come back when your lecturer says that the course is ready.",
                lecturer="The administrators of the hub and of the LMS have to finish the registration first.",
                admin="Enter the tool in the LMS, then its client id and deployment id in the inventory, and run "
                "site.yml again.",
            )

    @property
    def authorize_url(self) -> str:
        """Name that ltiauthenticator's login handler reads the authorization endpoint by."""
        return self.required_platform().authorization_endpoint

    @property
    def identity_of_lms(self) -> str:
        """What user names are made from; '' if only the launch knows (LTI 1.1)."""
        return self.issuer or (self.platform.issuer if self.platform else "")

    @property
    def lms_origins(self) -> set[str]:
        """Web origins of the LMS, as far as they are known."""
        return {found for found in (origin(self.lms_url), origin(self.identity_of_lms)) if found}

    @cached_property
    def keys(self) -> KeySet:
        """The platform's keys."""
        return KeySet(self.required_platform().jwks_uri)

    @cached_property
    def replay(self) -> ReplayStore:
        """The launches that were used."""
        return ReplayStore(self.replay_database)

    @cached_property
    def binding(self) -> Binding:
        """The course of the LMS that this course belongs to."""
        return Binding(self.context_database, self.context_ids)

    def check_entitled(self, launch: Launch) -> None:
        """Refuse who is blocked, and launches from another course of the LMS.

        Raises:
            LaunchRefused: 403.
        """
        if launch.user_name in self.blocked_users:
            raise LaunchRefused(403, "You may not enter this course's hub.")
        if launch.user_name != self.synthetic_student:
            self.binding.check(launch)

    def post_spawn_stop(self, user: Any, spawner: Any) -> None:  # noqa: ANN401 - JupyterHub's
        """Note when a server has stopped."""
        super().post_spawn_stop(user, spawner)
        self._stopped = {name: at for name, at in self._stopped.items() if at > time.monotonic() - REMOVAL_SECONDS}
        self._stopped[user.name] = time.monotonic()

    def is_leaving(self, user: Any) -> bool:  # noqa: ANN401 - the same
        """Tell whether a user's server stops, or has just stopped: when the hub removes a user, that follows."""
        return bool(
            user.spawner.pending == "stop"
            or self._stopped.get(user.name, -math.inf) > time.monotonic() - REMOVAL_SECONDS
        )

    def validate_username(self, username: str) -> bool:
        """Accept only names that `user_name` makes, so that nobody is ever called like a service."""
        return USER_NAME.fullmatch(username) is not None and bool(super().validate_username(username))

    def get_handlers(self, app: JupyterHub) -> list[tuple[str, type]]:
        """Register the pages.

        JupyterHub calls this once, at its start, which is also the time to find out that nothing can be remembered.
        """
        if not self.lti13_platform and not self.lti11_consumer_dir:
            self.log.error("Course %r has neither LTI 1.3 nor LTI 1.1: nobody can come in.", self.course_id)
        _ = self.replay, self.binding
        return [
            ("/login", LaunchFirstHandler),
            ("/logout", LogoutPage),
            ("/lti11/launch", Lti11LaunchHandler),
            ("/lti11/confirm", Lti11ConfirmHandler),
            ("/lti13/oauth_login", Lti13LoginHandler),
            ("/lti13/oauth_callback", Lti13CallbackHandler),
            ("/lti13/jwks", JwksHandler),
            ("/token", NoPage),
            ("/accept-share", NoPage),
            ("/api/oauth2/authorize", AuthorizeHandler),
        ]

    async def authenticate(self, handler: Any, data: Any) -> dict[str, Any] | None:  # noqa: ANN401 - JupyterHub's signature
        """Turn a verified launch into a login.

        Args:
            handler: of the request.
            data: `{"launch": Launch}` from this package's handlers. Nothing that comes over the network can hold a
                Launch, so passwords posted to any other page or to the API lead nowhere.

        Returns:
            JupyterHub's authentication model; nobody is an admin by an LMS's word.
        """
        launch = data.get("launch") if isinstance(data, dict) else None
        if not isinstance(launch, Launch):
            return None
        return {"name": launch.user_name, "admin": False, "groups": [launch.role], "auth_state": launch.auth_state}
