"""Pages of formgrader that run nothing but their own scripts: names, ids and hand-ins are text."""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib.util
import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jinja2 import BaseLoader, ChoiceLoader, DictLoader, Environment, FileSystemLoader
from markupsafe import Markup
from nbconvert.exporters import HTMLExporter
from nbgrader.server_extensions.formgrader import handlers

from . import names
from .cputime import TEXTS

if TYPE_CHECKING:
    from collections.abc import Callable

TEMPLATES: Final = Path(handlers.template_path)
# Stands in templates where a page gets its nonce; nobody outside of this process knows it.
_MARK: Final = secrets.token_hex(16)
# nbconvert's filters that make HTML.
_HTML_FILTERS: Final = {
    *("ansi2html", "clean_html", "escape_html", "escape_html_keep_quotes", "escape_html_script"),
    *("highlight_code", "markdown2html", "strip_files_prefix"),
}
# MathJax takes its configuration from there (docs.mathjax.org, 2.7, "Using plain JavaScript"): it evaluates none.
_MATHJAX: Final = """
{%- macro mathjax(url="") -%}
<script>
window.MathJax = {
  TeX: {equationNumbers: {autoNumber: "AMS", useLabelIds: true}},
  tex2jax: {
    inlineMath: [["$", "$"], ["\\\\(", "\\\\)"]], displayMath: [["$$", "$$"], ["\\\\[", "\\\\]"]],
    processEscapes: true, processEnvironments: true,
  },
  displayAlign: "center", messageStyle: "none", menuSettings: {zoom: "None"}, showMathMenu: false,
};
</script>
<script src="{{ mathjax_url }}"></script>
{%- endmacro -%}
"""


# What nbgrader's page of assignments lacks: why something was refused, and assignments that were made elsewhere.
_ASSIGNMENTS: Final = {
    "{%- block messages -%}": """
{% for sentence in name_problems() %}<div class="alert alert-warning" role="alert">{{ sentence }}</div>{% endfor %}
""",
    "{%- block head -%}": """
<script>
document.addEventListener("DOMContentLoaded", function () {
    $(document).ajaxError(function (event, answer) {
        var said = answer.responseJSON && answer.responseJSON.message;
        if (said) {
            createModal("refused-modal", "Not saved", $("<p/>").text(said)).on("hidden.bs.modal", function () {
                location.reload();
            });
        }
    });
});
</script>
""",
}


def mathjax_folder() -> Path | None:
    """Return the folder of the image's MathJax, None if there is none."""
    found = importlib.util.find_spec("jupyter_server_mathjax")
    return Path(found.origin).parent / "static" if found and found.origin else None


@functools.cache
def _handlers() -> str:
    """Return the sources for a Content-Security-Policy of the event handlers that formgrader's templates have."""
    texts = {
        text
        for path in TEMPLATES.rglob("*")
        if path.is_file()
        for text in re.findall(r'\son\w+="([^"]*)"', path.read_text(encoding="utf-8"), re.IGNORECASE)
    }
    sums = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in sorted(texts))
    return " ".join(f"'sha256-{each}'" for each in sums)


def policy(nonce: str) -> str:
    """Return a Content-Security-Policy (Level 3) for a page whose scripts have the nonce."""
    return "; ".join(
        [
            "default-src 'self'",
            f"script-src 'nonce-{nonce}' 'strict-dynamic' 'unsafe-hashes' {_handlers()}".rstrip(),
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data:",
            "font-src 'self' data:",
            "object-src 'none'",
            "base-uri 'none'",
            "form-action 'self'",
        ]
    )


def with_nonce(html: str, nonce: str) -> str:
    """Give a page's own scripts its nonce."""
    return html.replace(_MARK, nonce)


