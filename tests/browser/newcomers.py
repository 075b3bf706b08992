"""People who register and sign in, for the browser tests: `python -m tests.browser.newcomers` beside a portal."""

from __future__ import annotations

import django

NUMBER, AMOUNT = "00-4000001", "85.45"
APP, PASSKEY = "access-tom@example.org", "access-pat@example.org"
SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"  # of Tom's authenticator app


def load() -> None:
    """Make an account with a bill that nobody has registered, and two people who sign in with more than a password."""
    from allauth.mfa.totp.internal.auth import TOTP

    from portal.billing.models import Bill
    from portal.customers.models import Account
    from tests.browser.homes import _user
    from tests.portal.bills import make_account, make_bill, put_book_away

    if Account.objects.filter(number=NUMBER).exists():
        return
    bill = make_bill(make_account(NUMBER, name="Nora Quinn", address="40 Willow Street"), units=9_000)
    Bill.objects.filter(pk=bill.pk).update(due_cents=8_545)
    put_book_away()
    TOTP.activate(_user(APP), SECRET)
    _user(PASSKEY)


if __name__ == "__main__":
    django.setup()
    load()
