"""Networks as they are named: ``MODEL`` or ``MODEL=WEIGHT``; without torch."""

from __future__ import annotations

import math

from idse.errors import InputError


def split_weight(spec: str) -> tuple[str, float]:
    """Return a network's name and its weight, 1 where none is given.

    Raises
    ------
    InputError
        The weight is not a number above 0.
    """
    name, separator, text = spec.rpartition("=")
    if not separator:
        return spec, 1.0
    try:
        weight = float(text)
    except ValueError:
        raise InputError(f"weight {text!r} in {spec!r} is not a number") from None
    return name, checked_weight(name, weight)


def checked_weight(name: str, weight: float) -> float:
    """Return a network's weight.

    Raises
    ------
    InputError
        It is not a number above 0.
    """
    if not (math.isfinite(weight) and weight > 0):
        raise InputError(f"weight {weight} of {name} must be above 0")
    return weight
