"""The course hub's settings: values of the chart and fields of its Secrets in, JupyterHub's traits out.

`hub.config` of the chart's values is laid over what is set here.
"""

from __future__ import annotations

import hashlib
import posixpath
import sys
from pathlib import Path
from typing import Any

from campus_hubs_membership.identity import user_name

LTI = Path("/etc/campus-hubs/lti")
EXCHANGE_SERVICE = "exchange"
PROBE_SERVICE = "probe"
# What hub.config says of these is added to what the course needs, not put in its place; of one name, it counts alone.
ADDED = {"services", "load_roles", "blocked_users"}
# Of these ours stay, whatever else has their name: no setting takes a home away, or what brings the material.
KEPT = {"volumes", "volume_mounts", "init_containers", "extra_containers", "tolerations", "image_pull_secrets"}
# Of these, what every server has is in a profile's servers as well.
OVERRIDDEN = KEPT - {"tolerations"}
# What says how the internet is reached, in whatever letters.
PROXIES = {"http_proxy", "https_proxy", "all_proxy", "no_proxy"}
# One object has the settings of all of a family.
FAMILIES = (("Spawner", "KubeSpawner", "CourseSpawner"), ("Authenticator", "CourseAuthenticator"))

Settings = dict[str, dict[str, Any]]


def merged(base: Settings, extra: Settings) -> Settings:
    """Lay class -> trait -> value over another: dictionaries are merged, some lists grow, all else is replaced."""
    result = {name: dict(traits) for name, traits in base.items()}
    for name, traits in extra.items():
        for trait, value in traits.items():
            # It counts where we have set it, so that the setting of another class does not hide ours.
            family: tuple[str, ...] = next((each for each in FAMILIES if name in each), ())
            known = [cls for cls in family if trait in base.get(cls, {})]
            target = result.setdefault(known[0] if known else name, {})
            target[trait] = added(trait, target[trait], value) if trait in target else value
    return result


def added(trait: str, old: Any, value: Any) -> Any:  # noqa: ANN401 - a trait's value can be anything
    """Return what a trait is when a setting is laid over ours."""
    if isinstance(old, list) and trait in KEPT:
        # As a dictionary, KubeSpawner takes the values in the order of the keys.
        more = [value[key] for key in sorted(value)] if isinstance(value, dict) else value or []
        more = [more] if isinstance(more, str) else more
        ours = [_identity(trait, item) for item in old]
        return [*old, *(item for item in more if _identity(trait, item) not in ours)]
    if isinstance(old, dict) and isinstance(value, dict):
        return {**old, **value}
    if isinstance(old, list) and trait in ADDED:
        names = {item["name"] for item in value if isinstance(item, dict)}
        return [*(item for item in old if not (isinstance(item, dict) and item["name"] in names)), *value]
    return value


def _identity(trait: str, item: Any) -> Any:  # noqa: ANN401 - as above
    """Return what there may be only one of in a pod."""
    if trait == "volume_mounts" and isinstance(item, dict):
        return posixpath.normpath(str(item.get("mountPath") or item.get("mount_path")))
    return item.get("name", item) if isinstance(item, dict) else item


def with_ours(profiles: Any, ours: dict[str, Any]) -> Any:  # noqa: ANN401 - a part of a list of profiles
    """Return profiles whose overrides have what every server has, in whose place KubeSpawner would put them."""
    if isinstance(profiles, list):
        return [with_ours(part, ours) for part in profiles]
    if not isinstance(profiles, dict):
        return profiles
    return {
        name: {
            trait: added(trait, ours.get(trait, []), value) if trait in OVERRIDDEN else value
            for trait, value in part.items()
        }
        if name == "kubespawner_override"
        else with_ours(part, ours)
        for name, part in profiles.items()
    }


def exchange_url(values: dict[str, Any]) -> str:
    """Return where the exchange listens, by its whole name."""
    return f"http://{values['hosts']['exchange']}:8080"


