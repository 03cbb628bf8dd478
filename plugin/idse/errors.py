"""The exceptions of idse: one tree, whose leaves also are Python's builtins where one fits.

The command line prints the message of any of them on one line and exits with code 2, so a message
quotes the offending value and says what to do.
"""


class IdseError(Exception):
    """Base of every error that idse raises on purpose."""


class InputError(IdseError, ValueError):
    """Something handed in cannot be used: a file, an option, an array."""


class MapError(InputError):
    """An importance map is damaged, not finite, or was made for another picture."""


class TargetError(InputError):
    """A size or an accuracy cannot be reached with this picture; the message says what can."""


class OutputError(IdseError, OSError):
    """A result cannot be written. Nothing is left under the final name."""


class CodecError(IdseError, RuntimeError):
    """A codec refused a setting or failed on a frame."""


class LibraryLoadError(CodecError, OSError):
    """No usable build of a codec library was found; the message says why, per candidate."""


class ModelError(IdseError, RuntimeError):
    """A network is unknown, damaged, or cannot be used as asked."""


class MissingExtraError(IdseError, ImportError):
    """A feature needs an optional dependency; the message names the extra that brings it."""


class BusyError(IdseError, RuntimeError):
    """A server has too much to do, cannot answer in time, or is shutting down."""


class ProtocolError(IdseError, ConnectionError):
    """The other end of a connection sent what its protocol does not allow, or went away."""


class AccessError(IdseError, PermissionError):
    """A server was asked for something that the caller may not have."""


def missing_extra(package: str, extra: str) -> MissingExtraError:
    """Return the error for a ``package`` that is not installed; ``extra`` brings it."""
    return MissingExtraError(
        f"this needs the package {package!r}, which is not installed: pip install 'idse[{extra}]'"
    )


def describe(error: Exception) -> str:
    """Describe an exception on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split()) or 'no message'}"
