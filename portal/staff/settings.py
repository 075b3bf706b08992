"""The utility's settings: read by all staff, changed by those who have the permission; before and after are audited."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from portal.core.services import utility_settings
from portal.core.templatetags.portal import faults
from portal.core.utility import MAY_CHANGE, SettingsFaults, change_utility
from portal.staff.settings_forms import GROUPS, Group
from portal.staff.views import actor_of, page, staff_only

if TYPE_CHECKING:
    from django import forms

NAME = "settings"


@require_http_methods(["GET", "POST"])
@staff_only
def settings(request: HttpRequest, group: str = "") -> HttpResponse:
    """Show one group of settings as a form; a POST saves it. Without the permission it can only be read."""
    chosen = next((one for one in GROUPS if one.name == (group or GROUPS[0].name)), None)
    if chosen is None:
        raise Http404
    may_change = actor_of(request).has_perm(MAY_CHANGE)
    if request.method == "POST" and not may_change:
        raise PermissionDenied
    row, data = utility_settings(), request.POST if request.method == "POST" else None
    form = chosen.form(data, initial=chosen.initial(row), label_suffix="")
    rows = [(one, one.formset(data, row)) for one in chosen.rows]
    if data is not None and _saved(request, chosen, form, rows):
        return HttpResponseRedirect(reverse("staff:settings-group", args=[chosen.name]), status=303)
    if not may_change:
        for one in (form, *(line for _rows, formset in rows for line in formset.forms)):
            for field in one.fields.values():
                field.disabled = True
    context = {"group": chosen, "groups": GROUPS, "form": form, "rows": rows, "may_change": may_change}
    context["utility_zone"] = row.zone
    context["faults"] = faults(form) + [fault for _rows, formset in rows for fault in faults(formset)]
    return page(request, "staff/settings.html", NAME, context, status=200 if data is None else 422)


def _saved(request: HttpRequest, group: Group, form: forms.Form, rows: list[tuple[Any, Any]]) -> bool:
    right = [form.is_valid(), *(formset.is_valid() for _rows, formset in rows)]
    if not all(right):
        return False
    values = group.values(form.cleaned_data) | {one.name: one.value(formset) for one, formset in rows}
    try:
        changed = change_utility(values, actor=actor_of(request))
    except SettingsFaults as error:
        for name, text in error.faults:
            form.add_error(name if name in form.fields else None, text)
        return False
    messages.success(request, _("Saved.") if changed else _("Nothing was changed."))
    return True
