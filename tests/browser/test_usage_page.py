"""The resident's usage page in a browser: the same numbers everywhere, and live."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from tests.browser import pages

if TYPE_CHECKING:
    from playwright.sync_api import Request

    from tests.browser.conftest import ServedPortal, Visit


def test_chart_table_and_headline_show_the_same_numbers(visit: Visit) -> None:
    page = visit.open(as_="dora@example.org")
    page.wait_for_function("() => window.headwaterChart")
    table, today = pages.table_volumes(page), pages.read_today(page)
    assert len(table) == 16  # hours from midnight to 3 PM
    assert [float(volume) for volume in table] == pages.chart_volumes(page)
    assert sum(table) == today.volume == Decimal(page.get_attribute("#period-total", "data-value") or "nothing")
    assert sum(table) > 0


@pytest.mark.parametrize("by", ["day", "month"])
def test_longer_periods_agree_with_the_headline(visit: Visit, by: str) -> None:
    page = visit.open(as_="dora@example.org")
    month = Decimal(page.get_attribute("#month-volume", "data-value") or "nothing")
    today = pages.read_today(page).volume
    page.click(f"#by-{by}")
    page.wait_for_selector(f'#by-{by}[aria-current="true"]')
    page.wait_for_function("() => window.headwaterChart.data[0].length < 32")
    table = pages.table_volumes(page)
    assert [float(volume) for volume in table] == pages.chart_volumes(page)
    assert (sum(table), table[-1]) == ((month, today) if by == "day" else (sum(table), month))


def test_a_week_and_an_hour_sum_to_their_bars(visit: Visit) -> None:
    page = visit.open(as_="dora@example.org")
    today = pages.read_today(page).volume
    page.click("#by-week")
    page.wait_for_selector('#by-week[aria-current="true"]')
    page.wait_for_function("() => window.headwaterChart.data[0].length === 7")
    table = pages.table_volumes(page)
    assert page.inner_text("#period-title") == "June 14 to June 20, 2026"
    assert (len(table), table[3]) == (4, today)  # Sunday to Wednesday
    assert [float(volume) for volume in table] == pages.chart_volumes(page)
    assert sum(table) == Decimal(page.get_attribute("#period-total", "data-value") or "nothing")
    page.click("#by-minute")
    page.wait_for_selector('#by-minute[aria-current="true"]')
    assert page.inner_text("#period-title") == "3 PM – 4 PM, Wednesday, June 17, 2026"
    page.click("#previous")
    page.wait_for_function("() => document.getElementById('period-title').textContent.startsWith('2 PM')")
    page.wait_for_function("() => window.headwaterChart.data[0].length === 4")  # it is read every quarter of an hour
    quarters = pages.table_volumes(page)
    page.click("#by-hour")
    page.wait_for_selector('#by-hour[aria-current="true"]')
    page.wait_for_function("() => window.headwaterChart.data[0].length === 24")
    assert sum(quarters) == pages.table_volumes(page)[14]


@pytest.mark.journey
def test_the_running_hour_counts_on_as_reads_come(visit: Visit, portal: ServedPortal) -> None:
    page = visit.open("", as_="eve@example.org", size=pages.PHONE)
    page.click("#by-minute")
    page.wait_for_selector('#by-minute[aria-current="true"]')
    pages.wait_for_live(page)
    before = pages.read_today(page)
    hour = Decimal(page.get_attribute("#hour-volume", "data-value") or 0)
    assert before.dial_count is not None
    pages.wait_for_dial(page, int(portal.homes("read", "CVW-10000006", "40")))
    after = Decimal(page.get_attribute("#hour-volume", "data-value") or 0)
    assert after > hour
    assert after == Decimal(page.get_attribute("#period-total", "data-value") or 0) == sum(pages.table_volumes(page))


def test_a_period_is_compared_in_chart_table_and_words(visit: Visit) -> None:
    visit.portal.homes("similar")
    page = visit.open(as_="usage-una@example.org", size=pages.PHONE)
    page.click("#by-week")
    page.wait_for_selector('#by-week[aria-current="true"]')
    assert page.locator("#comparison").count() == 0
    page.click("#compare-previous")
    page.wait_for_selector("#comparison[data-percent]")
    sentence = page.inner_text("#comparison")
    assert "the week before, same days and hours so far" in sentence
    assert "Compared with June 7 to June 13, 2026." in sentence
    others = page.evaluate("() => window.headwaterChart.data[3].filter(volume => volume !== null)")
    assert len(others) == 7
    page.click("#usage-numbers-toggle")
    assert page.inner_text("#compare-column") == "The week before"
    page.click("#previous")  # what was chosen is kept
    page.wait_for_selector('#compare-previous[aria-current="true"]')
    page.wait_for_function("() => document.getElementById('comparison').textContent.includes('May 31')")
    assert "so far" not in page.inner_text("#comparison")
    page.click("#compare-similar")
    page.wait_for_selector('#compare-similar[aria-current="true"]')
    page.wait_for_selector("#comparison[data-percent]")
    assert "similar homes (about 40), same days" in page.inner_text("#comparison")
    page.click("#compare-year")
    page.wait_for_selector('#compare-year[aria-current="true"]')
    page.wait_for_selector("#comparison:not([data-percent])")
    assert "There are no readings of the same week 52 weeks before" in page.inner_text("#comparison")


def test_a_page_that_takes_anothers_place_works_at_once(visit: Visit) -> None:
    """Its links lead on without a reload from its first moment, however soon somebody clicks."""
    page = visit.open(as_="eve@example.org")
    page.evaluate(
        "() => { window.notReloaded = true; document.body.addEventListener("
        "'htmx:afterRequest', () => document.getElementById('previous').click(), {once: true}); }"
    )
    page.click("#by-week")
    page.wait_for_selector("text=June 7 to June 13, 2026")
    assert page.evaluate("() => window.notReloaded")


def test_an_answer_for_a_page_that_was_left_is_not_waited_for(visit: Visit) -> None:
    """New reads came, and before their numbers arrive the person looks at another day: it shows that day's."""
    page = visit.open(as_="eve@example.org")
    held: list[object] = []

    def is_refresh(request: Request) -> bool:
        return request.headers.get("hx-trigger") == "live-refresh"

    page.route("**/usage/**", lambda route: held.append(route) if is_refresh(route.request) else route.continue_())
    with page.expect_request(is_refresh):
        page.evaluate("() => document.getElementById('live-refresh').dispatchEvent(new Event('headwater:changed'))")
    with page.expect_event("requestfailed", is_refresh):
        page.click("#previous")
    page.wait_for_function("() => document.getElementById('period-title').textContent.includes('June 16')")
    assert len(held) == 1
    visit.complaints[:] = [text for text in visit.complaints if "sendAbort" not in text and "afterRequest" not in text]


