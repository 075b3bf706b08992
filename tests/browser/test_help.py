"""Help and trust in the browser: banners by date, a request and its answer, the language, no script, no mouse."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from tests.browser import pages, pictures
from tests.browser.conftest import START_S
from tests.browser.homes import PASSWORD

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.browser.conftest import Visit

HANA, CHIEF = "help-hana@example.org", "help-chief@example.org"
TODAY = datetime.fromtimestamp(START_S, UTC).date()


def test_a_request_is_made_answered_and_seen(visit: Visit) -> None:
    """A faulty form first; then the request, the office's answer, and what the resident reads of it."""
    page = visit.open("/help/", as_=HANA, size=pages.PHONE)
    pages.follow(page, "#to-requests")
    assert pages.faults(page) == []
    pages.follow(page, "#ask-move")
    page.check("#direction-out")
    page.fill("#wished-on", (TODAY - timedelta(days=3)).isoformat())
    page.evaluate("() => document.querySelector('#request-form').noValidate = true")
    pages.follow(page, "#send-request")
    pages.wait_for_focus(page, "error-summary")
    assert page.title().startswith("Error: ")
    assert pages.faults(page) == []
    page.click("#error-summary a")
    pages.wait_for_focus(page, "wished-on")
    page.fill("#wished-on", (TODAY + timedelta(days=9)).isoformat())
    pages.follow(page, "#send-request")
    number = page.inner_text("#request-number")
    assert page.get_attribute("#request-state", "data-state") == "received"
    assert pages.faults(page) == []
    desk = visit.open("/staff/requests/?kind=move", as_="staff@example.org", size=pages.PHONE)
    assert pages.faults(desk) == []
    pages.follow(desk, "#staff-table tbody tr:last-child a")
    pages.follow(desk, "#take")
    desk.fill("#note", "We read the meter on that day.")
    assert pages.faults(desk) == []
    pages.follow(desk, "#done")
    page.reload()
    assert page.get_attribute("#request-state", "data-state") == "done"
    assert "We read the meter on that day." in page.inner_text("#steps")
    page.goto(visit.portal.url + "/requests/")
    assert number in page.inner_html("#requests")


def test_a_banner_comes_and_goes_by_its_dates(visit: Visit) -> None:
    """Planned for later it is not there; moved to now it stands above every page; ended it is gone."""
    desk = visit.open("/staff/banners/new/", as_=CHIEF, size=pages.PHONE)
    stranger = visit.open("/help/", size=pages.PHONE)
    desk.select_option("#id_kind", "outage")
    pages.follow(desk, "#save-banner")
    assert desk.locator("#error-summary a").count() == 1
    assert pages.faults(desk) == []
    desk.fill("#id_title_en", "Payments are down tonight")
    desk.fill("#id_title_es", "Esta noche no se puede pagar")
    desk.fill("#id_text_en", "Pay at the counter or by telephone meanwhile.")
    desk.fill("#id_starts_at", f"{TODAY + timedelta(days=1)}T08:00")
    desk.check("#id_hold_late_fees")
    pages.follow(desk, "#save-banner")
    assert "Payments are down tonight" in desk.inner_text("#planned")
    stranger.reload()
    assert stranger.locator(".banner").count() == 0
    pages.follow(desk, "#planned a")
    assert pages.faults(desk) == []
    desk.fill("#id_starts_at", f"{TODAY}T08:00")
    desk.fill("#id_link", "https://new.example.gov/")
    desk.fill("#id_link_from", f"{TODAY + timedelta(days=7)}T08:00")
    pages.follow(desk, "#save-banner")
    assert pages.faults(desk) == []
    stranger.goto(visit.portal.url + "/accounts/login/")
    assert "Payments are down tonight" in stranger.inner_text("[role=status] .banner")
    assert "Pay at the counter or by telephone meanwhile." in stranger.inner_text(".banner")
    assert "No late fee falls due" in stranger.inner_text(".banner")
    top, below = stranger.locator(".banner").bounding_box(), stranger.locator("#id_login").bounding_box()
    assert top is not None
    assert below is not None
    assert top["y"] + top["height"] <= below["y"]  # it pushes the page down and covers nothing
    assert stranger.locator(".banner a").count() == 0  # what it leads to opens in a week
    assert pages.faults(stranger) == []
    pages.follow(desk, "#shown a")
    desk.fill("#id_link_from", f"{TODAY}T08:00")
    pages.follow(desk, "#save-banner")
    stranger.reload()
    assert stranger.get_attribute(".banner a", "href") == "https://new.example.gov/"
    pages.follow(desk, "#shown a")
    pages.follow(desk, "#end-banner")
    stranger.reload()
    assert stranger.locator(".banner").count() == 0


