"""The hub of one course: its configuration, its spawner, and what it does beside serving pages.

`configuration.py` is what its jupyterhub_config.py calls; `settings.py` computes JupyterHub's traits without a cluster.
"""