class _Own(BaseLoader):
    """Loads templates and marks the scripts in them as ours.

    Args:
        loader: has the templates.

    """

    def __init__(self, loader: Any) -> None:  # noqa: ANN401 - any of Jinja's
        """See the class."""
        self._loader = loader

    def get_source(self, environment: Environment, template: str) -> tuple[str, Any, Any]:
        """Return a template's source."""
        if template.endswith("mathjax.html.j2"):
            source, name, current = _MATHJAX, template, None
        else:
            # formgrader's page "not found" asks for it by its old name.
            asked = template.replace("formgrade_macros.tpl", "formgrade/formgrade_macros.html.j2")
            source, name, current = self._loader.get_source(environment, asked)
        if template == "manage_assignments.tpl":
            for block, more in _ASSIGNMENTS.items():
                source = source.replace(block, block + more)
        if Path(template).suffix in {".tpl", ".j2"}:
            source = re.sub(r"<script\b", f'<script nonce="{_MARK}"', source)
            # Between quotes of a script nothing is HTML.
            source = re.sub(
                r'^(\s*var \w+ = )"\{\{ ([\w.]+) \}\}([^"]*)";$',
                r'\1{{ (\2 ~ "\3") | string | tojson }};',
                source,
                flags=re.MULTILINE,
            )
        return source, name, current


def environment() -> Environment:
    """Return the environment of formgrader's pages."""
    made = Environment(loader=_Own(FileSystemLoader(TEMPLATES)), autoescape=True)
    made.globals["name_problems"] = names.problems
    return made


def _markup(plain: Callable[..., Any]) -> Callable[..., Any]:
    """Let a filter's result count as HTML; it gets plain text, whose methods escape nothing."""

    def made(*arguments: Any, **options: Any) -> Markup:  # noqa: ANN401 - any filter
        given = [str.__str__(each) if isinstance(each, Markup) else each for each in arguments]
        return Markup(plain(*given, **options))  # noqa: S704 - it is nbconvert's

    if hasattr(plain, "jinja_pass_arg"):
        made.jinja_pass_arg = plain.jinja_pass_arg  # type: ignore[attr-defined]
    return made


def _replace(text: object, old: object, new: str) -> Markup:
    """Replace in a text; what is put in is the template's own."""
    return Markup(str(Markup.escape(text)).replace(str(old), new))  # noqa: S704


class EscapingExporter(HTMLExporter):
    """nbconvert's HTML, where a notebook's ids, metadata and names are text, and all texts together have an end."""

    def from_notebook_node(self, nb: Any, resources: Any = None, **options: Any) -> Any:  # noqa: ANN401 - nbconvert's
        """Make a page."""
        with TEXTS.page():
            return super().from_notebook_node(nb, resources, **options)

    def _create_environment(self) -> Environment:
        made: Environment = super()._create_environment()  # type: ignore[no-untyped-call]
        made.autoescape = True
        made.filters["replace"] = _replace
        return made

    def _register_filter(self, environ: Environment, name: str, jinja_filter: Any) -> Any:  # noqa: ANN401
        result = super()._register_filter(environ, name, jinja_filter)  # type: ignore[no-untyped-call]
        if name in _HTML_FILTERS and name in environ.filters:
            environ.filters[name] = _markup(environ.filters[name])
        return result

    def _preprocess(self, nb: Any, resources: Any) -> tuple[Any, Any]:  # noqa: ANN401 - nbconvert's
        nb, resources = super()._preprocess(nb, resources)  # type: ignore[no-untyped-call]
        inlining = resources.get("inlining", {})
        inlining["css"] = [Markup(sheet) for sheet in inlining.get("css", [])]  # noqa: S704 - nbconvert's own
        return nb, resources


class FeedbackExporter(EscapingExporter):
    """Feedback, which a student opens as a file: it asks nobody for scripts, and shows formulas as they were typed."""

    def _create_environment(self) -> Environment:
        made = super()._create_environment()
        without = DictLoader({"mathjax.html.j2": "{%- macro mathjax(url='') -%}{%- endmacro -%}"})
        made.loader = ChoiceLoader([without, *([made.loader] if made.loader else [])])
        return made


class FormgradeExporter(EscapingExporter):
    """A hand-in as formgrader shows it.

    Args:
        mathjax_url: of the image's MathJax, with its configuration.

    """

    def __init__(self, mathjax_url: str, **options: Any) -> None:  # noqa: ANN401 - traits
        """See the class."""
        self._mathjax_url = mathjax_url
        super().__init__(**options)  # type: ignore[no-untyped-call]

    def _create_environment(self) -> Environment:
        made = super()._create_environment()
        made.loader = _Own(made.loader)
        made.globals["mathjax_url"] = self._mathjax_url
        return made
