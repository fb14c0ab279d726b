"""Tables are their JSON's: in the repository, in a copy that somebody has edited, and from figures made up here."""

import json
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import plots
import pytest
import report

ROOT = Path(__file__).parents[2]
MACHINE = {"class": "cpu-9", "device": "Abacus 9", "threads": 9, "versions": {"numpy": "2.0"}, "commit": "abc1234",
           "time": "2026-01-02 03:04:05"}  # fmt: skip


def row(case, way, ms, **more):
    return {"case": case, "way": way, "median_ms": ms, "p95_ms": ms, "iqr_ms": 0.0, **more}


NETWORK = {"suite": "network", "machine": MACHINE, "rows": [
    row("default plan", "eager fp32", 12.0, ratio=1.0), row("default plan", "openvino fp16", 3.0, ratio=4.0),
    row("paper", "eager fp32", 1200.0, ratio=1.0), row("paper", "openvino fp16", 400.0, ratio=3.0),
    {"case": "paper", "way": "triton fp16", "skipped": "no GPU"},
    {"case": "paper", "way": "torch.compile fp32", "wrong": "off by 3"},
]}  # fmt: skip
STREAM = {"suite": "stream", "machine": MACHINE, "plan": "unet_fp16", "backend": "openvino", "steps": 9, "eager": None,
          "ceilings": {"cpu copy": 50.0, "cpu f32": 100.0}, "rows": [
    row("network: unet", "openvino", 3.0, share=0.75, floor_ms=1.0, bytes=10**6, operations=10**8, ratio=4.0),
    row("network: unet", "eager fp32", 12.0, ratio=1.0),
    row("paste", "openvino", 1.0, share=0.25, floor_ms=0.001, bytes=10**6, operations=0),
    row("one stream step", "openvino", 4.0, share=1.0, floor_ms=1.001, ratio=3.3),
]}  # fmt: skip
SCALING = {"suite": "scaling", "machine": MACHINE, "rows": [
    row(f"{axis}: unet small, {way}", str(n), n * ms, size=n, item_ms=ms, ratio=1.0)
    for axis, sizes in (("batch", (1, 2, 32)), ("threads", (1, 2))) for n in sizes
    for way, ms in (("eager fp32", 4.0), ("openvino fp16", 1.0))
]}  # fmt: skip


@pytest.fixture
def copy(tmp_path):
    """The pages and the results, as they are committed."""
    for page in report.PAGES:
        (tmp_path / page).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / page, tmp_path / page)
    shutil.copytree(ROOT / "bench" / "results", tmp_path / "bench" / "results")
    return tmp_path


def put(root, name, file):
    (root / "bench" / "results" / f"{name}.json").write_text(json.dumps(file))


def test_every_committed_table_is_its_jsons(capsys):
    assert report.main(["--check"]) == 0, capsys.readouterr().out


def test_every_plot_that_a_page_shows_is_there():
    for page in report.PAGES:
        text = (ROOT / page).read_text()
        for link in [part.partition(")")[0] for part in text.split("](images/")[1:]]:
            assert (ROOT / page).parent.joinpath("images", link).is_file(), (
                f"{page} shows {link}: python bench/report.py"
            )


def test_an_edited_figure_is_found(copy, capsys):
    page = copy / "README.md"
    text = page.read_text()
    begin = text.index("frames/s", text.index("<!-- bench: summary -->"))
    page.write_text(text[: begin - 1] + "9 " + text[begin:])
    assert report.main(["--check"], copy) == 1
    assert "-| one `stream` step" in capsys.readouterr().out


def test_new_figures_make_the_table_stale_until_it_is_written(copy, capsys):
    put(copy, "network-cpu-9", NETWORK)
    assert report.main(["--check"], copy) == 1 and "+| eager fp32 | 12.0 ms | 1.20 s |" in capsys.readouterr().out
    assert report.main([], copy) == 0
    assert report.main(["--check"], copy) == 0
    assert "4.0 × faster" in (copy / "README.md").read_text(), "the summary has it too"
    assert (copy / "docs" / "images" / "network-cpu-9.svg").is_file()


