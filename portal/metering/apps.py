"""The Django application `metering`."""

from __future__ import annotations

from django.apps import AppConfig


class MeteringConfig(AppConfig):
    """The application `metering`."""

    name = "portal.metering"
    label = "metering"
