"""The Django application `api`."""

from __future__ import annotations

from django.apps import AppConfig


class ApiConfig(AppConfig):
    """The application `api`."""

    name = "portal.api"
    label = "api"
