"""Bills for the browser tests of residents' pages: `python -m tests.browser.my_bills` beside a portal."""

from __future__ import annotations

from datetime import date

import django

HOLDER, NEWCOMER = "gil@example.org", "hana@example.org"
NUMBER = "2000001"
_WAYS = [
    {
        "label": {"en": "By mail with the stub", "es": "Por correo con el talón"},
        "detail": {"en": "Cedar Valley Water, PO Box 100, Norman, OK 73070", "es": "Cedar Valley Water, PO Box 100"},
    },
    {"label": {"en": "At the counter, weekdays 8 to 5", "es": "En ventanilla, de lunes a viernes de 8 a 5"}},
]


def load() -> None:
    """Give one person bills of more than a year, one of them corrected, and another an account without any."""
    from portal.billing.models import Bill, BilledDial
    from portal.core.clock import now
    from portal.core.models import UtilitySettings
    from portal.customers.models import Account
    from portal.ledger.services import reverse
    from tests.browser.homes import _user
    from tests.portal import billed
    from tests.portal.bills import make_account, make_bill, pay, put_book_away

    if Account.objects.filter(number=NUMBER).exists():
        return
    UtilitySettings.objects.filter(pk=1).update(ways_to_pay=_WAYS)
    account = make_account(
        "2000001",
        user=_user(HOLDER),
        email=HOLDER,
        name="Gil Ortega",
        address="21 Cedar Street",
        start=date(2025, 4, 1),
    )
    for month in range(13):
        start = date(2025 + (month + 3) // 12, (month + 3) % 12 + 1, 1)
        bill = make_bill(account, units=6_000 + 731 * month, period_start=start, estimated=month == 4)
        if month < 12:
            pay(account, bill.charges_cents, bill.due_date)
        if month == 6:
            assert bill.entry is not None
            reverse(bill.entry, key=f"cancel:{bill.public_id}", reason="misread", actor=None)
            Bill.objects.filter(pk=bill.pk).update(state="cancelled", cancelled_at=now(), cancel_reason="misread")
            make_bill(account, units=5_100, kind="corrected", replaces=bill, period_start=start)
    # The bills above rest on a book of their own that no program can read; the running period needs real rates.
    put_book_away()
    billed.rate_book()
    dial = BilledDial.objects.filter(segment__bill__account=account).order_by("-end").first()
    assert dial is not None
    points = billed.steady(date(2026, 5, 1), date(2026, 6, 17), 437, start=dial.last_count)
    billed.reads(dial.register, points, fold=True)
    make_account("2000002", user=_user(NEWCOMER), email=NEWCOMER, name="Hana Lee", address="23 Cedar Street")


if __name__ == "__main__":
    django.setup()
    load()
