"""The portal's addresses."""

from __future__ import annotations

from django.urls import include, path

from portal.api.views import api

urlpatterns = [
    path("api/v1/", api.urls),
    path("accounts/", include("allauth.urls")),
    path("i18n/", include("django.conf.urls.i18n")),
    path("staff/", include("portal.staff.urls")),
    path("", include("portal.resident.urls")),
]
