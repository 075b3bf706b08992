"""The Django application `access`."""

from __future__ import annotations

from django.apps import AppConfig


class AccessConfig(AppConfig):
    """The application `access`."""

    name = "portal.access"
    label = "access"

    def ready(self) -> None:
        """Connect what follows from sign-ins."""
        from portal.access import receivers  # noqa: F401  # importing connects
