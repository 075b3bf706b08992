"""The addresses of the staff pages."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from portal.staff import views

app_name = "staff"
urlpatterns: list[URLPattern | URLResolver] = [
    path("", views.collectors, name="collectors"),
]
