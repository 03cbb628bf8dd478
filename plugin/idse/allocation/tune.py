"""``--tune machine``: x264 settings for video that networks watch. Never applied unasked."""

from __future__ import annotations

from types import MappingProxyType

# Psychovisual decisions trade error for the look of grain, which a network does not reward.
MACHINE_OPTIONS = MappingProxyType({"psy": "0"})
