"""Requests that no honest client makes, from a seed: over HTTP, and on the socket of encoders."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import socket
import struct
import tempfile

from served import connected

from idse.server.protocol import Bye, End, Frame, Hello, Offsets, Welcome

PATHS = (
    "/v2/models/importance/infer",
    "/v2/models/sketch/infer",
    "/v2/models/importance/versions/1/infer",
    "/preview?strength=1",
    "/preview?network=../../etc/passwd",
    "/preview?strength=nan&alpha=inf",
)
NAMES = (
    "../../etc/passwd",
    "/etc/passwd",
    "%2e%2e%2fetc%2fpasswd",
    "file:///etc/passwd",
    "os:system",
    "x.onnx",
    "\0",
    "a" * 5000,
    "tiny_networks:sees_left",
    "tiny_networks:sees_left@convolution",
    "tiny_networks:sees_left=-1",
)
UPLOADS = (
    b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
    b"ffconcat version 1.0\nfile /etc/passwd\n",
    b"RIFF\xff\xff\xff\xffWEBPVP8 ",
    b"\x89PNG\r\n\x1a\n" + bytes(60),
    b"\0\0\0\x20ftypisom" + bytes(40),
    b"\x1aE\xdf\xa3" + bytes(200),
    b"\xff\xd8\xff\xe0" + bytes(100),
    b"",
)
SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW


def value(rng):
    return rng.choice(
        (0, -1, 1, 255, 2**31, 2**63, 2**64, 1e308, float("nan"), float("inf"), True, None, "x", [])
    )


def shape(rng):
    sides = (0, -1, 1, 2, 3, 16, 16384, 2**31, 2**63)
    return [rng.choice(sides) for _ in range(rng.randint(0, 5))]


def document(rng):
    """A request in JSON in which something is wrong, mostly."""
    count = rng.choice((0, 1, 12, 13))
    tensor = {
        "name": rng.choice(("image", "y", "cb", *NAMES)),
        "datatype": rng.choice(("UINT8", "UINT16", "FP32", "BYTES", 7)),
        "shape": rng.choice((shape(rng), [2, 2, 3])),
        "data": [rng.choice((7, value(rng))) for _ in range(count)],
        "parameters": {"binary_data_size": rng.choice((0, 12, -1, 2**62, "12", True))},
    }
    for key in rng.sample(sorted(tensor), rng.randint(0, 2)):
        del tensor[key]
    return {
        "inputs": [tensor] * rng.randint(0, 9),
        "parameters": {
            rng.choice(("network", "n_s", "seed", "timeout", "matrix")): rng.choice(
                (value(rng), rng.choice(NAMES))
            )
        },
        "outputs": rng.choice(([], [{"name": rng.choice(NAMES)}], value(rng))),
        "id": rng.choice(("", "x" * 10000, value(rng))),
    }


def body(rng):
    kind = rng.randrange(5)
    if kind == 0:
        return rng.randbytes(rng.choice((0, 1, 100, 10000)))
    if kind == 1:
        return rng.choice(UPLOADS)
    if kind == 2:
        return b"[" * rng.choice((10, 100000))
    text = json.dumps(document(rng)).encode()
    if kind == 3:
        return text[: rng.randrange(len(text) + 1)]
    return text + rng.randbytes(rng.choice((0, 12, 13, 1000)))


def over_http(server, rng):
    """Make one hostile request; return its status."""
    headers = {}
    if rng.random() < 0.5:
        lengths = ("0", "-1", "10", "99999999999999999999", "abc", "1e3", str(rng.randrange(500)))
        headers["Inference-Header-Content-Length"] = rng.choice(lengths)
    if rng.random() < 0.2:
        headers["Content-Type"] = rng.choice(("text/plain", "multipart/form-data", "x" * 3000))
    if rng.random() < 0.1:
        headers["Content-Encoding"] = "gzip"
    path = rng.choice((*PATHS, f"/v2/models/{rng.choice(NAMES[2:6])}/infer", "/../../etc/passwd"))
    method = rng.choice(("POST", "POST", "POST", "GET", "PUT", "DELETE"))
    with connected(server.facts["http"]) as connection:
        connection.request(method, path, body(rng), headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status


def raw_http(server, rng):
    """Write what is hardly HTTP, and hang up."""
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as link:
        link.settimeout(30)
        link.connect(server.facts["http"])
        with contextlib.suppress(OSError):
            link.sendall(
                rng.choice(
                    (
                        rng.randbytes(300),
                        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 5000,
                        b"POST /preview HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nshort",
                        b"POST /v2 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
                        b"GET http://169.254.169.254/ HTTP/1.1\r\nHost: x\r\n\r\n",
                    )
                )
            )
            link.shutdown(socket.SHUT_WR)
            while link.recv(65536):
                pass


def hello(rng, **changes):
    good = Hello(width=64, height=48, mb_rows=3, mb_cols=4, slots=3)
    fields = {**vars(good), **changes}
    if rng.random() < 0.4:
        name = rng.choice(sorted(fields))
        if isinstance(fields[name], int):
            fields[name] = rng.choice((0, 1, 2, 3, 7, 255, 2**16, 2**31, 2**32 - 1))
        else:
            fields[name] = rng.choice((float("nan"), float("inf"), -1e38))
    return Hello(**fields)


def ring(rng, size):
    """A descriptor of something that is offered as a ring."""
    kind = rng.randrange(7)
    if kind == 0:
        return os.open("/etc/passwd", os.O_RDONLY)
    if kind == 1:
        with tempfile.TemporaryFile() as file:
            file.truncate(size)
            return os.dup(file.fileno())
    if kind == 2:
        return os.open("/dev/zero", os.O_RDWR)
    made = os.memfd_create("ring", os.MFD_ALLOW_SEALING)
    os.ftruncate(made, size if kind > 3 else rng.choice((0, 1, max(0, size - 1), size + 4096)))
    if kind != 4:
        fcntl.fcntl(made, fcntl.F_ADD_SEALS, SEALS)
    return made


def message(rng):
    """Something after HELLO."""
    numbers = (0, 1, 2, 3, 64, 2**31, 2**32 - 1)
    return rng.choice(
        (
            Frame(index=rng.choice((-1, 0, 1, 5, 2**62)), pts=2**63 - 1, slot=rng.choice(numbers)),
            Frame(index=0, pts=-(2**63), slot=0, deadline=rng.choice((0, 1, 2**64 - 1))),
            Offsets(index=0, slot=0, status=0),
            Welcome(),
            hello(rng),
            End(),
            Bye(frames=2**64 - 1),
        )
    ).pack()


def as_encoder(server, rng):
    """Open one hostile session, and hang up."""
    options = rng.choice(
        (b"", b"--maps /etc/passwd", b"--model ../x.onnx", b"'", b"\xff\xfe", b"--n-s 9" * 99)
    )
    asked = hello(rng, options_length=len(options))
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as link:
        link.settimeout(30)
        link.connect(server.facts["encoders"])
        descriptors = []
        size = min(max(asked.ring_bytes, 0), 1 << 20)
        try:
            count = rng.choice((1, 1, 1, 1, 0, 2, 5))
            descriptors = [ring(rng, size) for _ in range(count)]
            data = asked.pack()
            if rng.random() < 0.1:
                data = rng.randbytes(128)
            with contextlib.suppress(OSError):
                if descriptors:
                    socket.send_fds(link, [data], descriptors)
                else:
                    link.sendall(data)
                link.sendall(options)
                for _ in range(rng.randint(0, 6)):
                    link.sendall(rng.choice((message(rng), rng.randbytes(rng.randint(1, 200)))))
                    if descriptors and rng.random() < 0.3:
                        # A ring that is sealed cannot be made smaller under the server's hands.
                        os.ftruncate(descriptors[0], 0)
                if rng.random() < 0.1:
                    # Hang up hard: what was not read is lost.
                    off = struct.pack("ii", 1, 0)
                    link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, off)
                else:
                    link.shutdown(socket.SHUT_WR)
                    while link.recv(65536):
                        pass
        finally:
            for descriptor in descriptors:
                os.close(descriptor)


def attack(server, seed, count):
    """Make ``count`` hostile requests; return the statuses of those that got one."""
    rng = random.Random(seed)
    statuses = []
    for _ in range(count):
        kind = rng.randrange(10)
        if kind < 6:
            statuses.append(over_http(server, rng))
        elif kind < 7:
            raw_http(server, rng)
        else:
            as_encoder(server, rng)
    return statuses
