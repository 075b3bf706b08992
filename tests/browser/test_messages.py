"""Messages in a browser: a telephone is confirmed with the code from the outbox, the history, is this message real."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.browser import pages, pictures

if TYPE_CHECKING:
    from tests.browser.conftest import ServedPortal, Visit

MIA = "msg-mia@example.org"


def test_a_telephone_is_confirmed_and_its_messages_are_known(visit: Visit, portal: ServedPortal) -> None:
    page = visit.open("/profile/phone/", as_=MIA, size=pages.PHONE)
    page.fill("#phone-number", "12")
    page.check("#phone-consent")
    pages.follow(page, "#send-code")
    pages.wait_for_focus(page, "error-summary")
    assert page.locator("#error-summary").is_visible()
    assert pages.faults(page) == []
    page.fill("#phone-number", "(405) 555-0142")
    pages.follow(page, "#send-code")
    page.wait_for_selector("#confirm-form")
    assert "(405) 555-0142" in page.inner_text("main")

    portal.homes("send")
    outbox = visit.open("/outbox/", size=pages.PHONE)
    text = outbox.inner_text("[data-channel=sms] >> nth=0")
    assert "Cedar Valley Water" in text
    assert pages.faults(outbox) == []
    found = re.search(r"\b\d{6}\b", text)
    assert found
    page.fill("#phone-code", f"{(int(found[0]) + 1) % 1_000_000:06d}")
    pages.follow(page, "#confirm-phone")
    page.wait_for_selector("#error-summary")
    assert pages.faults(page) == []
    page.fill("#phone-code", found[0])
    pages.enter(page)
    page.wait_for_selector("#phone-held")
    assert pages.faults(page) == []

    page.goto(f"{portal.url}/profile/notifications/")
    page.check("#a1-bill-due-sms")
    pages.follow(page, "#a1-due-save")
    assert page.is_checked("#a1-bill-due-sms")  # Text-to-Pay

    portal.homes("send")
    page.goto(f"{portal.url}/profile/messages/")
    first = page.locator("#messages article").nth(0)
    assert "telephone number for texts was changed" in first.inner_text()
    assert "sent" in first.inner_text()
    first.locator("summary").click()
    assert "ending in 0142" in first.inner_text()
    assert found[0] not in page.content()
    assert pages.faults(page) == []
    code = first.locator(".code").inner_text()
    _is_it_real(visit, code)
    _staff_look(visit, code)
    portal.homes("hold")
    _staff_see_that_nothing_leaves(visit)
    portal.homes("send")


def _is_it_real(visit: Visit, code: str) -> None:
    page = visit.open("/message/", size=pages.PHONE)
    page.fill("#message-code", code.upper().replace("-", " "))
    pages.enter(page)
    page.wait_for_selector("#code-known")
    assert "by email, about your account" in page.inner_text("#code-known")
    assert pages.faults(page) == []
    page.fill("#message-code", "bcdf-ghjk-mnpqr")
    pages.follow(page, "#check-code")
    page.wait_for_selector("#code-unknown")
    assert "405-555-0100" in page.inner_text("#code-unknown")
    page.fill("#message-code", " ")
    pages.follow(page, "#check-code")
    page.wait_for_selector("#error-summary")
    assert pages.faults(page) == []


def _staff_look(visit: Visit, code: str) -> None:
    page = visit.open("/staff/messages/", as_="staff@example.org", size=pages.PHONE)
    page.fill("#search", code)
    pages.enter(page)
    pages.follow(page, "#message-log a >> nth=0")
    page.wait_for_selector("#message-state")
    assert pages.faults(page) == []
    page.fill("#read-reason", "x")
    pages.follow(page, "#read-it")
    page.wait_for_selector("#read-error")
    assert pages.faults(page) == []
    page.fill("#read-reason", "the customer asks what it said")
    pages.follow(page, "#read-it")
    page.wait_for_selector("#message-text")
    assert "ending in 0142" in page.inner_text("#message-text")
    assert pages.faults(page) == []


def _staff_see_that_nothing_leaves(visit: Visit) -> None:
    page = visit.open("/staff/messages/", as_="staff@example.org", size=pages.PHONE)
    assert "17" in page.inner_text("#standstill")
    assert pages.faults(page, axe_at=pages.PHONE) == []
    pictures.keep(page, "staff-messages-held")
    pictures.resize(page, pages.DESK)
    pages.follow(page, "#switch-language")
    assert "Qué hacer:" in page.inner_text("#standstill")
    assert pages.faults(page, axe_at=pages.DESK) == []
    pictures.keep(page, "staff-messages-held-es")
    pages.follow(page, "#switch-language")
