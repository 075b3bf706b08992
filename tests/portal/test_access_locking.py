"""Staff lock, unlock and help a sign-in: with a reason, told to the person, never their own, never a password."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.contrib.auth.models import Permission as DjangoPermission
from django.test import Client

from portal.access.registration import link_account, prove, tries_today
from portal.billing.models import BillingAccount
from portal.core.errors import Refused
from portal.core.models import AuditEntry, User
from portal.core.tokens import check_token, make_token
from portal.customers.models import Account
from portal.notifications.models import Message, Phone
from tests.portal.bills import make_account, make_bill
from tests.portal.building import NOON, sent_mail

if TYPE_CHECKING:
    from django.http import HttpResponse

pytestmark = pytest.mark.django_db
REASON = "reported a stolen telephone"


def person(email: str = "ana@example.org", **fields: Any) -> User:
    user = User.objects.create_user(email, **fields)
    EmailAddress.objects.create(user=user, email=email, verified=True, primary=True)
    return user


@pytest.fixture
def staff() -> Client:
    client = Client()
    client.force_login(person("sam@example.org", is_staff=True))
    return client


def signed_in(user: User) -> Client:
    """A browser in which somebody has signed in, its session listed as the sign-in form does."""
    client = Client()
    client.force_login(user)
    UserSession.objects.create(user=user, ip="192.0.2.1", session_key=client.session.session_key, user_agent="test")
    return client


def act(client: Client, who: User, action: str, reason: str = REASON, **more: str) -> HttpResponse:
    path = f"/staff/people/{who.public_id}/"
    return client.post(path, {"action": action, "reason": reason, **more})  # type: ignore[return-value]


def trusted(client: Client) -> None:
    """Give the signed-in staff member the permission to change users."""
    user = User.objects.get(pk=client.session["_auth_user_id"])
    user.user_permissions.add(DjangoPermission.objects.get(codename="change_user"))


def test_a_lock_ends_sessions_and_tokens_and_an_unlock_brings_no_session_back(staff: Client) -> None:
    ana = person()
    theirs = signed_in(ana)
    token, _ = make_token(ana)
    assert theirs.get("/profile/").status_code == 200
    assert act(staff, ana, "lock").status_code == 302
    assert theirs.get("/profile/").status_code == 302
    assert check_token(token, scope="usage:read") is None
    assert not UserSession.objects.filter(user=ana).exists()
    entry = AuditEntry.objects.get(action="person.lock")
    assert (entry.reason, entry.target_id) == (REASON, ana.public_id)
    assert act(staff, ana, "lock").status_code == 422
    assert act(staff, ana, "unlock").status_code == 302
    assert theirs.get("/profile/").status_code == 302
    assert check_token(token, scope="usage:read") is not None
    told = Message.objects.filter(user=ana).order_by("pk").values_list("subject", "category")
    assert [(subject.rpartition(": ")[2], category) for subject, category in told] == [
        ("Your sign-in was locked", "account"),
        ("Your sign-in works again", "account"),
    ]
    assert REASON not in "".join(Message.objects.values_list("text", flat=True))


def test_a_lock_ends_sessions_that_no_list_knows_for_good_by_who_locked(staff: Client) -> None:
    ana, unlisted = person(), Client()
    unlisted.force_login(ana)
    assert act(staff, ana, "lock").status_code == 302
    assert act(staff, ana, "unlock").status_code == 302
    assert unlisted.get("/profile/").status_code == 302
    entry = AuditEntry.objects.get(action="sessions.end")
    assert (entry.actor, entry.target_id) == (User.objects.get(email="sam@example.org"), ana.public_id)


def test_a_lock_is_told_by_text_too(staff: Client) -> None:
    ana = person()
    facts = {"consent_text": "I agree", "consent_language": "en", "consented_at": NOON, "verified_at": NOON}
    Phone.objects.create(user=ana, number="+14055550123", **facts)
    act(staff, ana, "lock")
    assert list(Message.objects.filter(user=ana).order_by("channel").values_list("channel", "to")) == [
        ("email", "ana@example.org"),
        ("sms", "+14055550123"),
    ]
    text = Message.objects.get(channel="sms").says
    assert "Your sign-in was locked" in text
    assert REASON not in text


@pytest.mark.parametrize("action", ["lock", "unlock", "second-factor"])
def test_each_needs_a_reason(staff: Client, action: str) -> None:
    trusted(staff)
    ana = person(is_active=action != "unlock")
    refused = act(staff, ana, action, reason="because", identity="yes")
    assert refused.status_code == 422
    assert 'aria-invalid="true"' in refused.content.decode()
    assert not AuditEntry.objects.filter(action__startswith="person.").exists()
    ana.refresh_from_db()
    assert ana.is_active == (action != "unlock")


@pytest.mark.parametrize("action", ["lock", "reset", "second-factor"])
def test_nobody_does_it_to_themselves_to_staff_or_to_a_superuser(staff: Client, action: str) -> None:
    own = User.objects.get(email="sam@example.org")
    colleague = person("kim@example.org", is_staff=True)
    chief = person("chief@example.org", is_staff=True, is_superuser=True)
    more = {"identity": "yes"}
    for who in (own, colleague, chief):
        assert act(staff, who, action, **more).status_code == 422
    trusted(staff)
    for who in (own, chief):
        assert act(staff, who, action, **more).status_code == 422
    assert not AuditEntry.objects.filter(action__startswith="person.").exists()
    assert sent_mail() == []
    if action == "lock":
        assert act(staff, colleague, action).status_code == 302


def test_a_second_factor_is_removed_with_permission_and_a_checked_identity(staff: Client) -> None:
    ana = person()
    theirs = signed_in(ana)
    Authenticator.objects.create(user=ana, type="totp", data={"secret": "s"})
    assert "Remove the second step" not in staff.get(f"/staff/people/{ana.public_id}/").content.decode()
    assert act(staff, ana, "second-factor", identity="yes").status_code == 422
    trusted(staff)
    assert "Remove the second step" in staff.get(f"/staff/people/{ana.public_id}/").content.decode()
    assert act(staff, ana, "second-factor").status_code == 422
    assert Authenticator.objects.exists()
    assert act(staff, ana, "second-factor", identity="yes").status_code == 302
    assert not Authenticator.objects.exists()
    assert theirs.get("/profile/").status_code == 302
    assert Message.objects.filter(user=ana, category="account").count() == 1
    assert act(staff, ana, "second-factor", identity="yes").status_code == 422


def test_a_link_to_a_new_password_goes_to_the_confirmed_address_alone(staff: Client) -> None:
    ana, ben = person(), User.objects.create_user("ben@example.org")
    sent = act(staff, ana, "reset", reason="")
    assert sent.status_code == 302
    (message,) = sent_mail()
    assert message.to == ["ana@example.org"]
    assert "/accounts/password/reset/key/" in message.body
    # The link is for the person alone.
    page = staff.get(f"/staff/people/{ana.public_id}/").content.decode()
    assert "/reset/key/" not in page
    assert AuditEntry.objects.filter(action="person.password.reset-link").count() == 1
    assert act(staff, ben, "reset").status_code == 422
    assert len(sent_mail()) == 1


def test_an_account_is_taken_off_a_sign_in_that_should_not_hold_it(staff: Client) -> None:
    """Somebody registered with what they read on an envelope: staff take it back, and the bills go on paper again."""
    account, mallory = make_account("1234567"), person("mallory@example.org")
    make_bill(account)
    BillingAccount.objects.update(paper=True, email="")
    link_account(mallory, account)
    assert BillingAccount.objects.get().email == "mallory@example.org"
    theirs = Client()
    theirs.force_login(mallory)
    assert theirs.get(f"/bills/{account.public_id}/").status_code == 200
    assert "1234567" in staff.get(f"/staff/people/{mallory.public_id}/").content.decode()
    for wrong in ("", "nonsense", Account.objects.create(number="7", name="Ben").public_id):
        assert act(staff, mallory, "account", account=wrong).status_code == 422
    assert act(staff, mallory, "account", reason="", account=account.public_id).status_code == 422
    assert act(staff, mallory, "account", account=account.public_id).status_code == 302
    assert theirs.get(f"/bills/{account.public_id}/").status_code == 404
    billing = BillingAccount.objects.get()
    assert (billing.paper, billing.email) == (True, "")
    entry = AuditEntry.objects.get(action="account.unlink")
    assert (entry.actor, entry.reason) == (User.objects.get(email="sam@example.org"), REASON)
    assert Message.objects.filter(user=mallory, subject__contains="taken off your sign-in").count() == 1
    assert act(staff, mallory, "account", account=account.public_id).status_code == 422


def test_only_staff_see_people_and_find_them_by_what_they_say(staff: Client) -> None:
    ana = person(username="ana.r", name="Ana Rivera")
    person("ben@example.org")
    theirs = Client()
    theirs.force_login(ana)
    assert theirs.get("/staff/people/").status_code == 403
    assert act(theirs, ana, "lock").status_code == 403
    for text in ("ana@", "ANA.R", "rivera", "ana rivera"):
        page = staff.get("/staff/people/", {"q": text}).content.decode()
        assert ("ana@example.org" in page, "ben@example.org" in page) == (True, False)
    assert staff.post(f"/staff/people/{ana.public_id}/", {"action": "set-password"}).status_code == 400


def test_tries_to_register_are_cleared_for_a_customer_on_the_telephone(staff: Client) -> None:
    account = Account.objects.create(number="1000001", name="Ana")
    for _ in range(7):
        with pytest.raises(Refused):
            prove("1000001", amount="1.23")
    assert tries_today(account) == 5
    path = f"/staff/accounts/{account.public_id}/"
    assert "tried 5 times today" in staff.get(path).content.decode()
    assert staff.post(f"{path}tries/").status_code == 302
    assert tries_today(account) == 0
    assert "tried" not in staff.get(path).content.decode()
    staff.post(f"{path}tries/")
    assert AuditEntry.objects.filter(action="registration.tries.clear").count() == 1
