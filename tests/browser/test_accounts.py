"""Registering and signing in, in a browser: with the keyboard alone, in both languages, with an app and a passkey."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser import pages
from tests.browser.homes import PASSWORD
from tests.browser.newcomers import AMOUNT, APP, MOVED, MOVED_NUMBER, NUMBER, PASSKEY, SECRET

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.browser.conftest import ServedPortal, Visit

NEW = "access-nora@example.org"
NEW_PASSWORD = "willow-rain-42"


@pytest.fixture(scope="module")
def _people(portal: ServedPortal) -> None:
    portal.happens("newcomers")


pytestmark = pytest.mark.usefixtures("_people")


def tab_to(page: Page, selector: str) -> None:
    """Press Tab until the element has the focus: whoever has no mouse gets there too."""
    for _ in range(60):
        if page.evaluate("s => document.activeElement === document.querySelector(s)", selector):
            return
        page.keyboard.press("Tab")
    pytest.fail(f"Tab does not lead to {selector}")


def type_into(page: Page, selector: str, text: str) -> None:
    tab_to(page, selector)
    page.keyboard.type(text)


def link_sent_to(portal: ServedPortal, address: str) -> str:
    """Return the path of the link in the newest message to an address, from the outbox folder."""
    portal.homes("send")
    outbox = Path(portal.environment["HEADWATER_PORTAL_DIR"], "outbox")
    texts = [file.read_text(encoding="utf-8") for file in sorted(outbox.glob("*.log"))]
    sent = [text for text in texts if f"To: {address}" in text]
    found = re.findall(r"https?://[^/\s]+(/accounts/\S+)", sent[-1])
    return str(found[-1])


@pytest.mark.journey
def test_a_newcomer_registers_with_the_keyboard_alone(visit: Visit) -> None:
    page = visit.open("/accounts/login/", size=pages.PHONE)
    said = page.inner_text("#no-need")
    assert "You do not need an account here to be our customer or to pay. An account is free." in said
    tab_to(page, "#register-link")
    pages.enter(page)
    page.wait_for_url("**/register/")
    assert pages.faults(page) == []
    type_into(page, "#id_number", "4000002")
    type_into(page, "#id_amount", "about sixty")
    pages.enter(page)
    page.wait_for_selector("#error-summary")
    pages.wait_for_focus(page, "error-summary")
    described = page.get_attribute("#id_amount", "aria-describedby") or ""
    assert "id_amount_error" in described.split()
    assert pages.faults(page) == []
    page.fill("#id_number", " 4000001 ")
    page.fill("#id_amount", f"$ {AMOUNT}")
    page.press("#id_amount", "Enter")
    page.wait_for_url("**/register/sign-in/")
    assert pages.faults(page) == []
    type_into(page, "#id_email", NEW)
    type_into(page, "#id_name", "Nora Quinn")
    type_into(page, "#id_username", "Nora.Q")
    type_into(page, "#id_phone", "405 555 0123")
    type_into(page, "#id_password1", "short")
    type_into(page, "#id_password2", "shorter")
    pages.enter(page)
    page.wait_for_selector("#error-summary")
    assert pages.faults(page) == []
    type_into(page, "#id_password1", NEW_PASSWORD)
    type_into(page, "#id_password2", NEW_PASSWORD)
    pages.enter(page)
    page.wait_for_url("**/accounts/confirm-email/")
    assert pages.faults(page) == []
    page.goto(visit.portal.url + link_sent_to(visit.portal, NEW))
    assert pages.faults(page) == []
    tab_to(page, "#confirm-email")
    pages.enter(page)
    pages.follow(page, "#tab-bills")
    assert page.is_checked(f"#delivery [value='{NEW}']")  # bills came on paper: by email from now on
    page.goto(f"{visit.portal.url}/profile/")
    assert page.inner_text("#who") == f"Nora Quinn · {NEW}"
    pages.follow(page, "#section-phone")
    assert page.input_value("#phone-number") == "(405) 555-0123"  # it waits to be confirmed
    page.goto(f"{visit.portal.url}/profile/accounts/")
    assert NUMBER in page.inner_text("#linked")
    assert pages.faults(page) == []
    pages.follow(page, "#switch-language")
    page.wait_for_selector("html[lang=es]")
    assert pages.faults(page) == []
    other = visit.open("/accounts/login/", size=pages.PHONE)
    pages.sign_in(other, visit.portal.url, "NORA.q", NEW_PASSWORD)
    other.goto(f"{visit.portal.url}/profile/sign-ins/")
    assert other.locator("#sessions li").count() == 2
    assert pages.faults(other) == []
    pages.follow(other, "#sign-out-elsewhere")
    other.wait_for_selector("#sessions")
    assert other.locator("#sessions li").count() == 1
    page.goto(f"{visit.portal.url}/profile/")
    assert "/accounts/login/" in page.url


def test_who_comes_from_the_former_portal_only_sets_a_new_password(visit: Visit) -> None:
    page = visit.open("/accounts/login/", size=pages.PHONE)
    page.fill("#id_login", "mo.rivera")
    page.fill("#id_password", "the-former-one-1")
    pages.follow(page, "#sign-in")
    assert "set a new password first" in page.inner_text("#error-summary")
    pages.follow(page, "main a[href='/accounts/password/reset/'] >> nth=0")
    page.fill("#id_email", MOVED)
    pages.follow(page, "#send-link")
    page.goto(visit.portal.url + link_sent_to(visit.portal, MOVED))
    assert pages.faults(page) == []
    page.fill("#id_password1", NEW_PASSWORD)
    page.fill("#id_password2", NEW_PASSWORD)
    pages.follow(page, "#set-password")
    pages.sign_in(page, visit.portal.url, "Mo.Rivera", NEW_PASSWORD)
    page.goto(f"{visit.portal.url}/profile/accounts/")
    assert MOVED_NUMBER in page.inner_text("#linked")


def code_now() -> str:
    from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value

    return str(format_hotp_value(hotp_value(SECRET, int(time.time()) // 30)))


@pytest.mark.journey
def test_signing_in_with_an_authenticator_app(visit: Visit) -> None:
    page = visit.open("/accounts/login/", size=pages.PHONE)
    type_into(page, "#id_login", APP)
    type_into(page, "#id_password", PASSWORD)
    pages.enter(page)
    page.wait_for_url("**/accounts/2fa/authenticate/")
    assert pages.faults(page) == []
    type_into(page, "#id_code", "abcdef")
    pages.enter(page)
    page.wait_for_selector("#error-summary")
    assert pages.faults(page) == []
    for _ in range(3):  # a code typed at the very end of its half minute comes too late
        type_into(page, "#id_code", code_now())
        pages.enter(page)
        if page.locator("#sign-out").count():
            break
    page.wait_for_selector("#sign-out")
    page.goto(f"{visit.portal.url}/profile/security/")
    assert "on" in page.inner_text("section[aria-labelledby=app-title] .tag")
    assert pages.faults(page) == []
    pages.follow(page, "#switch-language")
    page.wait_for_selector("html[lang=es]")
    assert pages.faults(page) == []


def test_a_passkey_is_added_and_signs_in(visit: Visit) -> None:
    """A passkey belongs to a name, not to a number: the same portal as http://localhost."""
    site = visit.portal.url.replace("127.0.0.1", "localhost")
    page = visit.open(size=pages.PHONE)
    authenticator = page.context.new_cdp_session(page)
    authenticator.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    authenticator.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    pages.sign_in(page, site, PASSKEY, PASSWORD)
    page.goto(f"{site}/profile/security/")
    pages.follow(page, "#add-passkey")
    page.wait_for_selector("#confirm")
    assert pages.faults(page) == []
    page.fill("#id_password", PASSWORD)
    pages.follow(page, "#confirm")
    page.wait_for_selector("#mfa_webauthn_add")
    assert pages.faults(page) == []
    page.fill("#id_name", "Test telephone")
    page.check("#id_passwordless")
    page.click("#mfa_webauthn_add")
    page.wait_for_selector("#codes")
    assert pages.faults(page) == []
    pages.follow(page, "#sign-out")
    page.goto(f"{site}/accounts/login/")
    page.click("#passkey_login")
    page.wait_for_selector("#sign-out")
    page.goto(f"{site}/profile/security/")
    assert "Test telephone" in page.inner_text("#passkeys")
    assert pages.faults(page) == []
    pages.follow(page, "#passkeys a")
    page.wait_for_selector("#confirm")
    assert pages.faults(page) == []
    page.fill("#id_password", PASSWORD)
    pages.follow(page, "#confirm")
    page.wait_for_selector("#remove")
    assert pages.faults(page) == []
    pages.follow(page, "#remove")
    page.wait_for_selector("#add-passkey")
    assert page.locator("#passkeys").count() == 0


def test_a_cancelled_passkey_is_said_and_without_javascript_none_is_offered(visit: Visit) -> None:
    page = visit.open("/accounts/login/", size=pages.PHONE)  # no passkeys for a bare number: the browser refuses
    page.click("#passkey_login")
    page.wait_for_selector("#passkey-problem")
    pages.wait_for_focus(page, "passkey-problem")
    assert pages.faults(page) == []
    context = visit.browser.new_context(java_script_enabled=False)
    plain = context.new_page()
    plain.goto(f"{visit.portal.url}/accounts/login/")
    assert not plain.is_visible("#passkey_login")
    assert plain.is_visible("#sign-in")
    context.close()
