"""The Django application `core`."""

from __future__ import annotations

from django.apps import AppConfig


class CoreConfig(AppConfig):
    """The application `core`."""

    name = "portal.core"
    label = "core"
