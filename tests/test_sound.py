"""Sound comes along into every container: in a codec that it takes, and heard when it was heard before."""

from fractions import Fraction

import pytest
from clips import beeps, onsets

from fetfast.video import Part, Reader, Writer
from fetfast.video.formats import FORMATS

av = pytest.importorskip("av")

BEEPS = pytest.approx([1.2, 1.7], abs=0.005)
ENDINGS = [ending for ending, format in FORMATS.items() if format.sound and ending != ".m4v"]  # which is .mp4


def carry(source, out):
    """As `transfer` does: the pictures again, and the sound with them."""
    with Reader(source) as reader, Writer(out, reader.rate, reader.time_base, sound=source) as writer:
        for time, frame in reader:
            writer.write(time, frame)
    with Reader(out) as reader:
        assert len(list(reader)) == writer.frames == 50 and reader.trouble is None
    return out


def codec(path):
    with av.open(str(path)) as container:
        return container.streams.audio[0].codec_context.codec.canonical_name


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    ("kind", "container"),
    [("libopus", "mkv"), ("flac", "mkv"), ("ac3", "mkv"), ("libmp3lame", "mov"), ("aac", "mp4"), ("mp2", "ts")],
)
def test_any_sound_into_any_container(tmp_path, kind, container, ending):
    source = beeps(tmp_path / f"source.{container}", kind)
    made = carry(source, tmp_path / f"made{ending}")
    assert onsets(made) == pytest.approx(onsets(source), abs=0.005) and len(onsets(made)) == 2
    kept, own = codec(source), {"libopus": "opus"}.get(FORMATS[ending].sound, FORMATS[ending].sound)
    copied = FORMATS[ending].copied
    assert codec(made) == (kept if copied is None or kept in copied else own)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("rate", [8000, 11025, 16000, 44100, 48000, 192000])
def test_an_encoders_delay_is_taken_off(tmp_path, rate, ending):
    """AAC's 1,024 samples are 128 ms at 8 kHz."""
    assert onsets(carry(beeps(tmp_path / "late.mov", rate=rate), tmp_path / f"made{ending}")) == BEEPS


@pytest.mark.parametrize("ending", ENDINGS)
def test_parameters_in_every_packet_become_the_files(tmp_path, ending):
    """AAC with ADTS headers, as streams carry it; copied where the container takes AAC."""
    source = beeps(tmp_path / "stream.ts", "aac")
    with av.open(str(source)) as container:
        assert not container.streams.audio[0].codec_context.extradata, "what this is about"
    assert onsets(carry(source, tmp_path / f"made{ending}")) == pytest.approx(onsets(source), abs=0.005)


def test_six_channels_become_two(tmp_path):
    source = beeps(tmp_path / "film.mkv", "flac", layout="5.1", start=Fraction(0), at=(1.2, 1.7))
    assert onsets(carry(source, tmp_path / "made.mp4")) == BEEPS
    with av.open(str(tmp_path / "made.mp4")) as container:
        assert container.streams.audio[0].layout.name == "stereo"


def test_a_gap_in_the_sound_stays_a_gap(tmp_path):
    """A second of packets is missing: what comes after it is heard when it was."""
    source = beeps(tmp_path / "whole.mkv", "flac", start=Fraction(0), at=(0.1, 0.7, 1.7))
    with av.open(str(source)) as whole, av.open(str(tmp_path / "gap.mkv"), "w") as out:
        streams = [out.add_stream_from_template(stream, opaque=True) for stream in whole.streams]
        for packet in whole.demux():
            if packet.dts is not None and not (packet.stream.type == "audio" and 0.5 < packet.pts / 1000 < 1.5):
                packet.stream = streams[packet.stream.index]
                out.mux(packet)
    assert onsets(tmp_path / "gap.mkv") == pytest.approx([0.1, 1.7], abs=0.005)
    assert onsets(carry(tmp_path / "gap.mkv", tmp_path / "made.mp4")) == pytest.approx([0.1, 1.7], abs=0.005)


def test_damaged_sound_keeps_its_place(tmp_path):
    """What cannot be decoded is silence, and moves nothing."""
    source = beeps(tmp_path / "s.mkv", "flac", start=Fraction(0), at=(0.1, 0.7, 1.7))
    with av.open(str(source)) as whole, av.open(str(tmp_path / "bad.mkv"), "w") as out:
        streams = [out.add_stream_from_template(stream, opaque=True) for stream in whole.streams]
        for packet in whole.demux():
            if packet.dts is None:
                continue
            if packet.stream.type == "audio" and 0.5 < packet.pts / 1000 < 1.5:
                packet.update(bytes(packet.size))
            packet.stream = streams[packet.stream.index]
            out.mux(packet)
    assert onsets(carry(tmp_path / "bad.mkv", tmp_path / "made.mp4")) == pytest.approx([0.1, 1.7], abs=0.005)


def test_a_time_stamp_of_next_year_makes_no_year_of_silence(tmp_path):
    source = beeps(tmp_path / "s.mkv", "flac", start=Fraction(0), at=(0.1, 0.7))
    with av.open(str(source)) as whole, av.open(str(tmp_path / "bad.mkv"), "w") as out:
        streams = [out.add_stream_from_template(stream, opaque=True) for stream in whole.streams]
        for packet in whole.demux():
            if packet.dts is None:
                continue
            if packet.stream.type == "audio" and packet.pts > 1700:
                packet.pts = packet.dts = packet.pts + 10**10
            packet.stream = streams[packet.stream.index]
            out.mux(packet)
    made = carry(tmp_path / "bad.mkv", tmp_path / "made.mp4")
    assert onsets(made) == pytest.approx([0.1, 0.7], abs=0.005) and made.stat().st_size < 100_000


@pytest.mark.parametrize(
    ("name", "heard"), [("opus.mkv", [0.5, 1.5]), ("adts.ts", [0.5, 1.5]), ("late_pcm.mov", [1.2, 1.7])]
)
@pytest.mark.parametrize("ending", ENDINGS)
def test_files_of_users(shared, tmp_path, name, heard, ending):
    assert onsets(carry(shared / "cases" / name, tmp_path / f"made{ending}")) == pytest.approx(heard, abs=0.005)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("kind", ["flac", "aac"])
@pytest.mark.parametrize(("begin", "end"), [(3.5, 6.5), (0.0, 5.0), (4.6, None)])
def test_the_sound_of_a_part(tmp_path, kind, ending, begin, end):
    """Beeps at 1, 4 and 7 s of 8: those within it, at their distance from its begin, encoded or copied."""
    source = beeps(tmp_path / "s.mkv", kind, start=Fraction(0), at=(1, 4, 7), frames=200)
    part, out = Part.of(source, begin, end), tmp_path / f"made{ending}"
    with Reader(part) as reader, Writer(out, reader.rate, reader.time_base, sound=part) as writer:
        for time, frame in reader:
            writer.write(time, frame)
    heard = [at - begin for at in (1, 4, 7) if begin <= at < (end or 8)]
    shift = begin - next(i / 25 for i in range(200) if i / 25 >= begin)  # of the first picture, after its begin
    assert onsets(out) == pytest.approx([at + shift for at in heard], abs=0.006)
