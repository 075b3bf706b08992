"""The Django application `billing`."""

from __future__ import annotations

from django.apps import AppConfig


class BillingConfig(AppConfig):
    """The application `billing`."""

    name = "portal.billing"
    label = "billing"
