"""Samples of 9 to 16 bits to bytes: depths, curves, what is learned from frame to frame, what is refused."""

import cv2
import numpy as np
import pytest

from dannet_core import tone as module
from dannet_core.errors import ImageError, SettingsError
from dannet_core.tone import FIRST_FRAMES, TONES, ToneMapper, ToneSettings, byte_swapped, curve, look_up


def ramp(most: int) -> np.ndarray:
    return np.linspace(0, most, 70 * 80).round().astype(np.uint16).reshape(70, 80)


def mapper(tone: str = "gamma", bit_depth: int = 0) -> tuple[ToneMapper, list[str]]:
    said: list[str] = []
    return ToneMapper(ToneSettings(tone, bit_depth), said.append), said


@pytest.mark.parametrize("bit_depth", range(9, 17))
def test_gamma_turns_linear_samples_back_into_the_bytes_of_srgb(bit_depth):
    stored = np.arange(256) / 255
    light = np.where(stored <= 0.04045, stored / 12.92, ((stored + 0.055) / 1.055) ** 2.4)
    samples = np.rint(light * ((1 << bit_depth) - 1)).astype(np.uint16)
    off = np.abs(curve("gamma", bit_depth)[samples].astype(int) - np.arange(256))
    # What the samples cannot tell apart is lost; from 12 bits on that is nothing.
    assert off.max() <= (0 if bit_depth >= 12 else 255 * 12.92 / (1 << bit_depth) / 2 + 0.5)


@pytest.mark.parametrize("bit_depth", range(9, 17))
@pytest.mark.parametrize("tone", ["gamma", "linear", "log"])
def test_curves_rise_from_black_to_white_and_stay_there(tone, bit_depth):
    table = curve(tone, bit_depth).astype(int)
    full = (1 << bit_depth) - 1
    assert (table[0], table[full]) == (0, 255)
    assert (np.diff(table[: full + 1]) >= 0).all()
    assert (table[full:] == 255).all()
    assert np.unique(table).size == 256 or tone != "linear"


