"""Green Button files as strangers see them: the published schemas, and a reader that is not ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from greenbutton_objects.parse import parse_feed
from lxml import etree

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from lxml.etree import XMLSchema


def feed_schema(folder: Path) -> XMLSchema:
    """Return Atom, ESPI and customer as one schema, so that the content of entries is checked; there is no network."""

    class Local(etree.Resolver):
        def resolve(self, url: str | None, public_id: str | None, context: object) -> object:
            del public_id
            name = (url or "").rsplit("/", 1)[-1]
            assert (folder / name).is_file(), f"{url} is asked of the network"
            return self.resolve_filename(str(folder / name), context)  # type: ignore[arg-type]

    parser = etree.XMLParser(no_network=True)
    parser.resolvers.add(Local())
    wrapper = "".join(
        f'<xs:import namespace="{namespace}" schemaLocation="{name}.xsd"/>'
        for namespace, name in (
            ("http://www.w3.org/2005/Atom", "atom"),
            ("http://naesb.org/espi", "espi"),
            ("http://naesb.org/espi/customer", "customer"),
        )
    )
    text = f'<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema">{wrapper}</xs:schema>'
    return etree.XMLSchema(etree.fromstring(text.encode(), parser))


def points_read(feed: bytes, folder: Path) -> list[Any]:
    """Return the usage points that greenbutton-objects reads from a feed."""
    path = folder / "feed.xml"
    path.write_bytes(feed)
    return list(parse_feed(str(path)))
