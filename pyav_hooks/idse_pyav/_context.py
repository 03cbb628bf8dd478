"""Which AVCodecContext a PyAV object stands for.

PyAV does not say. It is a pointer among the fields of the object, and is told from the others by
what it points at: the first field of every AVCodecContext is what ``avcodec_get_class`` returns.
Memory is read by the kernel, which refuses where a reader of its own would crash.
"""

from __future__ import annotations

import ctypes
import os
import struct
from typing import TYPE_CHECKING

from idse.errors import LibraryLoadError

if TYPE_CHECKING:
    from av.codec.context import CodecContext

# AVCodecContext: av_class, log_level_offset, codec_type, codec, codec_id.
_HEAD = struct.Struct("@PiiPi")
_VIDEO, _H264 = 0, 27


def address_of(context: CodecContext, context_class: int) -> int:
    """Return where the AVCodecContext of an encoder of H.264 is.

    Parameters
    ----------
    context
        PyAV's object.
    context_class
        What ``avcodec_get_class`` of its libavcodec returns.

    Raises
    ------
    LibraryLoadError
        It is not among the object's fields.
    """
    size = type(context).__basicsize__ // ctypes.sizeof(ctypes.c_size_t)
    words = (ctypes.c_size_t * size).from_address(id(context))
    try:
        memory = os.open("/proc/self/mem", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise LibraryLoadError(f"cannot read /proc/self/mem: {error.strerror}") from error
    try:
        found = {word for word in words if _is_context(memory, word, context_class)}
    finally:
        os.close(memory)
    if len(found) != 1:
        raise LibraryLoadError(
            f"{type(context).__name__} of this PyAV holds {len(found)} codec contexts, not one"
        )
    return found.pop()


def _is_context(memory: int, address: int, context_class: int) -> bool:
    if not 0 < address < 1 << 63:
        return False
    try:
        head = os.pread(memory, _HEAD.size, address)
    except OSError:
        return False
    if len(head) < _HEAD.size:
        return False
    found, _, kind, _, codec = _HEAD.unpack(head)
    return (found, kind, codec) == (context_class, _VIDEO, _H264)