def hub_settings(values: dict[str, Any], secret: dict[str, str]) -> Settings:
    """Return what the hub itself needs.

    Args:
        values: the chart's `course-hub.config`.
        secret: fields of the Secret course-secrets, as hexadecimal digits.

    """
    base = values["baseUrl"]
    hub: dict[str, Any] = {
        "base_url": base,
        # A launch ends in Lab, not on a page of the hub; so does a reload after a server was lost.
        "default_url": f"{base}hub/spawn",
        "implicit_spawn_seconds": 1,
        "db_url": "sqlite:////srv/jupyterhub/jupyterhub.sqlite",
        "cookie_secret": bytes.fromhex(secret["cookie-secret"]),
        "hub_bind_url": "http://:8081",
        "hub_connect_url": f"http://{values['hosts']['hub']}:8081",
        # A hub that restarts takes nothing with it.
        "cleanup_servers": False,
        "cleanup_proxy": False,
        # Compares the proxy's routes with what should be there: a proxy that was lost has them back that soon.
        "last_activity_interval": 5,
        # The page that shows the progress, at once.
        "tornado_settings": {"slow_spawn_timeout": 0},
        # CourseSpawner queues starts; the hub itself would turn people away.
        "concurrent_spawn_limit": 0,
        "services": [{"name": EXCHANGE_SERVICE, "api_token": secret["exchange-token"]}],
        # It ends the sessions of who left the roster. Homes stay: see delete_pvc.
        "load_roles": [
            {
                "name": EXCHANGE_SERVICE,
                "services": [EXCHANGE_SERVICE],
                "scopes": ["list:users", "read:servers", "delete:users", "delete:servers"],
            }
        ],
    }
    if values["publicUrl"]:
        hub["public_url"] = values["publicUrl"]
    return {
        "JupyterHub": hub,
        "ConfigurableHTTPProxy": {
            "should_start": False,
            "api_url": f"http://{values['hosts']['proxy']}:8001",
            "auth_token": secret["proxy-token"],
        },
        "CryptKeeper": {"keys": [bytes.fromhex(secret["crypt-key"])]},
    }


def people_settings() -> Settings:
    """Return what people may do at the hub: with their own server, and nothing that would outlive their session.

    So there are no tokens of one's own and no shares; a server's token tells the hub whose it is and that it is in use.
    """
    roles = {
        "user": ["read:users!user", "servers!user", "access:servers!user", "users:activity!user"],
        "server": ["users:activity!user", "access:servers!server"],
    }
    return {"JupyterHub": {"load_roles": [{"name": name, "scopes": scopes} for name, scopes in roles.items()]}}


def synthetic_student(values: dict[str, Any], secret: dict[str, str]) -> str:
    """Return the name of the person whose launch proves that the course works, as the module course_probe has it.

    It is made from a secret, so that no LMS has somebody of that name. Empty if the course has no token for the probe.

    Args:
        values: the chart's `course-hub.config`.
        secret: fields of the Secret course-secrets.

    """
    if not secret.get("probe-token"):
        return ""
    login = values["config"].get("CourseAuthenticator", {})
    issuer = login.get("issuer") or login.get("lti13_platform", {}).get("issuer") or "campus.hubs"
    return user_name(issuer, hashlib.sha256(f"synthetic student\n{secret['probe-token']}".encode()).hexdigest())


def probe_settings(secret: dict[str, str], student: str) -> Settings:
    """Return the service that may do all with the synthetic student, and nothing else; empty if there is none."""
    if not student:
        return {}
    scopes = [f"{scope}!user={student}" for scope in ("admin:users", "servers", "access:servers")]
    return {
        "JupyterHub": {
            "services": [{"name": PROBE_SERVICE, "api_token": secret["probe-token"]}],
            "load_roles": [{"name": PROBE_SERVICE, "services": [PROBE_SERVICE], "scopes": scopes}],
        }
    }


def culler_settings(values: dict[str, Any]) -> Settings:
    """Return the idle culler as a service that the hub runs beside itself; empty if it is off."""
    cull = values["cull"]
    if not cull["enabled"]:
        return {}
    command = [
        sys.executable,
        "-m",
        "jupyterhub_idle_culler",
        # Not by the Service: no policy lets a pod reach itself that way.
        f"--url=http://127.0.0.1:8081{values['baseUrl']}hub/api",
        f"--timeout={cull['timeout']}",
        f"--cull-every={cull['every']}",
        f"--max-age={cull['maxAge']}",
    ]
    scopes = ["list:users", "read:users:activity", "read:servers", "delete:servers"]
    return {
        "JupyterHub": {
            "services": [{"name": "idle-culler", "command": command}],
            "load_roles": [{"name": "idle-culler", "scopes": scopes, "services": ["idle-culler"]}],
        }
    }


