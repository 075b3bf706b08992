"""The Django application `access`."""

from __future__ import annotations

from django.apps import AppConfig


class AccessConfig(AppConfig):
    """The application `access`."""

    name = "portal.access"
    label = "access"
