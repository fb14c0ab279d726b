"""`fetfast bench loop`: every frame is counted, at both paces."""

from fetfast.live import bench


def test_a_clip_at_both_paces(engine, renders, make_clip, portrait_file):
    figures = bench.run(engine, make_clip(renders * 3), portrait_file, seconds=0.6)
    camera = figures["camera"]
    assert figures["fast"]["frames"] == 6 and figures["fast"]["dropped"] == 0
    assert camera["frames"] + camera["dropped"] == 15 and 0 < camera["fps"] < 30, "a camera gives no more"
    assert figures["dropped_share"] == camera["dropped"] / 15
    said = bench.report(figures)
    assert (
        "flow_fp32 on openvino" in said and "25 frames/s" in said and f"dropped {figures['dropped_share']:.1%}" in said
    )
