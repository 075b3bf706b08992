"""The addresses of the staff pages."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from portal.staff import (
    accounts,
    banners,
    bills,
    books,
    customer_view,
    leaks,
    money,
    people,
    rates,
    requests,
    runs,
    settings,
    vee,
    views,
)
from portal.staff.foreign import foreign
from portal.staff.imports import import_template, imports
from portal.staff.letters import refused
from portal.staff.message_pages import message, messages
from portal.staff.vee_import import import_reads

app_name = "staff"
urlpatterns: list[URLPattern | URLResolver] = [
    path("", accounts.search, name="accounts"),
    path("accounts/<slug:public_id>/", accounts.account, name="account"),
    path("accounts/<slug:public_id>/delivery/", accounts.delivery, name="account-delivery"),
    path("accounts/<slug:public_id>/final/", accounts.final, name="account-final"),
    path("accounts/<slug:public_id>/next-bill/", accounts.next_bill, name="account-preview"),
    path("accounts/<slug:public_id>/look/", customer_view.look, name="look-account"),
    path("accounts/<slug:public_id>/tries/", customer_view.clear, name="clear-tries"),
    path("look/end/", customer_view.end, name="end-look"),
    path("agreements/<slug:public_id>/", accounts.agreement, name="agreement"),
    path("bills/", bills.bills, name="bills"),
    path("bills/held/", bills.held, name="held"),
    path("bills/<slug:public_id>/", bills.bill, name="bill"),
    path("bills/<slug:public_id>/adjust/", money.adjust_bill, name="adjust-bill"),
    path("bills/<slug:public_id>/lines/<int:position>/", bills.line, name="bill-line"),
    path("bills/<slug:public_id>/sheet/", bills.sheet, name="bill-sheet"),
    path("bills/<slug:public_id>/bill.pdf", bills.pdf, name="bill-pdf"),
    path("runs/", runs.runs, name="runs"),
    path("runs/<slug:public_id>/", runs.run, name="run"),
    path("cycles/", runs.cycles, name="cycles"),
    path("rates/", rates.rates, name="rates"),
    path("rates/new/", rates.upload, name="rate-upload"),
    path("rates/compare/", rates.compare, name="rate-compare"),
    path("rates/<slug:public_id>/", rates.rate_book, name="rate-book"),
    path("reads/", vee.findings, name="findings"),
    path("reads/findings/<slug:public_id>/", vee.finding, name="finding"),
    path("reads/new/", vee.enter_read, name="enter-read"),
    path("reads/import/", import_reads, name="import-reads"),
    path("reads/entered/", vee.entered, name="entered"),
    path("reads/entered/<slug:public_id>/", vee.entered_read, name="entered-read"),
    path("adjustments/", money.adjustments, name="adjustments"),
    path("adjustments/<slug:public_id>/", money.adjustment, name="adjustment"),
    path("payments/new/", money.payment, name="payment"),
    path("journal/", books.journal, name="journal"),
    path("journal/<slug:public_id>/", books.entry, name="entry"),
    path("aging/", books.ages, name="aging"),
    path("places/<slug:public_id>/usage/", views.look, name="look"),
    path("leaks/", leaks.listing, name="leaks"),
    path("leaks/leaks.csv", leaks.leak_file, name="leak-file"),
    path("leaks/<slug:public_id>/", leaks.leak, name="leak"),
    path("people/<slug:public_id>/", people.person, name="person"),
    path("requests/", requests.requests, name="requests"),
    path("requests/<slug:public_id>/", requests.one, name="request"),
    path("banners/", banners.banners, name="banners"),
    path("banners/new/", banners.new, name="new-banner"),
    path("banners/<slug:public_id>/", banners.banner, name="banner"),
    path("banners/<slug:public_id>/end/", banners.end, name="end-banner"),
    path("settings/", settings.settings, name="settings"),
    path("settings/<slug:group>/", settings.settings, name="settings-group"),
    path("imports/", imports, name="imports"),
    path("imports/<slug:kind>.csv", import_template, name="import-template"),
    path("refused/", refused, name="refused"),
    path("messages/", messages, name="messages"),
    path("messages/<slug:public_id>/", message, name="message"),
    path("foreign/", foreign, name="foreign"),
    path("<slug:name>/", views.listing, name="list"),
]
