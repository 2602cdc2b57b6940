"""EXIF orientation: shown sizes and pixels, or a refusal; never turned pictures with labels that are not."""

import io

import numpy as np
import pytest
from png_files import chunk, png

from dannet_core.data.image_header import read_header
from dannet_core.data.registry import open_data_set, open_pairs
from dannet_core.errors import DataSetError
from dannet_core.formats.exif import orientation_of

pillow = pytest.importorskip("PIL.Image", reason="Pillow writes EXIF")
PICTURE = np.zeros((64, 96, 3), np.uint8)
PICTURE[:32] = (200, 90, 30)
PICTURE[:, :20] //= 2


def encoded(orientation: int, kind: str = "JPEG", picture: np.ndarray = PICTURE, tag: bool = True) -> bytes:
    exif, file = pillow.Exif(), io.BytesIO()
    exif[0x010F] = "Maker"
    if tag:
        exif[0x0112] = orientation
    pillow.fromarray(picture).save(file, kind, exif=exif)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_read_from_every_format(tmp_path, kind, orientation):
    (tmp_path / "a").write_bytes(encoded(orientation, kind))
    assert orientation_of(tmp_path / "a") == orientation


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_pictures_without_the_tag_or_with_a_wrong_one_are_upright(tmp_path, kind):
    for data in (encoded(1, kind, tag=False), encoded(9, kind), encoded(6, kind)[:30], b""):
        (tmp_path / "a").write_bytes(data)
        assert orientation_of(tmp_path / "a") == 1


def test_exif_behind_the_pixels_of_a_png_counts(tmp_path):
    exif = pillow.Exif()
    exif[0x0112] = 8
    whole = png(np.zeros((4, 6), np.uint8))
    (tmp_path / "a.png").write_bytes(
        whole[:-12] + chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")) + whole[-12:]
    )
    assert orientation_of(tmp_path / "a.png") == 8


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_header_has_the_size_that_the_reader_gives(tmp_path, kind, orientation):
    from dannet_core.pixels import read_rgb

    (tmp_path / "a").write_bytes(encoded(orientation, kind))
    header = read_header(tmp_path / "a")
    assert header.size == read_rgb(tmp_path / "a").shape[:2] == ((64, 96) if orientation < 5 else (96, 64))
    assert header.orientation == orientation


@pytest.fixture
def city(tmp_path):
    """Writes one labelled picture: ``city(orientation, label_size, kind, picture)`` gives the root."""

    def write(orientation, label_size, kind="JPEG", picture=PICTURE):
        suffix = {"JPEG": "JPG", "PNG": "png"}[kind]
        image = tmp_path / f"leftImg8bit/val/ulm/a_leftImg8bit.{suffix}"
        label = tmp_path / "gtFine/val/ulm/a_gtFine_labelTrainIds.png"
        for path, data in ((image, encoded(orientation, kind, picture)), (label, png(np.zeros(label_size, np.uint8)))):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return tmp_path

    return write


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", [6, 8])
def test_labels_of_a_quarter_turned_picture_as_shown_are_taken_and_as_stored_refused(city, orientation, kind):
    (sample,) = open_data_set("cityscapes", city(orientation, (96, 64), kind))
    rgb, labels = sample.read_both()
    assert rgb.shape[:2] == labels.shape == (96, 64)
    with pytest.raises(DataSetError) as caught:
        open_data_set("cityscapes", city(orientation, (64, 96), kind))
    assert f"1 pictures that are not upright (first: {sample.image_path}: EXIF orientation {orientation}" in str(
        caught.value
    )
    assert "write the picture's pixels upright" in str(caught.value)


@pytest.mark.parametrize("orientation", [2, 3, 4, 5, 7])
def test_what_no_size_can_tell_is_refused(city, orientation):
    for size in ((64, 96), (96, 64)):
        with pytest.raises(DataSetError, match=f"not upright .*EXIF orientation {orientation}"):
            open_data_set("cityscapes", city(orientation, size))


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_square_picture_that_is_not_upright_is_refused(city, orientation):
    with pytest.raises(DataSetError, match="not upright"):
        open_data_set("cityscapes", city(orientation, (64, 64), picture=PICTURE[:, :64]))


def test_upright_pictures_with_exif_are_read_as_before(city):
    (sample,) = open_data_set("cityscapes", city(1, (64, 96), "PNG"))
    np.testing.assert_array_equal(sample.read_both()[0], PICTURE)


def test_pairs_are_compared_as_they_are_shown(tmp_path):
    day, night = (tmp_path / f"rgb_anon/train/{name}_rgb_anon.jpg" for name in ("day/D/1", "night/N/1"))
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/zurich_dn_pair_train.csv").write_text("train/night/N/1,train/day/D/1\n")
    for path in (day, night):
        path.parent.mkdir(parents=True)
    day.write_bytes(encoded(6))
    night.write_bytes(encoded(1, picture=np.ascontiguousarray(np.rot90(PICTURE, -1))))
    (pair,) = open_pairs("dark-zurich", tmp_path)
    shown, upright = pair.read_both()
    assert np.abs(shown.astype(int) - upright).mean() < 3
    night.write_bytes(encoded(1))
    with pytest.raises(DataSetError, match=r"1 pairs of two sizes .*1_rgb_anon.jpg is 96x64.* is 64x96"):
        open_pairs("dark-zurich", tmp_path)
    with pytest.raises(DataSetError, match="got 96x64, expected 64x96 like"):
        pair.read_both()


def test_a_label_exchanged_for_one_of_another_size_is_found_when_it_is_read(city, tmp_path):
    (sample,) = open_data_set("cityscapes", city(1, (64, 96)))
    sample.label_path.write_bytes(png(np.zeros((96, 64), np.uint8)))
    with pytest.raises(DataSetError, match="got labels of 64x96, expected 96x64 like"):
        sample.read_both()
