"""Help and what the portal says of itself: open to everybody, spelled by the utility's settings, in both languages."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import translation
from django.utils.formats import date_format

from domain.errors import ConfigError
from portal.core.models import AuditEntry, User, UtilitySettings
from portal.core.utility import SettingsFaults, change_utility
from portal.loading import load
from tests.portal.building import person

if TYPE_CHECKING:
    from django.http import HttpResponse
    from pytest_django.fixtures import SettingsWrapper

pytestmark = pytest.mark.django_db
PUBLIC = ("/help/", "/help/security/", "/help/privacy/", "/help/accessibility/")
OFFICE: dict[str, Any] = {
    "name": "Cedar Valley Water",
    "contact_phone": "405-555-0139",
    "contact_email": "help@cedar.example",
    "office_hours": [{"en": "8 to 5, Monday to Friday", "es": "De 8 a 5, de lunes a viernes"}],
    "contacts": [{"label": {"en": "Development Center"}, "phone": "405-555-0177", "note": {"en": "Payments by check"}}],
    "ways_to_pay": [
        {"label": {"en": "In person", "es": "En persona"}, "detail": {"en": "225 Main Street"}},
        {"label": {"en": "By mail"}},
        {"label": {"en": "By telephone"}, "detail": {"en": "405-555-0188"}},
    ],
    "programme_url": "https://cedar.example/meters",
    "programme_title": {"en": "Meter programme", "es": "Programa de medidores"},
}


def at(settings: SettingsWrapper, moment: datetime) -> None:
    settings.HEADWATER_CLOCK = f"scaled:1.0:{time.time()!r}:{moment.timestamp()!r}"


def text_of(answer: HttpResponse) -> str:
    return answer.content.decode()


def spanish() -> Client:
    client = Client()
    client.cookies["django_language"] = "es"
    return client


@pytest.fixture
def office() -> None:
    change_utility(OFFICE, label="test")


@pytest.mark.parametrize("path", PUBLIC)
def test_everybody_reads_help_and_who_to_call(office: None, path: str) -> None:
    answer = Client().get(path)
    page = text_of(answer)
    foot = page.partition("<footer")[2]
    assert answer.status_code == 200
    for said in ("405-555-0139", "help@cedar.example", "8 to 5, Monday to Friday", "https://cedar.example/meters"):
        assert said in foot
    assert "Chicago time (America/Chicago)" in page


def test_help_says_what_to_try_and_how_to_pay_without_an_account(office: None) -> None:
    page = text_of(Client().get("/help/"))
    trouble = part_of(page, "troubleshooting")
    for said in ("Check your connection", "Clear the browser's cache", "Try another browser", "I cannot sign in",
                 "I did not get the email", "The readings look wrong"):  # fmt: skip
        assert said in trouble
    assert 'Call customer service: <a href="tel:405-555-0139">' in trouble
    assert "8 to 5, Monday to Friday" in trouble
    ways = part_of(page, "ways")
    for way in ("In person", "225 Main Street", "By mail", "By telephone", "405-555-0188"):
        assert way in ways
    assert "You need no account here to be a customer or to pay a bill, and an account costs nothing." in ways
    assert "Development Center" in page
    assert '<a id="programme" href="https://cedar.example/meters">Meter programme</a>' in page


def part_of(page: str, section: str) -> str:
    """Return the section of a page that has an id."""
    return page.partition(f'id="{section}"')[2].partition("</section>")[0]


def test_no_telephone_number_or_address_is_in_the_code() -> None:
    page = text_of(Client().get("/help/"))
    assert "tel:" not in page
    assert "mailto:" not in page
    assert "405-" not in page


def test_spanish_says_that_nobody_has_read_it_yet(office: None) -> None:
    for path in PUBLIC:
        page = text_of(spanish().get(path))
        assert '<html lang="es">' in page
        assert "Traducción sin revisar" in page
    assert "De 8 a 5, de lunes a viernes" in page
    assert "Programa de medidores" in page
    assert "Traducción" not in text_of(Client().get("/help/"))


def test_no_word_of_ours_takes_the_place_of_a_month_or_a_weekday() -> None:
    """They are Django's own, found by the English word alone: ours for `May` once made `24 de Puede de 2026`."""
    with translation.override("es"):
        months = " ".join(date_format(date(2026, month, 1), "F") for month in range(1, 13))
        days = " ".join(date_format(date(2026, 6, day), "l") for day in range(1, 8))
    assert months == "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre"
    assert days == "lunes martes miércoles jueves viernes sábado domingo"


