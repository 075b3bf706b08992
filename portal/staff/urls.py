"""The addresses of the staff pages."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver

app_name = "staff"
urlpatterns: list[URLPattern | URLResolver] = []
