"""Names of parts in the words of a bill, and the service that a part belongs to."""

from __future__ import annotations

from collections.abc import Mapping

_LABELS: Mapping[str, tuple[str, str]] = {
    "service_charge": ("Service charge", "Cargo por servicio"),
    "commodity_charge": ("Water use", "Consumo de agua"),
    "sewer_charge": ("Sewer", "Alcantarillado"),
    "fixed_sewer_charge": ("Sewer service charge", "Cargo fijo de alcantarillado"),
    "fixed_wastewater_charge": ("Wastewater service charge", "Cargo fijo de aguas residuales"),
    "variable_wastewater_charge": ("Wastewater use charge", "Cargo variable de aguas residuales"),
    "fixed_drought_surcharge": ("Drought surcharge", "Recargo por sequía"),
    "variable_drought_surcharge": ("Drought surcharge on use", "Recargo por sequía sobre el consumo"),
    "sanitation_charge": ("Sanitation", "Recolección de basura"),
    "elevation_charge": ("Elevation charge", "Cargo por elevación"),
    "pumping_charge": ("Pumping charge", "Cargo por bombeo"),
    "recycled_charge": ("Recycled water use", "Consumo de agua reciclada"),
    "utility_surcharge": ("Utility surcharge", "Recargo del servicio"),
    "bill": ("Water bill", "Factura de agua"),
}
_SERVICES = (
    ("sewer", ("sewer", "wastewater", "waste_water")),
    ("sanitation", ("sanitation", "trash", "refuse", "garbage", "solid_waste")),
    ("stormwater", ("storm",)),
)


def label_of(name: str) -> dict[str, str]:
    """Return a part's name in English and Spanish; one that nobody translated keeps the file's own words."""
    words = name.replace("_", " ").strip()
    plain = words[:1].upper() + words[1:]
    english, spanish = _LABELS.get(name.casefold(), (plain, plain))
    return {"en": english, "es": spanish}


def service_of(name: str) -> str:
    """Return the service that a part of the bill pays for; water when its name says nothing else."""
    folded = name.casefold()
    return next((service for service, words in _SERVICES if any(word in folded for word in words)), "water")
