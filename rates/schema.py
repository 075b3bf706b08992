"""Hold a rate file against its JSON schema, and say what is wrong in words and places of the file."""

from __future__ import annotations

import difflib
import json
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from jsonschema import Draft202012Validator

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

    from rates.document import Document, Path

SHOWN_CHARS = 40


@cache
def validator() -> Draft202012Validator:
    """Return the schema of `headwater-rates/1`; that it is a schema is tested, and not in every process that prices."""
    schema = json.loads(files("rates").joinpath("headwater-rates-1.schema.json").read_text("utf-8"))
    return Draft202012Validator(schema)


def check_schema(document: Document) -> None:
    """Note every fault of a document's shape in it."""
    for error in validator().iter_errors(document.tree):
        _note(document, error)


def _note(document: Document, error: ValidationError) -> None:
    path: Path = tuple(error.absolute_path)
    rule = error.validator
    if rule in ("anyOf", "if", "allOf"):
        _note_inner(document, error)
    elif rule == "additionalProperties":
        known = _schema(error).get("properties", {})
        for key in sorted(set(_map(error)) - set(known)):
            document.fault((*path, key), _unknown(key, known), key=True)
    elif rule == "required":
        for key in _schema(error)["required"]:
            if key not in _map(error):
                document.fault(path, f"{key} is missing")
    elif "propertyNames" in error.absolute_schema_path and not _below_values(error):
        key = str(error.instance)
        document.fault((*path, key), f"{key!r} is no good name here; expected {_says(error)}", key=True)
    elif rule in ("minItems", "minProperties"):
        document.fault(path, "must not be empty")
    elif rule == "maxLength":
        document.fault(path, f"longer than {error.validator_value} characters")
    else:
        document.fault(path, f"{_shown(error.instance)}; expected {_says(error)}")


def _note_inner(document: Document, error: ValidationError) -> None:
    """Of alternatives, report the one that was meant: the same type as what is there."""
    instance, depth = error.instance, len(error.absolute_path)
    branches: dict[Any, list[ValidationError]] = {}
    for inner in error.context or ():
        branches.setdefault(inner.schema_path[0], []).append(inner)
    if isinstance(instance, (dict, list)):
        for inners in branches.values():
            wrong_type = any(i.validator == "type" and len(i.absolute_path) == depth for i in inners)
            if not wrong_type:
                for inner in inners:
                    _note(document, inner)
                return
    document.fault(tuple(error.absolute_path), f"{_shown(instance)}; expected {_says(error)}")


def _below_values(error: ValidationError) -> bool:
    """Say whether the fault lies in a value below, not in the name of a key."""
    steps = list(error.absolute_schema_path)
    return "propertyNames" not in steps[-4:]


def _says(error: ValidationError) -> str:
    return str(_schema(error).get("says", "something else"))


def _schema(error: ValidationError) -> dict[str, Any]:
    return error.schema if isinstance(error.schema, dict) else {}


def _map(error: ValidationError) -> dict[str, Any]:
    return error.instance if isinstance(error.instance, dict) else {}


def _shown(instance: object) -> str:
    if isinstance(instance, dict):
        return "a map is here"
    if isinstance(instance, list):
        return "a list is here"
    text = str(instance)
    if not text:
        return "nothing is here"
    return f"is {text if len(text) <= SHOWN_CHARS else text[:SHOWN_CHARS] + '...'!r}"


def _unknown(key: str, known: dict[str, object]) -> str:
    near = difflib.get_close_matches(key, known, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are: {', '.join(known)}"
    return f"unknown key; {hint}"
