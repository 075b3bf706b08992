"""The Django application `fleet`."""

from __future__ import annotations

from django.apps import AppConfig


class FleetConfig(AppConfig):
    """The application `fleet`."""

    name = "portal.fleet"
    label = "fleet"
