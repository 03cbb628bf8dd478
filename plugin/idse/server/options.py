"""What clients may ask for: options of ``idse transcode`` that steer, and registered names."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from idse.errors import AccessError, InputError
from idse.importance.naming import split_weight
from idse.pipeline import arguments

if TYPE_CHECKING:
    from idse.pipeline.loading import SteeringOptions
    from idse.server.models import Models

_ALLOWED = {
    "model",
    "maps",
    "n_s",
    "seed",
    "analyse_every",
    "strength",
    "alpha",
    "max_offset",
    "floor_crf",
    "protect",
    "consumer_fps",
    "weighted",
}


def parse_options(text: str, models: Models) -> SteeringOptions:
    """Read what a client asks for.

    Parameters
    ----------
    text
        Words as a shell splits them, such as ``--strength 0.8 --model yolov4-tiny``.
    models
        What there is: the first network where none is named. ``--maps`` takes a registered name.

    Raises
    ------
    InputError
        An option is unknown, cannot be read, or is not for clients.
    AccessError
        A model or a map file is not registered.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise InputError(f"options {text!r} cannot be split into words: {error}") from error
    defaults, args = vars(arguments.parse([])), arguments.parse(words)
    for name, value in vars(args).items():
        if name not in _ALLOWED and value != defaults[name]:
            option = "--" + name.replace("_", "-")
            raise InputError(
                f"{option} is not for an encoder that is steered from outside: leave it out"
            )
    if args.maps is not None and str(args.maps) not in models.map_names:
        known = ", ".join(models.map_names) or "it has none"
        raise AccessError(f"maps {args.maps} are not registered with this server ({known})")
    if args.model is None and args.maps is None:
        args.model = [models.default]
    for spec in args.model or ():
        if split_weight(spec)[0] not in models.names:
            raise AccessError(
                f"model {spec} is not registered with this server ({', '.join(models.names)})"
            )
    options = arguments.steering_options(args)
    assert options is not None  # --no-steer is not for clients
    if options.maps is None:
        models.check(options.models, options.n_s)
    return options
