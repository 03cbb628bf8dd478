"""Encodes a video again, smaller, for a detector: python after.py street.mp4 small.mp4."""

import sys

import av

import idse_pyav

idse_pyav.install(model="yolov4-tiny")
with av.open(sys.argv[1]) as source, av.open(sys.argv[2], "w") as target:
    video = source.streams.video[0]
    stream = target.add_stream("libx264", rate=video.average_rate, options={"crf": "28"})
    stream.width, stream.height, stream.pix_fmt = video.width, video.height, "yuv420p"
    for frame in source.decode(video):
        target.mux(stream.encode(frame))
    target.mux(stream.encode(None))
