"""The addresses of the resident pages."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from portal.resident import bills, profile, stream, views

app_name = "resident"
urlpatterns: list[URLPattern | URLResolver] = [
    path("", views.home, name="home"),
    path("usage/<slug:public_id>/", views.usage, name="usage"),
    path("usage/<slug:public_id>/stream/", stream.changes, name="stream"),
    path("bills/", bills.bills, name="bills"),
    path("bills/<slug:public_id>/", bills.account_bills, name="account-bills"),
    path("bills/<slug:public_id>/delivery/", bills.delivery, name="delivery"),
    path("bill/<slug:public_id>/", bills.bill, name="bill"),
    path("bill/<slug:public_id>/pdf/", bills.pdf, name="bill-pdf"),
    path("preferences/unit/", views.set_unit, name="unit"),
    path("profile/", profile.profile, name="profile"),
]
