"""Formulas of rate files: + - * / ^ ( ), numbers, names and a few functions, over exact fractions."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal, DecimalException
from fractions import Fraction
from functools import lru_cache
from typing import TypeAlias

MAX_BITS = 20_000
MAX_DEPTH = 60
MAX_TOKENS = 300
_NUMBER = r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,2})?"
_TOKEN = re.compile(rf"\s*(?:(?P<number>{_NUMBER})|(?P<name>[^\W\d][\w.]*)|(?P<sign>[-+*/^(),]))")
_PLAIN = re.compile(rf"(?P<sign>[-+]?)\s*\$?\s*(?P<digits>\d{{1,3}}(?:,\d{{3}})+(?:\.\d*)?|{_NUMBER})")


class FormulaError(ValueError):
    """A text is no formula; `column` counts from 1 within it."""

    def __init__(self, column: int, message: str) -> None:
        self.column = column
        super().__init__(message)


class ArithmeticFault(ValueError):
    """A formula cannot be computed: a division by zero, or a number beyond all bounds."""


@dataclass(frozen=True, slots=True)
class Number:
    """A constant."""

    value: Fraction


@dataclass(frozen=True, slots=True)
class Name:
    """A part of the class, or an input."""

    name: str


@dataclass(frozen=True, slots=True)
class Call:
    """An operator (`+`, `-`, `*`, `/`, `^`, `neg`) or a function with its operands."""

    function: str
    operands: tuple[Expression, ...]


Expression: TypeAlias = Number | Name | Call


def number_of(text: str) -> Fraction | None:
    """Return a number written plainly (`1,234.5`, `.8`, `$3`), None when the text is something else."""
    match = _PLAIN.fullmatch(text.strip()) if len(text) <= 60 else None
    if match is None:
        return None
    value = Fraction(match["digits"].replace(",", "").rstrip("."))
    return -value if match["sign"] == "-" else value


def round_half_even(value: Fraction) -> Fraction:
    """Round to whole units, a half to the even neighbour."""
    return Fraction(round(value))


@lru_cache(maxsize=4096)
def parse(text: str) -> Expression:
    """Return a formula's expression; raises FormulaError."""
    if len(text) > 2000:
        raise FormulaError(1, "the formula is longer than 2,000 characters")
    return _Parser(_tokens(text)).whole()


@lru_cache(maxsize=4096)
def parse_budget(text: str) -> Expression:
    """Return the expression of a field with `budget` in its name: each piece between + * ^ and blanks is rounded.

    The pieces are those of the text, brackets or not, as the format's own tool cuts them. Where its cut leaves no
    formula, every operand is rounded by itself.
    """
    pieces = re.sub(r"([+*^])", r" \1 ", text).split()
    rounded = " ".join(piece if piece in "+*^" else f"round( {piece} )" for piece in pieces)
    try:
        return parse(rounded)
    except FormulaError:
        return _round_names(parse(text))


def _round_names(node: Expression) -> Expression:
    if isinstance(node, Name):
        return Call("round", (node,))
    if isinstance(node, Call):
        return Call(node.function, tuple(_round_names(operand) for operand in node.operands))
    return node


def names_in(node: Expression) -> tuple[str, ...]:
    """Return the names in a formula, in order, each once."""
    if isinstance(node, Name):
        return (node.name,)
    if isinstance(node, Call):
        return tuple(dict.fromkeys(name for operand in node.operands for name in names_in(operand)))
    return ()


def evaluate(node: Expression, value_of: Callable[[str], Fraction]) -> Fraction:
    """Compute a formula; `value_of` gives a name's value. Raises ArithmeticFault."""
    if isinstance(node, Number):
        return node.value
    if isinstance(node, Name):
        return value_of(node.name)
    result = _apply(node.function, [evaluate(operand, value_of) for operand in node.operands])
    if result.numerator.bit_length() + result.denominator.bit_length() > MAX_BITS:
        raise ArithmeticFault("the result is too large a number")
    return result


def _apply(function: str, values: Sequence[Fraction]) -> Fraction:
    if function in _BINARY:
        return _BINARY[function](values[0], values[1])
    return FUNCTIONS[function](values)


def _divide(left: Fraction, right: Fraction) -> Fraction:
    if not right:
        raise ArithmeticFault("divides by zero")
    return left / right


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if abs(exponent) > 1000 or (not base and exponent < 0):
        raise ArithmeticFault("raises to a power that cannot be computed")
    if exponent.denominator == 1:
        bits = (base.numerator.bit_length() + base.denominator.bit_length()) * abs(exponent.numerator)
        if bits > MAX_BITS:
            raise ArithmeticFault("the result is too large a number")
        return base**exponent.numerator
    context = Context(prec=40)  # a root is no fraction: forty digits stand for it
    try:
        number = context.divide(Decimal(base.numerator), Decimal(base.denominator))
        power = context.divide(Decimal(exponent.numerator), Decimal(exponent.denominator))
        return Fraction(context.power(number, power))
    except (DecimalException, ValueError, OverflowError) as error:
        raise ArithmeticFault("raises to a power that cannot be computed") from error


