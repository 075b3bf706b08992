"""The addresses of the resident pages."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from portal.resident import (
    bills,
    help_pages,
    history,
    household,
    invitation,
    profile,
    register,
    requests,
    security,
    stream,
    views,
)

app_name = "resident"
urlpatterns: list[URLPattern | URLResolver] = [
    path("", views.home, name="home"),
    path("usage/<slug:public_id>/", views.usage, name="usage"),
    path("usage/<slug:public_id>/stream/", stream.changes, name="stream"),
    path("bills/", bills.bills, name="bills"),
    path("bills/<slug:public_id>/", bills.account_bills, name="account-bills"),
    path("bills/<slug:public_id>/delivery/", bills.delivery, name="delivery"),
    path("bills/<slug:public_id>/history/", history.transactions, name="transactions"),
    path("bills/<slug:public_id>/history/payments/", history.payments, name="payments"),
    path("bills/<slug:public_id>/history/transactions.csv", history.transactions_csv, name="transactions-csv"),
    path("bills/<slug:public_id>/history/payments.csv", history.payments_csv, name="payments-csv"),
    path("bill/<slug:public_id>/", bills.bill, name="bill"),
    path("bill/<slug:public_id>/pdf/", bills.pdf, name="bill-pdf"),
    path("preferences/unit/", views.set_unit, name="unit"),
    path("help/", help_pages.help_page, name="help"),
    path("requests/", requests.requests, name="requests"),
    path("requests/new/<slug:kind>/", requests.new, name="new-request"),
    path("requests/<slug:public_id>/", requests.one, name="request"),
    path("requests/<slug:public_id>/withdraw/", requests.withdraw, name="withdraw-request"),
    path("help/security/", help_pages.security, name="help-security"),
    path("help/privacy/", help_pages.privacy, name="help-privacy"),
    path("help/accessibility/", help_pages.accessibility, name="help-accessibility"),
    path("register/", register.register, name="register"),
    path("register/sign-in/", register.register_sign_in, name="register-sign-in"),
    path("profile/", profile.profile, name="profile"),
    path("profile/accounts/", register.accounts, name="accounts"),
    path("profile/accounts/link/", register.link_proved, name="link-proved"),
    path("profile/accounts/<slug:public_id>/unlink/", register.unlink_account, name="unlink-account"),
    path("profile/security/", security.security, name="security"),
    path("profile/security/passkeys/<slug:key>/", security.passkey, name="passkey"),
    path("profile/sign-ins/", security.sign_ins, name="sign-ins"),
    path("profile/sign-ins/end/", security.sign_out_elsewhere, name="sign-out-elsewhere"),
    path("profile/household/", household.choose, name="household"),
    path("profile/household/<slug:public_id>/", household.household, name="household-account"),
    path("profile/household/<slug:public_id>/invite/", household.invite, name="household-invite"),
    path("profile/household/<slug:public_id>/leave/", household.leave, name="household-leave"),
    path("profile/household/<slug:public_id>/guests/<slug:guest>/", household.guest, name="household-guest"),
    path("profile/household/<slug:public_id>/guests/<slug:guest>/remove/", household.remove, name="household-remove"),
    path(
        "profile/household/<slug:public_id>/invitations/<slug:invitation>/again/",
        household.again,
        name="household-again",
    ),
    path(
        "profile/household/<slug:public_id>/invitations/<slug:invitation>/take-back/",
        household.take_back,
        name="household-take-back",
    ),
    path("invitation/<str:token>/", invitation.invitation, name="invitation"),
]
