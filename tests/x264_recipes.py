"""Settings of x264 that several folders of tests share."""

# The settings under which x264 adds nothing of its own to a macroblock's QP.
VERBATIM = {
    "crf": "20",
    "qcomp": "1",
    "ipratio": "1",
    "pbratio": "1",
    "mbtree": "0",
    "aq-mode": "1",
    "aq-strength": "0.0001",
}
