"""Accepting encoders: what they send in time, what is out of threads, and who comes first."""

import os
import socket
import threading
from pathlib import Path

import pytest
from encoder_servers import sidecar
from test_sessions import FORM, opened, picture, run

from idse.dropin.sidecar import Wish
from idse.dropin.sidecar import sidecar as own_sidecar
from idse.errors import BusyError, ProtocolError
from idse.importance.maps import ImportanceMap, MapMetadata, write_maps
from idse.picture import Picture
from idse.server import encoders
from idse.server.priority import NICENESS, give_way
from idse.server.protocol import Hello
from idse.server.ring import Ring

pytestmark = pytest.mark.fast


def hello(**changes):
    return Hello(width=64, height=48, mb_rows=3, mb_cols=4, slots=2, **changes)


def test_a_ring_is_not_inherited_by_programs_that_are_started():
    here, there = socket.socketpair()
    made, descriptor = Ring.make(hello())
    with here, there:
        socket.send_fds(there, [hello(options_length=2).pack(), b"-x"], [descriptor])
        _, received, text = encoders._greeting(here)
    assert text == "-x"
    assert not os.get_inheritable(received)
    os.close(received)
    os.close(descriptor)
    assert made.offsets(0).shape == (3, 4)


def test_a_greeting_in_drops_does_not_take_for_ever(monkeypatch):
    monkeypatch.setattr(encoders, "_HANDSHAKE", 0.5)
    here, there = socket.socketpair()
    _, descriptor = Ring.make(hello())
    ended = threading.Event()

    def drip():
        for byte in hello(options_length=4000).pack() + bytes(4000):
            if ended.wait(0.05):
                return
            there.sendall(bytes([byte]))

    with here, there:
        here.settimeout(0.5)
        socket.send_fds(there, [hello().pack()[:1]], [descriptor])
        dripping = threading.Thread(target=drip)
        dripping.start()
        with pytest.raises(ProtocolError, match="no HELLO came"):
            encoders._greeting(here)
        ended.set()
        dripping.join()
    os.close(descriptor)


def test_a_server_that_is_out_of_threads_says_so_and_goes_on(tmp_path):
    with sidecar(tmp_path) as made:
        before = threading.stack_size(1 << 46)  # more than there is to have
        try:
            # Refused while it still greets, a client may find the connection closed instead.
            with pytest.raises((BusyError, ProtocolError)):
                opened(made)
        finally:
            threading.stack_size(before)
        assert made.encoders.facts() == []
        with opened(made) as session:
            assert len(run(session, [picture(0)])) == 1


def test_threads_that_give_way_start_others_that_do(tmp_path):
    found = {}

    def look():
        found[threading.current_thread().name] = os.getpriority(os.PRIO_PROCESS, 0)

    def begin():
        give_way()
        look()
        inner = threading.Thread(target=look, name="inner")
        inner.start()
        inner.join()

    own = os.getpriority(os.PRIO_PROCESS, 0)
    outer = threading.Thread(target=begin, name="outer")
    outer.start()
    outer.join()
    look()
    lowered = max(own, NICENESS)
    assert found == {"outer": lowered, "inner": lowered, threading.current_thread().name: own}


def niceness():
    """Of each thread of this process."""
    tasks = [int(task.name) for task in Path("/proc/self/task").iterdir()]
    return {task: os.getpriority(os.PRIO_PROCESS, task) for task in tasks}


def test_a_sidecar_of_ones_own_leaves_the_main_thread_alone(tmp_path):
    """Its priority is that of the program that is run."""
    maps = tmp_path / "maps.safetensors"
    metadata = MapMetadata(model="test", n_s=1, seed=0, dtype="float32")
    shown = Picture(planes=picture(0), format=FORM)
    write_maps(maps, [ImportanceMap.neutral(shown)], metadata)
    before = niceness()
    with own_sidecar(Wish(maps=maps)):
        after = niceness()
    assert len(after) > len(before)
    new = {after[task] for task in after if task not in before}
    assert new == {max(NICENESS, before[os.getpid()])}
    assert all(after[task] == before[task] for task in before if task in after)
