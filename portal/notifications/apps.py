"""The Django application `notifications`."""

from __future__ import annotations

from django.apps import AppConfig


class NotificationsConfig(AppConfig):
    """The application `notifications`."""

    name = "portal.notifications"
    label = "notifications"
