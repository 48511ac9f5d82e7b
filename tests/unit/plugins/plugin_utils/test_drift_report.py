"""The drift report: what it says of courses and certificates, and that its page holds whatever people write."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.campus.hubs.plugins.plugin_utils.certificates import (
    cluster_certificates,
    course_certificates,
)
from ansible_collections.campus.hubs.plugins.plugin_utils.drift_report import (
    metrics,
    page,
    report_document,
    write_report,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.unit.plugins.courses import LATER, NOW, FewObjects, secret, states


def report(tmp_path: Path, api: FewObjects, *courses: str, values: Any = None) -> dict[str, Any]:  # noqa: ANN401
    found = [state.document() for state in states(tmp_path, api, *courses, values=values).values()]
    return report_document(found, datetime(2026, 11, 24, 12, tzinfo=UTC), "apply")


def test_a_clean_report_names_no_course(tmp_path: Path) -> None:
    document = report(tmp_path, FewObjects(secret("a")), "a")
    assert (document["clean"], document["courses"], document["states"]["in_sync"]) == (True, [], 1)
    assert "All courses are in sync" in page(document)
    assert 'campus_hubs_courses{state="in_sync"} 1\n' in metrics(document)
    assert metrics(document).endswith(f"{document_time(document)}\n")


def document_time(document: dict[str, Any]) -> str:
    return f"campus_hubs_drift_report_timestamp_seconds {datetime.fromisoformat(document['time']).timestamp():.0f}"


def test_a_report_names_class_author_and_action(tmp_path: Path) -> None:
    api = FewObjects(secret("a"), secret("b", "failed"), secret("gone"))
    api.add("ConfigMap", "<b>notes")
    document = report(tmp_path, api, "a", "b", "c", values={"a": 1})
    courses = {course["course"]: course for course in document["courses"]}
    assert {name: course["action"] for name, course in courses.items()} == {
        "a": "none",
        "b": "deploy",
        "c": "deploy",
        "gone": "none",
    }
    entry_of = {name: course["entries"][0] for name, course in courses.items()}
    classes = {name: item["class"] for name, item in entry_of.items()}
    assert classes == {"a": "hand edit", "b": "interrupted deployment", "c": "inventory change", "gone": "orphan"}
    assert (entry_of["a"]["manager"], entry_of["a"]["time"]) == ("kubectl-create", LATER)
    assert 'campus_hubs_course_findings{course="a",class="hand edit"} 1' in metrics(document)
    html = page(document)
    assert "&lt;b&gt;notes" in html
    assert "<b>" not in html
    assert "http" not in html  # needs nothing else
    json.dumps(document)


def test_values_have_a_class_each(tmp_path: Path) -> None:
    config = {"checksum": {"chart": "1", "secrets": "1"}, "hub": {"image": {"name": "r@1"}}, "title": "x"}
    wanted = {"checksum": {"chart": "2", "secrets": "2"}, "hub": {"image": {"name": "r@2"}}, "title": "y"}
    document = report(tmp_path, FewObjects(secret("a", config=config)), "a", values=wanted)
    found = {item["path"]: item["class"] for item in document["courses"][0]["entries"]}
    assert found == {
        "$.checksum.chart": "version",
        "$.checksum.secrets": "secret",
        "$.hub.image.name": "version",
        "$.title": "inventory change",
    }


@pytest.mark.parametrize("deployed", ["2026-11-24T10:59:59.9Z", "2026-11-24T12:30:00.1+02:00"])
def test_who_changed_a_secret_after_the_deployment_is_named(tmp_path: Path, deployed: str) -> None:
    release = secret("a", config={"checksum": {"secrets": "1"}}, info={"status": "deployed", "last_deployed": deployed})
    api = FewObjects(release)
    api.add("Secret", "course-secrets", labels={"app.kubernetes.io/managed-by": "campus.hubs"})
    document = report(tmp_path, api, "a", values={"checksum": {"secrets": "2"}})
    found = {item["path"]: (item["class"], item["manager"], item["time"]) for item in document["courses"][0]["entries"]}
    assert found == {"$.checksum.secrets": ("secret", "kubectl-create", LATER)}


def tls_secret(days: float, course: str = "a") -> dict[str, Any]:
    """Return a Secret with a certificate that ends after some days."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hub")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, NOW - timedelta(1), NOW + timedelta(days))
    pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    metadata = {"name": "tls", "namespace": f"course-{course}"}
    return {"metadata": metadata, "data": {"tls.crt": base64.b64encode(pem).decode()}}


