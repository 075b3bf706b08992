"""A YAML text as nodes that know their lines; nothing is converted, so that no price ever passes through a float."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

import yaml

from rates.errors import Fault, RateFileError

MAX_CHARACTERS = 4_000_000
MAX_NODES = 50_000
MAX_DEPTH = 60


@dataclass(frozen=True, slots=True)
class Text:
    """A scalar as it stands in the file."""

    text: str
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Items:
    """A sequence."""

    items: tuple[Node, ...]
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping in the order of the file. `twice` has the keys that stand there again with another value."""

    entries: dict[str, Node]
    line: int
    column: int
    lines: dict[str, int] = field(default_factory=dict)
    twice: tuple[tuple[str, int], ...] = ()


Node: TypeAlias = Text | Items | Table


def read_tree(text: str, *, name: str) -> Table:
    """Return a file's top-level mapping; raises RateFileError with the line when it is not one YAML mapping."""
    if len(text) > MAX_CHARACTERS:
        raise _refusal(name, 1, 1, f"the file has more than {MAX_CHARACTERS:,} characters: no rate file is that long")
    text = text.removeprefix("\ufeff")
    try:
        root = yaml.compose(text, Loader=yaml.BaseLoader)  # noqa: S506 - nodes only, nothing is constructed
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = "; ".join(part for part in (error.context, error.problem) if part) or "cannot be read"
        raise _refusal(
            name, mark.line + 1 if mark else 1, mark.column + 1 if mark else 1, f"not valid YAML: {said}"
        ) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _refusal(name, line, 1, f"not valid YAML: {error.reason}") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise _refusal(name, 1, 1, f"not valid YAML: {type(error).__name__}") from error
    if root is None:
        raise _refusal(name, 1, 1, "the file is empty")
    top = _Reader(name).node(root, 0)
    if not isinstance(top, Table):
        raise _refusal(name, top.line, top.column, "a rate file is a mapping with `metadata` and `rate_structure`")
    return top


def _refusal(name: str, line: int, column: int, message: str) -> RateFileError:
    return RateFileError(name, [Fault(line, column, "", message)])


class _Reader:
    """Turns composed nodes into ours, with a limit on how many (aliases can make a small file huge)."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.count = 0

    def node(self, node: yaml.Node, depth: int) -> Node:
        line, column = node.start_mark.line + 1, node.start_mark.column + 1
        self.count += 1
        if self.count > MAX_NODES or depth > MAX_DEPTH:
            raise _refusal(self.name, line, column, "the file is nested too deep, or grows too large by its aliases")
        if isinstance(node, yaml.ScalarNode):
            return Text(node.value.strip(), line, column)
        if isinstance(node, yaml.SequenceNode):
            return Items(tuple(self.node(item, depth + 1) for item in node.value), line, column)
        assert isinstance(node, yaml.MappingNode)
        return self.table(node, line, column, depth)

    def table(self, node: yaml.MappingNode, line: int, column: int, depth: int) -> Table:
        entries: dict[str, Node] = {}
        lines: dict[str, int] = {}
        twice: list[tuple[str, int]] = []
        for key_node, value_node in node.value:
            key_line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise _refusal(self.name, key_line, key_node.start_mark.column + 1, "a key must be plain text")
            key, value = key_node.value.strip(), self.node(value_node, depth + 1)
            if key == "<<" and isinstance(value, Table):
                for merged in value.entries:
                    entries.setdefault(merged, value.entries[merged])
                    lines.setdefault(merged, value.lines[merged])
                continue
            earlier = entries.get(key)
            if earlier is not None and key in lines and shape(earlier) != shape(value):
                twice.append((key, key_line))
                if depth == 0:
                    value = _together(earlier, value)
            entries[key], lines[key] = value, key_line
        return Table(entries, line, column, lines, tuple(twice))


def _together(earlier: Node, later: Node) -> Node:
    """Return two sections of one name as one, as long as nothing stands in both (one `rate_structure` per class)."""
    if not isinstance(earlier, Table) or not isinstance(later, Table) or earlier.entries.keys() & later.entries.keys():
        return later
    entries, lines = earlier.entries | later.entries, earlier.lines | later.lines
    return Table(entries, earlier.line, earlier.column, lines, earlier.twice + later.twice)


def shape(node: Node) -> object:
    """Return what a node says, without where it says it."""
    if isinstance(node, Text):
        return node.text
    if isinstance(node, Items):
        return tuple(shape(item) for item in node.items)
    return tuple((key, shape(value)) for key, value in node.entries.items())
