"""The Django application `notifications`."""

from __future__ import annotations

from django.apps import AppConfig


class NotificationsConfig(AppConfig):
    """The application `notifications`."""

    name = "portal.notifications"
    label = "notifications"

    def ready(self) -> None:
        """Listen for addresses that their owners confirm."""
        from allauth.account.signals import email_confirmed

        from portal.notifications.bounces import clear_when_confirmed

        email_confirmed.connect(clear_when_confirmed, dispatch_uid="portal.notifications.bounces")
