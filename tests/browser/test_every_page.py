"""Every page, on a phone and on a desk, in both languages: no accessibility fault, nothing to scroll sideways, light.

axe-core looks on a phone in English and on a desk in Spanish, whose words are longer; HEADWATER_EVERY_LOOK=1: in both
languages at both widths (`make prove`). With HEADWATER_PICTURES=FOLDER each page and state is also kept there as a
picture: docs/images/pages is made like this (see pictures.py).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.browser import pages, pictures

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

    from tests.browser.conftest import Visit

FIRST_PAGE_BYTES_MAX = 200_000


@dataclass(frozen=True)
class Look:
    """One page in one state."""

    name: str
    path: str = ""
    as_: str = ""
    then: Callable[[Page], None] = lambda page: None


def _wrong_password(page: Page) -> None:
    page.fill("#id_login", "ana@example.org")
    page.fill("#id_password", "not-the-password")
    pages.follow(page, "#sign-in")
    page.wait_for_selector("[role=alert]")


def _click(selector: str, wait_for: str) -> Callable[[Page], None]:
    def act(page: Page) -> None:
        page.click(selector)
        page.wait_for_selector(wait_for)

    return act


def _follow(selector: str) -> Callable[[Page], None]:
    def act(page: Page) -> None:
        before = page.url
        page.click(selector)
        page.wait_for_url(lambda url: url != before)

    return act


def _table(page: Page) -> None:
    page.click("#usage-numbers-toggle")
    page.wait_for_selector("#usage-table table")


def _compared(page: Page) -> None:
    page.click("#by-week")
    page.wait_for_selector('#by-week[aria-current="true"]')
    page.click("#compare-previous")
    page.wait_for_selector("#comparison[data-percent]")
    _table(page)


def _look(reason: str) -> Callable[[Page], None]:
    def act(page: Page) -> None:
        pages.follow(page, "#staff-table a >> nth=0")
        page.fill("#reason", reason)
        pages.follow(page, "form.form button")
        page.wait_for_selector("#staff-table" if len(reason) > 7 else "#reason-error")

    return act


def _code(typed: str) -> Callable[[Page], None]:
    def act(page: Page) -> None:
        page.fill("#message-code", typed)
        pages.follow(page, "#check-code")
        page.wait_for_selector("#code-unknown")

    return act


def _spanish(page: Page) -> None:
    if page.get_attribute("html", "lang") != "es":
        pages.follow(page, "#switch-language")
        page.wait_for_selector("html[lang=es]")


LOOKS = [
    Look("login", "/accounts/login/"),
    Look("login-wrong", "/accounts/login/", then=_wrong_password),
    Look("login-spanish", "/accounts/login/", then=_spanish),
    Look("password-reset", "/accounts/password/reset/"),
    Look("password-reset-done", "/accounts/password/reset/done/"),
    Look("password-reset-bad-key", "/accounts/password/reset/key/1-set-password/"),
    Look("signup", "/accounts/signup/"),
    Look("register", "/register/"),
    Look("register-wrong", "/register/", then=_click("#go-on", "#error-summary")),
    Look("download", "/usage/{own}/download/", as_="dora@example.org"),
    Look(
        "download-wrong",
        "/usage/{own}/download/?form=csv&unit=gal&first=2026-02-30&last=2026-03-01",
        as_="ash4@example.org",
    ),
    Look("profile-tokens", "/profile/tokens/", as_="ana@example.org"),
    Look("profile-privacy", "/profile/privacy/", as_="ana@example.org"),
    Look("profile", "/profile/", as_="ana@example.org"),
    Look("profile-security", "/profile/security/", as_="ana@example.org"),
    Look("profile-sign-ins", "/profile/sign-ins/", as_="ana@example.org"),
    Look("profile-accounts", "/profile/accounts/", as_="ana@example.org"),
    Look(
        "profile-accounts-wrong", "/profile/accounts/", as_="ana@example.org", then=_click("#go-on", "#error-summary")
    ),
    Look("change-address", "/accounts/email/", as_="ana@example.org"),
    Look("change-password", "/accounts/password/change/", as_="ana@example.org"),
    Look("asked-again", "/accounts/reauthenticate/", as_="ana@example.org"),
    Look("usage-hour", as_="ana@example.org"),
    Look("usage-table", as_="ana@example.org", then=_table),
    Look("usage-gap", as_="ana@example.org", then=_click("#previous", "#next")),
    Look("usage-day", as_="ana@example.org", then=_click("#by-day", '#by-day[aria-current="true"]')),
    Look("usage-month", as_="ana@example.org", then=_click("#by-month", '#by-month[aria-current="true"]')),
    Look("usage-week", as_="ana@example.org", then=_click("#by-week", '#by-week[aria-current="true"]')),
    Look("usage-minute", as_="ana@example.org", then=_click("#by-minute", '#by-minute[aria-current="true"]')),
    Look("usage-compared", as_="usage-una@example.org", then=_compared),
    Look(
        "usage-all-meters", as_="usage-una@example.org", then=_click("#meters-all", '#meters-all[aria-current="true"]')
    ),
    Look("profile-comparisons", "/profile/comparisons/", as_="usage-una@example.org"),
    Look("leak", as_="ben@example.org"),
    Look("usage-spanish", as_="ben@example.org", then=_spanish),
    Look("two-homes", as_="dora@example.org"),
    Look("alerts", "/alerts/", as_="alert-hana@example.org"),
    Look("alerts-none-to-see", "/alerts/", as_="nobody@example.org"),
    Look("my-notifications", "/profile/notifications/", as_="alert-hana@example.org"),
    Look("my-notifications-nobody", "/profile/notifications/", as_="nobody@example.org"),
    Look("phone", "/profile/phone/", as_="msg-mia@example.org"),
    Look("messages", "/profile/messages/", as_="msg-mia@example.org"),
    Look("message-real", "/message/"),
    Look("message-real-unknown", "/message/", then=_code("bcdf-ghjk-mnpqr")),
    Look("outbox", "/outbox/"),
    Look("staff-messages", "/staff/messages/", as_="staff@example.org"),
    Look("staff-people", "/staff/people/", as_="staff@example.org"),
    Look("address-link-void", "/address/none/"),
    Look("profile-accounts-unlink", "/profile/accounts/", as_="ana@example.org", then=_follow("a[href$='/unlink/']")),
    Look("help", "/help/"),
    Look("help-security", "/help/security/"),
    Look("help-privacy", "/help/privacy/"),
    Look("help-accessibility", "/help/accessibility/"),
    Look("request-restore", "/requests/new/restore/", as_="help-hana@example.org"),
    Look("request-leak", "/requests/new/leak/", as_="help-hana@example.org"),
    Look("request-nobody", "/requests/new/other/", as_="nobody@example.org"),
    Look("staff-settings", "/staff/settings/portal/", as_="help-chief@example.org"),
    Look("requests", "/requests/", as_="help-hana@example.org"),
    Look("household", "/profile/household/", as_="ash4@example.org"),
    Look("invitation-void", "/invitation/hwi_none/"),
    *(Look(f"staff-{name}", f"/staff/{name}/", as_="staff@example.org") for name in ("banners", "requests")),
    Look("one-read-only", as_="cherry2@example.org"),
    Look("no-place", as_="nobody@example.org"),
    Look("not-found", "/no/such/page/"),
    Look("not-yours", "/staff/", as_="maple8@example.org"),
    Look("bad-request", "/usage/{own}/?by=second", as_="ash4@example.org"),
    Look("logout", "/accounts/logout/", as_="ash6@example.org"),
    *(
        Look(f"staff-{name}", f"/staff/{name}/", as_="staff@example.org")
        for name in (
            "collectors",
            "meters",
            "places",
            "batches",
            "refused",
            "foreign",
            "commands",
            "leaks",
            "events",
            "audit",
        )
    ),
    Look("staff-empty", "/staff/meters/?q=nothing-like-it", as_="staff@example.org"),
    Look("staff-look", "/staff/places/?q=Elm", as_="staff@example.org", then=_look("asked by phone about a bill")),
    Look("staff-look-refused", "/staff/places/?q=Elm", as_="staff@example.org", then=_look("why")),
]


def _axe_at(size: tuple[int, int]) -> tuple[int, int] | None:
    return None if os.environ.get("HEADWATER_EVERY_LOOK") == "1" else size


def _look_at(page: Page, look: Look) -> None:
    if "{own}" in look.path:
        page.goto(page.url.partition("?")[0] + look.path.partition("{own}/")[2])
    look.then(page)
    page.wait_for_load_state()
    foot = page.inner_html(".foot")
    for said in ('href="tel:405-555-0100"', 'href="https://cedarvalley.example/meters"', 'href="/message/"'):
        assert said in foot
    spanish = page.get_attribute("html", "lang") == "es"
    assert ("De lunes a viernes, de 8 a. m. a 5 p. m." if spanish else "8 a.m. to 5 p.m., Monday to Friday") in foot


@pytest.mark.parametrize("look", LOOKS, ids=lambda look: look.name)
def test_no_accessibility_fault_and_no_sideways_scroll(visit: Visit, look: Look) -> None:
    page = visit.open("" if "{own}" in look.path else look.path, as_=look.as_, size=pages.PHONE)
    first = page.url
    _look_at(page, look)
    assert pages.faults(page, axe_at=_axe_at(pages.PHONE)) == []
    pictures.keep(page, look.name)
    page.context.add_cookies([{"name": "django_language", "value": "es", "url": visit.portal.url}])
    pictures.resize(page, pages.PHONE)
    page.goto(first)
    _look_at(page, look)
    assert page.get_attribute("html", "lang") == "es"
    assert pages.faults(page, axe_at=_axe_at(pages.DESK)) == []
    if look.then is _spanish and look.as_:
        pages.follow(page, "#switch-language")  # their language is kept: other tests find them as before


def test_the_page_for_our_own_faults(visit: Visit) -> None:
    from django.template.loader import render_to_string

    text = render_to_string("500.html")
    page = visit.open()
    page.route("**/broken/", lambda route: route.fulfill(status=500, body=text, content_type="text/html"))
    page.goto(visit.portal.url + "/broken/")
    assert "went wrong" in page.inner_text("h1")
    assert pages.faults(page) == []
    # The browser notes that the answer was a 500: it was meant to be.
    visit.complaints[:] = [text for text in visit.complaints if "status of 500" not in text]


@pytest.mark.parametrize(("path", "as_"), [("/accounts/login/", ""), ("", "ana@example.org")], ids=["login", "usage"])
def test_the_first_page_is_light(visit: Visit, path: str, as_: str) -> None:
    """Bytes over the wire with an empty cache, as Chromium itself counted them."""
    page = visit.open(as_=as_)
    session = page.context.new_cdp_session(page)
    received: list[float] = []
    session.send("Network.enable")
    session.send("Network.setCacheDisabled", {"cacheDisabled": True})
    session.on("Network.loadingFinished", lambda event: received.append(event["encodedDataLength"]))
    page.goto(visit.portal.url + (path or "/"))
    page.wait_for_function("() => document.fonts.status === 'loaded'")
    if as_:
        pages.wait_for_live(page)
    print(f"{path or '/'}: {len(received)} answers, {sum(received):,.0f} bytes")
    assert 50_000 < sum(received) < FIRST_PAGE_BYTES_MAX
