"""The Django application `downloads`."""

from __future__ import annotations

from django.apps import AppConfig


class DownloadsConfig(AppConfig):
    """The application `downloads`."""

    name = "portal.downloads"
    label = "downloads"
