"""The protocol of encoders: the same in Python as in C, and strict about what it reads."""

import random
import socket
import subprocess
from pathlib import Path

import pytest

from idse.errors import ProtocolError
from idse.server.framing import receive
from idse.server.protocol import (
    MESSAGE_BYTES,
    Bye,
    End,
    Frame,
    Hello,
    Offsets,
    Welcome,
    unpack,
)

pytestmark = pytest.mark.fast
HEADER = Path(__file__).resolve().parents[2] / "native" / "preload" / "protocol.h"

# Reads HELLOs, writes what C makes of them: every field, and the layout.
PROGRAM = r"""
#include <stdio.h>
#include "protocol.h"
int main(void)
{
    struct idse_message m;
    while (fread(&m, sizeof m, 1, stdin) == 1) {
        const struct idse_hello *h = &m.body.hello;
        printf("%u %u %u ", m.magic, m.version, m.type);
        printf("%u %u %u %u %u %u %u %u %u ", h->width, h->height, h->chroma, h->bit_depth,
               h->arrangement, h->matrix, h->transfer, h->full_range, h->interlaced);
        printf("%u %u %u %u %u %g %u %u %g ", h->fps_num, h->fps_den, h->timebase_num,
               h->timebase_den, h->rate_method, h->crf, h->passes, h->aq_mode, h->aq_strength);
        printf("%u %u %u %u %u %u %u %u ", h->mb_tree, h->mb_cols, h->mb_rows, h->slots, h->flags,
               h->options_length, h->build, h->pid);
        printf("%ju %ju %ju %ju\n", (uintmax_t)idse_offsets_at(h), (uintmax_t)idse_weights_at(h),
               (uintmax_t)idse_slot_bytes(h), (uintmax_t)idse_ring_bytes(h));
    }
    return 0;
}
"""
OTHERS = r"""
#include <stdio.h>
#include "protocol.h"
int main(void)
{
    struct idse_message m[3] = {{0}};
    m[0].magic = m[1].magic = m[2].magic = IDSE_MAGIC;
    m[0].version = m[1].version = m[2].version = IDSE_PROTOCOL_VERSION;
    m[0].type = IDSE_FRAME;
    m[0].body.frame = (struct idse_frame){-5, -6, 7, 1, 9, 10, 11, {0}};
    m[1].type = IDSE_OFFSETS;
    m[1].body.offsets = (struct idse_offsets){1, 2, 3, 4, 5, {0}};
    m[2].type = IDSE_BYE;
    m[2].body.bye = (struct idse_bye){1, 2, 3, 4, {0}};
    return fwrite(m, sizeof m[0], 3, stdout) != 3;
}
"""


def compiled(folder, source):
    path = folder / "program"
    command = ["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-I", HEADER.parent, "-x", "c"]
    subprocess.run([*command, "-", "-o", path], input=source, text=True, check=True)
    return path


def hellos():
    rng = random.Random(1)
    for _ in range(200):
        hello = Hello(
            width=rng.randint(1, 4096),
            height=rng.randint(1, 4096),
            chroma=rng.randint(0, 3),
            bit_depth=rng.choice((8, 10)),
            arrangement=rng.randint(0, 2),
            interlaced=rng.randint(0, 2),
            crf=rng.choice((0.0, 23.5, -2.25)),
            fps_num=2**32 - 1,
            pid=rng.randint(1, 2**32 - 1),
            slots=rng.randint(1, 64),
            flags=rng.randint(0, 3),
        )
        rows, cols = hello.mb_shape
        yield Hello(**{**vars(hello), "mb_rows": rows, "mb_cols": cols})


def test_c_and_python_have_the_same_messages_and_the_same_ring(tmp_path):
    known = list(hellos())
    program = compiled(tmp_path, PROGRAM)
    sent = b"".join(hello.pack() for hello in known)
    lines = subprocess.run([program], input=sent, capture_output=True, check=True).stdout
    found = [[float(word) for word in line.split()] for line in lines.decode().splitlines()]
    assert len(found) == len(known)
    for hello, line in zip(known, found, strict=True):
        layout = [hello.offsets_at, hello.weights_at, hello.slot_bytes, hello.ring_bytes]
        assert line == [0x45534449, 1, 1, *vars(hello).values(), *layout]


def test_python_reads_what_c_writes(tmp_path):
    data = subprocess.run([compiled(tmp_path, OTHERS)], capture_output=True, check=True).stdout
    parts = [data[i : i + MESSAGE_BYTES] for i in range(0, len(data), MESSAGE_BYTES)]
    assert [unpack(part) for part in parts] == [
        Frame(index=-5, pts=-6, slot=7, flags=1, deadline=9, frames=10, steered=11),
        Offsets(index=1, slot=2, status=3, flags=4, latency=5),
        Bye(frames=1, steered=2, late=3, lost=4),
    ]


@pytest.mark.parametrize(
    "message",
    [
        next(hellos()),
        Welcome(status=1, lookahead=7, reason="because"),
        Frame(index=1, pts=2, slot=3),
        Offsets(index=1, slot=2, status=0),
        End(),
        Bye(frames=3),
    ],
)
def test_messages_survive_the_way(message):
    data = message.pack()
    assert len(data) == MESSAGE_BYTES
    if isinstance(message, Hello):
        message = Hello(**vars(message))
    assert unpack(data) == message


def test_a_reason_is_cut_between_characters():
    cut = unpack(Welcome(status=1, reason="grün " * 60).pack()).reason
    assert cut.startswith("grün grün")
    assert "�" not in cut
    assert len(cut.encode()) <= 111


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"HTTP" + bytes(124), "begins with"),
        (End().pack()[:4] + b"\2\0" + bytes(122), "version 2"),
        (End().pack()[:6] + b"\x63\0" + bytes(120), "unknown type 99"),
    ],
)
def test_what_is_no_message_is_told_apart(data, reason):
    with pytest.raises(ProtocolError, match=reason):
        unpack(data)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("width", 0),
        ("width", 16385),
        ("chroma", 4),
        ("bit_depth", 9),
        ("arrangement", 3),
        ("fps_den", 0),
        ("timebase_num", 0),
        ("slots", 0),
        ("slots", 65),
        ("crf", float("nan")),
        ("options_length", 4097),
        ("flags", 4),
        ("interlaced", 3),
    ],
)
def test_a_hello_that_makes_no_sense_is_refused(field, value):
    good = Hello(width=100, height=50, mb_rows=4, mb_cols=7)
    good.check()
    with pytest.raises(ProtocolError, match=field.split("_")[0]):
        Hello(**{**vars(good), field: value}).check()
    with pytest.raises(ProtocolError, match="macroblocks"):
        Hello(**{**vars(good), "mb_cols": 6}).check()


def test_a_ring_that_is_too_large_is_refused():
    hello = Hello(width=16384, height=16384, mb_rows=1024, mb_cols=1024, chroma=3, slots=64)
    with pytest.raises(ProtocolError, match="ring of"):
        hello.check()


def test_an_end_between_messages_is_one_and_inside_of_one_is_none():
    here, there = socket.socketpair()
    with here, there:
        there.sendall(End().pack() + End().pack()[:50])
        there.shutdown(socket.SHUT_WR)
        assert receive(here) == End()
        with pytest.raises(ProtocolError, match="after 50 of 128"):
            receive(here)
        assert receive(here) is None
