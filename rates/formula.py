"""Formulas in rate files: + - * / and parentheses over exact numbers and the names of inputs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fractions import Fraction

Evaluate = Callable[[Mapping[str, Fraction]], Fraction]

_TOKEN = re.compile(r"\s*(?:(?P<number>\d+(?:\.\d+)?)|(?P<name>[a-z][a-z0-9_]*)|(?P<sign>[-+*/()]))")
DEPTH_MAX = 30


class FormulaError(ValueError):
    """A formula that cannot be read; the message says where."""


class Formula:
    """A formula, read once. `names`: the inputs that it needs."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.names: set[str] = set()
        self._tokens = self._split(text)
        self._next = self._depth = 0
        self._evaluate = self._sum()
        if self._next < len(self._tokens):
            raise FormulaError(f"{self._tokens[self._next][1]!r} was not expected in {text!r}")

    def __call__(self, values: Mapping[str, Fraction]) -> Fraction:
        """Return its value, exact; raises ZeroDivisionError."""
        return self._evaluate(values)

    def _split(self, text: str) -> list[tuple[str, str]]:
        tokens, position, stripped = [], 0, text.rstrip()
        while position < len(stripped):
            match = _TOKEN.match(stripped, position)
            if match is None or match.lastgroup is None:
                raise FormulaError(f"{stripped[position:].strip()[:12]!r} cannot be read in {text!r}")
            tokens.append((match.lastgroup, match[match.lastgroup]))
            position = match.end()
        return tokens

    def _peek(self) -> str:
        return self._tokens[self._next][1] if self._next < len(self._tokens) else ""

    def _sum(self) -> Evaluate:
        left = self._product()
        while self._peek() in ("+", "-"):
            sign, self._next = self._peek(), self._next + 1
            right = self._product()
            left = _plus(left, right) if sign == "+" else _minus(left, right)
        return left

    def _product(self) -> Evaluate:
        left = self._atom()
        while self._peek() in ("*", "/"):
            sign, self._next = self._peek(), self._next + 1
            right = self._atom()
            left = _times(left, right) if sign == "*" else _over(left, right)
        return left

    def _atom(self) -> Evaluate:
        if self._next >= len(self._tokens):
            raise FormulaError(f"{self.text!r} ends too early")
        kind, token = self._tokens[self._next]
        self._next += 1
        if kind == "number":
            number = Fraction(token)
            return lambda _: number
        if kind == "name":
            self.names.add(token)
            return lambda values: values[token]
        if token != "(":  # noqa: S105
            raise FormulaError(f"{token!r} was not expected in {self.text!r}")
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise FormulaError(f"more than {DEPTH_MAX} parentheses inside each other")
        inner = self._sum()
        if self._peek() != ")":
            raise FormulaError(f"a parenthesis is not closed in {self.text!r}")
        self._next += 1
        self._depth -= 1
        return inner


def _plus(left: Evaluate, right: Evaluate) -> Evaluate:
    return lambda values: left(values) + right(values)


def _minus(left: Evaluate, right: Evaluate) -> Evaluate:
    return lambda values: left(values) - right(values)


def _times(left: Evaluate, right: Evaluate) -> Evaluate:
    return lambda values: left(values) * right(values)


def _over(left: Evaluate, right: Evaluate) -> Evaluate:
    return lambda values: left(values) / right(values)
