"""A guest in a browser: invited, too late, invited again, in, given more, sent away; the holder's pages beside it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser import pages, pictures
from tests.browser.guests import GUEST, HOLDER

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.browser.conftest import ServedPortal, Visit

PASSWORD = "brook-and-willow-9"


def newest_link(portal: ServedPortal) -> str:
    """Return the path of the link in the newest invitation to the guest, from the outbox folder."""
    portal.happens("guests", "send")
    outbox = Path(portal.environment["HEADWATER_PORTAL_DIR"], "outbox")
    files = sorted(outbox.glob("*.log"), key=lambda file: file.stat().st_mtime_ns)
    mails = [mail for file in files for mail in file.read_text(encoding="utf-8").split("-" * 79)]
    links = [found for mail in mails if f"To: {GUEST}" in mail for found in re.findall(r"/invitation/[\w-]+/", mail)]
    assert links
    return links[-1]


@pytest.fixture
def holder(portal: ServedPortal, visit: Visit) -> Page:
    """The page of the household, as its holder."""
    portal.happens("guests", "load")
    page = visit.open("/profile/", as_=HOLDER, size=pages.PHONE)
    pages.follow(page, "#section-household")
    return page


@pytest.mark.journey
def test_a_guest_is_invited_too_late_invited_again_comes_and_goes(
    portal: ServedPortal, visit: Visit, holder: Page
) -> None:
    _invite(holder)
    old = newest_link(portal)
    portal.happens("guests", "expire")
    guest = visit.open(old, size=pages.PHONE)
    assert "Ask whoever invited you" in guest.inner_text("#void")
    assert pages.faults(guest) == []

    holder.reload()
    assert "expired" in holder.inner_text("#pending")
    pages.follow(holder, "#pending button >> text=Send again")
    holder.wait_for_selector(".note-good")
    new = newest_link(portal)
    assert new != old
    guest.goto(portal.url + old)
    assert guest.locator("#void").count() == 1
    guest.goto(portal.url + new)
    _make_sign_in(guest)
    usage = guest.url
    assert "52 Willow Street" in guest.inner_text("main")
    assert guest.locator("#tab-bills").count() == 0
    bills = _bills_of(holder)
    assert guest.goto(portal.url + bills).status == 404  # type: ignore[union-attr]

    _change(holder)
    guest.goto(portal.url + bills)
    assert "You owe" in guest.inner_text("main")
    guest.goto(portal.url + bills.replace("/bills/", "/profile/household/") + "leave/")
    assert pages.faults(guest) == []
    _remove(holder)
    for address in (usage, portal.url + bills):
        assert guest.goto(address).status == 404  # type: ignore[union-attr]


def test_transactions_and_payments(holder: Page, portal: ServedPortal) -> None:
    holder.goto(portal.url + _bills_of(holder))
    pages.follow(holder, "#to-transactions")
    rows = holder.eval_on_selector_all("#transactions tr[data-cents]", "rows => rows.map(row => +row.dataset.cents)")
    assert sum(rows) == int(holder.get_attribute("#owed", "data-cents") or "")
    assert pages.faults(holder) == []
    pages.follow(holder, "#show-payments")
    assert "…0417" in holder.inner_text("#payments")
    assert pages.faults(holder) == []
    with holder.expect_download() as download:
        holder.click("#as-csv")
    assert "50.00" in download.value.path().read_text(encoding="utf-8")


def _invite(holder: Page) -> None:
    """Invite the guest; the first try has no whole address."""
    asked = "#invite [name]:not([type=hidden]):not([type=radio])"
    assert holder.eval_on_selector_all(asked, "fields => fields.map(field => field.name)") == ["email"]
    assert holder.locator("#invite [type=radio]:checked").count() == 1  # nothing more has to be chosen
    holder.fill("#email", "gus@nowhere")
    pages.follow(holder, "#send-invitation")
    holder.wait_for_selector("#invite-error")
    assert "whole email address" in holder.inner_text("#invite-error")
    pages.wait_for_focus(holder, "error-summary")
    assert pages.faults(holder) == []
    holder.fill("#email", GUEST)
    holder.check("#level-view-usage")
    pages.follow(holder, "#send-invitation")
    holder.wait_for_selector("#pending")
    assert GUEST in holder.inner_text("#pending")
    assert pages.faults(holder) == []


def _make_sign_in(guest: Page) -> None:
    """Accept as somebody new; the first try has two passwords."""
    assert "Holda Brook" in guest.inner_text("#offer")
    pictures.keep(guest, "invitation")
    assert "See water use" in guest.inner_text("#offered-level")
    guest.fill("#id_name", "Gus Brook")
    guest.fill("#id_password1", PASSWORD)
    guest.fill("#id_password2", PASSWORD + "x")
    pages.follow(guest, "#accept")
    guest.wait_for_selector(".errorlist")
    assert pages.faults(guest) == []
    guest.fill("#id_password1", PASSWORD)
    guest.fill("#id_password2", PASSWORD)
    pages.follow(guest, "#accept")
    guest.wait_for_url("**/usage/**")


def _bills_of(holder: Page) -> str:
    """Return the address of the bills of the account whose household is shown."""
    action = holder.get_attribute("#invite", "action") or ""
    return f"/bills/{action.split('/')[3]}/"


def _change(holder: Page) -> None:
    holder.goto(holder.url)
    pages.follow(holder, "#people a >> text=Change")
    assert pages.faults(holder) == []
    holder.check("#level-view-bills")
    pages.follow(holder, "#save-level")
    holder.wait_for_selector("#people")
    assert "Gus Brook" in holder.inner_text("#people")


def _remove(holder: Page) -> None:
    pages.follow(holder, "#people a >> text=Remove")
    holder.wait_for_selector("#remove")
    assert pages.faults(holder) == []
    pages.follow(holder, "#remove")
    holder.wait_for_selector("#people")
    assert "Gus Brook" not in holder.inner_text("#people")
