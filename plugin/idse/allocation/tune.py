"""``--tune machine``: x264 settings for video that networks watch. Never applied unasked."""

from __future__ import annotations

from types import MappingProxyType

# A weaker loop filter: a network copes better with block edges than with lost detail. BD-rate of
# yolov4-tiny's output distance against stock default, without steering: -2 % on photographs coded
# intra, -10, -23 and +1 % on excerpts of three fixed cameras. What else was tried does harm: psy=0
# costs 5 % on photographs and 27 % on vtest.avi, aq-mode 2 or 3 22 and 26 % there,
# chroma-qp-offset 4 costs 15 % on photographs.
MACHINE_OPTIONS = MappingProxyType({"deblock": "-2:-2"})