def test_settings_change_what_every_page_says(visit: Visit) -> None:
    desk = visit.open("/staff/settings/", as_=CHIEF, size=pages.PHONE)
    desk.fill("#id_contact_phone", "405-555-0139")
    desk.fill("#id_office_hours-1-line_es", "Sábados")
    pages.follow(desk, "#save-settings")
    assert pages.faults(desk) == []
    desk.fill("#id_office_hours-1-line_en", "Saturday: 9 to 12")
    pages.follow(desk, "#save-settings")
    page = visit.open("/help/", size=pages.PHONE)
    assert "Saturday: 9 to 12" in page.inner_text(".foot")
    assert "405-555-0139" in page.inner_text(".foot")
    for topic in page.locator("#troubleshooting summary").all():
        topic.click()
    trouble = page.inner_text("#troubleshooting")
    for said in ("Check your connection", "Clear the browser's cache", "Try another browser", "I cannot sign in",
                 "Call customer service: 405-555-0139. 8 a.m. to 5 p.m."):  # fmt: skip
        assert said in trouble
    assert "You need no account here to be a customer or to pay a bill" in page.inner_text("#ways")
    desk.fill("#id_contact_phone", "405-555-0100")
    desk.fill("#id_office_hours-1-line_en", "")
    desk.fill("#id_office_hours-1-line_es", "")
    pages.follow(desk, "#save-settings")
    page.reload()
    assert "Saturday" not in page.inner_text(".foot")
    clerk = visit.open("/staff/settings/payment/", as_="staff@example.org", size=pages.PHONE)
    assert clerk.locator("#read-only").count() == 1
    assert pages.faults(clerk) == []


@pytest.mark.journey
def test_the_language_switch_keeps_the_page_and_its_query(visit: Visit) -> None:
    page = visit.open("", as_=HANA, size=pages.PHONE)
    page.click("#by-month")
    page.wait_for_selector('#by-month[aria-current="true"]')
    before = page.url
    pages.follow(page, "#switch-language")
    page.wait_for_selector("html[lang=es]")
    assert page.url == before
    assert "sin revisar" in page.inner_text("#unreviewed")
    pages.follow(page, "#switch-language")
    page.wait_for_selector("html[lang=en]")
    assert page.url == before
    assert page.locator("#unreviewed").count() == 0


def test_everything_but_the_chart_works_without_javascript(visit: Visit) -> None:
    context = visit.browser.new_context(
        viewport={"width": pages.PHONE[0], "height": pages.PHONE[1]}, java_script_enabled=False, locale="en-US"
    )
    visit.contexts.append(context)
    page = context.new_page()
    pages.sign_in(page, visit.portal.url, HANA, PASSWORD)
    page.click("#usage-numbers summary")
    assert page.locator("#usage-table tr[data-value]").count() > 3
    pages.follow(page, "#download-link")
    with page.expect_download() as download:
        page.click("#download-now")
    assert download.value.path().read_text(encoding="utf-8").count("\n") > 3
    _settings_without_javascript(page, visit.portal.url)
    page.goto(visit.portal.url + "/bills/")
    assert page.inner_text("h1")
    pages.follow(page, "#tab-help")
    page.click("details.trouble summary >> nth=2")
    assert page.is_visible("details.trouble[open] a")
    pages.follow(page, "#to-requests")
    pages.follow(page, "#ask-other")
    page.fill("#details", "The lid of the meter is loose")
    pages.follow(page, "#send-request")
    assert page.get_attribute("#request-state", "data-state") == "received"
    pages.follow(page, "#withdraw")
    assert page.get_attribute("#request-state", "data-state") == "withdrawn"
    pages.follow(page, "#switch-language")
    assert page.get_attribute("html", "lang") == "es"
    pages.follow(page, "#switch-language")
    assert page.get_attribute("html", "lang") == "en"
    pages.follow(page, "#sign-out")
    assert "/accounts/" in page.url or page.locator("#sign-in-link").count()
    page.goto(visit.portal.url + "/register/")
    page.fill("#id_number", "1000038")
    pages.follow(page, "#go-on")
    assert page.is_visible("#error-summary")


def _settings_without_javascript(page: Page, url: str) -> None:
    """Set a limit, take it back, invite a guest, take that back."""
    page.goto(f"{url}/profile/notifications/")
    page.fill("#a1m1-limit-amount", "5000")
    pages.follow(page, "#a1m1-add")
    assert "more than 5,000 gallons" in page.inner_text("#a1m1-limits")
    pages.follow(page, "#a1m1-limits button")
    assert page.locator("#a1m1-limits").count() == 0
    page.goto(f"{url}/profile/household/")
    page.fill("#email", "guest-of-hana@example.org")
    pages.follow(page, "#send-invitation")
    assert "guest-of-hana@example.org" in page.inner_text("#pending")
    pages.follow(page, "#pending button >> text=Take back")
    assert page.locator("#pending").count() == 0


