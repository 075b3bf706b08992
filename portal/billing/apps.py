"""The Django application `billing`."""

from __future__ import annotations

from django.apps import AppConfig


class BillingConfig(AppConfig):
    """The application `billing`."""

    name = "portal.billing"
    label = "billing"

    def ready(self) -> None:
        """Let messages carry bills."""
        from portal.billing.delivery import register_attachment

        register_attachment()
