"""The start suite: peaks are those of the process alone, and the bars are read off the right rows."""

import subprocess

import bench_start
import processes
import pytest

CODE = "import sys; data = bytearray({} << 20); data[::4096] = b'x' * len(data[::4096]); sys.exit({})"


def test_a_peak_is_the_processs_own():
    ours = bytearray(400 << 20)
    ours[::4096] = b"x" * len(ours[::4096])  # this process holds more than those it measures
    small, large = (processes.peak_mb(bench_start.python(CODE.format(size, 0))) for size in (1, 101))
    assert small < 50 and large - small == pytest.approx(100, abs=5)


def test_a_process_that_fails_has_no_figures():
    for measure in (processes.run, processes.peak_mb):
        with pytest.raises(subprocess.CalledProcessError, match="exit status 3"):
            measure(bench_start.python(CODE.format(1, 3)))


def test_imports_are_what_they_add():
    rows = {row["way"]: row for row in bench_start.imports(bench_start.QUICK)}
    assert set(rows) == {"fetfast", "eager"} and rows["fetfast"]["ratio"] > 3
    assert 5 < rows["fetfast"]["peak_mb"] < 30 < rows["eager"]["peak_mb"]


def test_a_transfer_from_the_shell_is_light(tmp_path):
    command = bench_start.shell(tmp_path / "out.png")
    processes.run(command)  # warms the caches
    assert processes.peak_mb(command) < bench_start.PEAK_BAR
    assert (tmp_path / "out.png").exists()


@pytest.mark.parametrize(
    "added, transfer, peak, over",
    [(29, 1499, 499, None), (31, 1, 1, "import"), (1, 1501, 1, "1501"), (1, 1, 501, "peak_mb")],
)
def test_bars(added, transfer, peak, over):
    rows = [
        {"case": "import", "way": "fetfast", "median_ms": added, "peak_mb": 1},
        {"case": "import", "way": "eager", "median_ms": 9000, "peak_mb": 9000},
        {"case": "fetfast transfer", "way": "warm", "median_ms": transfer, "peak_mb": peak},
    ]
    missed = bench_start.missed(rows)
    assert len(missed) == (over is not None) and all(over in line for line in missed)
