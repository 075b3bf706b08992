"""A YAML file as plain text values that remember where they stood.

Every scalar stays the text that was written (`3.10` is never a float, `no` never False). What makes YAML surprising is
refused: duplicate keys, anchors and aliases, tags, more than one document, deep nesting, big files.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import yaml

from rates.errors import Fault, RateFileError

CHARS_MAX = 2_000_000
DEPTH_MAX = 24

Path = tuple[str | int, ...]


class Mark(NamedTuple):
    """A place in the file, counted from 1."""

    line: int
    column: int


class Document:
    """The tree (`dict`, `list`, `str`), where each value and each key stands, and the faults found in it so far."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.faults: list[Fault] = []
        self.values: dict[Path, Mark] = {}
        self.keys: dict[Path, Mark] = {}
        self.tree: Any = None
        if len(text) > CHARS_MAX:
            raise RateFileError(name, [Fault(1, 1, "", f"the file is longer than {CHARS_MAX} characters")])
        try:
            self._refuse_surprises(text)
            root = None if self.faults else yaml.compose(text, Loader=yaml.CSafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            at = Mark(mark.line + 1, mark.column + 1) if mark else Mark(1, 1)
            reason = " ".join(filter(None, [error.context, error.problem]))
            raise RateFileError(name, [Fault(*at, "", f"not YAML: {reason}")]) from error
        except yaml.YAMLError as error:
            raise RateFileError(name, [_unreadable(text, error)]) from error
        if root is None:
            raise RateFileError(name, self.faults or [Fault(1, 1, "", "the file is empty")])
        self.tree = self._plain(root, ())

    def at(self, path: Path, *, key: bool = False) -> Mark:
        """Return where a value (or its key) stands, or what holds it when it is not there itself."""
        if key and path in self.keys:
            return self.keys[path]
        while path and path not in self.values:
            path = path[:-1]
        return self.values.get(path, Mark(1, 1))

    def fault(self, path: Path, message: str, *, key: bool = False) -> None:
        """Note what is wrong at a place."""
        fault = Fault(*self.at(path, key=key), where(path), message)
        if fault not in self.faults:
            self.faults.append(fault)

    def refuse(self) -> None:
        """Raise every fault that was noted; return when there is none."""
        if self.faults:
            raise RateFileError(self.name, self.faults)

    def _refuse_surprises(self, text: str) -> None:
        depth = documents = 0
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            start = event.start_mark
            at = Mark(start.line + 1, start.column + 1) if start else Mark(1, 1)
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents == 2:
                    self.faults.append(Fault(*at, "", "a second document begins here; a rate file is one"))
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                if depth > DEPTH_MAX:
                    raise RateFileError(self.name, [*self.faults, Fault(*at, "", f"nested deeper than {DEPTH_MAX}")])
            if isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
                self.faults.append(
                    Fault(*at, "", "anchors (&) and aliases (*) are not allowed: write it out, or `like`")
                )
            elif (tag := getattr(event, "tag", None)) is not None:
                self.faults.append(Fault(*at, "", f"the tag {tag!r} is not allowed"))

    def _plain(self, node: yaml.Node, path: Path) -> Any:
        self.values[path] = _mark(node)
        if isinstance(node, yaml.ScalarNode):
            return str(node.value)
        if isinstance(node, yaml.SequenceNode):
            return [self._plain(item, (*path, index)) for index, item in enumerate(node.value)]
        plain: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self.faults.append(Fault(*_mark(key_node), where(path), "a key must be plain text"))
                continue
            key, below = str(key_node.value), (*path, str(key_node.value))
            if key in plain:
                first = self.keys[below].line
                self.faults.append(Fault(*_mark(key_node), where(below), f"given twice; first on line {first}"))
                continue
            self.keys[below] = _mark(key_node)
            plain[key] = self._plain(value_node, below)
        return plain


def where(path: Path) -> str:
    """Write a place as `versions[0].classes.residential`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def _mark(node: yaml.Node) -> Mark:
    return Mark(node.start_mark.line + 1, node.start_mark.column + 1)


def _unreadable(text: str, error: yaml.YAMLError) -> Fault:
    """Say where a character stands that YAML does not allow (a reader's error has an offset and no line)."""
    position = getattr(error, "position", 0) or 0
    before = text[:position]
    return Fault(
        before.count("\n") + 1, position - before.rfind("\n"), "", f"not YAML: {getattr(error, 'reason', error)}"
    )
