"""The JSON API, version 1."""

from __future__ import annotations

from ninja import NinjaAPI

api = NinjaAPI(title="Headwater portal", version="1", docs_url=None, openapi_url="/openapi.json", urls_namespace="api")
