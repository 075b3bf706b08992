"""Alerts in a browser: a limit is set, water flows, the message is in the outbox, the alert on its page, answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browser import pages

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.browser.conftest import ServedPortal, Visit

GIL, INES = "alert-gil@example.org", "alert-ines@example.org"


def worker(portal: ServedPortal) -> None:
    portal.homes("look")
    portal.worker()


def switch_language(page: Page, to: str) -> None:
    pages.follow(page, "#switch-language")
    page.wait_for_selector(f"html[lang={to}]")


@pytest.mark.journey
def test_a_limit_is_set_passed_told_and_answered(visit: Visit, portal: ServedPortal) -> None:
    page = visit.open("/profile/", as_=GIL, size=pages.PHONE)
    pages.follow(page, "#sections >> text=My Notifications")
    assert page.get_attribute("#tab-profile", "aria-current") == "page"
    assert page.is_checked("#a1m1-leak-on")  # by itself, and so is the other way in which a leak is found
    assert page.is_checked("#a1m1-unusual-on")
    page.fill("#a1m1-limit-amount", "plenty")
    pages.follow(page, "#a1m1-add")
    page.wait_for_selector("#error-summary")
    assert pages.faults(page) == []
    page.fill("#a1m1-limit-amount", "500")
    page.select_option("#a1m1-limit-per", "day")
    pages.follow(page, "#a1m1-add")
    page.wait_for_selector("#a1m1-limits")
    assert "more than 500 gallons in a day" in page.inner_text("#a1m1-limits")
    assert pages.faults(page) == []

    worker(portal)
    pages.follow(page, "text=Alerts so far")
    assert page.url.endswith("/alerts/")
    assert "limit" not in page.inner_text("main")
    portal.homes("read", "CVW-30000000", "4000")
    worker(portal)

    page.goto(f"{portal.url}/outbox/")
    assert "Your water use passed the limit you set" in page.inner_text("main")
    page.goto(f"{portal.url}/alerts/")
    pages.follow(page, "#standing >> text=More than you set")
    page.wait_for_selector("#what")
    assert "gallons on June" in page.inner_text("#what")
    assert pages.faults(page) == []
    page.click("#send-answer")  # nothing chosen: the browser asks for it
    assert page.evaluate("() => document.querySelector('#answer-form').matches(':invalid')")
    page.check("#answer-pool")
    page.fill("#note", "The pool was filled.")
    pages.follow(page, "#send-answer")
    page.wait_for_selector("#said")
    assert "This was my pool or spa: The pool was filled." in page.inner_text("#said")
    page.select_option("#days", "7")
    pages.follow(page, "#be-quiet")
    page.wait_for_selector("[role=status]")
    assert pages.faults(page) == []

    switch_language(page, "es")
    assert pages.faults(page) == []
    page.goto(f"{portal.url}/profile/notifications/")
    assert pages.faults(page) == []
    page.goto(f"{portal.url}/alerts/")
    assert pages.faults(page) == []
    worker(portal)
    page.goto(f"{portal.url}/outbox/")
    assert page.inner_text("main").count("Your water use passed the limit you set") >= 1


def test_a_leak_is_answered_from_the_usage_page_with_the_keyboard_alone(visit: Visit, portal: ServedPortal) -> None:
    portal.homes("leak", "CVW-30000002")
    worker(portal)
    page = visit.open(as_=INES, size=pages.PHONE)
    page.focus("#leak-answer")
    pages.enter(page)
    page.wait_for_selector("#alert")
    page.focus("#acknowledge")
    pages.enter(page)
    page.wait_for_selector("#said")
    assert "You have seen it." in page.inner_text("#said")