def test_who_leaves_their_home_out_is_shown_no_similar_ones(visit: Visit) -> None:
    page = visit.open("/profile/comparisons/", as_="alert-ines@example.org", size=pages.PHONE)
    pages.follow(page, "text=Leave my home out")
    page.wait_for_selector("text=left out of comparisons")
    page.goto(visit.portal.url + "/")
    page.goto(page.url + "?by=week&compare=similar")
    assert "Your home is left out of comparisons" in page.inner_text("#comparison")
    page.goto(visit.portal.url + "/profile/comparisons/")
    pages.follow(page, "text=Take part")
    page.wait_for_selector("text=takes part")


def test_several_meters_and_all_of_them_together(visit: Visit, portal: ServedPortal) -> None:
    page = visit.open(as_="usage-una@example.org", size=pages.PHONE)
    volumes, meters = [], []
    for choice in ("#meter-1", "#meter-2", "#meters-all"):
        pages.follow(page, choice)
        page.wait_for_selector(f'{choice}[aria-current="true"]')
        volumes.append(pages.read_today(page).volume)
        meters.append(page.eval_on_selector_all("[data-meter]", "dials => dials.map(dial => dial.dataset.meter)"))
    assert meters == [["CVW-10000031"], ["CVW-10000032"], ["CVW-10000031", "CVW-10000032"]]
    assert volumes[0] is not None
    assert volumes[1] is not None
    assert volumes[2] == volumes[0] + volumes[1] == sum(pages.table_volumes(page))
    pages.wait_for_live(page)  # and it follows both
    for meter in meters[2]:
        count = int(portal.homes("read", meter, "10"))
        page.wait_for_selector(f'[data-meter="{meter}"][data-count="{count}"]')


