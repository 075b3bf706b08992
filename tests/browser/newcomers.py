"""People who register and sign in, for the browser tests: `python -m tests.browser.newcomers` beside a portal."""

from __future__ import annotations

import django

NUMBER, AMOUNT = "00-4000001", "85.45"
MOVED, MOVED_NUMBER = "access-mo@example.org", "4000003"  # of the former portal
APP, PASSKEY = "access-tom@example.org", "access-pat@example.org"
SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"  # of Tom's authenticator app


def load() -> None:
    """Make an account that gets paper and that nobody has registered, people with more than a password, and Mo."""
    from allauth.mfa.totp.internal.auth import TOTP

    from portal.billing.models import Bill
    from portal.customers.models import Account
    from portal.importing.services import apply
    from tests.browser.homes import _user
    from tests.portal.bills import make_account, make_bill, put_book_away

    if Account.objects.filter(number=NUMBER).exists():
        return
    bill = make_bill(make_account(NUMBER, name="Nora Quinn", address="40 Willow Street", paper=True), units=9_000)
    Bill.objects.filter(pk=bill.pk).update(due_cents=8_545)
    make_bill(make_account(MOVED_NUMBER, name="Mo Rivera", address="42 Willow Street"))
    put_book_away()
    people = f"email,account,name,username,language\n{MOVED},{MOVED_NUMBER},Mo Rivera,mo.rivera,en\n"
    apply("users", people.encode(), label="browser tests")
    TOTP.activate(_user(APP), SECRET)
    _user(PASSKEY)


if __name__ == "__main__":
    django.setup()
    load()
