"""What a transcode must not lose: streams, tags, times, the look of the pictures."""

from __future__ import annotations

import socket
import subprocess

import av
import pytest
from media_clips import assert_decodes, clip, ffmpeg, frame_hashes, probe, streams, times, video

from idse.errors import InputError
from idse.pipeline import source as source_module
from idse.pipeline.options import EncodeOptions
from idse.pipeline.report import Warnings
from idse.pipeline.source import Source
from idse.pipeline.tags import stream_options
from idse.pipeline.transcode import transcode

pytestmark = pytest.mark.fast
QUICK = EncodeOptions(preset="veryfast")

SUBTITLES = "1\n00:00:00,100 --> 00:00:00,500\nhello\n\n2\n00:00:00,600 --> 00:00:00,900\nworld\n"
CHAPTERS = (
    ";FFMETADATA1\ntitle=A walk\nartist=Nobody\n"
    "[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=400\ntitle=One\n"
    "[CHAPTER]\nTIMEBASE=1/1000\nSTART=400\nEND=1000\ntitle=Two\n"
)


@pytest.fixture(scope="module")
def rich(tmp_path_factory):
    """Video, two audio languages, subtitles, chapters, tags and a font, in Matroska."""
    folder = tmp_path_factory.mktemp("rich")
    (folder / "s.srt").write_text(SUBTITLES)
    (folder / "c.txt").write_text(CHAPTERS)
    (folder / "font.ttf").write_bytes(b"\0\1\0\0not a real font")
    path = folder / "rich.mkv"
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=size=160x96:rate=25:duration=1"),
        *("-f", "lavfi", "-i", "sine=frequency=440:duration=1"),
        *("-f", "lavfi", "-i", "sine=frequency=880:duration=1"),
        *("-i", folder / "s.srt", "-i", folder / "c.txt", "-map_metadata", "4"),
        *(
            "-map",
            "0",
            "-map",
            "1",
            "-map",
            "2",
            "-map",
            "3",
            "-c:v",
            "mpeg4",
            "-c:a",
            "aac",
            "-c:s",
            "srt",
        ),
        *("-metadata:s:a:0", "language=deu", "-metadata:s:a:1", "language=fra"),
        *("-disposition:a:1", "default", "-disposition:a:0", "0", "-disposition:s:0", "forced"),
        *("-attach", folder / "font.ttf", "-metadata:s:t", "mimetype=font/ttf", path),
    )
    return path


def test_matroska_keeps_every_stream_with_its_language_and_disposition(rich, tmp_path):
    out = tmp_path / "out.mkv"
    report = transcode(str(rich), str(out), encode=QUICK)
    assert report.warnings == ()
    before, after = streams(rich), streams(out)
    assert [item["codec_type"] for item in after] == [item["codec_type"] for item in before]
    assert after[0]["codec_name"] == "h264"
    for old, new in zip(before[1:], after[1:], strict=True):
        assert new.get("codec_name") == old.get("codec_name")
        assert new["disposition"] == old["disposition"]
        assert new.get("tags", {}).get("language") == old.get("tags", {}).get("language")
    for stream in ("a:0", "a:1", "s:0"):
        assert frame_hashes(out, stream) == frame_hashes(rich, stream)
        assert times(out, stream) == times(rich, stream)
    assert after[-1]["tags"]["filename"] == "font.ttf"
    assert after[-1]["extradata_size"] == before[-1]["extradata_size"]


def test_chapters_and_tags_survive_in_mkv_and_mp4(rich, tmp_path):
    for name in ("out.mkv", "out.mp4"):
        out = tmp_path / name
        transcode(str(rich), str(out), encode=QUICK)
        shown = probe(out, "-show_chapters", "-show_format")
        titles = [(c["start_time"], c["end_time"], c["tags"]["title"]) for c in shown["chapters"]]
        assert titles == [("0.000000", "0.400000", "One"), ("0.400000", "1.000000", "Two")]
        tags = {key.lower(): value for key, value in shown["format"]["tags"].items()}
        assert (tags["title"], tags["artist"]) == ("A walk", "Nobody")
    again = tmp_path / "again.mp4"
    report = transcode(str(tmp_path / "out.mp4"), str(again), encode=QUICK)
    assert report.warnings == ()  # its chapter track is no stream that was lost
    assert len(probe(again, "-show_chapters")["chapters"]) == 2


def test_mp4_drops_what_it_cannot_hold_with_one_warning_each_or_fails_when_strict(rich, tmp_path):
    out = tmp_path / "out.mp4"
    report = transcode(str(rich), str(out), encode=QUICK)
    assert len(report.warnings) == 2
    assert "subrip" in report.warnings[0]
    assert "font.ttf" in report.warnings[1]
    assert [item["codec_type"] for item in streams(out)][:3] == ["video", "audio", "audio"]
    with pytest.raises(InputError, match=r"subrip.*--strict"):
        transcode(str(rich), str(tmp_path / "strict.mp4"), encode=QUICK, strict=True)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["out.mp4"]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov", "ts", "m3u8"])