@pytest.mark.parametrize(("days", "soon"), [(20.5, False), (13.5, True), (-1.0, True)])
def test_a_certificate_that_ends_soon_is_reported(tmp_path: Path, days: float, soon: bool) -> None:
    api = FewObjects(secret("a"))
    courses = states(tmp_path, api, "a")
    api.others["Secret"] = [tls_secret(days), tls_secret(1, "of-another"), {"metadata": tls_secret(1)["metadata"]}]
    names = {("course-a", "tls"): "a"}
    found = course_certificates(api, names)  # type: ignore[arg-type]
    document = report_document([state.document() for state in courses.values()], NOW, "report", found)
    (end,) = document["certificates"]
    assert (end["name"], end["course"], end["days"], end["soon"]) == ("Secret tls", "a", int(days // 1), soon)
    assert ("expiring certificate" in page(document)) is soon
    assert document["clean"] is not soon
    line = 'campus_hubs_certificate_end_timestamp_seconds{name="Secret tls",course="a"}'
    assert f"{line} {(NOW + timedelta(days)).timestamp():.0f}" in metrics(document)


def test_no_list_is_made_for_courses_without_certificates() -> None:
    api = FewObjects()
    assert course_certificates(api, {}) == []  # type: ignore[arg-type]
    assert api.calls == 0


def test_the_api_server_s_and_the_kubeconfig_s_ends_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    pem = base64.b64decode(tls_secret(29.5)["data"]["tls.crt"])
    asked = []

    def answer(address: tuple[str, int], timeout: float) -> str:
        asked.append(address)
        return pem.decode()

    monkeypatch.setattr("ssl.get_server_certificate", answer)
    found = cluster_certificates("https://192.0.2.11:6443", pem.decode())
    assert asked == [("192.0.2.11", 6443)]
    assert [(end.name, end.document(NOW)["soon"]) for end in found] == [("API server", True), ("kubeconfig", True)]


HOSTILE = """</td><script>alert('1')</script>" onload='x' &amp; {{ 7 * 7 }} {% raw %}"""


def test_whatever_people_write_is_text_on_the_page() -> None:
    """Names, values and authors are anybody's; the template's own marks in them are nothing."""
    entry = dict.fromkeys(("class", "kind", "name", "what", "path", "manager", "time", "note"), HOSTILE)
    entries = [{**entry, "wanted": wanted, "found": HOSTILE} for wanted in (HOSTILE, [HOSTILE], {HOSTILE: 1}, None)]
    course = {"course": HOSTILE, "state": HOSTILE, "consequences": [HOSTILE], "action": "none"}
    end = {"soon": True, "course": HOSTILE, "name": HOSTILE, "ends": HOSTILE, "days": 1}
    shown = {**course, "entries": [{**one, "what": "changed"} for one in entries]}
    html = page({"time": HOSTILE, "mode": "check", "states": {"drifted": 1}, "courses": [shown], "certificates": [end]})
    assert "<script" not in html
    assert " onload='x'" not in html
    assert html.count("&lt;script&gt;") >= 40
    assert "&amp;amp; {{ 7 * 7 }} {% raw %}" in html
    assert html.count('<span class="soft">absent</span>') == 1


def test_the_report_is_written_as_three_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.unit.plugins.courses.FewObjects.connection", CONNECTION, raising=False)
    monkeypatch.setattr("ssl.get_server_certificate", lambda *_, **__: "")
    api = FewObjects(secret("a", "failed"))
    found = [{**state.document(), "tls_secret": "tls"} for state in states(tmp_path, api, "a").values()]
    api.others["Secret"] = [tls_secret(-1.5)]
    said = write_report(tmp_path / "new" / "drift", "report", api, found)  # type: ignore[arg-type]
    assert [line.partition(" ends in ")[0] for line in said] == ["the certificate of Secret tls"]
    assert {path.name for path in (tmp_path / "new" / "drift").iterdir()} == {f"drift.{end}" for end in FORMS}
    document = json.loads((tmp_path / "new" / "drift" / "drift.json").read_text())
    assert (document["mode"], document["states"]["stuck"], document["clean"]) == ("report", 1, False)
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        write_report(tmp_path / "file" / "drift", "report", api, found)  # type: ignore[arg-type]


FORMS = ("json", "html", "prom")
CONNECTION = SimpleNamespace(server="https://192.0.2.11:6443", certificate="")
