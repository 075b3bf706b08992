"""The lines of a bill: what the `bill` formula adds up, each summand under its own name, tiers one by one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from rates.book import Line, LineKind
from rates.owrs import formula
from rates.owrs.evaluation import USAGE, Evaluation
from rates.owrs.formula import Call, Expression, Name, Number
from rates.owrs.tiers import Tier
from rates.owrs.tree import Items, Node, Text
from rates.owrs.wording import label_of, service_of

BILL = "bill"


@dataclass(frozen=True, slots=True)
class Share:
    """The part of the period that is priced: `days` of `full_days`."""

    days: int
    full_days: int

    @property
    def of_period(self) -> Fraction:
        """The fraction by which fixed charges and the widths of tiers shrink."""
        return Fraction(self.days, self.full_days)


@dataclass(frozen=True, slots=True)
class _Summand:
    """One thing the bill adds: factor times a part (name) or a bare expression."""

    factor: Fraction
    name: str
    expression: Expression


def lines_of(evaluation: Evaluation, share: Share, version: str) -> tuple[tuple[Line, ...], Fraction]:
    """Return the lines and the exact bill they add up to."""
    bill = evaluation.number(BILL)
    summands = list(_summands(evaluation, BILL, Fraction(1), depth=0))
    factors = {abs(summand.factor) for summand in summands}
    common = next(iter(factors)) if len(factors) == 1 else Fraction(1)
    lines = [line for summand in summands for line in _lines(evaluation, summand, common, share, version)]
    total = bill * share.of_period
    rest = total - sum((line.amount for line in lines), Fraction(0))
    if rest:
        lines.append(_adjustment(rest, common, share, version))
    return tuple(lines), total


def _adjustment(rest: Fraction, common: Fraction, share: Share, version: str) -> Line:
    percent = float(common * 100 - 100)
    label = {"en": f"{percent:+g} % on the bill", "es": f"{percent:+g} % sobre la factura"}
    kind = LineKind.SURCHARGE if rest > 0 else LineKind.CREDIT
    return Line("water", "bill_adjustment", label, kind, rest, version=version)


def _formula_of(evaluation: Evaluation, name: str) -> Expression | None:
    """Return the formula that a name stands for; None when it was given, is a number, a map or a tiered charge."""
    part = evaluation.rate_class.part(name)
    if part is None or part in evaluation.tiers or evaluation.input(name) is not None or "budget" in part.casefold():
        return None
    node: Node = evaluation.rate_class.parts[part]
    if isinstance(node, Items) and len(node.items) == 1:
        node = node.items[0]
    return formula.parse(node.text) if isinstance(node, Text) and formula.number_of(node.text) is None else None


def _summands(evaluation: Evaluation, name: str, factor: Fraction, depth: int) -> Iterator[_Summand]:
    expression = _formula_of(evaluation, name)
    if expression is None or depth > 20:
        yield _Summand(factor, name, Name(name))
    else:
        yield from _split(evaluation, expression, factor, name, depth)


def _split(evaluation: Evaluation, node: Expression, factor: Fraction, name: str, depth: int) -> Iterator[_Summand]:
    """Take a formula apart at its sums; a product with a constant multiplies what is under it."""
    match node:
        case Name(part) if part != USAGE and _is_sum(_formula_of(evaluation, part)):
            yield from _summands(evaluation, part, factor, depth + 1)
        case Name(part):
            yield _Summand(factor, part if part != USAGE else name, node)
        case Call("+" | "-" as sign, (left, right)):
            yield from _split(evaluation, left, factor, name, depth)
            yield from _split(evaluation, right, factor if sign == "+" else -factor, name, depth)
        case Call("neg", (inner,)):
            yield from _split(evaluation, inner, -factor, name, depth)
        case Call("*", (Number(value), inner)) | Call("*", (inner, Number(value))) if _holds_parts(evaluation, inner):
            yield from _split(evaluation, inner, factor * value, name, depth)
        case Call("/", (inner, Number(value))) if value and _holds_parts(evaluation, inner):
            yield from _split(evaluation, inner, factor / value, name, depth)
        case _:
            yield _Summand(factor, name, node)


def _is_sum(node: Expression | None) -> bool:
    return isinstance(node, Call) and node.function in ("+", "-")


def _holds_parts(evaluation: Evaluation, node: Expression) -> bool:
    """Say whether a formula under a factor has something of its own to show on a line."""
    return _is_sum(node) or (isinstance(node, Name) and node.name != USAGE)


def _lines(evaluation: Evaluation, summand: _Summand, common: Fraction, share: Share, version: str) -> Iterator[Line]:
    factor = summand.factor / common if common else summand.factor
    part = evaluation.rate_class.part(summand.name)
    if part in evaluation.tiers and part is not None:
        yield from _tier_lines(part, evaluation.tiers[part], factor, share, version)
        return
    amount = formula.evaluate(summand.expression, evaluation.number) * factor * share.of_period
    code = BILL if summand.name == BILL else (part or summand.name)
    label, service = label_of(code), service_of(code)
    price = _price_per_unit(evaluation, summand)
    if price is not None:
        quantity = evaluation.usage * share.of_period
        kind = LineKind.CREDIT if amount < 0 else LineKind.USAGE
        yield Line(service, code, label, kind, amount, quantity=quantity, price=price * factor, version=version)
        return
    days, full_days = (share.days, share.full_days) if share.of_period != 1 else (None, None)
    yield Line(service, code, label, _kind(code, amount), amount, days=days, full_days=full_days, version=version)


def _tier_lines(part: str, tiers: tuple[Tier, ...], factor: Fraction, share: Share, version: str) -> Iterator[Line]:
    shrink = share.of_period
    for tier in tiers:
        if tier.number > 1 and not tier.quantity:
            continue
        upper = None if tier.upper is None else tier.upper * shrink
        yield Line(
            service_of(part), part, label_of(part), LineKind.USAGE, tier.amount * factor * shrink,
            tier=tier.number, lower=tier.lower * shrink, upper=upper, quantity=tier.quantity * shrink,
            price=tier.price * factor, version=version,
        )  # fmt: skip


def _kind(code: str, amount: Fraction) -> LineKind:
    folded = code.casefold()
    if amount < 0:
        return LineKind.CREDIT
    if "tax" in folded:
        return LineKind.TAX
    return LineKind.SURCHARGE if "surcharge" in folded else LineKind.FIXED


def _price_per_unit(evaluation: Evaluation, summand: _Summand) -> Fraction | None:
    """Return the price when a summand is a price times the use and nothing else; None otherwise."""
    expression: Expression = summand.expression
    if isinstance(expression, Name) and expression.name != USAGE:
        expression = _formula_of(evaluation, expression.name) or expression
    factors = list(_factors(expression))
    others = [factor for factor in factors if factor != Name(USAGE)]
    if len(others) != len(factors) - 1 or any(_uses(evaluation, factor, set()) for factor in others):
        return None
    price = Fraction(1)
    for factor in others:
        price *= formula.evaluate(factor, evaluation.number)
    return price


def _factors(node: Expression) -> Iterator[Expression]:
    if isinstance(node, Call) and node.function == "*":
        for operand in node.operands:
            yield from _factors(operand)
    else:
        yield node


def _uses(evaluation: Evaluation, node: Expression, seen: set[str]) -> bool:
    """Say whether an expression goes by the use, directly or through another part."""
    for name in formula.names_in(node):
        if name == USAGE:
            return True
        part = evaluation.rate_class.part(name)
        if part is None or part in seen or evaluation.input(name) is not None:
            continue
        seen.add(part)
        if part in evaluation.tiers:
            return True
        below = _formula_of(evaluation, part)
        if below is not None and _uses(evaluation, below, seen):
            return True
    return False
