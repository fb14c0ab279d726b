"""The list of everything that is measured."""

import sys

import pytest
import record


@pytest.fixture
def two(monkeypatch):
    """Two suites in place of the real ones: one that writes, and one that fails."""
    write = [sys.executable, "-c", "import sys; open(sys.argv[-1], 'w').write(sys.argv[1])"]
    fail = [sys.executable, "-c", "raise SystemExit(1)"]
    monkeypatch.setattr(record, "machine", lambda: {"class": "cpu-9"})
    monkeypatch.setattr(
        record, "commands", lambda quick: {"fails": fail, "writes": [*write, "quick" if quick else "full", "--out"]}
    )


@pytest.mark.parametrize("options, wrote", [([], "full"), (["--quick"], "quick")])
def test_each_writes_a_file_of_the_machines_class(two, tmp_path, monkeypatch, capfd, options, wrote):
    monkeypatch.setattr(sys, "argv", ["record", "--out", str(tmp_path / "deep"), *options])
    assert record.main() == 1, "one failed"
    assert "failed, or missed a bar: fails\n" in capfd.readouterr().out
    assert {file.name: file.read_text() for file in (tmp_path / "deep").iterdir()} == {"writes-cpu-9.json": wrote}


def test_some_by_name(two, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["record", "writes", "--out", str(tmp_path)])
    assert record.main() == 0


@pytest.mark.parametrize("arguments, words", [(["nothing"], "unknown: nothing"), (["--quick"], "--quick needs --out")])
def test_mistakes(two, monkeypatch, capsys, arguments, words):
    monkeypatch.setattr(sys, "argv", ["record", *arguments])
    with pytest.raises(SystemExit):
        record.main()
    assert words in capsys.readouterr().err


def test_every_suite_is_there_and_ends_with_where_to_write():
    for name, command in record.commands(quick=True).items():
        assert command[-1] in ("--out", "--json"), name
    listed = {path.stem.removeprefix("bench_") for path in record.ROOT.glob("bench/bench_*.py")}
    commands = record.commands(quick=False)
    assert listed == {name for name in commands if name in record.SUITES}
    assert list(dict.fromkeys(name.split("-")[0] for name in commands)) == list(record.SUITES)
