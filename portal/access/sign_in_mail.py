"""How django-allauth behaves around a sign-in: plain sign-up is closed, links carry no row numbers, mail is queued.

Every message about a sign-in goes through the outbox: a mail server that is away stops no page, and a page takes as
long for an address that has a sign-in as for one that has none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core import context as allauth_context
from allauth.core.exceptions import ImmediateHttpResponse
from django.shortcuts import redirect
from django.utils.translation import get_language
from django.utils.translation import gettext_lazy as _

from portal.core.accounts import MISMATCH
from portal.core.models import User
from portal.core.public_id import new_public_id
from portal.core.services import utility_settings
from portal.notifications.notify import site_link
from portal.notifications.services import NewEmail, code_text, queue_emails

if TYPE_CHECKING:
    from django.http import HttpRequest


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """Makes the links of the account pages, keeps plain sign-up closed, leaves user names empty, queues its mail."""

    error_messages = {  # noqa: RUF012  # the class attribute of allauth
        **DefaultAccountAdapter.error_messages,
        "email_password_mismatch": MISMATCH,
        "username_password_mismatch": MISMATCH,
        "too_many_login_attempts": _("Too many tries to sign in. Wait five minutes, then try again."),
        "username_taken": _("This user name is taken. Choose another one, or none."),
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Lead to the registration, which asks for a bill; there is no other way to make a sign-in by oneself."""
        match = request.resolver_match
        if match is not None and match.url_name == "account_signup":
            raise ImmediateHttpResponse(redirect("resident:register"))
        return True

    def populate_username(self, request: HttpRequest, user: User) -> None:
        """Leave the user name empty when none was chosen; allauth would make one up."""
        user.username = user.username or None

    def send_notification_mail(
        self, template_prefix: str, user: User, context: dict[str, Any] | None = None, email: str | None = None
    ) -> None:
        """Queue a notice about the sign-in: it holds no link that lets anybody in, so its text is kept."""
        super().send_notification_mail(template_prefix, user, {**(context or {}), "user": user, "open": True}, email)

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """Queue a message in the caller's transaction, ahead of all others: somebody sits and waits for it.

        Its links name the portal's own address, not the host that a request says it is for. Unless it is a notice, it
        is secret: nobody but its receiver ever reads it, and its text is wiped once it was sent.
        """
        utility, request = utility_settings(), allauth_context.request
        public_id = new_public_id()
        shown = {
            "request": request,
            "email": email,
            "message_code": code_text(public_id),
            "real": site_link(utility, "/message/"),
            **_at_our_address(request, context, utility.portal_url.rstrip("/")),
        }
        made = self.render_mail(template_prefix, email, shown)
        user = context.get("user")
        queue_emails(
            [
                NewEmail(
                    key=f"sign-in:{template_prefix.rpartition('/')[2]}:{public_id}",
                    to=email,
                    subject=str(made.subject),
                    text=f"{made.body}\n",
                    language=(get_language() or "en")[:2],
                    user=user.pk if isinstance(user, User) else None,
                    at_any_hour=True,
                    secret=not context.get("open", False),
                    public_id=public_id,
                )
            ]
        )

    def send_password_reset_mail(self, user: User, email: str, context: dict[str, Any]) -> None:
        """Queue the link to a new password; it names the person by their public id, not by the number of their row."""
        link = self.get_reset_password_from_key_url(f"{user.public_id}-{context['key']}")
        super().send_password_reset_mail(user, email, {**context, "password_reset_url": link})


def _at_our_address(request: HttpRequest | None, context: dict[str, Any], site: str) -> dict[str, Any]:
    """Return a message's context, each link in it at the address that the utility has set, if it has."""
    if request is None or not site:
        return context
    claimed = request.build_absolute_uri("/")
    return {
        name: site + value[len(claimed) - 1 :] if isinstance(value, str) and value.startswith(claimed) else value
        for name, value in context.items()
    }