def test_audio_stays_in_step_in_every_container(suffix, tmp_path):
    source = tmp_path / "in.mp4"
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=size=160x96:rate=25:duration=3"),
        *("-f", "lavfi", "-i", "sine=duration=3", "-c:v", "mpeg4", "-c:a", "aac", source),
    )
    out = tmp_path / f"out.{suffix}"
    report = transcode(str(source), str(out), encode=QUICK)
    assert_decodes(out)
    assert frame_hashes(out, "v").__len__() == report.frames == 75
    # MPEG-TS has no room before zero for the first dts: everything moves together.
    old_v, new_v = times(source), times(out)
    old_a, new_a = times(source, "a:0"), times(out, "a:0")
    shift = {round(float(b) - float(a), 3) for a, b in zip(old_v, new_v, strict=True)}
    shift |= {round(float(b) - float(a), 3) for a, b in zip(old_a, new_a, strict=True)}
    # The encoder's priming samples lie before zero: Matroska and MPEG-TS cannot say so.
    assert max(shift) - min(shift) <= 0.0011, shift
    assert report.warnings == ()


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_variable_frame_rate_keeps_every_timestamp_and_the_last_duration(suffix, tmp_path):
    source = tmp_path / "vfr.mkv"
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=size=160x96:rate=50:duration=2"),
        *("-vf", "select='not(mod(n,5))+between(n,30,45)+eq(n,61)'", "-vsync", "vfr"),
        *("-enc_time_base", "1/1000", "-c:v", "mpeg4", source),
    )
    out = tmp_path / f"out.{suffix}"
    transcode(str(source), str(out), encode=QUICK)
    assert (
        len(
            {
                round(float(b) - float(a), 3)
                for a, b in zip(times(out), times(out)[1:], strict=False)
            }
        )
        > 1
    )
    assert times(out) == times(source)
    assert_decodes(out)


def test_a_first_timestamp_above_zero_stays(tmp_path):
    plain = clip(tmp_path / "plain.mkv")
    source = tmp_path / "late.mkv"
    ffmpeg("-itsoffset", "0.48", "-i", plain, "-c", "copy", "-copyts", source)
    assert float(times(source)[0]) == pytest.approx(0.48)
    for name in ("out.mkv", "out.mp4"):
        transcode(str(source), str(tmp_path / name), encode=QUICK)
        assert times(tmp_path / name) == times(source)


def test_edit_list_of_a_source_with_b_frames(tmp_path):
    source = clip(tmp_path / "b.mp4", "-c:v", "libx264", "-bf", "3", "-preset", "veryfast")
    out = tmp_path / "out.mp4"
    transcode(str(source), str(out), encode=QUICK)
    assert times(out) == times(source)
    assert video(out)["duration"] == video(source)["duration"]
    assert video(out)["nb_frames"] == video(source)["nb_frames"]


def test_rotation_and_pixel_aspect(tmp_path):
    plain = clip(tmp_path / "plain.mp4", "-c:v", "mpeg4", "-vf", "setsar=16/11")
    source = tmp_path / "turned.mp4"
    ffmpeg("-i", plain, "-c", "copy", "-metadata:s:v", "rotate=90", source)
    for name in ("out.mp4", "out.mov", "out.mkv"):
        out = tmp_path / name
        transcode(str(source), str(out), encode=QUICK)
        shown = video(out)
        assert shown["sample_aspect_ratio"] == "16:11"
        if name != "out.mkv":  # ffprobe 5.1 reads no rotation from Matroska
            assert shown["side_data_list"] == video(source)["side_data_list"]


def test_hdr_description_reaches_stream_and_container(tmp_path):
    light = "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
    source = clip(
        tmp_path / "hdr.mkv",
        *("-c:v", "libx265", "-pix_fmt", "yuv420p10le", "-preset", "ultrafast"),
        *("-color_primaries", "bt2020", "-color_trc", "smpte2084", "-colorspace", "bt2020nc"),
        *("-color_range", "tv", "-x265-params", f"log-level=error:{light}:max-cll=1000,400"),
        seconds=0.4,
    )
    fields = ("color_primaries", "color_transfer", "color_space", "color_range", "pix_fmt")
    for name in ("out.mp4", "out.mkv", "out.ts"):
        out = tmp_path / name
        transcode(str(source), str(out), encode=QUICK)
        assert {key: video(out)[key] for key in fields} == {
            key: video(source)[key] for key in fields
        }
        options, wanted = (_light(path) for path in (out, source))
        assert options == wanted
        assert wanted == {
            "mastering-display": light.removeprefix("master-display="),
            "cll": "1000,400",
        }


def _light(path):
    """What the first decoded frame says of its mastering display, as x264 options."""
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        found = stream_options(Source(str(path), warnings=Warnings()), frame, Warnings())
    return {key: found[key] for key in ("mastering-display", "cll") if key in found}


