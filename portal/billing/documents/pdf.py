"""Bills as PDF: tagged, PDF/UA-1, made by Typst from one template; about 20 ms each once the compiler is warm."""

from __future__ import annotations

import io
import json
import os
import re
from datetime import UTC, datetime, time
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portal.billing.documents.words import words_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from portal.billing.documents.facts import BillFacts

TEMPLATE = Path(__file__).with_name("bill.typ")
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


def _new_compiler(inputs: dict[str, str]) -> Any:
    # Threads inside Typst gain nothing on a document of two pages and cost a tenth where several processes work.
    os.environ.setdefault("RAYON_NUM_THREADS", "1")
    import typst

    return typst.Compiler(
        str(TEMPLATE),
        root=str(TEMPLATE.parent),
        font_paths=[str(FONTS)] if FONTS.is_dir() else [],
        ignore_system_fonts=True,
        sys_inputs=inputs,
    )


def render_pdf(facts: BillFacts, language: str) -> bytes:
    """Return one bill as PDF/UA-1 in a language; the same facts give the same bytes."""
    inputs = {"bills": json.dumps([words_of(facts, language)], default=_fields)}
    made: bytes = _compiler().compile(
        format="pdf", sys_inputs=inputs, pdf_standards=["ua-1"], timestamp=_timestamp(facts)
    )
    return made


def render_print(bills: Sequence[tuple[BillFacts, str]]) -> tuple[bytes, list[int]]:
    """Return bills, each with its language, as one PDF for a printer, and the number of pages of each of them.

    Each starts on the front of a sheet. It is not tagged: only the printer reads it, and tags would double its size.
    """
    import pikepdf

    joined, counts = pikepdf.Pdf.new(), list[int]()
    for first in range(0, len(bills), PRINT_CHUNK):
        made, pages = _printed(bills[first : first + PRINT_CHUNK])
        if len(joined.pages) % 2:
            joined.add_blank_page(page_size=_LETTER)
        with pikepdf.open(io.BytesIO(made)) as chunk:
            joined.pages.extend(chunk.pages)
        counts += pages
    result = io.BytesIO()
    joined.save(result, deterministic_id=True)
    return result.getvalue(), counts


def _printed(bills: Sequence[tuple[BillFacts, str]]) -> tuple[bytes, list[int]]:
    words = [words_of(facts, language) for facts, language in bills]
    compiler = _new_compiler({"bills": json.dumps(words, default=_fields), "duplex": "yes"})
    made: bytes = compiler.compile(format="pdf", pdf_tags=False, timestamp=_timestamp(bills[0][0]))
    ends = json.loads(compiler.query("<bill-end>", field="value"))
    return made, [int(end["pages"]) for end in ends]


def page_count(pdf: bytes) -> int:
    """Return the number of pages of a PDF that came from here."""
    found = _PAGES.search(pdf)
    assert found is not None, "Typst writes its page tree in the clear"
    return int(found[1])


def _timestamp(facts: BillFacts) -> int:
    return int(datetime.combine(facts.bill_date, time(), UTC).timestamp())


def _fields(value: Any) -> dict[str, Any]:
    """Return the fields of a dataclass for json: `dataclasses.asdict` copies every value, at a third of the time."""
    return {name: getattr(value, name) for name in value.__slots__}
