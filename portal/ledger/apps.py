"""The Django application `ledger`."""

from __future__ import annotations

from django.apps import AppConfig


class LedgerConfig(AppConfig):
    """The application `ledger`."""

    name = "portal.ledger"
    label = "ledger"
