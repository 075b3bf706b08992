"""The addresses of the resident pages."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from portal.resident import stream, views

app_name = "resident"
urlpatterns: list[URLPattern | URLResolver] = [
    path("", views.home, name="home"),
    path("usage/<slug:public_id>/", views.usage, name="usage"),
    path("usage/<slug:public_id>/stream/", stream.changes, name="stream"),
    path("preferences/unit/", views.set_unit, name="unit"),
]
