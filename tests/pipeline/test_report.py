"""What a report says of the process."""

import subprocess
import sys

import numpy as np
import pytest

PEAK = "from idse.pipeline.report import peak_rss_bytes; print(peak_rss_bytes())"
MORE = "held = b'x' * (200 << 20); " + PEAK


@pytest.mark.fast
def test_the_peak_is_of_this_process_alone():
    """Linux carries the peak of whoever starts a program over to it, in getrusage(2)."""
    held = np.ones(400 << 20, np.uint8)
    little, more = (
        int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout)
        for code in (PEAK, MORE)
    )
    assert 5 << 20 < little < held.nbytes // 2
    assert 190 << 20 < more - little < 210 << 20
