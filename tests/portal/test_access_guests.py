"""Household guests: who invites whom, what a link does and stops doing, what changes afterwards, who is told."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from allauth.account.models import EmailAddress
from django.test import Client

from portal.access import guests, invitations
from portal.access.models import Invitation
from portal.core.errors import Refused
from portal.core.models import AuditEntry, User, UtilitySettings
from portal.customers import services as customers
from portal.customers.models import Account, AccountAccess
from portal.metering.models import RegisterState
from portal.metering.services import claim_register, install_meter
from portal.notifications.models import Message
from portal.resident import live
from tests.portal.building import total
from tests.portal.test_pages_live import QuietHub

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_django.fixtures import SettingsWrapper

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 6, 17, 17, 0, tzinfo=UTC)
Level = AccountAccess.Level
SITE = "https://water.example"


class House:
    """An account with a holder, and guests by level."""

    def __init__(self) -> None:
        self.account = Account.objects.create(number="1000001", name="Ana")
        self.point = customers.ensure_premise("12 Elm Street")
        customers.move_in(self.account, self.point, NOW)
        self.ana = member("ana@example.org", name="Ana Morales")
        customers.grant_access(self.account, self.ana, at=NOW)

    def guest(self, level: Level, email: str = "") -> User:
        user = member(email or f"{level.value}@example.org")
        customers.grant_access(self.account, user, at=NOW, level=level)
        return user

    def access(self, user: User) -> AccountAccess:
        return AccountAccess.objects.get(account=self.account, user=user, ended_at=None)

    def invite(
        self, email: str = "gus@example.org", level: str = "view-usage", *, by: User | None = None
    ) -> Invitation:
        return invitations.invite(self.account, email, level, actor=by or self.ana, site=SITE)


@pytest.fixture
def house(settings: SettingsWrapper) -> House:
    """The account, on 17 June 2026 at noon in Chicago."""
    settings.HEADWATER_CLOCK = f"scaled:1.0:{time.time()!r}:{(NOW + timedelta(hours=1)).timestamp()!r}"
    return House()


def member(email: str, **fields: object) -> User:
    user = User.objects.create(email=email, **fields)
    EmailAddress.objects.create(user=user, email=email, verified=True, primary=True)
    return user


def mail_to(email: str) -> Message:
    return Message.objects.filter(to=email).latest("pk")


def link_in(message: Message) -> str:
    """Return the path of the link in an invitation."""
    found = re.search(rf"{SITE}(/invitation/\S+/)", message.says)
    assert found, message.says
    return found[1]


def token_to(email: str) -> str:
    return link_in(mail_to(email)).split("/")[2]


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(Refused) as refused:
        act()
    assert str(refused.value)[0].isupper()
    return refused.value.code


def expire(row: Invitation) -> None:
    Invitation.objects.filter(pk=row.pk).update(expires_at=datetime.now(UTC) - timedelta(seconds=1))


# ---- what may be given, by whom


@pytest.mark.parametrize(
    ("inviter", "level", "refused"),
    [
        ("holder", "view-usage", ""),
        ("holder", "manage-all", ""),
        ("holder", "holder", "level"),
        ("holder", "everything", "level"),
        ("manage-all", "pay", ""),
        ("manage-all", "manage-alerts", ""),
        ("manage-all", "manage-all", "level"),
        ("manage-all", "holder", "level"),
        ("pay", "view-usage", "not-yours"),
        ("view-bills", "view-usage", "not-yours"),
        ("manage-alerts", "view-usage", "not-yours"),
        ("view-usage", "view-usage", "not-yours"),
        ("stranger", "view-usage", "not-yours"),
    ],
)
def test_who_may_invite_to_what(house: House, inviter: str, level: str, refused: str) -> None:
    actor = {"holder": lambda: house.ana, "stranger": lambda: member("stranger@example.org")}.get(
        inviter, lambda: house.guest(Level(inviter))
    )()
    if refused:
        assert refusal(lambda: house.invite(level=level, by=actor)) == refused
        assert not Invitation.objects.exists()
    else:
        assert house.invite(level=level, by=actor).level == level


@pytest.mark.parametrize("actor", ["manage-all", "view-bills", "stranger"])
def test_what_the_holder_gave_is_out_of_reach_of_others(house: House, actor: str) -> None:
    """A guest who manages neither changes the holder, nor another who manages, nor an invitation to manage."""
    other = house.guest(Level.MANAGE_ALL, "other@example.org")
    who = member("stranger@example.org") if actor == "stranger" else house.guest(Level(actor))
    row = house.invite(level="manage-all")
    expected = "level" if actor == "manage-all" else "not-yours"
    for act in (
        lambda: guests.change_level(house.access(other), "view-usage", actor=who),
        lambda: guests.remove(house.access(other), actor=who),
        lambda: invitations.send_again(row, actor=who),
        lambda: invitations.take_back(row, actor=who),
        lambda: (
            house.invite(level="pay", by=who) if actor != "manage-all" else house.invite(level="manage-all", by=who)
        ),
        lambda: house.invite(email=row.email, level="view-usage", by=who),
    ):
        assert refusal(act) == expected
    for act in (
        lambda: guests.change_level(house.access(house.ana), "view-usage", actor=who),
        lambda: guests.remove(house.access(house.ana), actor=who),
    ):
        assert refusal(act) == ("holder" if actor == "manage-all" else "not-yours")
    assert house.access(house.ana).level == Level.HOLDER
    assert house.access(other).level == Level.MANAGE_ALL


def test_nobody_changes_their_own_level_but_guests_may_leave(house: House) -> None:
    boss, small = house.guest(Level.MANAGE_ALL), house.guest(Level.VIEW_USAGE)
    assert refusal(lambda: guests.change_level(house.access(boss), "pay", actor=boss)) == "yourself"
    assert refusal(lambda: guests.remove(house.access(boss), actor=boss)) == "yourself"
    assert refusal(lambda: guests.change_level(house.access(small), "manage-all", actor=small)) == "not-yours"
    assert refusal(lambda: guests.leave(house.access(house.ana), actor=house.ana)) == "holder"
    assert refusal(lambda: guests.leave(house.access(small), actor=boss)) == "not-yours"
    assert refusal(lambda: guests.change_level(house.access(small), "holder", actor=house.ana)) == "level"
    for guest in (boss, small):
        guests.leave(house.access(guest), actor=guest)
        assert not house.account.access.filter(user=guest, ended_at=None).exists()
    assert "has left your account" in mail_to("ana@example.org").says


# ---- the link


def test_the_table_has_only_the_hash_of_a_long_random_token(house: House) -> None:
    row = house.invite(" Gus@Example.org ")
    token = token_to("gus@example.org")
    assert len(token) >= len("hwi_") + 43  # 256 bits in base 64
    assert bytes(row.token_hash) == hashlib.sha256(token.encode()).digest()
    assert mail_to("gus@example.org").secret  # staff never read it, and it is wiped once it was sent
    whole = [str(value) for entry in AuditEntry.objects.values() for value in entry.values()]
    assert not [text for text in whole if token in text or "gus@" in text]
    house.invite("hanna@example.org")
    assert token_to("hanna@example.org") != token


def test_the_email_says_by_whom_to_what_and_until_when(house: House) -> None:
    UtilitySettings.objects.update_or_create(pk=1, defaults={"portal_url": SITE, "contact_phone": "405-555-0100"})
    house.invite(level="pay")
    message = mail_to("gus@example.org")
    for said in ("Ana Morales", "12 Elm Street", "See water use and bills, and pay", "405-555-0100", "until "):
        assert said in message.says
    assert "Ana" not in message.subject
    assert link_in(message)


def test_a_name_that_could_pass_for_a_link_is_not_sent(house: House) -> None:
    User.objects.filter(pk=house.ana.pk).update(name="Win now at https://evil.example")
    house.ana.refresh_from_db()
    house.invite()
    assert "evil.example" not in mail_to("gus@example.org").says
    assert "ana@example.org invites you" in mail_to("gus@example.org").says


def test_a_link_works_once(house: House) -> None:
    house.invite(level="view-bills")
    gus, token = member("gus@example.org", name="Gus"), token_to("gus@example.org")
    access = invitations.accept(token, gus)
    assert (access.account, access.level, access.ended_at) == (house.account, "view-bills", None)
    assert refusal(lambda: invitations.accept(token, gus)) == "invitation"
    row = Invitation.objects.get()
    assert row.accepted_by == gus
    assert "Gus (gus@example.org) has accepted" in mail_to("ana@example.org").says
    assert Client().get(f"/invitation/{token}/").status_code == 404


def test_an_invitation_expires_after_the_utilitys_days_and_is_then_sent_again(house: House) -> None:
    row = house.invite()
    assert row.expires_at - row.sent_at == timedelta(days=7)
    gus, old = member("gus@example.org"), token_to("gus@example.org")
    expire(row)
    assert invitations.offered(old) is None
    assert refusal(lambda: invitations.accept(old, gus)) == "invitation"
    UtilitySettings.objects.update_or_create(pk=1, defaults={"invitation_days": 2})
    again = invitations.send_again(row, actor=house.ana, site=SITE)
    assert again.expires_at - again.sent_at == timedelta(days=2)
    assert refusal(lambda: invitations.accept(old, gus)) == "invitation"
    assert invitations.accept(token_to("gus@example.org"), gus).level == "view-usage"


def test_sending_again_voids_the_link_before_at_once(house: House) -> None:
    row = house.invite()
    gus, old = member("gus@example.org"), token_to("gus@example.org")
    assert invitations.offered(old) == row
    invitations.send_again(row, actor=house.ana, site=SITE)
    assert invitations.offered(old) is None
    assert refusal(lambda: invitations.accept(old, gus)) == "invitation"
    assert Message.objects.filter(to="gus@example.org").count() == 2


def test_a_second_invitation_to_one_address_is_the_first_sent_again(house: House) -> None:
    first = house.invite(level="view-usage")
    old = token_to("gus@example.org")
    second = house.invite("GUS@example.org", level="pay")
    assert (second.pk, second.level, second.sent_times) == (first.pk, "pay", 2)
    assert invitations.offered(old) is None


def test_what_was_taken_back_or_whose_sender_lost_the_right_is_void(house: House) -> None:
    row = house.invite()
    token = token_to("gus@example.org")
    invitations.take_back(row, actor=house.ana)
    assert invitations.offered(token) is None
    assert refusal(lambda: invitations.take_back(row, actor=house.ana)) == "closed"
    assert refusal(lambda: invitations.send_again(row, actor=house.ana)) == "closed"
    boss = house.guest(Level.MANAGE_ALL)
    house.invite("hanna@example.org", by=boss)
    guests.remove(house.access(boss), actor=house.ana)
    assert invitations.offered(token_to("hanna@example.org")) is None
    assert not invitations.open_invitations(house.account).exists()
    boss = house.guest(Level.MANAGE_ALL, "boss3@example.org")
    house.invite("hugo@example.org", by=boss)
    guests.change_level(house.access(boss), "pay", actor=house.ana)
    assert not invitations.open_invitations(house.account).exists()
    boss = house.guest(Level.MANAGE_ALL, "boss2@example.org")
    house.invite("ida@example.org", by=boss)
    AccountAccess.objects.filter(user=boss).update(ended_at=NOW)  # by whatever way
    assert invitations.offered(token_to("ida@example.org")) is None


def test_only_the_invited_address_accepts(house: House) -> None:
    house.invite()
    token, other = token_to("gus@example.org"), member("other@example.org")
    assert refusal(lambda: invitations.accept(token, other)) == "other-address"
    EmailAddress.objects.create(user=other, email="gus@example.org", verified=False)
    assert refusal(lambda: invitations.accept(token, other)) == "other-address"
    EmailAddress.objects.filter(user=other, email="gus@example.org").update(verified=True)
    assert invitations.accept(token, other).user == other


def test_who_has_access_is_not_invited_and_addresses_are_whole(house: House) -> None:
    house.guest(Level.PAY, "gus@example.org")
    assert refusal(house.invite) == "has-access"
    assert refusal(lambda: house.invite("ana@example.org")) == "has-access"
    for wrong in ("", "gus", "gus@", "a b@example.org", "gus@example.org\nBcc: x@example.org"):
        assert refusal(lambda wrong=wrong: house.invite(wrong)) == "address"  # type: ignore[misc]


def test_twenty_open_and_ten_a_day(house: House) -> None:
    for number in range(10):
        house.invite(f"g{number}@example.org")
    assert refusal(lambda: house.invite("late@example.org")) == "too-often"
    assert refusal(lambda: invitations.send_again(Invitation.objects.all()[0], actor=house.ana)) == "too-often"
    AuditEntry.objects.update(at=datetime.now(UTC) - timedelta(days=1, seconds=1))
    for number in range(10, 20):
        house.invite(f"g{number}@example.org")
    AuditEntry.objects.update(at=datetime.now(UTC) - timedelta(days=2))
    assert refusal(lambda: house.invite("late@example.org")) == "too-many"
    invitations.take_back(Invitation.objects.all()[0], actor=house.ana)
    house.invite("late@example.org")


# ---- afterwards


def test_a_change_holds_at_once_and_the_guest_is_told(house: House) -> None:
    gus = house.guest(Level.VIEW_USAGE, "gus@example.org")
    client = signed_in(gus)
    assert client.get(f"/bills/{house.account.public_id}/history/").status_code == 404
    guests.change_level(house.access(gus), "view-bills", actor=house.ana)
    assert client.get(f"/bills/{house.account.public_id}/history/").status_code == 200
    text = mail_to("gus@example.org").says
    assert "was changed" in text
    assert "See water use and bills" in text
    sent = Message.objects.count()
    guests.change_level(house.access(gus), "view-bills", actor=house.ana)
    assert Message.objects.count() == sent
    entry = AuditEntry.objects.get(action="guest.level")
    assert (entry.actor, entry.detail["from"], entry.detail["to"]) == (house.ana, "view-usage", "view-bills")


def test_after_removal_the_next_request_shows_nothing_and_the_guest_is_told(house: House) -> None:
    gus = house.guest(Level.VIEW_BILLS, "gus@example.org")
    client = signed_in(gus)
    addresses = [f"/usage/{house.point.public_id}/", f"/profile/household/{house.account.public_id}/"]
    assert [client.get(address).status_code for address in addresses] == [200, 200]
    guests.remove(house.access(gus), actor=house.ana)
    assert [client.get(address).status_code for address in addresses] == [404, 404]
    assert "has ended" in mail_to("gus@example.org").says
    assert AuditEntry.objects.get(action="access.end").actor == house.ana


def test_the_holder_is_told_when_a_guest_who_manages_invites(house: House) -> None:
    boss = house.guest(Level.MANAGE_ALL)
    house.invite(by=house.ana)
    assert not Message.objects.filter(to="ana@example.org").exists()
    house.invite("hanna@example.org", by=boss)
    assert "has invited hanna@example.org" in mail_to("ana@example.org").says
    assert AuditEntry.objects.filter(action="guest.invited", actor=boss).count() == 1


def test_everything_is_written_down_without_an_address(house: House) -> None:
    row = house.invite()
    invitations.send_again(row, actor=house.ana, site=SITE)
    gus = member("gus@example.org")
    invitations.accept(token_to("gus@example.org"), gus)
    guests.change_level(house.access(gus), "pay", actor=house.ana)
    guests.remove(house.access(gus), actor=house.ana)
    invitations.take_back(house.invite(), actor=house.ana)
    actions = list(AuditEntry.objects.filter(target_id=house.account.public_id).values_list("action", flat=True))
    for action in (
        "guest.invited",
        "guest.sent-again",
        "guest.accepted",
        "access.grant",
        "guest.level",
        "access.end",
        "guest.taken-back",
    ):
        assert action in actions, action
    assert not [entry for entry in AuditEntry.objects.values() if "@" in str(entry)]


# ---- the page behind the link


def test_opening_the_link_accepts_nothing_and_says_what_is_offered(house: House) -> None:
    house.invite(level="view-bills")
    gus = member("gus@example.org")
    path = link_in(mail_to("gus@example.org"))
    for _ in range(2):
        text = signed_in(gus).get(path).content.decode()
        for said in ("Ana Morales", "12 Elm Street", "See water use and bills", 'id="accept"'):
            assert said in text
    assert not AccountAccess.objects.filter(user=gus).exists()
    answer = signed_in(gus).post(path)
    assert (answer.status_code, answer["Location"]) == (303, "/")
    assert house.access(gus).level == "view-bills"


def test_signed_out_with_a_sign_in_one_signs_in_and_comes_back(house: House) -> None:
    house.invite()
    member("gus@example.org")
    path = link_in(mail_to("gus@example.org"))
    text = Client().get(path).content.decode()
    assert f"/accounts/login/?next={path.replace('/', '%2F')}" in text
    assert 'name="password1"' not in text
    Client().post(path)
    assert AccountAccess.objects.count() == 1


def test_signed_in_as_somebody_else_one_is_asked_to_sign_out(house: House) -> None:
    house.invite()
    client, path = signed_in(member("other@example.org")), link_in(mail_to("gus@example.org"))
    text = client.get(path).content.decode()
    assert 'id="sign-out-first"' in text
    assert 'id="accept"' not in text
    assert client.post(path).status_code == 403
    assert AccountAccess.objects.count() == 1
    answer = client.post("/accounts/logout/", {"next": path})
    assert (answer.status_code, answer["Location"]) == (302, path)


def test_somebody_new_makes_a_sign_in_and_is_in(house: House) -> None:
    house.invite(level="view-usage")
    client, path = Client(), link_in(mail_to("gus@example.org"))
    assert 'name="password1"' in client.get(path).content.decode()
    form = {
        "email": "thief@example.org",
        "name": "Gus Guest",
        "username": "",
        "password1": "clear-water-7-springs",
        "password2": "clear-water-7-springs",
    }
    assert client.post(path, {**form, "password2": "another-one-22"}).status_code == 422
    assert not User.objects.filter(email="gus@example.org").exists()
    answer = client.post(path, form, follow=True)
    assert answer.status_code == 200
    gus = User.objects.get(email="gus@example.org")
    assert EmailAddress.objects.get(user=gus).verified
    assert not User.objects.filter(email="thief@example.org").exists()
    assert house.access(gus).level == "view-usage"
    assert client.get(f"/usage/{house.point.public_id}/").status_code == 200


def test_links_that_do_not_work_all_look_the_same(house: House) -> None:
    row = house.invite()
    old = link_in(mail_to("gus@example.org"))
    invitations.send_again(row, actor=house.ana, site=SITE)
    expired = link_in(mail_to("gus@example.org"))
    expire(row)
    answers = [Client().get(path) for path in (old, expired, "/invitation/hwi_nothing/", "/invitation/x/")]
    assert {answer.status_code for answer in answers} == {404}
    bodies = {re.sub(r'value="[^"]*"', "", answer.content.decode()) for answer in answers}
    assert len(bodies) == 1
    assert "Ask whoever invited you" in bodies.pop()
    assert Client().post(old).status_code == 404


def test_nobody_new_is_made_when_the_link_fails_meanwhile(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    from portal.resident import invitation as page

    house.invite()
    path = link_in(mail_to("gus@example.org"))
    taken = page._has_sign_in

    def taken_back_meanwhile(email: str) -> bool:
        found = taken(email)
        Invitation.objects.update(revoked_at=datetime.now(UTC))
        return found

    monkeypatch.setattr(page, "_has_sign_in", taken_back_meanwhile)
    form = {"name": "Gus", "username": "", "password1": "clear-water-7-springs", "password2": "clear-water-7-springs"}
    assert Client().post(path, form).status_code == 404
    assert not User.objects.filter(email="gus@example.org").exists()


# ---- the pages of the household


def test_the_household_page_shows_both_lists_and_acts(house: House) -> None:
    gus = house.guest(Level.VIEW_USAGE, "gus@example.org")
    client = signed_in(house.ana)
    assert client.get("/profile/household/")["Location"] == f"/profile/household/{house.account.public_id}/"
    base = f"/profile/household/{house.account.public_id}/"
    assert client.post(base + "invite/", {"email": "hanna@example.org", "level": "manage-alerts"}).status_code == 303
    row = Invitation.objects.get()
    text = client.get(base).content.decode()
    for said in ("hanna@example.org", "gus@example.org", "Send again", "Take back", f"guests/{gus.public_id}/remove/"):
        assert said in text
    assert client.post(f"{base}invitations/{row.public_id}/again/").status_code == 303
    assert Invitation.objects.get().sent_times == 2
    assert client.post(f"{base}invitations/{row.public_id}/take-back/").status_code == 303
    assert "hanna@example.org" not in client.get(base).content.decode().split("</main>")[0].split('id="people"')[1]
    assert client.post(f"{base}guests/{gus.public_id}/", {"level": "pay"}).status_code == 303
    assert house.access(gus).level == "pay"
    assert client.get(f"{base}guests/{gus.public_id}/remove/").status_code == 200
    assert house.access(gus)
    assert client.post(f"{base}guests/{gus.public_id}/remove/").status_code == 303
    assert "has no access any more" in client.get(base).content.decode()
    wrong = client.post(base + "invite/", {"email": "nobody", "level": "pay"})
    assert wrong.status_code == 422
    assert 'aria-describedby="invite-error"' in wrong.content.decode()


def test_a_guest_sees_neither_the_lists_nor_the_form_but_can_leave(house: House) -> None:
    house.invite("hanna@example.org")
    gus = house.guest(Level.PAY, "gus@example.org")
    base, client = f"/profile/household/{house.account.public_id}/", signed_in(gus)
    text = client.get(base).content.decode()
    assert "hanna@example.org" not in text
    assert "ana@example.org" not in text
    assert 'id="send-invitation"' not in text
    assert client.get(base + "leave/").status_code == 200
    assert client.post(base + "leave/").status_code == 303
    assert client.get(base).status_code == 404
    assert signed_in(house.ana).get(base + "leave/").status_code == 404


def test_with_several_accounts_one_is_chosen(house: House) -> None:
    other = Account.objects.create(number="1000002")
    customers.grant_access(other, house.ana, at=NOW)
    text = signed_in(house.ana).get("/profile/household/").content.decode()
    assert "1000001" in text
    assert "1000002" in text


def test_the_database_keeps_one_open_invitation_an_address(house: House) -> None:
    from django.db import IntegrityError, transaction

    row = house.invite()
    with pytest.raises(IntegrityError), transaction.atomic():
        Invitation.objects.create(
            account=house.account,
            email=row.email,
            level="pay",
            invited_by=house.ana,
            token_hash=b"x" * 32,
            sent_at=row.sent_at,
            expires_at=row.expires_at,
        )


class Answers(live._Watcher):
    """A watcher that was asked before: the database is not asked from inside the event loop."""

    def __init__(self, concerned: set[tuple[int, int]]) -> None:
        super().__init__()
        self.answer = concerned

    def concerned(self, news: live._News, service_points: set[int]) -> set[tuple[int, int]]:
        return self.answer


def test_an_open_stream_tells_a_removed_guest_nothing_more(house: House) -> None:
    """The stream of the page stays open; who gets its events is asked anew for each change."""
    register = claim_register(total(), at=NOW)
    install_meter(register.meter, house.point, NOW)
    gus = house.guest(Level.VIEW_USAGE, "gus@example.org")
    hub = QuietHub()

    def told(change: int) -> tuple[list[int], list[int]]:
        """Let something change; return what the open streams of guest and holder hear of it."""
        RegisterState.objects.update_or_create(
            register=register,
            defaults={"last_read_at": NOW, "last_count": change, "last_quality": 0, "change_number": change},
        )
        news = live._News(change - 1, change, {})
        concerned = live._Watcher().concerned(news, {house.point.pk})
        assert concerned is not None

        async def heard() -> tuple[list[int], list[int]]:
            with (
                hub.subscribe(user=gus.pk, service_point=house.point.pk) as guest,
                hub.subscribe(user=house.ana.pk, service_point=house.point.pk) as holder,
                ThreadPoolExecutor(1) as executor,
            ):
                await hub._tell(news, Answers(concerned), executor)
                return [guest.get_nowait() for _ in range(guest.qsize())], [holder.get_nowait()]

        return asyncio.run(heard())

    assert told(7) == ([7], [7])
    guests.remove(house.access(gus), actor=house.ana)
    assert told(8) == ([], [8])
