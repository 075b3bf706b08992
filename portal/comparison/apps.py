"""The Django application `comparison`."""

from __future__ import annotations

from django.apps import AppConfig


class ComparisonConfig(AppConfig):
    """The application `comparison`."""

    name = "portal.comparison"
    label = "comparison"
