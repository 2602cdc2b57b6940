"""Label PNGs of every form: the ids as written, or one line that says why not; never other ids."""

from __future__ import annotations

import io
import os
from typing import Any

import cv2
import numpy as np
import pytest
from png_files import CHANNELS, chunk, num_bytes, png

from dannet_core.classes import CLASS_COLORS, LABEL_ID_TO_TRAIN_ID
from dannet_core.errors import ImageError
from dannet_core.formats.label_palette import LABEL_IDS, TRAIN_IDS
from dannet_core.formats.label_png import decode_label_png, read_label_png

IDS = np.array([[0, 1, 2, 8], [10, 13, 2, 1], [0, 0, 3, 3]], np.uint8)
SMALL = np.array([[0, 1, 2, 3], [3, 3, 2, 1], [0, 0, 2, 3]], np.uint8)


def read(data: bytes, encoding: str | None = TRAIN_IDS) -> np.ndarray:
    labels = decode_label_png(data, encoding, "f.png")
    assert labels.dtype == np.uint8
    assert labels.flags.writeable
    assert labels.flags.c_contiguous
    return labels


def refused(data: bytes, said: str, encoding: str | None = TRAIN_IDS) -> None:
    with pytest.raises(ImageError, match=said) as caught:
        decode_label_png(data, encoding, "f.png")
    assert str(caught.value).startswith("f.png: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("filters", [(0,), (1,), (2, 3), (4, 0, 1, 2, 3)])
@pytest.mark.parametrize(("bits", "ids"), [(2, SMALL), (4, IDS), (8, IDS), (16, IDS)])
def test_grey_of_every_depth_is_read_as_written(bits, ids, filters, interlaced):
    ids = np.tile(ids, (5, 3))[:13, :11]
    np.testing.assert_array_equal(read(png(ids, bits, filters=filters, interlaced=interlaced)), ids)


def test_label_ids_of_every_depth_become_train_ids():
    ids = np.array([[7, 8, 11], [13, 0, 5]], np.uint8)
    for bits in (4, 8, 16):
        assert read(png(ids, bits), LABEL_IDS).tolist() == [[0, 1, 2], [4, 255, 255]]
    assert read(png(ids, 16), None).tolist() == ids.tolist()


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("interlaced", [False, True])
def test_opaque_alpha_and_equal_channels_are_read(bits, interlaced):
    opaque = np.full_like(IDS, 255, dtype=np.uint16) * (257 if bits == 16 else 1)
    for colour, planes in ((2, [IDS] * 3), (4, [IDS, opaque]), (6, [IDS, IDS, IDS, opaque])):
        np.testing.assert_array_equal(read(png(np.dstack(planes), bits, colour, interlaced=interlaced)), IDS)
        faint = np.dstack(planes)
        if colour in (4, 6):
            faint[1, 2, -1] -= 1
            refused(png(faint, bits, colour, interlaced=interlaced), "1 pixels are transparent: write the ids as 8-bit")


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("interlaced", [False, True])
def test_a_palettes_index_is_the_id(bits, interlaced):
    ids = np.minimum(IDS, (1 << bits) - 1)
    for palette in (
        [(9 * i % 251, 7, (200 - i) % 256) for i in range(1 << bits)],
        [(1, 2, 3), (0, 5, 6)] + [(0, 0, 0)] * 14,
    ):
        entries = palette[: 1 << bits]
        np.testing.assert_array_equal(read(png(ids, bits, 3, palette=entries, interlaced=interlaced)), ids)


def test_the_palettes_that_labelling_tools_write_are_read_for_their_encoding():
    grey = [(i, i, i) for i in range(256)]
    by_train_id = [*CLASS_COLORS, *[(0, 0, 0)] * 237]
    by_label_id = [(0, 0, 0)] * 256
    for label_id, train_id in LABEL_ID_TO_TRAIN_ID.items():
        by_label_id[label_id] = CLASS_COLORS[train_id]
    ids = np.array([[0, 2, 18, 255]], np.uint8)
    np.testing.assert_array_equal(read(png(ids, 8, 3, palette=grey)), ids)
    np.testing.assert_array_equal(read(png(ids, 8, 3, palette=by_train_id)), ids)
    label_ids = np.array([[7, 11, 33, 0]], np.uint8)
    assert read(png(label_ids, 8, 3, palette=by_label_id), LABEL_IDS).tolist() == [[0, 2, 18, 255]]
    refused(png(label_ids % 19, 8, 3, palette=by_train_id), "colours and indices say different ids", LABEL_IDS)


@pytest.mark.parametrize(
    "palette",
    [
        [(2, 2, 2), (0, 0, 0), (8, 8, 8), (1, 1, 1)],  # grey ids, sorted by how often they occur
        [CLASS_COLORS[2], CLASS_COLORS[0], CLASS_COLORS[10], CLASS_COLORS[8]],  # a labelColor picture
        [CLASS_COLORS[2], CLASS_COLORS[0], CLASS_COLORS[10], (7, 8, 9)],  # the same with a colour of its own
        [(128, 0, 0), (0, 0, 0), (0, 128, 0), (128, 128, 0)],  # PASCAL VOC's colours, sorted anew
    ],
)
def test_a_palette_that_an_optimiser_has_sorted_is_refused(palette):
    refused(png(SMALL, 2, 3, palette=palette), "palette whose colours and indices say different ids")


def test_a_bit_depth_that_an_optimiser_may_have_reduced_is_refused():
    refused(png(np.array([[0, 1]], np.uint8), 1), "1-bit grey, whose 1 is id 1 or a reduced 8-bit 255")
    refused(png(np.array([[0, 3]], np.uint8), 2), "2-bit grey, whose 3 is id 3 or a reduced 8-bit 255")
    refused(png(np.array([[0, 1, 15]], np.uint8), 4), "4-bit grey, whose 15 is id 15 or a reduced 8-bit 255")
    assert read(png(np.zeros((2, 9), np.uint8), 1)).tolist() == [[0] * 9] * 2
    assert read(png(np.array([[0, 1, 2]], np.uint8), 4)).tolist() == [[0, 1, 2]]


def test_what_has_no_one_meaning_is_refused_by_name():
    wide = IDS.astype(np.uint16)
    wide[0, 0] = 7001
    refused(png(wide, 16), "16-bit values above 255, e.g. 7001, are no class ids")
    colour = np.dstack([IDS, IDS + 1, IDS])
    refused(png(colour, 8, 2), r"labels in colour, expected ids \(is this the labelColor picture\?\)")
    refused(png(IDS, 8, transparency=b"\0\2"), "2 pixels are transparent")
    refused(png(IDS, 8, 3, palette=[(i, 0, 9) for i in range(20)], transparency=b"\0"), "3 pixels are transparent")
    np.testing.assert_array_equal(read(png(IDS, 8, transparency=b"\0\7")), IDS)  # a colour that does not occur
    refused(png(IDS, 8, 3, palette=[(1, 2, 3)] * 2), "damaged label file")
    refused(png(IDS + 19), "pixels are no train ids: got id 19, expected train ids 0..18 or 255")


def test_jpeg_and_other_files_are_refused_by_name():
    refused(cv2.imencode(".jpg", np.tile(IDS, (8, 8)))[1].tobytes(), "labels as JPEG, which changes them: expected PNG")
    refused(cv2.imencode(".bmp", IDS)[1].tobytes(), "not a label image: expected PNG")
    refused(b"", "it is empty")


def test_a_label_map_with_an_orientation_is_refused():
    pillow = pytest.importorskip("PIL.Image")
    exif, file = pillow.Exif(), io.BytesIO()
    exif[0x0112] = 3
    pillow.fromarray(IDS).save(file, "PNG", exif=exif)
    refused(file.getvalue(), "EXIF orientation says that the labels are not upright")


def test_sizes_that_the_pixels_do_not_have_and_bombs_are_damaged_files():
    for width, height in ((4, 2), (2, 3), (3, 4), (4, 4), (8, 3)):
        refused(png(IDS, header=(width, height, 8, 0)), "damaged label file")
    refused(png(IDS, header=(4, 3, 16, 0)), "damaged label file")
    refused(png(IDS, header=(0, 3, 8, 0)), "got 0x3 labels")
    refused(png(IDS, header=(2**31 - 1, 2**31 - 1, 8, 0)), "expected 1 to 64 million pixels")


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(ImageError, match=r"absent\.png: no such label file"):
        read_label_png(tmp_path / "absent.png", TRAIN_IDS)
    with pytest.raises(ImageError, match="cannot read: Is a directory"):
        read_label_png(tmp_path, TRAIN_IDS)


def test_a_file_known_to_be_good_reads_alike(tmp_path):
    (tmp_path / "a.png").write_bytes(png(IDS, filters=(4, 3, 2)))
    (tmp_path / "b.png").write_bytes(png(IDS, 16))
    for name in ("a.png", "b.png"):
        np.testing.assert_array_equal(read_label_png(tmp_path / name, TRAIN_IDS, known_good=True), IDS)


hypothesis = pytest.importorskip("hypothesis", reason="hypothesis makes the files")
st = pytest.importorskip("hypothesis.strategies")

EXAMPLES = int(os.environ.get("DANNET_LABEL_EXAMPLES", "200"))
FUZZ = hypothesis.settings(
    max_examples=EXAMPLES, deadline=None, derandomize=EXAMPLES == 200, database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)  # fmt: skip
KINDS = [(0, bits) for bits in (1, 2, 4, 8, 16)] + [(3, bits) for bits in (1, 2, 4, 8)]
KINDS += [(colour, bits) for colour in (2, 4, 6) for bits in (8, 16)]


@st.composite
def label_files(draw: Any) -> tuple[bytes, np.ndarray]:
    """A file and the ids that were written into it; what was written besides may contradict them."""
    colour, bits = draw(st.sampled_from(KINDS))
    height, width = draw(st.integers(1, 12)), draw(st.integers(1, 20))
    top = (1 << bits) - 1
    pool = draw(st.lists(st.integers(0, min(top, draw(st.sampled_from([3, 18, 255, 65535])))), min_size=1, max_size=6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    ids = rng.choice(np.array(pool, np.uint16), (height, width))
    planes = [ids] * min(CHANNELS[colour], 3 if colour in (2, 6) else 1)
    if draw(st.integers(0, 9)) == 0 and colour in (2, 6):
        planes[draw(st.integers(0, 2))] = rng.choice(np.array([*pool, 1], np.uint16), (height, width))
    if colour in (4, 6):
        planes = [*planes, np.full((height, width), top if draw(st.integers(0, 3)) else top - 1, np.uint16)]
    palette = None
    if colour == 3:
        kind = draw(st.sampled_from(["any", "grey", "sorted", "short"]))
        palette = (
            rng.integers(0, 256, (top + 1, 3)) if kind in ("any", "short") else np.arange(top + 1)[:, None] * [1] * 3
        )
        palette = palette[:: -1 if kind == "sorted" else 1][
            : draw(st.integers(0, top + 1)) if kind == "short" else None
        ]
    size = {0: 2, 2: 6, 3: draw(st.integers(1, 4))}.get(colour)
    transparency = draw(st.one_of(st.none(), st.binary(min_size=size, max_size=size))) if size else None
    header = (width, height, bits, colour)
    if draw(st.integers(0, 4)) == 0:
        wrong = draw(st.integers(0, 3))
        said = [st.integers(0, 40), st.integers(0, 40), st.sampled_from([1, 2, 4, 8, 16, 3]), st.integers(0, 7)][wrong]
        header = tuple(draw(said) if i == wrong else value for i, value in enumerate(header))
    interlaced = draw(st.booleans())
    # Where another header asks for as many bytes, no reader can know; labels always have the size of their picture.
    true = (width, height, bits, colour)
    hypothesis.assume(header == true or num_bytes(header, interlaced) != num_bytes(true, interlaced))
    data = png(
        np.dstack(planes), bits, colour, interlaced=interlaced, palette=palette, transparency=transparency,
        filters=draw(st.lists(st.integers(0, 4), min_size=1, max_size=3)), header=header,
        extra=draw(st.sampled_from([b"", chunk(b"gAMA", b"\0\0\0\1"), chunk(b"sBIT", b"\1"), chunk(b"tEXt", b"a\0b")])),
        idat=draw(st.sampled_from([1, 7, 8192])),
    )  # fmt: skip
    return data, ids


def outcome(data: bytes, encoding: str | None) -> np.ndarray | None:
    try:
        return decode_label_png(data, encoding, "f.png")
    except ImageError as error:
        said = str(error)
    assert said.startswith("f.png: ")
    assert "\n" not in said
    assert len(said) < 300
    return None


@FUZZ
@hypothesis.given(label_files(), st.sampled_from([LABEL_IDS, TRAIN_IDS, None]))
def test_any_header_gives_the_ids_that_were_written_or_a_refusal(file, encoding):
    data, ids = file
    got = outcome(data, encoding)
    if got is not None and encoding == LABEL_IDS:
        ids = np.array([LABEL_ID_TO_TRAIN_ID.get(int(i), 255) for i in ids.reshape(-1)]).reshape(ids.shape)
    if got is not None:
        np.testing.assert_array_equal(got, ids)


@FUZZ
@hypothesis.given(label_files(), st.data())
def test_a_cut_or_flipped_file_gives_the_same_ids_or_a_refusal(file, data):
    whole, _ = file
    before = outcome(whole, None)
    damaged = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
    if data.draw(st.booleans()) or len(damaged) == len(whole):
        damaged = bytearray(whole)
        damaged[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    after = outcome(bytes(damaged), None)
    if after is not None:
        assert before is not None
        np.testing.assert_array_equal(after, before)
