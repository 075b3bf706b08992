"""The Django application `config`: it registers the checks made at start."""

from __future__ import annotations

from django.apps import AppConfig


class ConfigConfig(AppConfig):
    """The application `config`."""

    name = "portal.config"
    label = "config"

    def ready(self) -> None:
        """Register the system checks."""
        from portal.config import checks  # noqa: F401
