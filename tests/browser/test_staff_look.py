"""Staff in a browser: a look at what the customer sees, a person locked out, leaks worked on; phone and desk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.browser import pages

if TYPE_CHECKING:
    from tests.browser.conftest import Visit

STAFF = "staff@example.org"
REASON = "caller asks about yesterday's use"


def test_a_look_shows_the_customers_pages_until_it_is_ended(visit: Visit) -> None:
    page = visit.open("/staff/?q=12+Elm+Street", as_=STAFF, size=pages.PHONE)
    assert page.locator("#account-number").count() == 1
    account = page.url
    page.fill("#look-reason", "........")
    pages.follow(page, "#start-look")
    page.wait_for_selector("#look-reason-error")
    assert pages.faults(page) == []
    page.fill("#look-reason", REASON)
    pages.follow(page, "#start-look")
    page.wait_for_selector("#look-bar")
    assert "12 Elm Street" in page.inner_text("main")
    assert page.inner_text("#today-volume") != "–"
    assert pages.faults(page) == []
    page.goto(f"{visit.portal.url}/bills/")
    assert page.is_visible("#look-bar")
    page.goto(f"{visit.portal.url}/profile/")
    assert "Not shown in a look" in page.inner_text("h1")
    assert pages.faults(page) == []
    pages.follow(page, "#end-look")
    page.wait_for_url(account)
    assert page.locator("#look-bar").count() == 0
    assert REASON in page.inner_text("#trail")
    theirs = visit.open("/profile/sign-ins/", as_="ana@example.org", size=pages.PHONE)
    assert theirs.locator("#looks li").count() >= 1
    assert pages.faults(theirs) == []


def test_who_is_locked_is_signed_out_on_the_next_click(visit: Visit) -> None:
    theirs = visit.open("/profile/", as_="linden8@example.org", size=pages.PHONE, fresh=True)
    page = visit.open("/staff/people/?q=linden8", as_=STAFF, size=pages.PHONE)
    assert pages.faults(page) == []
    pages.follow(page, "#staff-table a >> nth=0")
    assert pages.faults(page) == []
    pages.follow(page, "#lock")
    page.wait_for_selector("#form-error")
    assert pages.faults(page) == []
    page.fill("#reason", "reported a stolen telephone")
    pages.follow(page, "#lock")
    page.wait_for_selector('#state[data-active="no"]')
    assert pages.faults(page) == []
    theirs.reload()
    assert theirs.locator("#id_login").is_visible()
    page.fill("#reason", "spoke to the customer again")
    pages.follow(page, "#unlock")
    page.wait_for_selector('#state[data-active="yes"]')
    theirs.reload()  # the old sign-in stays ended
    assert theirs.locator("#id_login").is_visible()


def test_a_leak_is_called_about(visit: Visit) -> None:
    page = visit.open("/staff/leaks/?state=all&sort=age", as_=STAFF, size=pages.PHONE)
    assert pages.faults(page) == []
    pages.follow(page, '#staff-table a:has-text("14 Elm Street")')
    assert pages.faults(page) == []
    page.fill("#note", "called, will repair on Friday")
    pages.follow(page, "#note-contact")
    page.wait_for_selector("#contacts")
    assert "called, will repair on Friday" in page.inner_text("#contacts")
    assert pages.faults(page) == []