def login_settings(values: dict[str, Any], student: str) -> Settings:
    """Return how people come in; the platform itself comes with `hub.config`."""
    authenticator: dict[str, Any] = {
        "course_id": values["course"],
        "replay_database": "/srv/jupyterhub/lti-replay.sqlite",
        "context_database": "/srv/jupyterhub/lti-context.sqlite",
        "synthetic_student": student,
    }
    if values["config"].get("CourseAuthenticator", {}).get("lti13_platform"):
        authenticator["tool_jwks_file"] = str(LTI / "jwks.json")
    else:
        authenticator["lti11_consumer_dir"] = str(LTI)
    # Nobody is called like a service.
    return {
        "Authenticator": {"blocked_users": [EXCHANGE_SERVICE, "idle-culler"]},
        "CourseAuthenticator": authenticator,
    }


# Shown where there is a choice: radio buttons of Bootstrap, as on the hub's other pages; titles are text, not HTML.
PROFILES = """
<fieldset>
  <legend class="fs-5 mb-3">Which server do you need?</legend>
  {%- set known = profile_list | map(attribute="slug") | list %}
  {%- for profile in profile_list %}
  <div class="form-check position-relative border rounded mb-2 py-3 pe-3 ps-5">
    <input class="form-check-input border-secondary" type="radio" name="profile" required
           id="profile-{{ profile.slug | e }}" value="{{ profile.slug | e }}"
           {%- if profile.description %} aria-describedby="about-{{ profile.slug | e }}"{% endif %}
           {%- if profile.slug == user_options.profile %} checked
           {%- elif profile.default and user_options.profile not in known %} checked{% endif %}>
    <label class="form-check-label fw-bold stretched-link" for="profile-{{ profile.slug | e }}">
      {{- profile.display_name | e -}}
    </label>
    {%- if profile.description %}
    <div class="text-body-secondary" id="about-{{ profile.slug | e }}">{{ profile.description | e }}</div>
    {%- endif %}
  </div>
  {%- endfor %}
</fieldset>
"""


def literal(text: str) -> str:
    """Protect an environment's value: KubeSpawner fills in what is in braces, Kubernetes `$(NAME)`, and halves `$$`."""
    return text.replace("{", "{{").replace("}", "}}").replace("$", "$$")


# Where the material is between its two steps, and where the deploy key is.
MATERIAL_CACHE, MATERIAL_KEYS = "/srv/material", "/etc/material"


# Certificates of the campus's own authorities, for a server and for what fetches the material.
CA_VOLUME = {"name": "ca", "configMap": {"name": "ca"}}
CA_MOUNT = {"name": "ca", "mountPath": "/etc/campus-hubs/ca", "readOnly": True}
CA_FILE = "/etc/campus-hubs/ca/ca.crt"


