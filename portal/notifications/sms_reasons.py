"""Twilio's published error codes in our words."""

from __future__ import annotations

WORDS = {
    21211: "no such telephone number",
    21408: "texts to this country are not switched on",
    21610: "the telephone has asked for no more texts (STOP)",
    21612: "cannot be reached by text from our number",
    21614: "not a mobile telephone",
    21617: "too long for a text",
    30003: "the telephone is switched off or out of reach",
    30004: "the carrier or the telephone blocks it",
    30005: "the carrier does not know the number, or it is out of service",
    30006: "a landline, or a carrier that takes no texts",
    30007: "the carrier took it for spam",
    30008: "the carrier gave no reason",
    30034: "our number is not registered with the carriers",
    30410: "the carrier did not answer in time",
}
"""Twilio's published error codes in our words; whatever else comes is shown by its number."""


def reason(code: int | None) -> str:
    """Return an error code of Twilio in words, with the number for who wants to look it up."""
    if code is None:
        return "Twilio gave no reason"
    return f"{code} {WORDS.get(code, 'see Twilio’s list of error codes')}"
