"""The Django application of the resident pages."""

from __future__ import annotations

from django.apps import AppConfig


class ResidentConfig(AppConfig):
    """The resident pages."""

    name = "portal.resident"
    label = "resident"
