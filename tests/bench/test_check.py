"""What got slower: by ratio, beyond the noise, and twice."""

import json

import check
import pytest
import record

MACHINE = {"class": "cpu-9"}


def file(ratio=4.0, ms=10.0, iqr=0.1, way="openvino fp16", **more):
    rows = [{"case": "net", "way": "eager fp32", "median_ms": ms * ratio, "iqr_ms": iqr, "ratio": 1.0},
            {"case": "net", "way": way, "median_ms": ms, "iqr_ms": iqr, "ratio": ratio, **more}]  # fmt: skip
    return {"suite": "network", "machine": MACHINE, "rows": rows}


@pytest.mark.parametrize(
    "new, lost",
    [
        (file(4.0, ms=100.0), 0),  # the machine is ten times slower: so is eager
        (file(3.6), 0),
        (file(3.3), 1),
        (file(5.0), 0),
        (file(3.3, iqr=1.0), 0),  # 18 % less where a quarter of the rounds are off by 10 % and more
        (file(2.7, iqr=1.0), 1),  # 32 %: more than three times the spread
        (file(1.0, way="another"), 0),  # not in both
        (file(1.0), 1),  # as slow as eager, which is no base
    ],
)
def test_a_ratio_that_fell_beyond_the_noise(new, lost):
    lines = check.slower(file(), new)
    assert len(lines) == lost
    assert not lost or (
        f"{new['rows'][1]['ratio']:.2f} x eager, was 4.00 x" in lines[0] and "net, openvino" in lines[0]
    )


def test_the_spread_of_the_committed_run_counts_too():
    assert not check.slower(file(iqr=1.0), file(3.3))


def test_memory_has_no_spread():
    old, new = (
        {"suite": "memory", "rows": [{"case": "b", "way": "w", "peak_mb": 1.0, "ratio": r}]} for r in (4.0, 3.0)
    )
    assert len(check.slower(old, new)) == 1 and not check.slower(new, old)


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Stand-ins for the suites: what each form of `network` will measure, and the folder of committed results."""
    measures = {"quick": file(), "full": file()}
    monkeypatch.setattr(check, "machine", lambda: MACHINE)

    def run(names, folder, quick):
        assert names == ["network"]
        if found := measures["quick" if quick else "full"]:
            folder.mkdir()
            (folder / "network-cpu-9.json").write_text(json.dumps(found))

    monkeypatch.setattr(record, "run", run)
    (tmp_path / "network-cpu-9.json").write_text(json.dumps(file()))
    return measures, tmp_path


def test_as_fast_as_it_was(runs, capsys):
    measures, results = runs
    measures["full"] = None  # not asked for
    assert check.main(["network"], results) == 0
    assert "of 1 compared, 0 slower" in capsys.readouterr().out


def test_a_machine_too_noisy_to_tell_says_so(runs, capsys):
    measures, results = runs
    measures["quick"] = file(0.5, iqr=5.0)
    assert check.main(["network"], results) == 0
    assert "of 1 compared, 0 slower, 1 too noisy to tell" in capsys.readouterr().out


def test_slower_in_haste_only(runs):
    measures, results = runs
    measures["quick"] = file(2.0)
    assert check.main(["network"], results) == 0


def test_slower_twice(runs, capsys):
    measures, results = runs
    measures["quick"], measures["full"] = file(2.0), file(2.5)
    assert check.main(["network"], results) == 1
    assert "network, net, openvino fp16: 2.50 x eager, was 4.00 x (38% less; 15% is noise)" in capsys.readouterr().out


def test_a_suite_that_fails_is_no_success(runs, capsys):
    measures, results = runs
    measures["quick"] = None
    assert check.main(["network"], results) == 1
    assert "network: failed, and measured nothing" in capsys.readouterr().out


def test_another_class_of_machine(runs, capsys, monkeypatch):
    _, results = runs
    monkeypatch.setattr(check, "machine", lambda: {"class": "h100"})
    assert check.main(["network"], results) == 0
    assert "network: no committed results of h100" in capsys.readouterr().out


def test_names_of_plans_are_found_by_their_suite():
    names = list(record.commands(True))
    assert {"stream-unet_fp16", "stream-flow_fp32", "evaluate-unet_fp16", "network", "frame_ops"} <= set(names)
    assert all(name in {n.split("-")[0] for n in names} for name in check.NAMES)
