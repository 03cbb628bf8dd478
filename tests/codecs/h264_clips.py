"""H.264 streams for tests: encoded by ffmpeg, or rewritten into what x264 cannot make."""

from __future__ import annotations

import struct
import subprocess
from typing import TYPE_CHECKING

import av
import numpy as np
from av.video.frame import PictureType

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = "testsrc2=s={size}:r=25,noise=alls={noise}:allf=t"


def encode(
    path: Path,
    *options: str,
    size: str = "176x144",
    frames: int = 12,
    noise: int = 8,
    video_filter: str = "null",
) -> str:
    """Encode a noisy test card with ffmpeg's libx264; return what x264 logged."""
    source = f"{SOURCE.format(size=size, noise=noise)},{video_filter}"
    command = ["ffmpeg", "-hide_banner", "-y", "-f", "lavfi", "-i", source]
    command += ["-frames:v", str(frames), "-c:v", "libx264", "-threads", "2", *options, str(path)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stderr


def ffmpeg_frames(path: Path):
    """Yield (pts, type, QP'_Y per macroblock) of every frame that FFmpeg's decoder shows."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.options = {"export_side_data": "venc_params"}
        for frame in container.decode(stream):
            kind = PictureType(frame.pict_type).name
            yield frame.pts, kind, _qp_map(bytes(frame.side_data.get("VIDEO_ENC_PARAMS")))


def _qp_map(data: bytes) -> np.ndarray:
    """Read AVVideoEncParams; PyAV's own qp_map() wants pictures without cropped macroblocks."""
    count, offset, size, _, qp = struct.unpack_from("<I4xQQii", data)
    blocks = np.frombuffer(data, np.int32, count * size // 4, offset).reshape(count, -1)
    rows, columns = blocks[:, 1] // 16, blocks[:, 0] // 16
    out = np.full((rows.max() + 1, columns.max() + 1), -99)
    out[rows, columns] = qp + blocks[:, 4]
    return out


class BitReader:
    """Bits of a NAL unit's payload, escapes removed."""

    def __init__(self, nal: bytes):
        payload = nal.replace(b"\0\0\3", b"\0\0")
        text = "".join(f"{byte:08b}" for byte in payload)
        self.bits = text.rstrip("0")[:-1]  # without rbsp_stop_one_bit
        self.position = 0

    def take(self, count: int) -> str:
        bits = self.bits[self.position : self.position + count]
        self.position += count
        return bits

    def ue(self) -> str:
        """Take an Exp-Golomb code as it stands."""
        zeros = self.bits.index("1", self.position) - self.position
        return self.take(2 * zeros + 1)

    def rest(self) -> str:
        return self.take(len(self.bits) - self.position)


def value(code: str) -> int:
    """Value of an Exp-Golomb code."""
    return int(code, 2) - 1


def code(number: int) -> str:
    """Exp-Golomb code of a value."""
    digits = f"{number + 1:b}"
    return "0" * (len(digits) - 1) + digits


def nal_unit(bits: str) -> bytes:
    """Start code and NAL unit of header and payload bits."""
    bits += "1"
    bits += "0" * (-len(bits) % 8)
    out = bytearray()
    zeros = 0
    for byte in (int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)):
        if zeros == 2 and byte < 4:
            out.append(3)
            zeros = 0
        zeros = zeros + 1 if byte == 0 else 0
        out.append(byte)
    return b"\0\0\0\1" + bytes(out)


def nal_units(stream: bytes) -> list[bytes]:
    """Split an Annex B stream."""
    return [unit.rstrip(b"\0") for unit in stream.split(b"\0\0\1") if unit.strip(b"\0")]


def _interlaced_sps(nal: bytes) -> tuple[bytes, int]:
    """Make frames of two fields of the size that frames had; return log2_max_frame_num as well.

    Knows the sequence parameter sets that x264 writes for Baseline profile; returns Main profile,
    which Baseline without fields is a part of.
    """
    assert nal[1] == 66, "Baseline profile expected"
    reader = BitReader(bytes([nal[0], 77, 0]) + nal[3:])
    head = reader.take(8 + 24) + reader.ue()
    frame_num = reader.ue()
    poc_type = reader.ue()
    assert value(poc_type) == 2
    head += frame_num + poc_type
    head += reader.ue() + reader.take(1)  # max_num_ref_frames, gaps
    head += reader.ue() + reader.ue()  # width, height: now of a field
    assert reader.take(1) == "1"  # frame_mbs_only_flag
    return nal_unit(head + "00" + reader.rest()), value(frame_num) + 4


def as_field_pairs(stream: bytes) -> bytes:
    """Turn frames 2n and 2n + 1 into the top and the bottom field of frame n.

    ``stream`` is Annex B of x264: CAVLC (whose codes are the same in fields and frames), Baseline
    profile, one reference. The result decodes to nonsense, but to the same syntax.
    """
    out = b""
    bits = picture = 0
    for nal in nal_units(stream):
        kind = nal[0] & 31
        if kind == 7:
            unit, bits = _interlaced_sps(nal)
            out += unit
        elif kind in (1, 5):
            reader = BitReader(nal)
            head = reader.take(8)
            first = reader.ue()
            picture += value(first) == 0
            head += first + reader.ue() + reader.ue()
            reader.take(bits)
            index = picture - 1
            frame_num = f"{index // 2 % (1 << bits):0{bits}b}"
            if kind == 5 and index % 2:
                raise ValueError("an IDR picture cannot become a second field")
            out += nal_unit(head + frame_num + "1" + str(index % 2) + reader.rest())
        elif kind == 8:
            out += b"\0\0\0\1" + nal
    return out
