"""A sidecar that thinks nothing: known offsets for every picture, and misbehaviour on demand.

Run as a process of its own, which can be stopped and killed: ``python preload_peer.py SOCKET ...``.
"""

from __future__ import annotations

import argparse
import mmap
import os
import socket
import sys
import threading
import time
import zlib
from collections import deque
from pathlib import Path

import numpy as np

from idse.server.framing import receive, receive_bytes
from idse.server.protocol import (
    MESSAGE_BYTES,
    Bye,
    End,
    Frame,
    Hello,
    Offsets,
    Outcome,
    SessionFlags,
    Status,
    Welcome,
    Working,
    unpack,
)


def offsets_of(index, rows, columns):
    """Offsets of a picture: even steps, which are exact under the verbatim recipe."""
    rng = np.random.default_rng(index)
    return (2 * rng.integers(-3, 4, (rows, columns))).astype(np.float32)


class Session:
    """One connection."""

    def __init__(self, connection, args):
        self.connection, self.args = connection, args
        self.pending = deque()
        self.answered = 0

    def run(self):
        args = self.args
        data, descriptors, _, _ = socket.recv_fds(self.connection, MESSAGE_BYTES, 1)
        self.hello = unpack(data)
        assert isinstance(self.hello, Hello)
        text = receive_bytes(self.connection, self.hello.options_length).decode()
        assert os.fstat(descriptors[0]).st_size == self.hello.ring_bytes
        self.memory = mmap.mmap(descriptors[0], self.hello.ring_bytes)
        os.close(descriptors[0])
        print("hello", text, flush=True)
        if args.mute:
            time.sleep(1e6)
        status = Status.NEVER if args.never else Status.BUSY if args.busy else Status.OK
        reason = "" if status == Status.OK else "the test says so"
        self.lookahead = 0 if self.hello.flags & SessionFlags.LIVE else args.lookahead
        welcome = Welcome(status=status, lookahead=self.lookahead, reason=reason)
        self.connection.sendall(welcome.pack())
        while isinstance(message := receive(self.connection), Frame | End | Bye):
            if isinstance(message, Bye):
                print("bye", message.frames, message.steered, message.lost, flush=True)
                return
            if isinstance(message, Frame):
                self.see(message)
                self.pending.append(message)
            ends = isinstance(message, End)
            while self.pending and (ends or len(self.pending) > self.lookahead):
                if not self.answer(self.pending.popleft()):
                    return

    def see(self, frame):
        if self.args.seen:
            start = frame.slot * self.hello.slot_bytes
            (rows, columns), (chroma_rows, chroma_columns) = self.hello.plane_shapes
            samples = rows * columns + 2 * chroma_rows * chroma_columns
            crc = zlib.crc32(self.memory[start : start + samples * self.hello.sample_bytes])
            facts = self.hello
            line = f"{frame.index} {frame.pts} {frame.flags} {crc} {facts.chroma} "
            line += f"{facts.bit_depth} {facts.arrangement} {facts.mb_rows} {facts.mb_cols} "
            line += f"{facts.timebase_num}/{facts.timebase_den}\n"
            with self.args.seen.open("a") as file:
                file.write(line)

    def answer(self, frame):
        args, hello = self.args, self.hello
        for _ in range(args.working):
            time.sleep(0.2)
            self.connection.sendall(Working().pack())
        if args.delay:
            time.sleep(args.delay)
        if self.answered == args.garbage_after:
            self.connection.sendall(b"\x5a" * 1000)
            return False
        if self.answered == args.drop_after:
            self.connection.shutdown(socket.SHUT_RDWR)
            return False
        if self.answered == args.silent_after:
            time.sleep(1e6)
        if args.wrong_slot:
            reply = Offsets(index=frame.index, slot=60, status=Outcome.STEERED)
            self.connection.sendall(reply.pack())
            return True
        offsets = offsets_of(frame.index, hello.mb_rows, hello.mb_cols)
        if args.neutral:
            offsets[...] = 0
        if args.bad:
            offsets[0, 0] = np.nan
        start = frame.slot * hello.slot_bytes + hello.offsets_at
        self.memory[start : start + offsets.nbytes] = offsets.tobytes()
        outcome = Outcome.UNSTEERED if args.unsteered else Outcome.STEERED
        self.connection.sendall(Offsets(index=frame.index, slot=frame.slot, status=outcome).pack())
        self.answered += 1
        return True


def serve(connection, args):
    try:
        Session(connection, args).run()
    except (OSError, ValueError) as error:
        print("ends", error, flush=True)
    finally:
        connection.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("socket", type=Path)
    parser.add_argument("--lookahead", type=int, default=0)
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--working", type=int, default=0)
    parser.add_argument("--garbage-after", type=int, default=-1)
    parser.add_argument("--drop-after", type=int, default=-1)
    parser.add_argument("--silent-after", type=int, default=-1)
    parser.add_argument("--seen", type=Path)
    for flag in ("once", "mute", "never", "busy", "wrong-slot", "neutral", "bad", "unsteered"):
        parser.add_argument(f"--{flag}", action="store_true")
    args = parser.parse_args()
    args.socket.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(args.socket))
    listener.listen(64)
    print("listening", flush=True)
    while True:
        connection, _ = listener.accept()
        if args.once:
            listener.close()
            serve(connection, args)
            return
        threading.Thread(target=serve, args=(connection, args), daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
