"""No page is forgotten: each is looked at by test_every_page or by a named test that walks there, or it is no page."""

from __future__ import annotations

import re
from pathlib import Path

from django.urls import URLPattern, get_resolver, resolve

from portal.staff.lists import LISTS
from tests.browser import pictures, test_every_page

WALKED = {
    "test_accounts": "resident:register-sign-in resident:passkey",
    "test_alerts": "resident:alert",
    "test_bill_pages": "resident:bills resident:account-bills resident:bill",
    "test_downloads": "resident:privacy-delete",
    "test_help": "resident:request staff:request staff:new-banner staff:banner staff:settings",
    "test_household": "resident:household-account resident:household-guest resident:household-leave "
    "resident:household-remove resident:transactions resident:payments",
    "test_messages": "staff:message",
    "test_every_page": "resident:unlink-account staff:look",
    "test_staff_billing": "staff:account staff:account-preview staff:account-final staff:account-delivery "
    "staff:agreement staff:bill-sheet staff:bill staff:bill-line staff:bills staff:held staff:runs staff:run "
    "staff:cycles staff:rates staff:rate-upload staff:rate-compare staff:rate-book",
    "test_staff_imports": "staff:imports",
    "test_staff_look": "staff:look-account staff:leak staff:person",
    "test_staff_money": "staff:journal staff:entry staff:aging staff:payment staff:adjust-bill staff:adjustments "
    "staff:adjustment",
    "test_staff_reads": "staff:findings staff:finding staff:enter-read staff:import-reads staff:entered "
    "staff:entered-read",
}
"""Test of tests/browser -> the pages that it looks at on its way."""
NO_PAGES = {
    "leads to one's own first page": "resident:home resident:household-again resident:household-take-back",
    "only takes what a form sends": "resident:delivery resident:unit resident:withdraw-request resident:alert-say "
    "resident:notifications-save resident:link-proved resident:address-link resident:phone-confirm "
    "resident:phone-remove resident:sign-out-elsewhere resident:token-make resident:token-revoke resident:privacy-copy "
    "resident:household-invite staff:clear-tries staff:end-look staff:end-banner",
    "a file or a stream": "resident:stream resident:transactions-csv resident:payments-csv resident:bill-pdf "
    "staff:bill-pdf staff:leak-file staff:import-template",
}


def test_every_page_is_looked_at() -> None:
    seen = {_name_of(look.path) for look in test_every_page.LOOKS}
    seen |= {name for names in (*WALKED.values(), *NO_PAGES.values()) for name in names.split()}
    named = {f"staff:list {name}" for name in LISTS}
    for space in ("resident", "staff"):
        _, resolver = get_resolver().namespace_dict[space]
        named |= {f"{space}:{one.name}" for one in resolver.url_patterns if isinstance(one, URLPattern)}
    assert named - {"staff:list"} - seen == set(), "look at these pages in LOOKS, or say which test walks there"


def test_every_page_is_pictured() -> None:
    """On a phone and on a desk, in docs/pages.md: each look, and each page that a test walks to."""
    names = {look.name for look in test_every_page.LOOKS}
    walked = {name for test, those in WALKED.items() if test != "test_every_page" for name in those.split()}
    for space in ("resident", "staff"):
        prefix, resolver = get_resolver().namespace_dict[space]
        for one in resolver.url_patterns:
            if isinstance(one, URLPattern) and f"{space}:{one.name}" in walked:
                names.add(pictures.name_of("/" + prefix + re.sub("<.*?>", "2", str(one.pattern))))
    docs = Path(test_every_page.__file__).parents[2] / "docs"
    page = (docs / "pages.md").read_text(encoding="utf-8")
    wanted = {f"images/pages/{name}-{width}.webp" for name in names for width, _ in pictures.WIDTHS}
    assert {file for file in wanted if f"({file})" not in page or not (docs / file).is_file()} == set()


def test_those_who_walk_there_exist() -> None:
    folder = Path(test_every_page.__file__).parent
    assert [name for name in WALKED if "faults" not in (folder / f"{name}.py").read_text(encoding="utf-8")] == []


def _name_of(path: str) -> str:
    """The name of the page at a path of LOOKS; of the place where one starts without a path."""
    bare = path.partition("?")[0].replace("{own}", "own") or "/usage/own/"
    if bare == "/no/such/page/":
        return ""
    found = resolve(bare)
    return f"staff:list {found.kwargs['name']}" if found.view_name == "staff:list" else found.view_name
