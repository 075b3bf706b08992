"""The Django application `ingest`."""

from __future__ import annotations

from django.apps import AppConfig


class IngestConfig(AppConfig):
    """The application `ingest`."""

    name = "portal.ingest"
    label = "ingest"