_BINARY: dict[str, Callable[[Fraction, Fraction], Fraction]] = {
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "*": lambda left, right: left * right,
    "/": _divide,
    "^": _power,
}
FUNCTIONS: dict[str, Callable[[Sequence[Fraction]], Fraction]] = {
    "neg": lambda values: -values[0],
    "round": lambda values: round_half_even(values[0]),
    "ceiling": lambda values: Fraction(-(-values[0] // 1)),
    "floor": lambda values: Fraction(values[0] // 1),
    "abs": lambda values: abs(values[0]),
    "max": max,
    "pmax": max,
    "min": min,
    "pmin": min,
}


def _tokens(text: str) -> list[tuple[str, str, int]]:
    found, at = [], 0
    while text[at:].strip():
        match = _TOKEN.match(text, at)
        if match is None:
            column = at + len(text[at:]) - len(text[at:].lstrip()) + 1
            raise FormulaError(column, f"`{text[column - 1]}` has no place in a formula")
        kind = str(match.lastgroup)
        found.append((kind, match[kind], match.start(kind) + 1))
        at = match.end()
        if len(found) > MAX_TOKENS:
            raise FormulaError(at, f"the formula has more than {MAX_TOKENS} numbers, names and signs")
    return [*found, ("end", "", len(text) + 1)]


class _Parser:
    """Recursive descent; `^` binds to the right and before a sign, as in the tool's language."""

    def __init__(self, tokens: list[tuple[str, str, int]]) -> None:
        self.tokens = tokens
        self.at = 0
        self.depth = 0

    @property
    def next(self) -> str:
        return self.tokens[self.at][1]

    def take(self) -> tuple[str, str, int]:
        self.at += 1
        return self.tokens[self.at - 1]

    def expect(self, sign: str) -> None:
        kind, text, column = self.tokens[self.at]
        if text != sign:
            raise FormulaError(column, f"`{sign}` is missing {'at the end' if kind == 'end' else f'before `{text}`'}")
        self.at += 1

    def whole(self) -> Expression:
        if self.tokens[0][0] == "end":
            raise FormulaError(1, "the formula is empty")
        node = self.sum()
        kind, text, column = self.tokens[self.at]
        if kind != "end":
            raise FormulaError(column, f"an operator is missing before `{text}`" if text != ")" else "one `)` too many")
        return node

    def sum(self) -> Expression:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise FormulaError(self.tokens[self.at][2], "the formula is nested too deep")
        node = self.product()
        while self.next in ("+", "-"):
            sign = self.take()[1]
            node = Call(sign, (node, self.product()))
        self.depth -= 1
        return node

    def product(self) -> Expression:
        node = self.signed()
        while self.next in ("*", "/"):
            sign = self.take()[1]
            node = Call(sign, (node, self.signed()))
        return node

    def signed(self) -> Expression:
        negative = False
        while self.next in ("+", "-"):
            negative ^= self.take()[1] == "-"
        node = self.power()
        return Call("neg", (node,)) if negative else node

    def power(self) -> Expression:
        base = self.atom()
        if self.next != "^":
            return base
        self.take()
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise FormulaError(self.tokens[self.at][2], "the formula is nested too deep")
        exponent = self.signed()
        self.depth -= 1
        return Call("^", (base, exponent))

    def atom(self) -> Expression:
        kind, text, column = self.take()
        if kind == "number":
            return Number(Fraction(text.rstrip(".")) if "e" not in text.lower() else Fraction(Decimal(text)))
        if kind == "name":
            return self.call(text, column) if self.next == "(" else Name(text)
        if text == "(":
            node = self.sum()
            self.expect(")")
            return node
        what = "the formula ends" if kind == "end" else f"`{text}` stands"
        raise FormulaError(column, f"{what} where a number, a name or `(` belongs")

    def call(self, function: str, column: int) -> Expression:
        if function not in FUNCTIONS or function == "neg":
            raise FormulaError(column, f"an operator is missing after `{function}`, or it is a function nobody knows")
        self.expect("(")
        operands = [self.sum()]
        while self.next == ",":
            self.take()
            operands.append(self.sum())
        self.expect(")")
        return Call(function, tuple(operands))
