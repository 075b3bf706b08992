"""The addresses of the staff pages."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from portal.staff import views
from portal.staff.foreign import foreign
from portal.staff.letters import refused

app_name = "staff"
urlpatterns: list[URLPattern | URLResolver] = [
    path("", views.listing, name="collectors"),
    path("places/<slug:public_id>/usage/", views.look, name="look"),
    path("refused/", refused, name="refused"),
    path("foreign/", foreign, name="foreign"),
    path("<slug:name>/", views.listing, name="list"),
]
