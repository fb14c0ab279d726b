"""Memory stays flat: `make soak` runs 20,000 frames (FETFAST_SOAK), every other run 1,000."""

import os
from itertools import cycle, islice
from pathlib import Path

import pytest
from frames import Frames

from fetfast import Loop

FRAMES = int(os.environ.get("FETFAST_SOAK", 1000))


def resident() -> int:
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_memory_is_flat(engine, astronaut, renders, tmp_path):
    """After the first fifth, in which buffers and allocators fill, nothing grows by more than 2 %."""
    people = [astronaut[::2, ::2].copy(), *(picture[:192, :192].copy() for picture in renders)]
    target = astronaut[::2, ::2].copy()
    with Loop(engine, Frames(islice(cycle(people), FRAMES)), target) as loop:
        loop.record(str(tmp_path / "out.mp4"))
        sizes = [resident() for _ in loop]
    assert len(sizes) == FRAMES
    settled, end = sizes[FRAMES // 5], max(sizes[-FRAMES // 10 :])
    assert end <= 1.02 * settled, f"{settled / 2**20:.1f} MiB grew to {end / 2**20:.1f}"
