"""Secrets of second steps: none in a copy of the database, readable after a change of the portal's key."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from allauth.mfa.adapter import get_adapter
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal import auth
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, hotp_value
from django.core.cache import cache

from portal.access.second_steps import seal_second_steps
from portal.config.environment import read_environment
from portal.core.models import User
from portal.core.sealing import MARK, Unreadable, seal, unseal
from portal.worker import JOBS

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_django.fixtures import SettingsWrapper

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("half_minute")]
SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
FIRST, SECOND, THIRD = ("first" * 10, "second" * 10, "third" * 10)


@pytest.fixture(autouse=True)
def first_key(settings: SettingsWrapper) -> None:
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = FIRST, []
    cache.clear()


@pytest.fixture
def ana() -> User:
    return User.objects.create(email="ana@example.org")


def dump() -> str:
    """Everything that the table holds."""
    return json.dumps(list(Authenticator.objects.values_list("data", flat=True)))


def accepts(user: User) -> bool:
    """Tell whether the app's code of now is right."""
    cache.clear()  # a code works once: allauth remembers it there
    code = format_hotp_value(hotp_value(SECRET, next(auth.yield_hotp_counters_from_time())))
    return bool(TOTP(Authenticator.objects.get(user=user, type="totp")).validate_code(code))


def test_the_table_holds_no_secret_and_the_codes_are_right(ana: User) -> None:
    TOTP.activate(ana, SECRET)
    codes = RecoveryCodes.activate(ana)
    seed = get_adapter().decrypt(codes.instance.data["seed"])
    assert SECRET not in dump()
    assert seed not in dump()
    assert dump().count(MARK) == 2
    assert accepts(ana)
    used = codes.get_unused_codes()[0]
    fresh = RecoveryCodes(Authenticator.objects.get(type="recovery_codes"))
    assert (fresh.validate_code(used), fresh.validate_code(used)) == (True, False)


def test_what_lay_open_still_works_and_is_sealed_once(ana: User) -> None:
    Authenticator.objects.create(user=ana, type="totp", data={"secret": SECRET})
    old = {"seed": "00ff" * 20, "used_mask": 5, "migrated_codes": ["12345678", "87654321"]}
    Authenticator.objects.create(user=ana, type="recovery_codes", data=old)
    Authenticator.objects.create(user=ana, type="webauthn", data={"name": "Telephone", "credential": {}})
    assert accepts(ana)
    assert (seal_second_steps(), seal_second_steps()) == (2, 0)
    assert not any(one in dump() for one in (SECRET, "00ff00ff", "12345678", "87654321"))
    assert accepts(ana)
    row = Authenticator.objects.get(type="recovery_codes")
    assert row.data["used_mask"] == 5
    assert RecoveryCodes(row).get_unused_codes() == ["12345678", "87654321"]


def test_a_changed_key_opens_what_the_former_one_sealed(ana: User, settings: SettingsWrapper) -> None:
    TOTP.activate(ana, SECRET)
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = SECOND, [THIRD, FIRST]
    assert accepts(ana)
    assert (seal_second_steps(), seal_second_steps()) == (1, 0)
    settings.SECRET_KEY_FALLBACKS = []
    assert accepts(ana)


def test_without_its_key_a_second_step_refuses_every_code(ana: User, settings: SettingsWrapper) -> None:
    TOTP.activate(ana, SECRET)
    before = dump()
    settings.SECRET_KEY = SECOND
    assert not accepts(ana)
    adapter, sealed = get_adapter(), Authenticator.objects.get().data["secret"]
    assert adapter.decrypt(sealed) != adapter.decrypt(sealed)  # drawn: nobody can know it
    assert (seal_second_steps(), dump()) == (0, before)
    with pytest.raises(Unreadable):
        unseal(sealed)


def test_a_sealed_text_that_somebody_changed_is_refused() -> None:
    sealed = seal(SECRET)
    assert seal(SECRET) != sealed
    with pytest.raises(Unreadable):
        unseal(sealed[:-9] + ("A" if sealed[-9] != "A" else "B") + sealed[-8:])


def test_former_keys_stand_in_a_file_of_their_own(tmp_path: Path) -> None:
    file = tmp_path / "keys" / "secret_key_former"
    assert read_environment({"HEADWATER_PORTAL_DIR": str(tmp_path)}).former_secret_keys == ()
    file.parent.mkdir()
    file.write_text(f"{SECOND}\n\n {FIRST} \n")
    assert read_environment({"HEADWATER_PORTAL_DIR": str(tmp_path)}).former_secret_keys == (SECOND, FIRST)


def test_the_worker_seals_what_lies_open_once_a_day() -> None:
    assert seal_second_steps in [job.run for job in JOBS]
