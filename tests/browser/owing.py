"""Accounts that owe, for the browser tests of the staff's money pages. `python -m tests.browser.owing` adds them."""

from __future__ import annotations

import django


def main() -> None:
    """Add four accounts with a bill each, and a second clerk."""
    django.setup()
    from portal.core.models import User
    from tests.browser.homes import _user
    from tests.portal.bills import make_account, make_bill, put_book_away

    chief = _user("chief@example.org")
    User.objects.filter(pk=chief.pk).update(is_staff=True, name="Chris Chief")
    put_book_away()
    for word in ("owing", "paying"):
        for size in ("phone", "desk"):
            name = f"{word} {size}".title()
            make_bill(make_account(f"{word}-{size}", name=name, address=f"{name} Lane 1"))


if __name__ == "__main__":
    main()
