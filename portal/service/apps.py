"""The Django application `service`."""

from __future__ import annotations

from django.apps import AppConfig


class ServiceConfig(AppConfig):
    """The application `service`."""

    name = "portal.service"
    label = "service"
