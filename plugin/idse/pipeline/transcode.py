"""Transcoding one video: decode, analyse and encode at the same time, in bounded memory."""

from __future__ import annotations

import itertools
import tempfile
import time
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from idse.codecs.x264 import Encoder, load_library
from idse.errors import InputError
from idse.files import is_same_file
from idse.pipeline.containers import output_format
from idse.pipeline.driver import Driver, decoded_ahead, steered_ahead, until_frame
from idse.pipeline.maps import RecordedMaps
from idse.pipeline.options import EncodeOptions
from idse.pipeline.parameters import SetParameters, set_parameters
from idse.pipeline.rehearsal import Lesson, check_rehearsal, rehearse
from idse.pipeline.report import Report, Warnings, peak_rss_bytes
from idse.pipeline.scaling import Scaler, check_limit, scaler_for
from idse.pipeline.simplify import Simplifier, check_fallback, look
from idse.pipeline.sink import Sink
from idse.pipeline.source import DecodedFrame, Item, Source, can_read_again
from idse.pipeline.steering import Steering, open_steering
from idse.pipeline.tags import display_matrix, stream_options
from idse.pipeline.timing import Timeline
from idse.pipeline.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from idse.codecs.x264 import X264Library
    from idse.pipeline.driver import Watch
    from idse.pipeline.loading import SteeringOptions
    from idse.pipeline.maps import Maps, Origin
    from idse.pipeline.options import Progress
    from idse.pipeline.rehearsal import Steer, Wrap
    from idse.pipeline.stage import Stage
    from idse.pipeline.work import Work


