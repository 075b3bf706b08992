"""The Django application `alerts`."""

from __future__ import annotations

from django.apps import AppConfig


class AlertsConfig(AppConfig):
    """The application `alerts`."""

    name = "portal.alerts"
    label = "alerts"
