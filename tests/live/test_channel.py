"""The queue between two threads: drops are counted, what must not be dropped waits, and errors get through."""

import threading
import time

import pytest

from fetfast.live.channel import Channel, Closed, start
from fetfast.live.stats import Stats, table


def test_nothing_is_dropped_where_the_writer_waits():
    channel = Channel(2, drop=False)
    start("numbers", iter(range(100)), channel)
    got = []
    for number in channel:
        time.sleep(0.0002)
        got.append(number)
    assert got == list(range(100)) and channel.dropped == 0


def test_the_oldest_is_dropped_and_counted():
    channel = Channel(2, drop=True)
    for number in range(10):
        channel.put(number)
    channel.end()
    assert list(channel) == [8, 9] and channel.dropped == 8


def test_an_error_comes_after_what_came_before_it():
    def numbers():
        yield 1
        raise ValueError("broken")

    channel = Channel(2, drop=False)
    start("numbers", numbers(), channel)
    items = iter(channel)
    assert next(items) == 1
    with pytest.raises(ValueError, match="broken"):
        next(items)


def test_closing_frees_both_sides():
    channel = Channel(1, drop=False)
    thread = start("numbers", iter(range(100)), channel)
    reader = threading.Thread(target=lambda: list(channel))
    channel.close()
    reader.start()
    for waiting in (thread, reader):
        waiting.join(timeout=5)
        assert not waiting.is_alive()
    with pytest.raises(Closed):
        channel.put(1)


def test_stats_are_percentiles_of_the_newest():
    stats = Stats()
    for i in range(10_000):
        stats.add("face", i / 1e3)
    row = stats.summary()["stages_ms"]["face"]
    assert row["p50"] == pytest.approx(10_000 - 2048, abs=2) and row["p99"] == pytest.approx(10_000 - 41, abs=2)
    assert stats.summary()["fps"] == 0
    begin = time.perf_counter()
    for i in range(5):
        stats.shown(begin + i / 100 - 0.1)
    figures = stats.summary()
    assert figures["frames"] == 5 and figures["fps"] == pytest.approx(50, rel=0.2)
    assert figures["latency_ms"]["p50"] == pytest.approx(80, abs=10)
    assert "capture to show" in table(figures) and "face" in table(figures)


def test_the_bottleneck_is_the_thread_that_takes_longest():
    stats = Stats()
    assert stats.summary()["bottleneck"] is None
    for stage, seconds in (("capture", 4e-3), ("face", 9e-3), ("step", 11e-3), ("show", 1e-3)):
        stats.add(stage, seconds)
    assert stats.summary()["bottleneck"] == "step" and "slowest: step" in table(stats.summary())
    stats.add("encode", 20e-3)
    assert stats.summary()["bottleneck"] == "encode"