@pytest.mark.parametrize("unit", ["gal", "l", "ft3", "ccf", "m3"])
def test_every_unit_fits_a_phone(visit: Visit, unit: str) -> None:
    page = visit.open(as_="alert-hana@example.org", size=pages.PHONE)
    pages.follow(page, f"#unit-{unit}")
    page.wait_for_selector(f'#unit-{unit}[aria-pressed="true"]')
    tops = page.eval_on_selector_all("button[name=unit]", "all => [...new Set(all.map(b => b.offsetTop))]")
    assert len(tops) == 1  # in one line
    assert pages.sideways_scroll_px(page) <= 0
    table = pages.table_volumes(page)
    assert sum(table) == Decimal(page.get_attribute("#period-total", "data-value") or "nothing") > 0


def test_nothing_moves_while_the_page_loads(visit: Visit) -> None:
    page = visit.open(as_="ana@example.org", size=pages.PHONE)
    page.add_init_script(
        "window.shifts = [];"
        "new PerformanceObserver(list => window.shifts.push(...list.getEntries().map(e => [e.value,"
        " e.sources.map(s => s.node && (s.node.id || s.node.className || s.node.nodeName))])))"
        ".observe({type: 'layout-shift', buffered: true});"
    )
    page.goto(page.url)
    page.wait_for_function("() => window.headwaterChart && document.fonts.status === 'loaded'")
    pages.wait_for_live(page)
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert page.evaluate("() => window.shifts") == []


def test_a_new_read_appears_without_reloading(visit: Visit, portal: ServedPortal) -> None:
    page = visit.open(as_="ana@example.org", size=pages.PHONE)
    pages.wait_for_live(page)
    page.click("#usage-numbers-toggle")
    page.evaluate("() => { window.notReloaded = true; }")
    before = pages.read_today(page)
    assert before.volume is not None
    assert before.dial_count is not None
    count = int(portal.homes("read", "CVW-10000001", "100"))
    after = pages.wait_for_dial(page, count)
    assert count == before.dial_count + 100
    assert after.volume is not None
    assert abs(after.volume - before.volume - Decimal("26.417205")) <= Decimal("0.001")  # 100 litres in gallons
    assert sum(pages.table_volumes(page)) == after.volume
    assert [float(volume) for volume in pages.table_volumes(page)] == pages.chart_volumes(page)
    assert page.evaluate("() => window.notReloaded && document.getElementById('usage-numbers').open")


def test_others_are_not_told_of_a_read(visit: Visit, portal: ServedPortal) -> None:
    neighbour = visit.open(as_="ben@example.org")
    owner = visit.open(as_="dora@example.org")
    for page in (neighbour, owner):
        pages.wait_for_live(page)
    fetched: list[str] = []
    neighbour.on("request", lambda request: fetched.append(request.url))
    count = int(portal.homes("read", "CVW-10000004", "7"))
    pages.wait_for_dial(owner, count)
    assert fetched == []


def test_the_first_reads_of_a_new_home_fill_the_page(visit: Visit, portal: ServedPortal) -> None:
    page = visit.open(as_="cleo@example.org")
    page.wait_for_selector("#waiting")
    assert pages.read_today(page) == pages.Today(None, "–", None)
    pages.wait_for_live(page)
    portal.homes("read", "CVW-10000003", "0")
    pages.wait_for_dial(page, 100_000)
    portal.homes("read", "CVW-10000003", "50")
    today = pages.wait_for_dial(page, 100_050)
    assert today.volume == Decimal("13.209")
    page.wait_for_function("() => window.headwaterChart && window.headwaterChart.data[1].some(v => v > 13)")
    assert page.locator("#waiting").count() == 0


