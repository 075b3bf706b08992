"""Template tags of every page: words of settings in the page's language, faults of forms, the page one is on."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from django import template
from django.forms import BaseFormSet
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from portal.core.language import page_before
from portal.core.utility import in_language

if TYPE_CHECKING:
    from django.forms import BaseForm
    from django.http import HttpRequest
    from django.template.context import Context

register = template.Library()


@register.filter
def words(texts: object) -> str:
    """Return the words of a setting, {"en": .., "es": ..}, in the language of the page."""
    return in_language(texts) if isinstance(texts, dict) else ""


@register.filter
def faults(form: BaseForm | BaseFormSet[BaseForm]) -> list[tuple[str, str]]:
    """Return (id of the field, what is wrong) of a form or formset, in the order of the page; an empty id: of all."""
    if isinstance(form, BaseFormSet):
        return [("", str(text)) for text in form.non_form_errors()] + [one for sub in form.forms for one in faults(sub)]
    found = [("", str(text)) for text in form.non_field_errors()]
    for field in form:
        found += [(field.id_for_label, f"{field.label}: {text}") for text in field.errors]
    return found


@register.filter
def at_field(text: object, field: str) -> list[tuple[str, str]]:
    """Return one fault of a field, by its id, for the error summary; nothing where there is no text."""
    return [(field, str(text))] if text else []


@register.filter
def letter(text: str) -> SafeString:
    """Return a plain text as paragraphs, and its lines that start with a dash as a list."""
    parts: list[SafeString] = []
    for block in text.strip().split("\n\n"):
        for dashed, lines in groupby(block.splitlines(), key=lambda line: line.startswith("- ")):
            if dashed:
                items = format_html_join("", "<li>{}</li>", ((line[2:],) for line in lines))
                parts.append(format_html('<ul style="margin:0 0 1rem;padding-left:1.25rem">{}</ul>', items))
            else:
                words = format_html_join(mark_safe("<br>"), "{}", ((line,) for line in lines))
                parts.append(format_html("<p>{}</p>", words))
    return mark_safe("\n".join(parts))  # noqa: S308 - every part was escaped above


@register.simple_tag(takes_context=True)
def this_page(context: Context) -> str:
    """Return the address to come back to with another language: the page, or the one whose form was just sent."""
    request: HttpRequest | None = context.get("request")
    if request is None:
        return "/"
    if request.method in ("GET", "HEAD"):
        return request.get_full_path()
    return page_before(request) or "/"