def test_linear_keeps_the_upper_8_bits_and_log_lifts_the_dark_most():
    np.testing.assert_array_equal(curve("linear", 12)[:4096], np.arange(4096) >> 4)
    dark = 4095 // 64
    assert curve("linear", 12)[dark] < curve("gamma", 12)[dark] < curve("log", 12)[dark]
    assert curve("log", 12)[4095 // 16] == round(255 * np.log(1 + 255 * (4095 // 16) / 4095) / np.log(256))


@pytest.mark.parametrize(
    ("most", "depth"), [(0, 10), (255, 10), (1023, 10), (1024, 12), (4095, 12), (4096, 14), (16384, 16), (65535, 16)]
)
def test_the_largest_sample_tells_the_depth(most, depth):
    found, _ = mapper()
    np.testing.assert_array_equal(found.table(ramp(most)), curve("gamma", depth))
    assert found.described == f"{depth} bits (found: samples end at {most}), tone gamma"


def test_the_depth_grows_over_the_first_frames_and_is_announced_once():
    found, said = mapper()
    tops = [300, 900, 4000, *[200] * (FIRST_FRAMES + 5)]
    tables = [found.table(ramp(most)) for most in tops]
    assert [int(table[900]) for table in tables[:3]] == [int(curve("gamma", depth)[900]) for depth in (10, 10, 12)]
    assert all(table is tables[2] for table in tables[3:])
    (line,) = said
    assert line.startswith("samples: 12 bits (found: samples end at 4000), tone gamma, taken for light; set bit_depth")


def test_a_later_frame_that_does_not_fit_raises_the_depth_and_says_so():
    found, said = mapper()
    for most in [1000] * FIRST_FRAMES:
        found.table(ramp(most))
    np.testing.assert_array_equal(found.table(ramp(3000)), curve("gamma", 12))
    np.testing.assert_array_equal(found.table(ramp(500)), curve("gamma", 12))
    assert len(said) == 2
    assert said[1] == (
        "samples: 12 bits (found: samples end at 3000), tone gamma, 10 bits until now; set bit_depth to hold it"
    )


def test_a_given_depth_is_held_and_nothing_is_announced():
    held, said = mapper(bit_depth=14)
    for _ in range(FIRST_FRAMES + 1):
        np.testing.assert_array_equal(held.table(ramp(500)), curve("gamma", 14))
    assert said == []
    assert held.described == "14 bits (given), tone gamma"


@pytest.mark.parametrize("bit_depth", range(9, 16))
def test_a_sample_beyond_the_given_depth_is_refused_never_clipped(bit_depth):
    full = (1 << bit_depth) - 1
    held, _ = mapper(bit_depth=bit_depth)
    held.table(ramp(full))
    said = f"data: a sample of {full + 1}, expected at most {full} for bit_depth {bit_depth}: correct it"
    with pytest.raises(ImageError, match=said):
        held.table(ramp(full + 1))
    np.testing.assert_array_equal(held.table(ramp(9)), curve("gamma", bit_depth))


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_swapped_bytes_are_noticed_and_named(bits):
    samples = np.random.default_rng(0).integers(0, 1 << bits, (70, 80)).astype(np.uint16)
    with pytest.raises(ImageError, match=f"is_bigendian: samples of {bits} bits with their two bytes swapped"):
        mapper()[0].table(samples.byteswap())
    with pytest.raises(ImageError, match=r"swapped it would fit|a sample of \d+, expected at most"):
        mapper(bit_depth=bits)[0].table(samples.byteswap())


@pytest.mark.parametrize("factor", [16, 64, 256, 257])
def test_bytes_that_were_made_longer_are_no_swapped_ones(factor):
    samples = np.tile(np.arange(256, dtype=np.uint16) * factor, (70, 1))
    found, _ = mapper("linear")
    levels = (samples // factor).astype(np.uint8)
    np.testing.assert_array_equal(found.map(samples), levels)


def test_either_byte_order_gives_the_same_bytes():
    samples = ramp(4095)
    table = curve("gamma", 12)
    np.testing.assert_array_equal(byte_swapped(table)[samples.byteswap()], table[samples])
    for tone in TONES:
        np.testing.assert_array_equal(mapper(tone)[0].table(samples), mapper(tone)[0].table(samples.astype(">u2")))


def test_percentile_spreads_what_is_there_and_follows_slowly():
    followed, _ = mapper("percentile", 14)
    first = followed.map(ramp(1600))
    assert first.min() == 0
    assert first.max() == 255
    np.testing.assert_array_equal(first, mapper("percentile", 14)[0].map(ramp(1600)))
    whites = [np.flatnonzero(followed.table(ramp(6400)) == 255)[0] for _ in range(60)]
    before, after = (module._limits(ramp(most))[1] for most in (1600, 6400))
    steps = np.diff(whites)
    assert whites[0] < before + 0.06 * (after - before)
    assert whites[-1] == pytest.approx(after, rel=0.06)
    assert steps.max() <= 0.06 * (after - before)
    assert steps.min() >= 0


def test_percentile_does_not_change_with_noise():
    followed, _ = mapper("percentile", 12)
    rng = np.random.default_rng(1)
    tables = [followed.table(np.clip(ramp(3000) + rng.normal(0, 15, (70, 80)), 0, 4095).astype(np.uint16))
              for _ in range(20)]  # fmt: skip
    assert all(table is tables[0] for table in tables)


def test_percentile_makes_no_picture_of_a_covered_lens():
    rng = np.random.default_rng(1)
    covered = rng.integers(64, 68, (70, 80)).astype(np.uint16)
    assert np.ptp(mapper("percentile", 12)[0].map(covered).astype(int)) < 60


def test_a_tone_that_is_set_holds_from_the_next_frame():
    live, _ = mapper()
    live.table(ramp(4095))
    live.tone = "linear"
    np.testing.assert_array_equal(live.table(ramp(4095)), curve("linear", 12))


@pytest.mark.parametrize("deep_opencv", [True, False])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_looking_up_is_indexing_with_opencv_4_and_5(monkeypatch, deep_opencv, channels):
    if deep_opencv and not module._opencv_reads_deep():
        pytest.skip(f"OpenCV {cv2.__version__} looks up bytes only")
    monkeypatch.setattr(module, "_opencv_reads_deep", lambda: deep_opencv)
    rng = np.random.default_rng(2)
    table = rng.integers(0, 256, 65536).astype(np.uint8)
    samples = rng.integers(0, 65536, (70, 90, channels)).astype(np.uint16)
    np.testing.assert_array_equal(look_up(table, samples), table[samples])
    np.testing.assert_array_equal(look_up(table, samples[::7, 3:80:2]), table[samples[::7, 3:80:2]])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"tone": "filmic"}, "tone: got 'filmic', expected one of gamma, linear, log, percentile"),
        ({"bit_depth": 8}, "bit_depth: got 8, expected 9 to 16 bits"),
        ({"bit_depth": 17}, "bit_depth: got 17, expected 9 to 16 bits"),
        ({"bit_depth": -1}, "bit_depth: got -1"),
    ],
)
def test_wrong_settings_are_named(given, said):
    with pytest.raises(SettingsError, match=said):
        ToneSettings(**given)
