"""The portal's addresses."""

from __future__ import annotations

from django.urls import include, path

from portal.api.views import api
from portal.core.language import set_language

urlpatterns = [
    path("api/v1/", api.urls),
    path("accounts/", include("allauth.urls")),
    path("i18n/setlang/", set_language, name="set_language"),
    path("staff/", include("portal.staff.urls")),
    path("", include("portal.resident.urls")),
]
