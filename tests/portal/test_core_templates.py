"""Settled templates say what Django says, in every language and wherever the portal is mounted."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from django.template import Context, Engine
from django.template.base import Node, TextNode
from django.urls import NoReverseMatch, get_script_prefix, set_script_prefix
from django.utils import translation
from django.utils.functional import SimpleLazyObject
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy

from portal.core.templates import Constant

if TYPE_CHECKING:
    from collections.abc import Iterator

PARTS = {
    "base": '{% load i18n %}<p>{% translate "Sign out" %}</p>{% block content %}{% endblock %}',
    "page": (
        '{% extends "base" %}{% load i18n static %}{% block content %}{% if seen %}{% translate "Usage" %}'
        '{% else %}{% for one in many %}{% url "resident:help" %} {{ one }}{% empty %}{% static "mark.svg" %}'
        "{% endfor %}{% endif %}{% translate word %}{% url name %}{% static file %}"
        '{% url "resident:help" as help %}{% translate "Save" as save %}{{ help }}{{ save }}'
        '{% translate "50%% & more" %}{% endblock %}'
    ),
    "values": (
        "{% load i18n %}{% for one in each %}[{{ one }} {{ one.name }} {{ one.name.text }} {{ one.0 }} {{ one.call }} "
        '{{ one|default:"–" }}{% if one.name %}yes{% elif one.call and not one.name.text %}no{% else %}other{% endif %}'
        "{% if one == many.0 or missing.at.all %}first{% endif %}"
        "{% blocktranslate with there=one.name|default:one %}Are {{ there }} & {{ one }} 100% {{ nowhere }}?"
        "{% endblocktranslate %}{% blocktranslate %}Save{% endblocktranslate %}"
        "{% blocktranslate count n=many|length %}{{ n }} one{% plural %}{{ n }} more{% endblocktranslate %}]"
        '{% url "resident:bill" one as no_bill %}{{ no_bill }}{% autoescape off %}{{ one }}{{ one.name }}'
        "{% blocktranslate %}so {{ one }}{% endblocktranslate %}{% endautoescape %}{% endfor %}"
        '{% for public_id in ids %}{% url "resident:bill" public_id %} {% url "resident:usage" public_id=public_id %}'
        '{% autoescape off %}{% url "staff:account" public_id %}{% endautoescape %}{% endfor %}'
        '{% translate "Save" %}<b>{% translate "Save" %}</b>'
        '{% autoescape off %}<i>{% translate "Save" %}{% endautoescape %}'
    ),
}


class _Plain:
    """Something with what templates look for."""

    text = "<text> & 'more'"

    def __init__(self, name: object) -> None:
        self.name = name

    def call(self) -> str:
        return "called"


class _Odd(_Plain):
    """Whose properties fail as attributes that are missing do, and that is no text."""

    @property
    def text(self) -> str:  # type: ignore[override]
        raise Silent

    def __str__(self) -> str:
        return "<odd>"


class Silent(Exception):
    """What a template passes over."""

    silent_variable_failure = True


EACH = [
    _Plain(_Plain("in")),
    _Plain("<b>&amp;</b>"),
    _Plain(mark_safe("<b>&amp;</b>")),
    _Odd(_Odd(None)),
    {"name": {"text": "'of a dict'"}, "call": lambda: "<called>"},
    ["<first>", "second"],
    "text",
    "",
    None,
    True,
    1234567,
    Decimal("1234.50"),
    date(2026, 3, 8),
    datetime(2026, 3, 8, 9, 30, tzinfo=UTC),
    gettext_lazy("Save"),
    SimpleLazyObject(lambda: _Plain("lazy")),
    _Plain,
]
LIBRARIES = {"i18n": "django.templatetags.i18n", "static": "django.templatetags.static"}
CONTEXTS = [
    {"seen": True, "word": "Help", "name": "resident:home", "file": "usage.js"},
    {"seen": False, "many": [1, 2], "word": "Bills", "name": "resident:help", "file": "usage.css"},
    {"seen": False, "many": [], "word": "Help", "name": "resident:home", "file": "usage.js"},
]
LOCMEM = ("django.template.loaders.locmem.Loader", PARTS)


@pytest.fixture
def mounted() -> Iterator[None]:
    before = get_script_prefix()
    yield
    set_script_prefix(before)


@pytest.mark.usefixtures("mounted")
def test_they_say_what_django_says() -> None:
    ours = Engine(loaders=[("portal.core.templates.Loader", [LOCMEM])], libraries=LIBRARIES)
    djangos = Engine(loaders=[LOCMEM], libraries=LIBRARIES)
    said = set()
    for _ in range(2):  # the second time from what is kept
        for language in ("en", "es"):
            for prefix in ("/", "/water/"):
                set_script_prefix(prefix)
                for values in CONTEXTS:
                    with translation.override(language):
                        page = ours.get_template("page").render(Context(values))
                        assert page == djangos.get_template("page").render(Context(values))
                        said.add(page)
    assert len(said) == 12
    assert "Salir" in "".join(said) or "Cerrar" in "".join(said)


@pytest.mark.usefixtures("mounted")
def test_values_are_shown_as_django_shows_them() -> None:
    ours = Engine(loaders=[("portal.core.templates.Loader", [LOCMEM])], libraries=LIBRARIES)
    djangos = Engine(loaders=[LOCMEM], libraries=LIBRARIES)
    values = {"each": EACH, "many": EACH[:1], "ids": ["7gk2", "a-b_c"]}
    for language, word in (("en", "Save"), ("es", "Guardar"), ("en", "Save")):
        for prefix in ("/", "/wa&ter/"):
            set_script_prefix(prefix)
            with translation.override(language):
                page = ours.get_template("values").render(Context(values))
                assert page == djangos.get_template("values").render(Context(values))
                assert f"<b>{word}</b>" in page
    with pytest.raises(NoReverseMatch):
        ours.get_template("values").render(Context({"ids": ["no slug"]}))


def test_only_what_no_request_changes_is_constant() -> None:
    engine = Engine(loaders=[("portal.core.templates.Loader", [LOCMEM])], libraries=LIBRARIES)
    nodes = engine.get_template("page").nodelist.get_nodes_by_type(Constant)
    said = sorted({tag.token.contents for tag in _tags(nodes) if tag.token})
    assert said == ['static "mark.svg"', 'translate "50%% & more"', 'translate "Usage"', 'url "resident:help"']


def _tags(nodes: list[Node]) -> Iterator[Node]:
    for node in nodes:
        if isinstance(node, Constant):
            yield from _tags(node.parts)
        elif not isinstance(node, TextNode):
            yield node