def test_a_hidden_tab_closes_its_stream_and_a_visible_one_catches_up(visit: Visit, portal: ServedPortal) -> None:
    page = visit.open(as_="dora@example.org")
    pages.wait_for_live(page)
    hide = (
        "hidden => { Object.defineProperty(document, 'hidden', {value: hidden, configurable: true});"
        " document.dispatchEvent(new Event('visibilitychange')); }"
    )
    page.evaluate(hide, True)
    page.wait_for_selector("#live-pill", state="hidden")
    count = int(portal.homes("read", "CVW-10000004", "9"))
    assert pages.read_today(page).dial_count == count - 9  # nobody looks: nothing is fetched
    page.evaluate(hide, False)
    assert pages.wait_for_dial(page, count).dial_count == count


def test_the_leak_banner_is_on_the_right_page_only(visit: Visit, portal: ServedPortal) -> None:
    leaking = visit.open(as_="ben@example.org").inner_text("#leak-banner")
    assert "Water may be leaking" in leaking
    assert "2 days and 9 hours" in leaking
    assert re.search(r"about 57\d gallons so far", leaking)
    assert visit.open(as_="ana@example.org").locator("#leak-banner").count() == 0
    page = visit.open(as_="dora@example.org")
    pages.wait_for_live(page)
    portal.homes("leak", "CVW-10000004")
    page.wait_for_selector("#leak-banner")
    page.wait_for_function("() => document.getElementById('say-now').textContent.includes('leaking')")


def test_a_stretch_without_reads_is_marked_as_shared_out(visit: Visit) -> None:
    page = visit.open(as_="ana@example.org")
    page.click("#previous")
    page.wait_for_selector("#usage-table tr[data-mark=shared]", state="attached")
    marks = page.eval_on_selector_all("#usage-table tr[data-mark]", "rows => rows.map(row => row.dataset.mark)")
    assert marks.count("shared") == 4
    assert len(marks) == 24
    assert page.evaluate("() => window.headwaterChart.data[2].filter(v => v !== null).length") == 4


def test_unit_and_language_are_kept(visit: Visit) -> None:
    page = visit.open(as_="eve@example.org", fresh=True)
    pages.follow(page, "#unit-l")
    page.wait_for_selector('#unit-l[aria-pressed="true"]')
    assert "liters" in page.inner_text("#today")
    pages.follow(page, "#switch-language")
    page.wait_for_selector("html[lang=es]")
    assert page.inner_text("h1") == "Su consumo de agua"
    assert "litros" in page.inner_text("#today")
    pages.follow(page, "#sign-out")
    page.wait_for_selector("#sign-in")
    again = visit.open(as_="eve@example.org", fresh=True)
    assert again.get_attribute("#unit-l", "aria-pressed") == "true"


def test_one_sign_in_may_have_two_homes(visit: Visit) -> None:
    page = visit.open(as_="dora@example.org")
    assert page.get_attribute("#dial-count", "data-meter") == "CVW-10000004"
    pages.follow(page, "text=5 Oak Lane")
    page.wait_for_selector('#dial-count[data-meter="CVW-10000005"]')
    assert page.locator("text=5 Oak Lane").count() == 1  # the home that is shown leads nowhere: the other one does


def test_the_page_works_without_javascript(visit: Visit, portal: ServedPortal) -> None:
    context = visit.browser.new_context(java_script_enabled=False)
    visit.contexts.append(context)
    page = context.new_page()
    pages.sign_in(page, portal.url, "ana@example.org", "clear-water-7-springs")
    assert page.locator("#usage-chart").is_hidden()
    page.click("#usage-numbers-toggle")
    assert page.locator("#usage-table tr[data-value]").count() == 16
    pages.follow(page, "#unit-m3")
    pages.follow(page, "#by-day")
    assert page.locator("#usage-table tr[data-value]").count() == 17
