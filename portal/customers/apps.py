"""The Django application `customers`."""

from __future__ import annotations

from django.apps import AppConfig


class CustomersConfig(AppConfig):
    """The application `customers`."""

    name = "portal.customers"
    label = "customers"