def _tab_to(page: Page, selector: str, *, most: int = 60) -> None:
    """Press Tab until something has the focus, and see that every stop on the way can be seen."""
    for _ in range(most):
        page.keyboard.press("Tab")
        stop = page.evaluate(
            """() => {
                const at = document.activeElement, style = getComputedStyle(at), box = at.getBoundingClientRect();
                const width = parseFloat(style.outlineWidth);
                let cut = false;  // a ring outside its box is lost where a box around it ends
                const reach = width + parseFloat(style.outlineOffset);
                for (let around = at.parentElement; around && around !== document.body; around = around.parentElement)
                    if (getComputedStyle(around).overflowX !== "visible") {
                        const edge = around.getBoundingClientRect();
                        cut ||= box.left - reach < edge.left || box.right + reach > edge.right
                            || box.top - reach < edge.top || box.bottom + reach > edge.bottom;
                    }
                return {name: at.outerHTML.slice(0, 90), line: style.outlineStyle, width, cut,
                        seen: box.width > 0 && box.height > 0 && box.right > 0 && box.left < innerWidth};
            }"""
        )
        if stop["name"].startswith("<body"):  # past the last stop: on to the browser's own bar
            continue
        assert stop["line"] != "none", stop
        assert stop["width"] >= 2, stop
        assert stop["seen"], stop
        assert not stop["cut"], stop
        if page.evaluate("wanted => document.activeElement.matches(wanted)", selector):
            return
    raise AssertionError(f"{selector} is not reached with the keyboard")


def test_the_main_journeys_with_the_keyboard_alone(visit: Visit) -> None:
    """Sign in, water use, bills, help, a request: Tab, Enter, Space and letters; the focus is seen at every stop."""
    page = visit.open("/accounts/login/", size=pages.PHONE)
    page.focus("body")
    _tab_to(page, ".usa-skipnav")
    page.keyboard.press("Enter")
    pages.wait_for_focus(page, "content")
    _tab_to(page, "#id_login")
    page.keyboard.type(HANA)
    _tab_to(page, "#id_password")
    page.keyboard.type(PASSWORD)
    pages.enter(page)
    page.wait_for_selector("#usage-page")
    _tab_to(page, "#usage-numbers summary")
    page.keyboard.press("Enter")
    page.wait_for_selector("#usage-table table")
    page.reload()
    _tab_to(page, "#tab-bills")
    pages.enter(page)
    page.wait_for_selector('#tab-bills[aria-current="page"]')
    _tab_to(page, "#tab-help")
    pages.enter(page)
    page.wait_for_selector("#troubleshooting")
    _tab_to(page, "details.trouble:nth-of-type(2) > summary")
    page.keyboard.press("Space")
    assert page.is_visible("details.trouble:nth-of-type(2)[open] li")
    page.reload()
    _tab_to(page, "#to-requests")
    pages.enter(page)
    page.wait_for_selector("#ask-other")
    _tab_to(page, "#ask-other")
    pages.enter(page)
    page.wait_for_selector("#details")
    _tab_to(page, "#details")
    page.keyboard.type("Is the hydrant at the corner ours?")
    _tab_to(page, "#send-request")
    pages.enter(page)
    page.wait_for_selector("#request-state[data-state=received]")


def test_nothing_moves_while_a_page_arrives(visit: Visit) -> None:
    """Layout shift as the browser itself adds it up: fonts, chart and stream find their places kept, however late."""
    page = visit.open("", as_=HANA, size=pages.PHONE)
    page.add_init_script(
        """window.shifted = 0; new PerformanceObserver(list => {
            for (const one of list.getEntries()) if (!one.hadRecentInput) window.shifted += one.value;
        }).observe({type: "layout-shift", buffered: true});"""
    )
    page.route("**/usage*.js", lambda route: (time.sleep(0.3), route.continue_()))
    for size in (pages.PHONE, pages.DESK):
        pictures.resize(page, size)
        for path in ("/", "/help/", "/bills/", "/profile/notifications/", "/requests/"):
            page.goto(visit.portal.url + path)
            page.wait_for_function("() => document.fonts.status === 'loaded'")
            if path == "/":
                pages.wait_for_live(page)
            assert page.evaluate("() => window.shifted") < 0.01, (path, size)
