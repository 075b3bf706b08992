"""From the text of a rate file of ours to its book: shape, then meaning, every fault with its line."""

from __future__ import annotations

import hashlib
from datetime import date
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from domain.units import Unit
from rates.book import Quantity, Version
from rates.building import ClassBuilder
from rates.document import Document, Path
from rates.file import DatedClasses, FileBook, RateClass, Season
from rates.inputs import Declared
from rates.policy_file import read_policies
from rates.schema import check_schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SCALES = {"0.001": -3, "0.01": -2, "0.1": -1, "1": 0, "10": 1, "100": 2, "1000": 3}
RESERVED = frozenset({"season", "usage", "month", "full_days", "otherwise"})
LIKE_MAX = 40
YES = frozenset({"yes", "true"})


def load_file(text: str, *, name: str) -> FileBook:
    """Load a file of format headwater-rates/1; raises RateFileError with every fault."""
    document = Document(name, text)
    check_schema(document)
    document.refuse()
    book = _Reader(document, text).read()
    document.refuse()
    return book


class _Reader:
    """Reads one document whose shape is right; what it cannot use it notes and leaves out."""

    def __init__(self, document: Document, text: str) -> None:
        self.document, self.tree, self.text = document, document.tree, text
        self.languages = tuple(self.tree.get("languages", ("en",)))
        self._done: dict[Path, dict[str, Any] | None] = {}

    def read(self) -> FileBook:
        self._check_labels(self.tree, ())
        declared = {name: self._input(name, spec) for name, spec in self.tree.get("inputs", {}).items()}
        declared.setdefault("winter_average", Declared("winter_average", "volume", required=False))
        seasons = tuple(self._season(name, spec) for name, spec in self.tree.get("seasons", {}).items())
        unit = self.tree["billed_unit"]
        return FileBook(
            name=self.document.name,
            title=self.tree["name"],
            currency=self.tree["currency"],
            digest=hashlib.sha256(self.text.encode()).hexdigest(),
            quantity=Quantity(Unit(unit["unit"]), SCALES[unit.get("step", "1")]),
            languages=self.languages,
            declared=declared,
            seasons=seasons,
            dated=self._versions(declared, seasons),
            policies=read_policies(self.document, self.tree.get("policies", []), self.day),
            labels={name: spec["label"] for name, spec in self.tree.get("inputs", {}).items() if "label" in spec},
            conversions={Unit(name): Fraction(many) for name, many in unit.get("conversions", {}).items()},
        )

    def day(self, text: str, path: Path) -> date:
        """Return a date; one that the calendar does not have is a fault."""
        try:
            return date.fromisoformat(text)
        except ValueError:
            self.document.fault(path, f"is {text!r}; the calendar has no such day")
            return date.max

    def _check_labels(self, node: Any, path: Path) -> None:
        """See that every label says it in every language of the file."""
        if isinstance(node, dict):
            for key, value in node.items():
                if key == "label" and isinstance(value, dict) and "label" not in value:
                    if missing := [language for language in self.languages if language not in value]:
                        self.document.fault((*path, key), f"has no text for: {', '.join(missing)}")
                else:
                    self._check_labels(value, (*path, key))
        elif isinstance(node, list):
            for index, item in enumerate(node):
                self._check_labels(item, (*path, index))

    def _input(self, name: str, spec: Mapping[str, Any]) -> Declared:
        path: Path = ("inputs", name)
        kind = spec["type"]
        if name in RESERVED:
            self.document.fault(path, f"{name} is a word of the format; name it otherwise", key=True)
        if (kind == "choice") != ("values" in spec):
            self.document.fault(path, "a choice lists its values, and nothing else does")
        if name == "winter_average" and kind != "volume":
            self.document.fault((*path, "type"), "winter_average is a volume")
        values = ("yes", "no") if kind == "yes-no" else tuple(spec.get("values", ()))
        if len(set(values)) < len(values):
            self.document.fault((*path, "values"), "a value is listed twice")
        default = spec.get("default")
        if kind == "yes-no" and default is not None:
            default = {"true": "yes", "false": "no"}.get(default, default)
        if default is not None and values and default not in values:
            self.document.fault((*path, "default"), f"is {default!r}; expected one of: {', '.join(values)}")
            default = None
        least = Fraction(spec["least"]) if "least" in spec else None
        declared = Declared(name, kind, values, None, least, default is None and name != "winter_average")
        if default is not None:
            declared = Declared(name, kind, values, self._default(declared, default, path), least, False)
        return declared

    def _default(self, declared: Declared, default: str, path: Path) -> str | None:
        from rates.errors import InputError

        try:
            declared.parse(default)
        except InputError as error:
            self.document.fault((*path, "default"), str(error).partition(" ")[2])
            return None
        return default

    def _season(self, name: str, spec: Mapping[str, Any]) -> Season:
        path: Path = ("seasons", name)
        if name in RESERVED:
            self.document.fault(path, f"{name} is a word of the format; name it otherwise", key=True)
        if ("months" in spec) == ("first_day" in spec) or ("first_day" in spec) != ("last_day" in spec):
            self.document.fault(path, "a season has months, or first_day and last_day")
            return Season(name, months=frozenset())
        if "months" in spec:
            return Season(name, months=frozenset(map(int, spec["months"])))
        days = []
        for key in ("first_day", "last_day"):
            self.day(f"2025-{spec[key]}", (*path, key))
            days.append((int(spec[key][:2]), int(spec[key][3:])))
        return Season(name, first=days[0], last=days[1])

    def _versions(self, declared: Mapping[str, Declared], seasons: tuple[Season, ...]) -> tuple[DatedClasses, ...]:
        rows = self.tree["versions"]
        days = [self.day(row["start"], ("versions", i, "start")) for i, row in enumerate(rows)]
        ids = [row.get("id", row["start"]) for row in rows]
        for index in range(len(rows)):
            path: Path = ("versions", index)
            if days[index] in days[:index]:
                self.document.fault((*path, "start"), "another version starts on the same day")
            if ids[index] in ids[:index]:
                self.document.fault((*path, "id"), f"{ids[index]!r} is the id of another version")
        order = sorted(range(len(rows)), key=lambda index: days[index])
        found = []
        for place, index in enumerate(order):
            row, path = rows[index], ("versions", index)
            following = days[order[place + 1]] if place + 1 < len(order) else None
            end = self.day(row["end"], (*path, "end")) if "end" in row else following
            if end is not None and end <= days[index] and days.count(days[index]) == 1:
                self.document.fault((*path, "end"), "must be later than start")
            if following is not None and end is not None and end > following:
                self.document.fault((*path, "end"), f"the version of {following} begins before this one ends")
            version = Version(ids[index], days[index], end, row.get("name", ""), row["authority"])
            found.append(DatedClasses(version, dict(self._classes(ids, index, declared, seasons, version))))
        return tuple(found)

    def _classes(
        self,
        ids: list[str],
        index: int,
        declared: Mapping[str, Declared],
        seasons: tuple[Season, ...],
        version: Version,
    ) -> Iterator[tuple[str, RateClass]]:
        for name in self.tree["versions"][index]["classes"]:
            source = self._resolved(ids, index, name, ())
            if source is None:
                continue
            if not source["services"] or not source["label"]:
                missing = "services" if source["label"] else "label"
                self.document.fault(("versions", index, "classes", name), f"{missing} is missing")
                continue
            builder = ClassBuilder(self.document, self.day, declared, seasons, version)
            yield name, builder.build(name, source)

    def _resolved(self, ids: list[str], index: int, name: str, seen: tuple[Path, ...]) -> dict[str, Any] | None:
        """Return a class with what it takes from others by `like`, worked out once."""
        path: Path = ("versions", index, "classes", name)
        if path not in self._done:
            self._done[path] = self._resolve(ids, index, name, seen)
        return self._done[path]

    def _resolve(self, ids: list[str], index: int, name: str, seen: tuple[Path, ...]) -> dict[str, Any] | None:
        """Put a class together; each service remembers where it is written."""
        path: Path = ("versions", index, "classes", name)
        row = self.tree["versions"][index]["classes"][name]
        source: dict[str, Any] = {
            "label": {},
            "winter_average": None,
            "winter_path": path,
            "services": {},
            "path": path,
        }
        source["decreasing"] = row.get("decreasing", "no") in YES
        if "like" in row:
            base = self._like(ids, index, row["like"].split("/"), (*path, "like"), (*seen, path))
            if base is None:
                return None
            source |= {key: base[key] for key in ("label", "winter_average", "winter_path", "decreasing")}
            source["services"] = dict(base["services"])
            if "decreasing" in row:
                source["decreasing"] = row["decreasing"] in YES
        source["label"] = row.get("label", source["label"])
        if "winter_average" in row:
            source |= {"winter_average": row["winter_average"], "winter_path": (*path, "winter_average")}
        for service, spec in row.get("services", {}).items():
            below = (*path, "services", service)
            found = self._service(ids, index, spec, below, (*seen, path))
            if found is not None:
                source["services"][service] = found
        return source

    def _service(
        self, ids: list[str], index: int, spec: Mapping[str, Any], path: Path, seen: tuple[Path, ...]
    ) -> dict[str, Any] | None:
        base: dict[str, Any] = {}
        if "like" in spec:
            steps = spec["like"].split("/")
            found = self._like(ids, index, steps[:-1], (*path, "like"), (*seen, path)) if len(steps) > 1 else None
            if found is None or steps[-1] not in found["services"]:
                self.document.fault((*path, "like"), f"{spec['like']!r} names no service; write CLASS/SERVICE")
                return None
            base = dict(found["services"][steps[-1]])
        if "lines" in spec:
            base |= {"lines": spec["lines"], "path": path}
        if "label" in spec:
            base["label"] = spec["label"]
        for key in ("label", "lines"):
            if key not in base:
                self.document.fault(path, f"{key} is missing")
                return None
        return base

    def _like(
        self, ids: list[str], index: int, steps: list[str], path: Path, seen: tuple[Path, ...]
    ) -> dict[str, Any] | None:
        """Return the class that CLASS or VERSION/CLASS names."""
        version = index
        if len(steps) == 2:  # noqa: PLR2004
            version = ids.index(steps[0]) if steps[0] in ids else -1
        if version < 0 or len(steps) not in (1, 2) or steps[-1] not in self.tree["versions"][version]["classes"]:
            self.document.fault(path, f"{'/'.join(steps)!r} names no class; write CLASS or VERSION/CLASS")
            return None
        if ("versions", version, "classes", steps[-1]) in seen or len(seen) > LIKE_MAX:
            self.document.fault(path, f"{'/'.join(steps)!r} leads back here")
            return None
        return self._resolved(ids, version, steps[-1], seen)
