"""Bills as PDF: tagged, PDF/UA-1, made by Typst from one template; about 20 ms each once the compiler is warm.

For the printer also the letters that go with them, from a template of their own.
"""

from __future__ import annotations

import io
import json
import os
import re
from datetime import UTC, datetime, time
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portal.billing.documents.letter import words_of_letter
from portal.billing.documents.words import words_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date

    from portal.billing.documents.facts import BillFacts
    from portal.billing.documents.letter import LetterFacts

TEMPLATE = Path(__file__).with_name("bill.typ")
LETTER = Path(__file__).with_name("letter.typ")
FONTS = (
    Path(__file__).resolve().parents[3]
    / "node_modules/@uswds/uswds/packages/uswds-core/src/assets/fonts/source-sans-pro"
)
"""The portal's own typeface as npm installed it; without it Typst's embedded serif stands in."""
PRINT_CHUNK = 25
"""Bills that are laid out together for the printer: Typst keeps 2 MB of layout for each until all are done."""
_LETTER = (612, 792)
_PAGES = re.compile(rb"/Type/Pages/Count (\d+)")


@lru_cache(maxsize=1)
def _compiler() -> Any:
    return _new_compiler({})


def _new_compiler(inputs: dict[str, str], template: Path = TEMPLATE) -> Any:
    # Threads inside Typst gain nothing on a document of two pages and cost a tenth where several processes work.
    os.environ.setdefault("RAYON_NUM_THREADS", "1")
    import typst

    return typst.Compiler(
        str(template),
        root=str(template.parent),
        font_paths=[str(FONTS)] if FONTS.is_dir() else [],
        ignore_system_fonts=True,
        sys_inputs=inputs,
    )


def render_pdf(facts: BillFacts, language: str) -> bytes:
    """Return one bill as PDF/UA-1 in a language; the same facts give the same bytes."""
    inputs = {"bills": json.dumps([words_of(facts, language)], default=_fields)}
    made: bytes = _compiler().compile(
        format="pdf", sys_inputs=inputs, pdf_standards=["ua-1"], timestamp=_timestamp(facts.bill_date)
    )
    return made


def render_print(
    bills: Sequence[tuple[BillFacts, str]], letters: Sequence[LetterFacts] = ()
) -> tuple[bytes, list[int]]:
    """Return bills, each with its language, and letters after them as one PDF for a printer, and the pages of each.

    Each starts on the front of a sheet. It is not tagged: only the printer reads it, and tags would double its size.
    """
    import pikepdf

    joined, counts = pikepdf.Pdf.new(), list[int]()
    for made, pages in _chunks(bills, letters):
        if len(joined.pages) % 2:
            joined.add_blank_page(page_size=_LETTER)
        with pikepdf.open(io.BytesIO(made)) as chunk:
            joined.pages.extend(chunk.pages)
        counts += pages
    result = io.BytesIO()
    joined.save(result, deterministic_id=True)
    return result.getvalue(), counts


def _chunks(
    bills: Sequence[tuple[BillFacts, str]], letters: Sequence[LetterFacts]
) -> Iterator[tuple[bytes, list[int]]]:
    for first in range(0, len(bills), PRINT_CHUNK):
        some = bills[first : first + PRINT_CHUNK]
        words = json.dumps([words_of(facts, language) for facts, language in some], default=_fields)
        compiler = _new_compiler({"bills": words, "duplex": "yes"})
        yield _printed(compiler, some[0][0].bill_date, ends="<bill-end>")
    for first in range(0, len(letters), PRINT_CHUNK):
        chosen = letters[first : first + PRINT_CHUNK]
        words = json.dumps([words_of_letter(facts) for facts in chosen], default=_fields)
        yield _printed(_new_compiler({"letters": words}, LETTER), chosen[0].day, ends="<letter-end>")


def _printed(compiler: Any, day: date, *, ends: str) -> tuple[bytes, list[int]]:
    """Return a PDF that is dated to a day, and the pages of each part of it as its marks tell them."""
    made: bytes = compiler.compile(format="pdf", pdf_tags=False, timestamp=_timestamp(day))
    return made, [int(end["pages"]) for end in json.loads(compiler.query(ends, field="value"))]


def page_count(pdf: bytes) -> int:
    """Return the number of pages of a PDF that came from here."""
    found = _PAGES.search(pdf)
    assert found is not None, "Typst writes its page tree in the clear"
    return int(found[1])


def _timestamp(day: date) -> int:
    return int(datetime.combine(day, time(), UTC).timestamp())


def _fields(value: Any) -> dict[str, Any]:
    """Return the fields of a dataclass for json: `dataclasses.asdict` copies every value, at a third of the time."""
    return {name: getattr(value, name) for name in value.__slots__}
