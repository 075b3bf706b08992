"""Templates as Django reads them, said with less work: what every page says alike is worked out once for a process.

A page has about sixty tags such as `{% url "resident:help" %}`, `{% static "mark.svg" %}` and `{% translate "Help" %}`
that depend on nothing which a request brings, and twice as many values that are plain texts in plain objects. To work
all that out anew took a third of a template's time. Each node here says what Django's says; where a case is not plain
it asks Django's.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from django.template.base import Node, NodeList, TextNode, Variable, VariableNode, render_value_in_context
from django.template.defaulttags import IfNode, URLNode
from django.template.loaders import cached
from django.template.smartif import TokenBase
from django.templatetags.i18n import BlockTranslateNode, TranslateNode
from django.templatetags.static import StaticNode
from django.urls import NoReverseMatch, get_script_prefix, reverse
from django.utils.safestring import SafeString
from django.utils.translation import get_language, gettext

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    from django.template import Context, Origin, Template
    from django.template.base import FilterExpression


class Loader(cached.Loader):
    """Keeps templates as Django's cached loader does, and settles their nodes."""

    def get_template(self, template_name: str, skip: list[Origin] | None = None) -> Template:
        """Return a template."""
        template = super().get_template(template_name, skip)
        if not isinstance(template.nodelist, _Settled):
            _settle(template.nodelist)
            template.nodelist = _Settled(template.nodelist)
        return template


class _Settled(NodeList):
    """The nodes of a whole template, which change no more: its blocks are looked for once, not with every page."""

    def __init__(self, nodes: NodeList) -> None:
        super().__init__(nodes)
        self._by_type: dict[type, list[Node]] = {}

    def get_nodes_by_type(self, nodetype: type[Node]) -> list[Node]:
        """Return all nodes of a type, also those inside others."""
        if nodetype not in self._by_type:
            self._by_type[nodetype] = super().get_nodes_by_type(nodetype)
        return list(self._by_type[nodetype])


class Constant(Node):
    """What says the same on whatever page it is, as long as some things are the same: `depends` tells these."""

    def __init__(self, parts: list[Node], depends: frozenset[Callable[[], Hashable]]) -> None:
        self.parts, self.token, self.origin = parts, parts[0].token, parts[0].origin
        self.depends = depends
        self._asked = tuple(depends)
        self._said: dict[Hashable, str] = {}

    def render(self, context: Context) -> str:
        """Return what it says."""
        key = context.autoescape, *(depends() for depends in self._asked)
        if key not in self._said:
            self._said[key] = "".join(part.render(context) for part in self.parts)
        return self._said[key]


class _Named(Node):
    """A constant tag that says nothing but gives what it would say a name."""

    def __init__(self, node: URLNode) -> None:
        self.node, self.token, self.origin = node, node.token, node.origin
        self._said: dict[Hashable, Any] = {}

    def render(self, context: Context) -> str:
        mounted, name = get_script_prefix(), str(self.node.asvar)
        if mounted not in self._said:
            self.node.render(context)
            self._said[mounted] = context[name]
        context[name] = self._said[mounted]
        return ""


class _Address(Node):
    """The address of one of many things, of which only the name in it differs: `{% url "bill" bill.public_id %}`."""

    _MARK = "7nameofone7"

    def __init__(self, node: URLNode) -> None:
        self.node, self.token, self.origin = node, node.token, node.origin
        self._around: dict[str, tuple[str, str] | None] = {}

    def render(self, context: Context) -> str:
        name, mounted = self.node.args[0].resolve(context), get_script_prefix()
        if mounted not in self._around:
            self._around[mounted] = self._without_name()
        around = self._around[mounted]
        plain = type(name) is str and name.isascii() and name.isalnum() and context.autoescape
        if around is None or not plain:
            return str(self.node.render(context))
        return f"{around[0]}{name}{around[1]}"

    def _without_name(self) -> tuple[str, str] | None:
        """Return the address before and after the name; None where it is not a name that stands in it once."""
        try:
            before, *after = reverse(self.node.view_name.var, args=[self._MARK]).split(self._MARK)
        except NoReverseMatch:
            return None
        return (escape(before), escape(after[0])) if len(after) == 1 else None


class _Shown(VariableNode):
    """A value on the page."""

    def __init__(self, node: VariableNode) -> None:
        super().__init__(node.filter_expression)
        self.token, self.origin = node.token, node.origin

    def render(self, context: Context) -> str:
        return _shown(self.filter_expression.resolve(context), context)


def _shown(value: Any, context: Context) -> str:
    kind = type(value)
    if kind is SafeString or (kind is str and not context.autoescape):
        return str(value)
    return escape(value) if kind is str else render_value_in_context(value, context)