def test_security_claims_encryption_only_where_there_is_some(settings: SettingsWrapper) -> None:
    settings.SESSION_COOKIE_SECURE = False
    assert "not-encrypted" in text_of(Client().get("/help/security/"))
    settings.SESSION_COOKIE_SECURE = True
    page = text_of(Client().get("/help/security/"))
    assert "not-encrypted" not in page
    for said in ("Encryption", "Secure servers", "Protected access", "Continuous monitoring", "Argon2", "passkey"):
        assert said in page


def test_the_new_portals_address_appears_only_once_it_is_live(office: None, settings: SettingsWrapper) -> None:
    days = {"portal_url": "https://new.example/", "goes_live_on": "2026-06-24", "old_portal_ends_on": "2026-06-30"}
    change_utility({**days, "old_portal_url": "https://old.example/"}, label="test")
    at(settings, datetime(2026, 6, 20, 17, tzinfo=UTC))
    before = text_of(Client().get("/help/"))
    transition = part_of(before, "transition")
    assert "The new portal opens on June 24, 2026" in transition
    assert "can be used until June 30, 2026 and may be unavailable after that" in transition
    assert "https://new.example/" not in before
    assert "pay in the ways that are listed below" in transition
    assert "225 Main Street" in part_of(before, "ways")
    change_utility({"goes_live_on": "2026-06-25"}, label="test")  # a change is posted in the same place
    assert "The new portal opens on June 25, 2026" in part_of(text_of(Client().get("/help/")), "transition")
    change_utility({"goes_live_on": "2026-06-24"}, label="test")
    at(settings, datetime(2026, 6, 24, 17, tzinfo=UTC))
    assert 'href="https://new.example/"' in text_of(Client().get("/help/"))
    at(settings, datetime(2026, 7, 1, 17, tzinfo=UTC))
    assert 'id="transition"' not in text_of(Client().get("/help/"))


def test_the_switch_keeps_the_page_and_the_persons_language() -> None:
    user, client = person("ana@example.org"), Client()
    client.force_login(user)
    page = text_of(client.get("/help/?from=mail&n=2"))
    assert 'name="next" value="/help/?from=mail&amp;n=2"' in page
    answer = client.post("/i18n/setlang/", {"language": "es", "next": "/help/?from=mail&n=2"})
    assert (answer.status_code, answer["Location"]) == (303, "/help/?from=mail&n=2")
    user.refresh_from_db()
    assert user.language == "es"
    other = Client(HTTP_ACCEPT_LANGUAGE="en")
    other.force_login(user)
    assert '<html lang="es">' in text_of(other.get("/help/"))
    assert '<html lang="en">' in text_of(Client(HTTP_ACCEPT_LANGUAGE="en").get("/help/"))


def test_the_switch_leads_nowhere_else_and_knows_its_languages() -> None:
    client = Client()
    for target in ("https://evil.example/", "//evil.example/", "javascript:alert(1)"):
        assert client.post("/i18n/setlang/", {"language": "es", "next": target})["Location"] == "/"
    assert "django_language" not in client.post("/i18n/setlang/", {"language": "xx"}).cookies
    assert client.get("/i18n/setlang/").status_code == 405


def test_a_language_chosen_before_the_sign_in_becomes_the_persons() -> None:
    from django.contrib.auth.signals import user_logged_in
    from django.test import RequestFactory

    user, request = person("ana@example.org"), RequestFactory().get("/")
    request.COOKIES["django_language"] = "es"
    user_logged_in.send(sender=User, request=request, user=user)
    user.refresh_from_db()
    assert user.language == "es"


def test_after_a_form_the_switch_leads_back_to_the_page_it_was_on() -> None:
    page = text_of(Client().post("/accounts/login/", {}, headers={"referer": "http://testserver/help/?a=1"}))
    assert 'name="next" value="/help/?a=1"' in page
    page = text_of(Client().post("/accounts/login/", {}, headers={"referer": "https://evil.example/"}))
    assert 'name="next" value="/"' in page


def _desk(*, chief: bool) -> Client:
    user = person("clerk@example.org")
    user.is_staff = True
    user.save()
    if chief:
        user.user_permissions.add(Permission.objects.get(codename="change_utilitysettings"))
    client = Client()
    client.force_login(user)
    return client


