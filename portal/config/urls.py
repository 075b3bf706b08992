"""The portal's addresses."""

from __future__ import annotations

from django.urls import Resolver404, include, path, re_path
from django.views.defaults import page_not_found
from django.views.generic import RedirectView

from portal.api.views import api
from portal.core.language import set_language

urlpatterns = [
    path("api/v1/", api.urls),
    path("hooks/sms/", include("portal.api.sms_hooks")),
    # What the profile does better, and what would put row numbers into addresses, leads there instead.
    path("accounts/2fa/", RedirectView.as_view(pattern_name="resident:security")),
    path("accounts/2fa/webauthn/", RedirectView.as_view(pattern_name="resident:security")),
    re_path(r"^accounts/2fa/webauthn/keys/.*", page_not_found, {"exception": Resolver404()}),
    path("accounts/sessions/", RedirectView.as_view(pattern_name="resident:sign-ins")),
    path("accounts/", include("allauth.urls")),
    path("i18n/setlang/", set_language, name="set_language"),
    path("staff/", include("portal.staff.urls")),
    path("", include("portal.resident.urls")),
]

handler500 = "portal.core.security.server_error"