def test_marks_and_tables_belong_together():
    used = [name for page in report.PAGES for _, name, _ in report.BLOCK.findall((ROOT / page).read_text())]
    assert sorted(used) == sorted(report.TABLES)
    with pytest.raises(KeyError):
        report.written("<!-- bench: unheard-of -->\n<!-- end -->", {})


def test_what_stands_outside_of_the_marks_stays():
    page = "before\n<!-- bench: network -->\nold\n<!-- end -->\nbetween\n<!-- bench: ops -->\n<!-- end -->\nafter"
    new = report.written(page, {"network": [NETWORK | {"name": "network-cpu-9"}]})
    assert new.startswith("before\n") and new.endswith("\nafter") and "\nbetween\n" in new and "old" not in new
    assert report.NOTHING in new


def test_a_cell_says_time_memory_and_ratio():
    text = report.crossed(NETWORK)
    assert "|  | default plan | paper |" in text, "three ways, two cases: the fewer stand along the top"
    assert "| openvino fp16 | 3.00 ms (4.00 ×) | 400 ms (3.00 ×) |" in text
    assert "| torch.compile fp32 | — | wrong |" in text
    assert "- not measured, triton fp16: no GPU" in text
    assert report.cell({"peak_mb": 321.4, "device_mb": None, "ratio": 2.0}) == "321 MB (2.00 ×)"
    assert [report.time(ms) for ms in (0.0123, 0.5, 5.0, 50.0, 500.0, 5000.0)] == [
        "12 µs", "0.50 ms", "5.00 ms", "50.0 ms", "500 ms", "5.00 s"]  # fmt: skip


def test_every_table_says_where_its_figures_are_from():
    results = {file["suite"]: [file | {"name": file["suite"]}] for file in (NETWORK, STREAM, SCALING)}
    for name in ("network", "stream", "scaling", "summary"):
        text = report.TABLES[name](results)
        assert all(part in text for part in ("Abacus 9", "9 threads", "abc1234", "NumPy 2.0", "2026-01-02")), name


def test_the_step_has_floors_and_ratios():
    text = report.stream({"stream": [STREAM | {"name": "stream"}]})
    assert "| network: unet | 3.00 ms | 75% | 1.00 ms | 4.0 × |" in text
    assert "| paste | 1.00 ms | 25% | — | — |" in text and "12.0 ms" not in text


def test_scaling_has_a_table_for_each_axis():
    text = report.scaling({"scaling": [SCALING | {"name": "scaling"}]})
    assert "| batch | 1 | 2 | 32 |" in text and "| threads | 1 | 2 |" in text
    assert "| unet small, openvino fp16 | 1.00 ms | 2.00 ms | 32.0 ms |" in text


def test_the_summary_leaves_out_what_was_not_measured():
    assert report.summary({}) == report.NOTHING
    parity = {"suite": "parity", "machine": MACHINE, "rows": [{"mean": 0.798}, {"mean": 0.0091}]}
    text = report.summary({"parity": [parity], "network": [NETWORK]})
    assert "0.80 %" in text and "0.009" in text and "4.0 × faster" in text
    assert len(text.splitlines()) == 2 + 3 + 2  # head, lines, where they are from


def test_every_suite_of_the_record_has_its_headline():
    start = {"rows": [row("fetfast transfer", "warm", 790.0, peak_mb=321.0), row("import", "fetfast", 4.6)]}
    loop = {"plan": "p", "fast": {"fps": 39.1}, "camera": {"latency_ms": {"p95": 30.2}}, "dropped_share": 0.01}
    ops = {"rows": [row(f"crop, {n} threads", "ours", 1.0, ratio=r) for n, r in ((1, 9.0), (2, 1.2), (2, 2.8))]}
    quality = {"plan": "p", "figures": {"smiles": {"mouth, dB over copy": {"plan": [2.534, 2.1, 2.9]}}}}
    files = {"start": start, "loop": loop, "frame_ops": ops, "evaluate": quality}
    text = report.summary({name: [file | {"machine": MACHINE}] for name, file in files.items()})
    wanted = (
        "0.79 s",
        "321 MB",
        "5 ms",
        "39 frames/s",
        "30 ms; 1.0%",
        "1.2–2.8 ×",
        "2.53 dB",
        "fetfast evaluate p --only smiles",
    )
    assert all(words in text for words in wanted), text


