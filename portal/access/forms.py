"""The forms with which somebody proves an account, and makes a sign-in: after that, or as an invited guest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from allauth.account.adapter import get_adapter
from allauth.account.forms import SignupForm
from allauth.account.internal.flows.signup import complete_signup, prevent_enumeration
from allauth.core.exceptions import ImmediateHttpResponse
from django import forms
from django.contrib.auth.hashers import make_password
from django.db import IntegrityError, transaction
from django.utils.translation import get_language
from django.utils.translation import gettext_lazy as _

from portal.access.registration import prove
from portal.core.errors import Refused
from portal.core.models import User
from portal.notifications.phones import number_typed

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest, HttpResponse

    from portal.customers.models import Account


class ProofForm(forms.Form):
    """What a most recent bill says: a number, and its amount or its date."""

    number = forms.CharField(
        label=_("Account number or bill number"),
        help_text=_("Both stand at the top of your bill. Dashes, blanks and leading zeros do not matter."),
        max_length=40,
        widget=forms.TextInput({"autocomplete": "off", "autocapitalize": "characters", "spellcheck": "false"}),
    )
    amount = forms.CharField(
        label=_("Amount due on your most recent bill"),
        help_text=_("For example 61.25. What you paid last is right as well."),
        max_length=40,
        required=False,
        widget=forms.TextInput({"autocomplete": "off", "inputmode": "decimal"}),
    )
    date = forms.CharField(
        label=_("Or the date of that bill"),
        help_text=_("As it stands on the bill, or like this: 06/17/2026. The amount or the date is enough."),
        max_length=40,
        required=False,
        widget=forms.TextInput({"autocomplete": "off"}),
    )

    def prove(self, network: str) -> Account | None:
        """Return the account that is proved; None when it is not, with the reason among the form's errors."""
        typed = self.cleaned_data
        try:
            return prove(typed["number"], amount=typed["amount"], date=typed["date"], network=network)
        except Refused as refusal:
            field = refusal.code if refusal.code in self.fields else "amount" if refusal.code == "one" else None
            self.add_error(field, str(refusal))
            return None


class NewSignInForm(SignupForm):  # type: ignore[misc]
    """Email address, name, mobile number and user name (both optional), password twice.

    email  given: it is fixed, shown and not asked for (a guest's invitation went there).

    Call `sign_up(request, ...)` when it is valid.
    """

    field_order = ("email", "name", "phone", "username", "password1", "password2")
    name = forms.CharField(label=_("Your name"), max_length=150, widget=forms.TextInput({"autocomplete": "name"}))
    phone = forms.CharField(
        label=_("Mobile number (optional)"),
        help_text=_("For texts about leaks and bills, if you want them: you confirm it with a code in your profile."),
        max_length=40,
        required=False,
        widget=forms.TextInput({"type": "tel", "autocomplete": "tel"}),
    )

    def __init__(self, *args: Any, email: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        fields = self.fields
        fields["email"].label = _("Email address")
        fields["email"].initial = email.lower()
        fields["email"].disabled = bool(email)
        if not email:
            fields["email"].help_text = _("We send a link there. Your sign-in works once you have opened it.")
        fields["username"].label = _("User name (optional)")
        fields["username"].help_text = _(
            "To sign in with a name of your own as well: letters, digits, dots and dashes."
        )
        fields["password2"].label = _("The password once more")
        for field in fields.values():
            field.widget.attrs.pop("placeholder", None)

    def sign_up(
        self, request: HttpRequest, *, then: Callable[[User], object], verified: bool = False, target: str = "/"
    ) -> HttpResponse:
        """Make the sign-in, do what belongs to it in the same transaction, and lead on.

        then      gets the new user. It is not called when the address has a sign-in already: the page says the same
                  as ever, and the owner of the address is told by mail.
        verified  the address is known to be theirs (they opened a link that was sent there): they are signed in at
                  once and led to `target`; else once they have opened the link that is sent now.
        """
        adapter = get_adapter(request)
        if verified:
            adapter.stash_verified_email(request, self.cleaned_data["email"])
        try:
            with transaction.atomic():  # the mail with the link is queued in it: whoever has a sign-in gets one
                user, answer = self.try_save(request)
                if user is not None:
                    then(user)
                    answer = _led_on(request, user, target)
        except IntegrityError:  # somebody was faster with this address, or with this user name
            user, answer = None, prevent_enumeration(request, email=self.cleaned_data["email"])
        if user is None:
            make_password(self.cleaned_data["password1"])  # the same work as for a new one
        return answer  # type: ignore[no-any-return]

    def clean_phone(self) -> str:
        """Return the number in E.164, empty without one."""
        typed = self.cleaned_data["phone"].strip()
        try:
            return number_typed(typed) if typed else ""
        except Refused as refused:
            raise forms.ValidationError(str(refused)) from refused

    def custom_signup(self, request: HttpRequest, user: User) -> None:
        """Keep what allauth does not know: the name, the telephone, and the language of the page."""
        user.name = self.cleaned_data["name"].strip()
        user.phone_given = self.cleaned_data["phone"]
        user.language = (get_language() or "en")[:2]
        user.save(update_fields=["name", "phone_given", "language"])


def _led_on(request: HttpRequest, user: User, target: str) -> HttpResponse:
    try:
        return complete_signup(request, user=user, redirect_url=target)  # type: ignore[no-any-return]
    except ImmediateHttpResponse as leave:
        return leave.response  # type: ignore[no-any-return]
