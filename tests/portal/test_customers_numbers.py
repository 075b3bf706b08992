"""Account numbers: typed from memory, changed by a spreadsheet, replaced by another; the account is found."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from portal.core.errors import Refused
from portal.core.models import AuditEntry
from portal.customers.models import Account, AccountAlias
from portal.customers.numbers import change_number, find_account, find_accounts, number_key

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("typed", ["0012-345.67", "1234567", "12 345 67", "00001234567", "12/34567"])
def test_an_account_is_found_however_its_number_is_typed(typed: str) -> None:
    account = Account.objects.create(number="0012-345.67")
    assert find_account(typed) == account
    assert find_account("12345678") is None


def test_letters_count_whatever_their_case() -> None:
    account = Account.objects.create(number="ab-0099")
    assert find_account("AB0099") == account
    assert find_account("AB99") is None, "only zeros in front are empty"


def test_a_number_that_two_accounts_share_but_for_zeros_means_neither() -> None:
    Account.objects.create(number="12")
    Account.objects.create(number="0012")
    assert find_account("12") is None
    assert [account.number for account in find_accounts(["12"])["12"]] == ["12", "0012"]


def test_a_changed_number_still_finds_its_account_and_is_nobody_elses() -> None:
    account, other = Account.objects.create(number="100-1"), Account.objects.create(number="200-2")
    change_number(account, "9-100-1", label="test")
    assert account.number == "9-100-1"
    assert find_account("1001") == account == find_account("91001")
    with pytest.raises(Refused, match="another account"):
        change_number(other, "1001")
    change_number(account, "100-1", label="test")
    assert find_account("9-1001") == account == find_account("1001")
    assert AccountAlias.objects.count() == 1
    assert AuditEntry.objects.filter(action="account.number", target_id=account.public_id).count() == 2


class TestKey(TestCase):
    """The database's key is the program's."""

    @settings(max_examples=40, deadline=None)
    @given(st.text(alphabet="0019aAzZ-. /_#", min_size=1, max_size=32))
    def test_the_key_in_the_database_is_the_key_in_the_program(self, number: str) -> None:
        account = Account.objects.create(number=number)
        account.refresh_from_db()
        assert account.number_key == number_key(number)
