"""Write what course_hub_config may hold: `python tests/hub_traits.py > roles/course_hub/files/hub_traits.json`.

The control machine has neither JupyterHub nor KubeSpawner, so their settings are a JSON Schema: class -> trait ->
value, of the versions that the hub's image has. A unit test compares the file with the classes.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import traitlets
from jupyterhub.app import JupyterHub
from jupyterhub.traitlets import ByteSpecification, Command, EntryPointType
from kubernetes_asyncio.client import Configuration, models
from kubespawner import KubeSpawner

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(path) for path in ROOT.glob("images/*/campus_hubs_*/src")]

from campus_hubs_hub.spawner import CourseSpawner  # noqa: E402
from campus_hubs_login import CourseAuthenticator  # noqa: E402

FILE = ROOT / "roles" / "course_hub" / "files" / "hub_traits.json"
BYTES = {
    "type": ["integer", "number", "string"],
    "pattern": r"^[0-9]+(\.[0-9]+)?[KMGT]$",
    "minimum": 0,
    "title": "bytes, or a size in K, M, G or T, such as 512M",
}
# What KubeSpawner makes of the items of its untyped lists (kubespawner/objects.py).
ITEMS = {
    "extra_containers": "V1Container",
    "init_containers": "V1Container",
    "node_affinity_preferred": "V1PreferredSchedulingTerm",
    "node_affinity_required": "V1NodeSelectorTerm",
    "pod_affinity_preferred": "V1WeightedPodAffinityTerm",
    "pod_affinity_required": "V1PodAffinityTerm",
    "pod_anti_affinity_preferred": "V1WeightedPodAffinityTerm",
    "pod_anti_affinity_required": "V1PodAffinityTerm",
    "tolerations": "V1Toleration",
    "volume_mounts": "V1VolumeMount",
    "volumes": "V1Volume",
}
OBJECTS = {
    "container_security_context": "V1SecurityContext",
    "extra_container_config": "V1Container",
    "extra_pod_config": "V1PodSpec",
    "lifecycle_hooks": "V1Lifecycle",
    "pod_security_context": "V1PodSecurityContext",
    "storage_selector": "V1LabelSelector",
}
TEXT = {"type": "string"}
LIST, DICT = {"type": "array", "items": TEXT}, {"type": "object", "additionalProperties": TEXT}
QUANTITY = {"type": ["integer", "number", "string"]}
QUANTITIES = {"type": "object", "additionalProperties": QUANTITY}
NAMED = {"type": "object", "required": ["name"], "properties": {"name": {**TEXT, "minLength": 1}}}
ENVIRONMENT = {"anyOf": [TEXT, {"type": "object", "properties": {"name": TEXT, "value": TEXT}}]}
# What the hub, or the API server, makes of values that the classes have no type for.
UNTYPED: dict[str, dict[str, Any]] = {
    "additional_profile_form_template_paths": LIST,
    "common_labels": DICT,
    "env_keep": LIST,
    "environment": {"type": "object", "additionalProperties": ENVIRONMENT},
    "extra_annotations": DICT,
    "extra_handlers": {"type": "array", "maxItems": 0},
    "extra_labels": DICT,
    "extra_resource_guarantees": QUANTITIES,
    "extra_resource_limits": QUANTITIES,
    "load_roles": {"type": "array", "items": NAMED},
    "node_selector": DICT,
    "profile_list": {"type": "array", "items": {"type": "object"}},
    "services": {"type": "array", "items": NAMED},
    "storage_access_modes": LIST,
    "storage_extra_annotations": DICT,
    "storage_extra_labels": DICT,
    "supplemental_gids": {"type": "array", "items": {"type": "integer"}},
    "template_paths": LIST,
    "user_namespace_annotations": DICT,
    "user_namespace_labels": DICT,
}
# Fields that KubeSpawner fills in itself.
GIVEN = {"extra_container_config": {"name"}, "extra_pod_config": {"containers"}}


class Generator:
    """Makes schemas of traits, and of the Kubernetes objects that they hold."""

    def __init__(self) -> None:
        """Begin without definitions."""
        self.definitions: dict[str, dict[str, Any]] = {}

    def trait(self, name: str, trait: traitlets.TraitType[Any, Any]) -> dict[str, Any]:
        """Return the schema of one trait's values."""
        if name in ITEMS:
            item = self.object(ITEMS[name])
            return {"anyOf": [{"type": "array", "items": item}, {"type": "object", "additionalProperties": item}]}
        if name in OBJECTS:
            return self.object(OBJECTS[name], given=GIVEN.get(name, set()))
        if name in UNTYPED:
            return UNTYPED[name]
        schema = self.kind(name, trait)
        if trait.allow_none and schema and schema != {"type": "null"}:
            return {"anyOf": [schema, {"type": "null"}]}
        return schema

    def kind(self, name: str, trait: traitlets.TraitType[Any, Any]) -> dict[str, Any]:  # noqa: PLR0911 - one per kind
        """Return the schema of a kind of trait, without its None."""
        if isinstance(trait, ByteSpecification):
            return BYTES
        if isinstance(trait, Command):
            return {"anyOf": [TEXT, {**LIST, "minItems": trait._minlen}]}
        if isinstance(trait, traitlets.Union):
            kinds = [kind for part in trait.trait_types if (kind := self.kind(name, part)) != {"type": "null"}]
            return kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
        if isinstance(trait, traitlets.Enum):
            return {"enum": list(trait.values or ())}
        if isinstance(trait, traitlets.Dict):
            values: Any = trait._value_trait
            return {"type": "object", **({"additionalProperties": self.kind("", values)} if values else {})}
        if isinstance(trait, traitlets.Container):
            items = trait._trait or (traitlets.Unicode() if isinstance(trait, traitlets.Set) else None)
            inner = self.kind("", items) if items else {}
            # Of objects only the empty list can be written.
            return {"type": "array", **({"maxItems": 0} if inner == {"type": "null"} else {"items": inner})}
        if isinstance(trait, traitlets.Bool):
            return {"type": "boolean"}
        if isinstance(trait, (traitlets.Int, traitlets.Float)):
            limits = {"minimum": trait.min, "maximum": trait.max}
            number = "integer" if isinstance(trait, traitlets.Int) else "number"
            return {"type": number, **{word: limit for word, limit in limits.items() if limit is not None}}
        if isinstance(trait, traitlets.Unicode):
            return TEXT
        if isinstance(trait, EntryPointType):
            return {"enum": sorted(trait.load_entry_points())}
        # Functions and other objects: there is no writing them in an inventory.
        return {} if isinstance(trait, traitlets.Any) and not name.endswith("hook") else {"type": "null"}

    def object(self, model: str, given: set[str] = frozenset()) -> dict[str, Any]:  # type: ignore[assignment]
        """Return the schema of a Kubernetes object as KubeSpawner takes it: its own fields in snake case as well."""
        here = f"{model}-part" if given else f"{model}-own"
        if here in self.definitions:
            return {"$ref": f"#/$defs/{here}"}
        cls = getattr(models, model)
        fields = {
            spelling: self.field(kind)
            for name, kind in cls.openapi_types.items()
            for spelling in (name, cls.attribute_map[name])
        }
        needed = [name for name in required(model) if name not in given and name == cls.attribute_map[name]]
        self.definitions[here] = self.fields(fields, needed)
        return {"$ref": f"#/$defs/{here}"}

    def fields(self, fields: dict[str, dict[str, Any]], needed: list[str]) -> dict[str, Any]:
        """Return the schema of an object with these fields and no others."""
        # Sizes are written as text or as numbers.
        fields |= dict.fromkeys(fields.keys() & {"limits", "requests"}, QUANTITIES)
        fields |= dict.fromkeys(fields.keys() & {"sizeLimit", "size_limit"}, QUANTITY)
        known = {"type": "object", "properties": dict(sorted(fields.items())), "additionalProperties": False}
        return {**known, "required": needed} if needed else known

    def field(self, kind: str) -> dict[str, Any]:
        """Return the schema of a field by the client's name for its type."""
        if match := re.fullmatch(r"list\[(.*)\]", kind):
            return {"type": "array", "items": self.field(match[1])}
        if match := re.fullmatch(r"dict\((\w+), (.*)\)", kind):
            return {"type": "object", "additionalProperties": self.field(match[2])}
        plain = {"str": "string", "int": "integer", "bool": "boolean", "float": "number", "datetime": "string"}
        if kind in plain:
            return {"type": plain[kind]}
        if kind == "object":
            return {}
        if kind not in self.definitions:
            self.definitions[kind] = {}
            cls = getattr(models, kind)
            fields = {cls.attribute_map[name]: self.field(inner) for name, inner in cls.openapi_types.items()}
            self.definitions[kind] = self.fields(fields, [cls.attribute_map[name] for name in required(kind)])
        return {"$ref": f"#/$defs/{kind}"}


