"""Small real files for the pipeline's tests, made and examined with ffmpeg."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

SYSTEM_X264 = next(Path("/usr/lib").glob("*-linux-gnu/libx264.so.*"), None)


def ffmpeg(*args: str | Path) -> str:
    done = subprocess.run(
        ["ffmpeg", "-nostdin", "-v", "error", "-y", *map(str, args)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def clip(path: Path, *output: str | Path, size="160x96", rate="25", seconds=1.0, source="testsrc2"):
    """A clip of a moving test picture; ``output`` are options for the encoder and muxer."""
    lavfi = f"{source}=size={size}:rate={rate}:duration={seconds}"
    options = output or ("-c:v", "mpeg4", "-q:v", "3")
    ffmpeg("-f", "lavfi", "-i", lavfi, *options, path)
    return path


def probe(path: Path, *args: str) -> dict:
    done = subprocess.run(
        ["ffprobe", "-v", "error", "-of", "json", *args, str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def streams(path: Path) -> list[dict]:
    return probe(path, "-show_streams")["streams"]


def video(path: Path) -> dict:
    return next(item for item in streams(path) if item["codec_type"] == "video")


def times(path: Path, stream: str = "v:0") -> list[str]:
    """Presentation times of a stream's packets in seconds, in presentation order."""
    shown = probe(path, "-select_streams", stream, "-show_entries", "packet=pts_time")["packets"]
    return sorted((item["pts_time"] for item in shown), key=float)


def assert_decodes(path: Path) -> None:
    """ffmpeg reads every stream to its end without a message."""
    assert ffmpeg("-i", path, "-map", "0:v", "-f", "null", "-") == ""


def elementary(path: Path) -> bytes:
    """The H.264 stream alone, Annex B."""
    target = path.with_suffix(".elementary.264")
    bsf = [] if path.suffix in (".ts", ".m3u8") else ["-bsf:v", "h264_mp4toannexb"]
    ffmpeg("-i", path, "-map", "0:v:0", "-c", "copy", *bsf, "-f", "h264", target)
    return target.read_bytes()


def frame_hashes(path: Path, stream: str) -> list[str]:
    """MD5 of the packets of a copied stream."""
    done = subprocess.run(
        [
            "ffmpeg",
            "-v",
            "error",
            "-i",
            path,
            "-map",
            f"0:{stream}",
            "-c",
            "copy",
            "-f",
            "framemd5",
            "-",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line for line in done.stdout.splitlines() if not line.startswith("#")]
    return [line.split(",")[-1].strip() for line in lines]