def material_settings(
    material: dict[str, str], image: str, home: str, outside: dict[str, str], *, own_ca: bool
) -> dict[str, list[dict[str, Any]]]:
    """Return what brings the teaching material into a home before the server starts; empty if there is none.

    One container has the deploy key and nothing of the person's, a second one the home and no key: what lies in a home
    may run code.

    Args:
        material: git (URL), branch, directory, secretName (a Secret with a deploy key), each "" if not set.
        image: an image with `campus_hubs_lab`.
        home: where the home is mounted.
        outside: environment that says how the internet is reached.
        own_ca: whether the campus has an authority of its own.

    """
    if not material["git"]:
        return {"init_containers": [], "volumes": []}

    def step(name: str, own_home: str, mounts: list[dict[str, Any]], more: dict[str, str]) -> dict[str, Any]:
        environment = {
            **more,
            "HOME": own_home,
            "MATERIAL_GIT": material["git"],
            "MATERIAL_BRANCH": material["branch"],
            "MATERIAL_DIR": material["directory"],
            "MATERIAL_CACHE": MATERIAL_CACHE,
        }
        return {
            "name": f"material-{name}",
            "image": image,
            # A server starts with the material of last time, or without any, rather than not at all. So what wants more
            # than 768 MiB fails, before it is the container that is killed.
            "command": [
                "sh",
                "-c",
                f"ulimit -d 786432; timeout 60 python3 -I -m campus_hubs_lab.material {name} || true",
            ],
            "workingDir": "/",
            "env": [{"name": name, "value": literal(value)} for name, value in environment.items()],
            "volumeMounts": [{"name": "material", "mountPath": MATERIAL_CACHE}, *mounts],
            "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "1Gi"}},
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            },
        }

    # A /tmp of its own: ssh wants a copy of the key there.
    fetch_mounts: list[dict[str, Any]] = [{"name": "material-tmp", "mountPath": "/tmp"}]  # noqa: S108 - the pod's own
    volumes: list[dict[str, Any]] = [
        {"name": "material", "emptyDir": {"sizeLimit": "4Gi"}},
        {"name": "material-tmp", "emptyDir": {"sizeLimit": "64Mi"}},
    ]
    if material["secretName"]:
        fetch_mounts.append({"name": "material-key", "mountPath": MATERIAL_KEYS, "readOnly": True})
        # A Secret that is not there is a reason in the log, not one against the server.
        secret = {"secretName": material["secretName"], "defaultMode": 0o440, "optional": True}
        volumes.append({"name": "material-key", "secret": secret})
    if own_ca:
        fetch_mounts.append(CA_MOUNT)
        outside = {**outside, "GIT_SSL_CAINFO": CA_FILE}
    merge_mounts = [{"name": "home", "mountPath": home}, {"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108 - the same
    steps = [step("fetch", "/tmp", fetch_mounts, outside), step("merge", home, merge_mounts, {})]  # noqa: S108 - the same
    return {"init_containers": steps, "volumes": volumes}


# Of the cluster, by role course_images.
STAFF, PLACEHOLDER, STUDENT = (f"campus-hubs-{kind}" for kind in ("staff", "placeholder", "student"))


def priority_classes(values: dict[str, Any]) -> dict[str, str]:
    """Return the PriorityClasses of servers; empty if there are none, or if the course says its own."""
    own = values["config"].get("KubeSpawner", {}).get("priority_class_name")
    return {"staff": STAFF, "student": STUDENT} if values["scheduling"]["podPriority"]["enabled"] and not own else {}


def spawner_settings(values: dict[str, Any]) -> Settings:
    """Return what each person's server is and may."""
    user = values["singleuser"]
    profiles = user["profileList"]
    # A single profile is no choice: it is what everybody gets.
    only = profiles[0].get("kubespawner_override", {}) if len(profiles) == 1 else {}
    storage = user["storage"]
    labels = {"campus.hubs/course": values["course"]}
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": {"component": "singleuser-server"}},
    }
    outside = {name: value for name, value in user["extraEnv"].items() if name.lower() in PROXIES}
    own_ca = values["caCertificates"]
    material = material_settings(
        user["material"], only.get("image", user["image"]), storage["homeMountPath"], outside, own_ca=own_ca
    )
    login = values["config"].get("CourseAuthenticator", {})
    environment = {
        # Due dates without a zone are in this one.
        **({"TZ": values["timezone"]} if values["timezone"] else {}),
        **{name: literal(value) for name, value in user["extraEnv"].items()},
        "COURSE_ID": values["course"],
        "COURSE_TITLE": literal(login.get("course_title") or values["course"]),
        "NGSHARE_URL": f"{exchange_url(values)}/ngshare",
        "EXCHANGE_URL": f"{exchange_url(values)}/api",
    }
    if own_ca:
        environment["COURSE_CA_FILE"] = CA_FILE
    if user["sendGradesOnFeedback"]:
        # Read where feedback is released, so by lecturers' and tutors' servers only.
        environment["COURSE_SEND_GRADES_ON_FEEDBACK"] = "1"
    result: Settings = {
        "Spawner": {
            "default_url": "/lab",
            "environment": environment,
            # Files in a home are data: no notebook that somebody runs reconfigures the server in front of it.
            "disable_user_config": True,
            "start_timeout": user["startTimeout"],
            "http_timeout": user["httpTimeout"],
            # Reads the watched pods, no request: a pod that was lost is noticed that soon.
            "poll_interval": 5,
            "mem_guarantee": user["memory"]["guarantee"],
            "mem_limit": user["memory"]["limit"],
            "cpu_guarantee": user["cpu"]["guarantee"],
            "cpu_limit": user["cpu"]["limit"],
        },
        "KubeSpawner": {
            "image": user["image"],
            "image_pull_policy": user["pullPolicy"],
            "cmd": ["jupyterhub-singleuser"],
            "pod_name_template": "user-{user_server}",
            "pvc_name_template": "home-{user_server}",
            # Somebody who leaves the roster keeps their work.
            "delete_pvc": False,
            "storage_pvc_ensure": True,
            "storage_capacity": storage["capacity"],
            "storage_class": storage["dynamic"]["storageClass"] or None,
            "storage_access_modes": ["ReadWriteOnce"],
            "storage_extra_labels": labels,
            "extra_labels": labels,
            "volumes": [
                {"name": "home", "persistentVolumeClaim": {"claimName": "home-{user_server}"}},
                {"name": "tmp", "emptyDir": {"sizeLimit": "2Gi"}},
                *material["volumes"],
                *([CA_VOLUME] if own_ca else []),
            ],
            "init_containers": material["init_containers"],
            "extra_containers": [],
            "image_pull_secrets": [{"name": name} for name in values["imagePullSecrets"]],
            "profile_list": profiles if len(profiles) > 1 else [],
            "profile_form_template": PROFILES,
            "volume_mounts": [
                {"name": "home", "mountPath": storage["homeMountPath"]},
                {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the pod's own
                *([CA_MOUNT] if own_ca else []),
            ],
            "working_dir": storage["homeMountPath"],
            "automount_service_account_token": False,
            "allow_privilege_escalation": False,
            "uid": 1000,
            "gid": 1000,
            "fs_gid": 1000,
            "pod_security_context": {
                "runAsNonRoot": True,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "container_security_context": {
                "runAsNonRoot": True,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            },
            "node_selector": user["nodeSelector"],
            "tolerations": user["extraTolerations"],
            "extra_resource_guarantees": user["extraResource"]["guarantees"],
            "extra_resource_limits": user["extraResource"]["limits"],
            # A server that crashed is over: its user gets a page with the reason, not a second try behind a spinner.
            "extra_pod_config": {
                "enableServiceLinks": False,
                "restartPolicy": "Never",
                "dnsPolicy": values["dns"]["policy"],
                "dnsConfig": values["dns"]["config"],
                "topologySpreadConstraints": [spread],
            },
        },
        "CourseSpawner": {
            "patience": user["patienceSeconds"],
            "concurrent_starts": user["concurrentStarts"],
            "shared_volumes": user["sharedVolumes"],
            "priority_classes": priority_classes(values),
        },
    }
    result = merged(result, {"KubeSpawner": only})
    if "tolerations" in only:
        result["KubeSpawner"]["tolerations"] = only["tolerations"]
    return result


def sandbox_settings(values: dict[str, Any], spawner: dict[str, Any]) -> dict[str, Any]:
    """Return what a submission may use while it is graded: as much as its author's server, on the same nodes.

    Args:
        values: the chart's `course-hub.config`.
        spawner: the traits of KubeSpawner that everybody gets.

    """
    user = values["singleuser"]
    return {
        "course": values["course"],
        "image": spawner["image"],
        "pullPolicy": user["pullPolicy"],
        "memory": user["memory"],
        "cpu": user["cpu"],
        "nodeSelector": spawner["node_selector"],
        "tolerations": spawner["tolerations"],
        "imagePullSecrets": spawner["image_pull_secrets"],
        "priorityClassName": priority_classes(values).get("staff", ""),
        **user["sandbox"],
    }


def reserve_settings(values: dict[str, Any], spawner: dict[str, Any]) -> dict[str, Any]:
    """Return what a placeholder for a server is; arguments as of `sandbox_settings`."""
    classes = priority_classes(values)
    return {**sandbox_settings(values, spawner), "priorityClassName": PLACEHOLDER if classes else ""}


def settings(values: dict[str, Any], secret: dict[str, str], student: str = "") -> Settings:
    """Return all traits of the course's hub, class -> trait -> value, with `hub.config` over them.

    Args:
        values: the chart's `course-hub.config`.
        secret: fields of the Secret course-secrets.
        student: see `synthetic_student`.

    """
    result: Settings = {}
    for part in (
        hub_settings(values, secret),
        people_settings(),
        probe_settings(secret, student),
        culler_settings(values),
        login_settings(values, student),
        spawner_settings(values),
    ):
        result = merged(result, part)
    result = merged(result, values["config"])
    spawner = result["KubeSpawner"]
    # As Kubernetes writes them; KubeSpawner takes names alone as well.
    pull = spawner["image_pull_secrets"]
    spawner["image_pull_secrets"] = [item if isinstance(item, dict) else {"name": item} for item in pull]
    spawner["profile_list"] = with_ours(spawner["profile_list"], spawner)
    environment = result["Spawner"]["environment"]
    environment |= direct([*values["hosts"].values()], environment)
    return result


def direct(hosts: list[str], environment: dict[str, Any]) -> dict[str, str]:
    """Return what keeps a proxy, which the environment or somebody in it names, away from the course's own addresses.

    Args:
        hosts: names of the course's Services.
        environment: what else is set; its own exceptions stay.

    """
    found = [str(value) for name, value in environment.items() if name.lower() == "no_proxy" and value]
    names = dict.fromkeys(part.strip() for value in found for part in value.split(",") if part.strip())
    # The star is one only if it is alone.
    text = "*" if "*" in names else ",".join(dict.fromkeys([*names, "localhost", "127.0.0.1", "::1", *hosts]))
    return {"NO_PROXY": text, "no_proxy": text}
