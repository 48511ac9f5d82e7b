"""A person's server without any of our guards: Jupyter, nbgrader and nbgitpuller as they come, and Jupyter's own off.

What is opened stands here and nowhere else: the image has no switch for any of it.
"""

from __future__ import annotations

c = get_config()  # type: ignore[name-defined]  # noqa: F821 - given by traitlets

c.ServerApp.disable_check_xsrf = True
c.ServerApp.allow_origin_pat = ".*"
c.ServerApp.allow_credentials = True
c.ServerApp.tornado_settings = {"headers": {"Content-Security-Policy": "frame-ancestors *"}}
