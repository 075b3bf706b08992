"""A home to be shared, for the browser tests of guests: `python -m tests.browser.guests load` beside a portal.

`expire` sets the term of every open invitation back, as if its days had passed; `send` sends what waits.
"""

from __future__ import annotations

import sys

import django

HOLDER, GUEST = "guest-holda@example.org", "guest-gus@example.org"
NUMBER = "4100001"


def main(arguments: list[str]) -> None:
    """Do one of the three things."""
    django.setup()
    {"load": load, "expire": expire, "send": send}[arguments[0]]()


def load() -> None:
    """Make the home, with a bill and a payment."""
    from datetime import date

    from portal.core.models import User
    from portal.customers.models import Account
    from portal.ledger.services import record_payment
    from tests.browser.homes import _user
    from tests.portal.bills import make_account, make_bill, put_book_away

    if Account.objects.filter(number=NUMBER).exists():
        return
    User.objects.filter(pk=_user(HOLDER).pk).update(name="Holda Brook")
    account = make_account(NUMBER, name="Holda Brook", address="52 Willow Street", user=_user(HOLDER))
    make_bill(account, period_start=date(2026, 4, 1))
    put_book_away()
    record_payment(account, 5_000, method="check", received_on=date(2026, 5, 20), reference="check 20417")


def expire() -> None:
    """Let every open invitation have expired a minute ago."""
    from datetime import UTC, datetime, timedelta

    from portal.access.models import Invitation

    past = datetime.now(UTC) - timedelta(minutes=1)
    print(Invitation.objects.filter(accepted_at=None, revoked_at=None).update(expires_at=past))


def send() -> None:
    """Send what waits into the outbox folder."""
    from portal.notifications.sending import send_due

    print(send_due().sent)


if __name__ == "__main__":
    main(sys.argv[1:])