def _contact_form(**changed: str) -> dict[str, str]:
    form = {"name": "Cedar Valley Water", "contact_phone": "405-555-0139"}
    for prefix, rows in (("office_hours", 3), ("contacts", 3)):
        form |= {f"{prefix}-TOTAL_FORMS": str(rows), f"{prefix}-INITIAL_FORMS": "1"}
    form |= {
        "office_hours-0-line_en": "8 to 5, Monday to Friday",
        "office_hours-0-line_es": "De 8 a 5, de lunes a viernes",
        "office_hours-1-line_en": "9 to 12, Saturday",
        "contacts-0-label_en": "Development Center",
        "contacts-0-phone": "405-555-0177",
    }
    return form | changed


def test_settings_are_changed_in_rows_and_audited_before_and_after(office: None) -> None:
    desk = _desk(chief=True)
    assert "Development Center" in text_of(desk.get("/staff/settings/"))
    assert desk.post("/staff/settings/contact/", _contact_form(contact_phone="405-555-0100")).status_code == 303
    row = UtilitySettings.objects.get()
    assert row.contact_phone == "405-555-0100"
    assert row.office_hours == [*OFFICE["office_hours"], {"en": "9 to 12, Saturday"}]
    assert row.contacts == [{"label": {"en": "Development Center"}, "phone": "405-555-0177"}]
    entry = AuditEntry.objects.filter(action="utility.changed").latest("pk")
    assert entry.actor is not None
    assert entry.detail["contact_phone"] == {"before": "405-555-0139", "after": "405-555-0100"}
    assert "9 to 12, Saturday" in text_of(Client().get("/help/"))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"contact_email": "nonsense"}, "#id_contact_email"),
        ({"name": ""}, "#id_name"),
        ({"contacts-2-phone": "405-555-0101"}, "#id_contacts-2-label_en"),
        ({"office_hours-2-line_es": "Solo en español"}, "#id_office_hours-2-line_en"),
    ],
)
def test_a_faulty_setting_is_named_and_nothing_is_saved(office: None, changed: dict[str, str], said: str) -> None:
    answer = _desk(chief=True).post("/staff/settings/contact/", _contact_form(**{"contact_phone": "1", **changed}))
    assert answer.status_code == 422
    assert f'href="{said}"' in text_of(answer)
    assert UtilitySettings.objects.get().contact_phone == "405-555-0139"


def test_staff_without_the_permission_read_and_do_not_change(office: None) -> None:
    desk = _desk(chief=False)
    page = text_of(desk.get("/staff/settings/"))
    assert 'id="read-only"' in page
    assert "save-settings" not in page
    assert desk.post("/staff/settings/contact/", _contact_form(contact_phone="1")).status_code == 403
    assert UtilitySettings.objects.get().contact_phone == "405-555-0139"


def test_ways_to_pay_and_dates_are_edited_there_too(office: None) -> None:
    desk = _desk(chief=True)
    ways = {"ways_to_pay-TOTAL_FORMS": "2", "ways_to_pay-INITIAL_FORMS": "1", "ways_to_pay-0-label_en": "By mail"}
    assert desk.post("/staff/settings/payment/", {**ways, "dispute_en": "Write to us"}).status_code == 303
    form = {"goes_live_on": "2026-06-24", "invitation_days": "5", "default_language": "es"}
    assert desk.post("/staff/settings/portal/", form).status_code == 303
    row = UtilitySettings.objects.get()
    assert (row.ways_to_pay, row.dispute) == ([{"label": {"en": "By mail"}}], {"en": "Write to us"})
    assert (row.goes_live_on, row.invitation_days, row.default_language) == (date(2026, 6, 24), 5, "es")
    assert desk.post("/staff/settings/portal/", {**form, "invitation_days": "0"}).status_code == 422


def test_a_file_brings_the_same_settings_and_faults_are_named() -> None:
    load({"utility": {**OFFICE, "goes_live_on": "2026-06-24"}})
    assert UtilitySettings.objects.get().goes_live_on == date(2026, 6, 24)
    for name, value in (
        ("contacts", [{"phone": "1"}]),
        ("office_hours", ["8 to 5"]),
        ("invitation_days", 0),
        ("goes_live_on", "soon"),
        ("programme_url", "not an address"),
        ("default_language", "xx"),
    ):
        with pytest.raises(ConfigError, match=f"utility.{name}"):
            load({"utility": {name: value}})
    with pytest.raises(SettingsFaults):
        change_utility({"zone": "Mars/Olympus"})