def required(model: str) -> list[str]:
    """Return the fields without which the client makes no object, as it names them."""
    found: dict[str, Any] = {}
    while True:
        configuration = Configuration()
        configuration.client_side_validation = True
        try:
            getattr(models, model)(**found, local_vars_configuration=configuration)
        except ValueError as error:
            match = re.search(r"`(\w+)`, must not be `None`", str(error))
            if not match:
                return [*found]
            found[match[1]] = ""
        else:
            return [*found]


def classes() -> list[type[traitlets.HasTraits]]:
    """Return all classes whose settings the hub reads, and their ancestors with settings."""
    hubs = [JupyterHub, CourseSpawner, KubeSpawner, CourseAuthenticator, *JupyterHub().classes]
    found = {cls: None for hub in hubs for cls in hub.__mro__ if hasattr(cls, "class_traits")}
    return sorted((cls for cls in found if cls.class_traits(config=True)), key=lambda cls: cls.__name__)


def schema() -> dict[str, Any]:
    """Return the whole schema."""
    generator = Generator()
    properties = {
        cls.__name__: {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                name: generator.trait(name, trait) for name, trait in sorted(cls.class_traits(config=True).items())
            },
        }
        for cls in classes()
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "$defs": dict(sorted(generator.definitions.items())),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(schema(), indent=1) + "\n")