def transcode(
    source: str,
    target: str,
    *,
    encode: EncodeOptions | None = None,
    steering: SteeringOptions | None = None,
    container: str | None = None,
    overwrite: bool = False,
    strict: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> Report:
    """Transcode a video to H.264, steered or stock; everything else is carried over.

    Parameters
    ----------
    source
        Path, ``"-"`` for standard input, or a URL that FFmpeg reads.
    target
        Path, or ``"-"`` for standard output.
    encode
        What x264 is asked for; None is its defaults.
    steering
        How; None is stock x264 through the same path.
    container
        ``"mp4"``, ``"mov"``, ``"mkv"``, ``"ts"`` or ``"hls"``; None goes by the target's name.
    overwrite
        Whether an existing target may be replaced. That happens at the very end.
    strict
        Raise where a warning would be given.
    progress
        Called after every frame.

    Returns
    -------
    Report
        What was done.

    Raises
    ------
    InputError
        The source, an option, or a map cannot be used, or the target is the source.
    OutputError
        The target cannot be written.
    CodecError
        x264 failed.
    ModelError
        The network cannot be loaded.

    Whatever is raised, nothing is left under the target's name that was not there before.
    """
    return _Transcode(
        source,
        target,
        encode=encode or EncodeOptions(),
        steering=steering,
        container=container,
        overwrite=overwrite,
        strict=strict,
        progress=progress,
    ).run()


class _Transcode:
    """The state of one run."""

    def __init__(
        self,
        source: str,
        target: str,
        *,
        encode: EncodeOptions,
        steering: SteeringOptions | None,
        container: str | None,
        overwrite: bool,
        strict: bool,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        if encode.two_pass and not can_read_again(source):
            raise InputError(
                f"two passes read the source twice, which {source!r} cannot do: give a file"
            )
        if is_same_file(source, target):
            raise InputError(f"{target} is the input: name another file to write")
        check_fallback(encode, source)
        if encode.max_resolution is not None:
            check_limit(encode.max_resolution, encode, steering)
        if steering is not None:
            check_rehearsal(steering, source)
        self._url = source
        self._target = target
        self._encode = encode
        self._steer = steering
        self._form = output_format(target, container)
        self._overwrite = overwrite
        self._warnings = Warnings(strict=strict)
        self._driver = Driver(progress)
        self._library: X264Library = load_library(
            weighted=steering is not None and steering.weighted
        )
        self._steering: Steering | None = None
        self._lesson = Lesson(maps=None)
        self._scaler: Scaler | None = None
        self._simplifier: Simplifier | None = None
        self._origin: Origin | None = None
        self._set: SetParameters | None = None

    def run(self) -> Report:
        begin = time.perf_counter()
        with ExitStack() as stack:
            first = self.open_source()
            try:
                sink = Sink(
                    self._target, self._form, overwrite=self._overwrite, warnings=self._warnings
                )
            except BaseException:
                first.close()
                raise
            try:
                size = self._passes(stack, first, sink)
            except BaseException:
                sink.abort()
                raise
        return self._report(size, time.perf_counter() - begin)

    def _passes(self, stack: ExitStack, source: Source, sink: Sink) -> int:
        if self._encode.fallback is not None:
            self._simplifier = look(self, source, self._encode, self._warnings)
            self._driver.reset()
        maps: Maps | None = None
        if self._steer is not None:
            maps = self._origin = self._steer.open_maps(self._warnings)
        if maps is not None:
            stack.callback(maps.close)
        if self._steer is not None and maps is not None and self._steer.rehearses:
            self._lesson = rehearse(
                self,
                stack,
                maps,
                options=self._steer,
                encode=self._encode.options,
                warnings=self._warnings,
            )
            maps = self._lesson.maps
            self._driver.reset()
        if self._encode.two_pass:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="idse-")))
            stats = str(folder / "x264_2pass.log")
            if maps is not None:
                maps = recorded = stack.enter_context(closing(RecordedMaps(maps)))
            self._kept(source, None, maps, {"pass": "1", "stats": stats}, "pass 1")
            if maps is not None:
                recorded.rewind()
            self._driver.reset()
            self._kept(self.open_source(), sink, maps, {"pass": "2", "stats": stats}, "pass 2")
        else:
            self._kept(source, sink, maps, {}, "encode")
        return sink.commit()

    def open_source(self) -> Source:
        """Open the source, once more where it was open before."""
        return Source(self._url, warnings=self._warnings)

    def _kept(
        self,
        source: Source,
        sink: Sink | None,
        maps: Maps | None,
        extra: Mapping[str, str],
        phase: str,
    ) -> None:
        """Encode what is kept, as rehearsals have taught."""
        self.one_pass(
            source,
            sink,
            maps,
            extra,
            phase=phase,
            wrap=self._lesson.wrap,
            steered=not self._lesson.all_stock,
        )

    def one_pass(
        self,
        source: Source,
        sink: Sink | None,
        maps: Maps | None,
        extra: Mapping[str, str],
        *,
        phase: str,
        watch: Callable[[Encoder], Watch] | None = None,
        wrap: Wrap | None = None,
        steered: bool = True,
    ) -> None:
        """Decode the source once and encode it; into ``sink``, or to learn something."""
        decoded = decoded_ahead(source)
        stages: list[Stage[Item] | Stage[Work]] = [decoded]
        try:
            head, first, rest = until_frame(decoded)
            self._open_scaler(first)
            encoder, timeline = self.open_encoder(source, first, extra, steered=steered)
            with encoder:
                items: Iterable[Item] = itertools.chain(head, [first], rest)
                if self._simplifier is not None:
                    items = self._simplifier.run(items)
                if self._scaler is not None:
                    items = self._scaler.run(items)
                work: Iterable[Work]
                steer: Steer | None = None
                if maps is not None:
                    steer = self._open_steering(source, encoder, maps).run
                if wrap is not None:
                    steer = wrap(steer, source)
                if steer is None:
                    work = ((item, None) for item in items)
                else:
                    work = ahead = steered_ahead(steer(items), self._steer)
                    stages.append(ahead)
                writer = Writer(source, sink, encoder, timeline, display_matrix(first.frame))
                del head, first, items, rest
                watcher = None if watch is None else watch(encoder)
                self._driver.run(work, encoder, writer, source, phase=phase, watch=watcher)
        finally:
            for stage in stages:
                stage.stop()
            joined = [stage.join() for stage in stages]
            if all(joined):
                source.close()

    def tell(self, source: Source, position: float, phase: str) -> None:
        """Tell how far something that encodes nothing to keep has come, in seconds of video."""
        self._driver.tell(position, source.duration, phase)

    def frames(self, source: Source) -> Iterator[tuple[DecodedFrame, DecodedFrame]]:
        """Decode the source: every frame as it is, and as it is coded."""
        for item in source.items():
            if isinstance(item, DecodedFrame):
                self._open_scaler(item)
                yield item, item if self._scaler is None else self._scaler.frame(item)

    def _open_scaler(self, first: DecodedFrame) -> None:
        """Choose the coded size, once for all passes."""
        limit = self._encode.max_resolution
        if limit is None or self._scaler is not None:
            return
        self._scaler = scaler_for(
            limit,
            first,
            url=self._url,
            encode=self._encode,
            steering=self._steer,
            library=self._library,
            warnings=self._warnings,
        )

    def open_encoder(
        self,
        source: Source,
        frame: DecodedFrame,
        extra: Mapping[str, str],
        *,
        steered: bool = True,
    ) -> tuple[Encoder, Timeline]:
        """Open an encoder of the source; unsteered without what steering alone would choose."""
        timeline = Timeline(
            time_base=source.time_base, rate=source.rate, constant=source.constant_rate
        )
        form = frame.picture.format
        options = stream_options(source, frame.frame, self._warnings)
        if self._scaler is not None:
            form = self._scaler.form
            options.update(self._scaler.options(source.video.sample_aspect_ratio, options))
        chosen = SetParameters()
        if steered or self._encode.matrices:
            chosen = self._set_parameters(frame)
        base = chosen.base if steered else {}
        encoder = Encoder(
            width=form.width,
            height=form.height,
            pix_fmt=form.pix_fmt,
            fps=source.rate,
            time_base=timeline.encoder_time_base,
            preset=self._encode.preset,
            tune=self._encode.tune,
            profile=self._encode.profile,
            options={**options, **base, **self._encode.options, **extra},
            matrices=chosen.matrices,
            steer=self._steer is not None,
            global_headers=self._form.global_headers,
            library=self._library,
        )
        if self._encode.matrices and not encoder.parameters.matrices:
            self._warnings.add(
                "matrices",
                f"matrices of slope {self._encode.matrices:g} are left out: the stream is "
                "lossless, or of a profile below High, which has none",
            )
        coded = encoder.coded_width, encoder.coded_height
        if coded != (form.width, form.height):
            self._warnings.add(
                "coded size",
                f"H.264 cannot carry {form.pix_fmt} of {form.width}x{form.height}: coded as "
                f"{coded[0]}x{coded[1]}, edges repeated",
            )
        return encoder, timeline

    def _set_parameters(self, first: DecodedFrame) -> SetParameters:
        """Choose what steering sets by itself, once for all passes."""
        if self._set is None:
            spectrum = None
            if self._origin is not None:
                shown = first if self._scaler is None else self._scaler.frame(first)
                spectrum = self._origin.spectrum(shown.picture)
            policy = self._steer.policy if self._steer is not None else None
            self._set = set_parameters(self._encode, policy, spectrum, self._library)
        return self._set

    def _open_steering(self, source: Source, encoder: Encoder, maps: Maps) -> Steering:
        assert self._steer is not None
        options, policy = self._steer, self._steer.policy
        if self._scaler is not None:
            protect = self._scaler.rects(policy.protect)
            options = replace(options, policy=replace(policy, protect=protect))
        self._steering = open_steering(options, maps, source, encoder, self._warnings)
        return self._steering

    def _report(self, size: int, seconds: float) -> Report:
        steering, lesson = self._steering, self._lesson
        unsteered = steering.frames_unsteered if steering else self._driver.frames
        if lesson.wrap is not None:
            unsteered = lesson.left_out() + (
                steering.frames_unsteered if steering and lesson.maps else 0
            )
        return Report(
            frames=self._driver.frames,
            frames_analysed=steering.frames_analysed if steering else 0,
            frames_unsteered=unsteered,
            bytes=size,
            seconds=round(seconds, 3),
            analysis_seconds=round(steering.seconds if steering else 0.0, 3),
            encode_seconds=round(self._driver.seconds, 3),
            peak_rss_bytes=peak_rss_bytes(),
            x264_build=self._library.build,
            model=self._steer.name if self._steer else None,
            warnings=self._warnings.messages,
            frames_measured=lesson.frames_measured,
            segments=tuple(verdict.facts() for verdict in lesson.verdicts),
            scaled_to=self._scaler.size if self._scaler else None,
            scaled_because=self._scaler.why if self._scaler else None,
            parameters_set=self._set.base_line if self._set and not lesson.all_stock else None,
            frames_simplified=self._simplifier.frames if self._simplifier else 0,
            segments_simplified=self._simplifier.starts if self._simplifier else (),
        )
