"""The language of pages: what a signed-in person chose, else what this browser chose or asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth.signals import user_logged_in
from django.core.exceptions import DisallowedHost
from django.dispatch import receiver
from django.http import HttpResponseRedirect
from django.utils import translation
from django.utils.deprecation import MiddlewareMixin
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

from portal.core.models import User

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse


class PersonLanguageMiddleware(MiddlewareMixin):
    """Speaks the language that a signed-in person has chosen; LocaleMiddleware has chosen one for everybody before."""

    def process_request(self, request: HttpRequest) -> None:
        """Turn to the person's language; without a session nobody is asked for."""
        person = request.user if settings.SESSION_COOKIE_NAME in request.COOKIES else None
        chosen = person.language if isinstance(person, User) else ""
        if chosen in dict(settings.LANGUAGES) and chosen != translation.get_language():
            translation.activate(chosen)
            request.LANGUAGE_CODE = chosen


def page_before(request: HttpRequest) -> str:
    """Return the path and query of the page of ours from which a request came, nothing for others."""
    came_from = request.headers.get("Referer", "")
    try:
        ours = {request.get_host()}
    except DisallowedHost:  # this is the page that says so
        return ""
    if not url_has_allowed_host_and_scheme(came_from, allowed_hosts=ours):
        return ""
    parts = urlsplit(came_from)
    path = "/" + parts.path.lstrip("/\\")  # two slashes would name another host
    return f"{path}?{parts.query}" if parts.query else path


@require_POST
def set_language(request: HttpRequest) -> HttpResponse:
    """Keep a language for this browser, and for the person if one is signed in; go back to the page that was open.

    That is what the address bar showed: parts of a page may have moved on since it was drawn. A page that answered a
    form has no address of its own; it says `fixed` and names the page of the form.
    """
    language, here = request.POST.get("language", ""), {request.get_host()}
    target = (not request.POST.get("fixed") and page_before(request)) or request.POST.get("next", "")
    safe = url_has_allowed_host_and_scheme(target, allowed_hosts=here, require_https=request.is_secure())
    answer = HttpResponseRedirect(target if safe else "/", status=303)
    if language not in dict(settings.LANGUAGES):
        return answer
    if isinstance(request.user, User) and request.user.language != language:
        User.objects.filter(pk=request.user.pk).update(language=language)
    answer.set_cookie(
        settings.LANGUAGE_COOKIE_NAME,
        language,
        max_age=settings.LANGUAGE_COOKIE_AGE,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )
    return answer


@receiver(user_logged_in)
def keep_language(request: HttpRequest | None, user: User, **kwargs: Any) -> None:
    """Let somebody who has no language yet have the one that they chose before they signed in."""
    chosen = request.COOKIES.get(settings.LANGUAGE_COOKIE_NAME, "") if request is not None else ""
    if not user.language and chosen in dict(settings.LANGUAGES):
        user.language = chosen
        user.save(update_fields=["language"])