class _Sentence(Node):
    """A sentence with values in it: `{% blocktranslate %}` without a plural, in whatever language."""

    def __init__(self, node: BlockTranslateNode) -> None:
        self.node, self.token, self.origin = node, node.token, node.origin
        self._text, self._names = node.render_token_list(node.singular)
        self._texts: dict[str | None, str] = {}

    def render(self, context: Context) -> str:
        language = get_language()
        if language not in self._texts:
            self._texts[language] = gettext(self._text)
        given = {name: value.resolve(context) for name, value in self.node.extra_context.items()}
        try:
            values = {name: _shown(given[name] if name in given else context[name], context) for name in self._names}
            return self._texts[language] % values
        except (KeyError, ValueError):  # a value that is missing, a translation that is damaged
            return str(self.node.render(context))


class _Path(Variable):
    """The path to a value, such as `page.headline.today.text`."""

    __slots__ = ()

    def resolve(self, context: Any) -> Any:
        """Return the value; what is more than names of plain objects is left to Django."""
        first, *others = self.lookups or ()
        for scope in reversed(context.dicts):
            if first in scope:
                found = scope[first]
                break
        else:
            return super().resolve(context)
        for name in others:
            if callable(found) or hasattr(type(found), "__getitem__"):
                return super().resolve(context)
            try:
                found = getattr(found, name)
            except Exception:
                return super().resolve(context)  # which knows what to make of it
        return super().resolve(context) if callable(found) else found


def _settle(nodes: NodeList) -> None:
    for place, node in enumerate(nodes):
        nodes[place] = _settled(node)
        for inner in _inside(node):
            _settle(inner)
    nodes[:] = _joined(nodes)


def _settled(node: Node) -> Node:
    for expression in _expressions(node):
        if type(expression.var) is Variable and expression.var.lookups is not None:
            expression.var = _Path(expression.var.var)
    if (depends := _constant_but_for(node)) is not None:
        return Constant([node], depends)
    if isinstance(node, URLNode) and _is_text(node.view_name) and not node.kwargs:
        if node.asvar and not node.args:
            return _Named(node)
        if not node.asvar and len(node.args) == 1:
            return _Address(node)
    if type(node) is VariableNode:
        return _Shown(node)
    if isinstance(node, BlockTranslateNode) and not (node.plural or node.message_context or node.asvar):
        return _Sentence(node)
    return node


def _expressions(node: Node) -> Iterator[FilterExpression]:
    """Return the expressions of values and conditions, of which a page has most."""
    if isinstance(node, VariableNode):
        yield node.filter_expression
    elif isinstance(node, IfNode):
        for condition, _ in node.conditions_nodelists:
            yield from _of_condition(condition)
    elif isinstance(node, BlockTranslateNode):
        yield from node.extra_context.values()


def _of_condition(condition: TokenBase | None) -> Iterator[FilterExpression]:
    if condition is None:  # `else`
        return
    if condition.id == "literal":
        yield condition.value
        return
    for side in (condition.first, condition.second):
        yield from _of_condition(side)


def _joined(nodes: NodeList) -> Iterator[Node]:
    """Return nodes with each run of texts and constants made one."""
    run: list[Node] = []
    for node in [*nodes, None]:
        if isinstance(node, TextNode | Constant):
            run.append(node)
            continue
        constants = [one for one in run if isinstance(one, Constant)]
        if len(run) > 1 and constants:
            yield Constant(run, frozenset[Any]().union(*(one.depends for one in constants)))
        else:
            yield from run
        run = []
        if node is not None:
            yield node


def _inside(node: Node) -> Iterator[NodeList]:
    if isinstance(node, IfNode):
        yield from (nodes for _, nodes in node.conditions_nodelists)
        return
    for name in node.child_nodelists:
        nodes = getattr(node, name, None)
        if nodes:
            yield nodes


def _constant_but_for(node: Node) -> frozenset[Callable[[], Hashable]] | None:
    """Return what tells on what alone a tag depends: the page's language, where the portal is mounted; else None."""
    if isinstance(node, TranslateNode) and not (node.noop or node.asvar or node.message_context):
        return frozenset([get_language]) if _is_text(node.filter_expression) else None
    if isinstance(node, StaticNode) and node.varname is None:
        return frozenset() if _is_text(node.path) else None
    if isinstance(node, URLNode) and not (node.asvar or node.args or node.kwargs):
        return frozenset([get_script_prefix]) if _is_text(node.view_name) else None
    return None


def _is_text(expression: FilterExpression) -> bool:
    """Tell whether an expression is a text in quotes, without a filter."""
    literal = getattr(expression.var, "literal", expression.var)
    return not expression.filters and isinstance(literal, str)
