"""How many threads a network runs in."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one CPU thread inside, and on as many as before afterwards.

    Results then do not depend on the machine's cores (sums differ in their last digits by how many
    threads share them); and beside a busy encoder a second thread made networks ten times slower.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