def test_a_file_of_another_form_is_refused(copy):
    put(copy, "old", {"plan": "unet_fp16"})
    with pytest.raises(ValueError, match=r"old.json says no suite"):
        report.load(copy / "bench" / "results")


@pytest.mark.parametrize("file", [NETWORK, STREAM, SCALING], ids=lambda file: file["suite"])
def test_plots(file, tmp_path):
    pytest.importorskip("matplotlib")
    drawn = plots.draw({file["suite"]: [file | {"name": "it"}]}, tmp_path)
    assert drawn == [tmp_path / "it.svg"]
    texts = {node.tag.rpartition("}")[2] for node in ET.parse(drawn[0]).iter()}
    assert "path" in texts
    shown = drawn[0].read_text()
    wanted = {"network": "openvino fp16", "stream": "network: unet", "scaling": "unet small, openvino fp16"}
    assert f"<!-- {wanted[file['suite']]} -->" in shown


JUDGED = {"suite": "evaluate", "machine": MACHINE, "plan": "unet_fp16",
    "figures": {
        "actions": {
            "blink: lid open, right": {"plan": [0.4, 0.3, 0.5]}, "blink: lid open, left": {"plan": [0.6, 0.5, 0.7]},
            "blink": {"plan": [0.5, 0.4, 0.6], "flow_fp32": [0.3, 0.2, 0.4], "copy": [0.0, 0.0, 0.0]},
            "blink: cross-talk": {"plan": [0.07, 0.06, 0.08]},
        },
        "smiles": {"mouth, dB over copy": {"plan": [2.1, 1.9, 2.3], "copy": [0.0, 0.0, 0.0]}},
    },
    "groups": {"smiles": {"mouth, dB over copy": {"skin: dark": [1.9, 1.5, 2.2, 5]}}},
    "sums": {"actions": {"blink": {"a": [1, 2]}}, "smiles": {"mouth, dB over copy": {"a": [1, 1], "b": [1, 1]}}},
}  # fmt: skip


def test_a_models_page_has_all_that_its_judges_say():
    text = report.TABLES["quality-unet_fp16"]({"evaluate": [JUDGED | {"name": "e"}]})
    assert "| blink | ≥ 0.85 | 0.50 [0.40, 0.60] | 0.40 | 0.60 | 0.07 | 0.30 |" in text
    assert "| smiles (2 people) | bar | `unet_fp16` | copy |" in text
    assert "| mouth, dB over copy | ≥ 3.2 | 2.10 [1.90, 2.30] | 0.00 |" in text
    assert "| smiles: mouth, dB over copy | 1.90 [1.50, 2.20] |" in text and "Abacus 9" in text
    assert "No figures yet" in report.TABLES["quality-flow_fp32"]({"evaluate": [JUDGED]})
    assert "| `unet_fp16` | 2.10 dB | — | 0.50 | — | — | — |" in report.TABLES["quality"]({"evaluate": [JUDGED]})


def test_an_edited_figure_of_a_models_page_is_found(copy, capsys):
    page = copy / "docs" / "models" / "unet.md"
    text = page.read_text()
    begin = text.index("| blink |") + len("| blink | ≥ 0.85 | ")
    page.write_text(text[:begin] + "9" + text[begin:])
    assert report.main(["--check"], copy) == 1 and "-| blink | ≥ 0.85 | 9" in capsys.readouterr().out