@pytest.mark.parametrize(
    ("pix_fmt", "size", "wanted"),
    [
        ("yuv422p10le", "160x96", ("yuv422p10le", 160, 96)),
        ("yuv444p", "161x97", ("yuv444p", 161, 97)),
        ("yuvj420p", "162x98", ("yuvj420p", 162, 98)),
        ("gbrp", "160x96", ("yuv444p", 160, 96)),
        ("gray", "160x96", ("yuvj420p", 160, 96)),
    ],
)
def test_pixel_formats_and_sizes(pix_fmt, size, wanted, tmp_path):
    codec = "mjpeg" if pix_fmt == "yuvj420p" else "ffv1"
    options = ("-c:v", codec, "-pix_fmt", pix_fmt)
    source = clip(tmp_path / "in.mkv", *options, size=size, seconds=0.2, source="testsrc")
    out = tmp_path / "out.mp4"
    transcode(str(source), str(out), encode=QUICK)
    shown = video(out)
    assert (shown["pix_fmt"], shown["width"], shown["height"]) == wanted
    assert_decodes(out)


@pytest.mark.parametrize(("top", "order"), [("1", "tt"), ("0", "bb")])
def test_interlaced_sources_are_coded_interlaced(top, order, tmp_path):
    source = clip(
        tmp_path / "in.mkv",
        *("-vf", "interlace" if top == "1" else "interlace=scan=bff", "-c:v", "mpeg2video"),
        *("-flags", "+ildct+ilme", "-top", top),
        rate="50",
        seconds=0.4,
    )
    out = tmp_path / "out.mp4"
    transcode(str(source), str(out), encode=QUICK)
    shown = probe(
        out, "-select_streams", "v", "-show_entries", "frame=interlaced_frame,top_field_first"
    )
    assert {(f["interlaced_frame"], f["top_field_first"]) for f in shown["frames"]} == {
        (1, int(top))
    }
    assert video(out)["field_order"] == order


def test_cover_art_is_not_the_video_and_is_kept(tmp_path):
    plain = clip(tmp_path / "plain.mp4")
    cover = tmp_path / "cover.png"
    ffmpeg("-f", "lavfi", "-i", "color=red:size=640x480", "-frames:v", "1", cover)
    source = tmp_path / "in.mp4"
    ffmpeg(
        "-i",
        cover,
        "-i",
        plain,
        "-map",
        "0",
        "-map",
        "1",
        "-c",
        "copy",
        "-disposition:v:0",
        "attached_pic",
        source,
    )
    out = tmp_path / "out.mp4"
    report = transcode(str(source), str(out), encode=QUICK)
    assert report.frames == 25
    kinds = {(s["codec_name"], s["width"], s["disposition"]["attached_pic"]) for s in streams(out)}
    assert kinds == {("h264", 160, 0), ("png", 640, 1)}


def test_a_sender_that_falls_silent_ends_a_live_stream(tmp_path, monkeypatch):
    monkeypatch.setattr(source_module, "_NETWORK_TIMEOUT", 2.0)
    sent = clip(tmp_path / "sent.ts", "-c:v", "libx264", "-preset", "ultrafast", "-g", "5")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        url = f"udp://127.0.0.1:{free.getsockname()[1]}"
    out = tmp_path / "out.mkv"
    # Over and over: the first packets may come before anybody listens.
    send = ["ffmpeg", "-nostdin", "-v", "error", "-re", "-stream_loop", "2", "-i", str(sent)]
    with subprocess.Popen([*send, "-c", "copy", "-f", "mpegts", f"{url}?pkt_size=1316"]):
        report = transcode(url, str(out), encode=QUICK)
    assert 25 < report.frames <= 75
    assert len(report.warnings) == 1
    assert "nothing came for 2 s, taken for its end" in report.warnings[0]
    assert_decodes(out)
    assert len(times(out)) == report.frames

    with pytest.raises(InputError, match=r"cannot open udp.*nothing came for 2 s"):
        transcode(url, str(tmp_path / "silent.mkv"))
    assert not (tmp_path / "silent.mkv").exists()


def test_damage_that_the_decoder_conceals_is_told(tmp_path):
    whole = clip(tmp_path / "whole.ts", "-c:v", "libx264", "-preset", "ultrafast", "-g", "5")
    data = bytearray(whole.read_bytes())
    for position in range(len(data) // 3, len(data), len(data) // 9):
        data[position] ^= 0xFF
    damaged = tmp_path / "damaged.ts"
    damaged.write_bytes(data)
    report = transcode(str(damaged), str(tmp_path / "out.mkv"), encode=QUICK)
    assert report.frames == 25
    assert sum("is damaged; the decoder filled in" in text for text in report.warnings) == 1
    assert transcode(str(whole), str(tmp_path / "fine.mkv"), encode=QUICK).warnings == ()


def test_a_size_that_h264_cannot_carry_is_told(tmp_path):
    options = ("-vf", "scale=161:97", "-pix_fmt", "yuv420p", "-c:v", "ffv1")
    odd = clip(tmp_path / "odd.mkv", *options, seconds=0.2)
    report = transcode(str(odd), str(tmp_path / "out.mp4"), encode=QUICK)
    (warning,) = report.warnings
    assert "161x97: coded as 162x98" in warning
    with pytest.raises(InputError, match="coded as 162x98"):
        transcode(str(odd), str(tmp_path / "strict.mp4"), encode=QUICK, strict=True)
