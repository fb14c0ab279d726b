"""The quick bench: what is counted, timed, compared and drawn."""

import xml.etree.ElementTree as ET

import pytest
from click.testing import CliRunner

from fetfast import bench
from fetfast.bench import floor, plot
from fetfast.cli import main
from fetfast.engine import Engine


@pytest.fixture(scope="module")
def engine():
    return Engine("unet_fp16", "openvino")


@pytest.fixture(scope="module")
def figures(engine):
    pytest.importorskip("torch")
    return bench.stream_step(engine, steps=12)


def test_operations_of_the_shipped_network_are_pytorchs(engine):
    torch = pytest.importorskip("torch")
    from fetfast.backends import eager

    stage = engine.plan.spec.stage("unet")
    module = eager.modules(engine.plan, torch.device("cpu"))["unet"].float()
    total = 0

    def count(layer, _, result):
        nonlocal total
        total += 2 * result[0, 0].numel() * layer.weight.numel()

    for layer in module.modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
            layer.register_forward_hook(count)
    with torch.inference_mode():
        module(**{t.name: torch.zeros(1, *t.shape) for t in stage.inputs})
    work = floor.network(engine, stage)
    assert work.operations == total and work.arithmetic == "bf16" and work.device == "cpu"
    assert floor.network(engine, engine.plan.spec.stage("fuse")).arithmetic == "f32"


def test_every_stage_has_its_row(engine, figures):
    rows = {row["case"]: row for row in figures["rows"] if row["way"] == "openvino"}
    stages = [stage.name for stage in engine.plan.spec.stages]
    assert [*rows][-1] == bench.STEP and {f"network: {name}" for name in stages} < set(rows)
    assert figures["suite"] == "stream" and figures["steps"] <= 12 and figures["machine"]["versions"]["openvino"]
    parts = [row for name, row in rows.items() if name != bench.STEP]
    assert sum(row["share"] for row in parts) == pytest.approx(1, abs=0.5)  # medians of a noisy machine
    assert rows[bench.STEP]["floor_ms"] == pytest.approx(sum(row["floor_ms"] for row in parts))
    # what the U-Net's inputs must move: five images written, and the pixels under the crop; its target is older
    made = rows["inputs: for unet"]
    assert made["bytes"] > 4 * 128 * 128 * (3 + 1 + 2) and made["operations"] > 6 * 478 * 128 * 128
    assert rows["paste"]["bytes"] == 6 * 768 * 768 + 4 * 7 * 256 * 256


def test_networks_are_compared_with_plain_pytorch_in_f32(figures):
    theirs = {row["case"]: row for row in figures["rows"] if row["way"] == "eager fp32"}
    assert set(theirs) == {"network: fuse", "network: unet"} and figures["eager"] is None
    ours = {row["case"]: row.get("ratio") for row in figures["rows"] if row["way"] == "openvino"}
    assert {name for name, ratio in ours.items() if ratio} == {*theirs, bench.STEP}
    assert "faster than eager fp32" in bench.table(figures)


def test_ratios_are_of_blocks_side_by_side():
    """The machine becomes ten times slower half way."""
    ours = [{"network: a": 1.0, bench.STEP: 4.0}], [{"network: a": 10.0, bench.STEP: 40.0}]
    theirs = [{"network: a": 3.0}], [{"network: a": 30.0}]
    assert bench._ratios(list(ours), list(theirs)) == {"network: a": 3.0, bench.STEP: 1.5}


def test_without_torch_the_column_says_so(engine, monkeypatch):
    monkeypatch.setattr(bench, "find_spec", lambda name: None)
    monkeypatch.setattr(bench.backends, "load", lambda *_: pytest.fail("a backend was loaded"))
    figures = bench.stream_step(engine, steps=1)
    assert figures["eager"] == "torch not installed" and not any("ratio" in row for row in figures["rows"])
    assert bench.table(figures).count("torch not installed") == 2  # the networks' rows


def test_what_computes_something_else_is_not_compared(engine, monkeypatch):
    pytest.importorskip("torch")
    load = bench.backends.load

    def wrong(*arguments):
        return {n: lambda x, run=run: {k: 2 * v for k, v in run(x).items()} for n, run in load(*arguments).items()}

    monkeypatch.setattr(bench.backends, "load", wrong)
    figures = bench.stream_step(engine, steps=1)
    assert "fused_points differs by 50%" in figures["eager"] and not any("ratio" in row for row in figures["rows"])


def test_a_plot_shows_every_stage(figures, tmp_path):
    pytest.importorskip("matplotlib")
    for name in ("a.svg", "b.svg", "c.png"):
        plot.draw(figures, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    comments = (tmp_path / "a.svg").read_text()
    ET.fromstring(comments)
    assert all(f"<!-- {row['case']} -->" in comments for row in figures["rows"] if row["case"] != bench.STEP)
    assert (tmp_path / "c.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    "file, matplotlib, words",
    [
        ("plot.jpg", True, ".svg or .png"),
        ("plot.svg", False, "pip install matplotlib"),
        ("no/plot.svg", True, "does not exist"),
    ],
)
def test_a_plot_that_cannot_be_is_said_before_the_work(tmp_path, monkeypatch, file, matplotlib, words):
    from fetfast.cli import figures as commands

    monkeypatch.setattr(commands, "find_spec", lambda name: matplotlib or None)
    monkeypatch.setattr(Engine, "__init__", lambda *_: pytest.fail("the work began"))
    done = CliRunner().invoke(main, ["bench", "--plot", str(tmp_path / file)])
    assert done.exit_code == 2 and words in done.output
