"""The Django application of the staff pages."""

from __future__ import annotations

from django.apps import AppConfig


class StaffConfig(AppConfig):
    """The staff pages."""

    name = "portal.staff"
    label = "staff"
