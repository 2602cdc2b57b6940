from pathlib import Path

import pytest

from dannet_core.data.registry import open_data_set, open_pairs
from dannet_core.errors import DataSetError

REAL_DATA = Path(__file__).resolve().parents[4] / "shared" / "data"
NIGHT, DAY = "train/night/GOPR0351/GOPR0351_frame_00000{}", "train/day/GOPR0345/GOPR0345_frame_00008{}"


@pytest.fixture
def zurich(write_image, tmp_path):
    """Three night and three day pictures, not yet paired."""
    for i in range(3):
        write_image(f"rgb_anon/{NIGHT.format(i)}_rgb_anon.png", seed=i)
        write_image(f"rgb_anon/{DAY.format(i)}_rgb_anon.png", seed=10 + i)
    return tmp_path


def write_text(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def write_list(root: Path, text: str | None = None) -> Path:
    pairs = "".join(f"{NIGHT.format(i)},{DAY.format(2 - i)}\n" for i in range(3))
    return write_text(root / "lists" / "zurich_dn_pair_train.csv", pairs if text is None else text)


def check(pairs) -> None:
    assert len(pairs) == 3
    for i, pair in enumerate(pairs):
        assert pair.night.name == NIGHT.format(i)
        assert pair.day.name == DAY.format(2 - i)
        assert pair.night.image_path.is_file()
        assert pair.day.image_path.is_file()


def test_pairs_from_the_data_sets_own_files(zurich):
    for i in (2, 0, 1):
        name = f"corresp/{NIGHT.format(i)}_ref_day.csv"
        write_text(zurich / name, f"{NIGHT.format(i)},{DAY.format(2 - i)}\n")
    check(open_pairs("dark-zurich", zurich))


def test_pairs_from_one_list_in_the_root(zurich):
    write_list(zurich)
    check(open_pairs("dark-zurich", zurich))


def test_pairs_from_one_list_elsewhere_with_windows_line_ends_and_byte_order_mark(zurich, tmp_path_factory):
    text = write_list(zurich).read_text().replace("\n", "\r\n")
    elsewhere = tmp_path_factory.mktemp("lists") / "pairs.csv"
    elsewhere.write_bytes(b"\xef\xbb\xbf" + text.encode() + b"\r\n")
    check(open_pairs("dark-zurich", zurich, elsewhere))


@pytest.mark.parametrize("suffix", ["PNG", "jpg", "JPG", "jpeg"])
def test_pairs_of_every_suffix_the_other_splits_take(zurich, write_image, suffix):
    write_list(zurich)
    for path in sorted((zurich / "rgb_anon").rglob("*.png")):
        path.unlink()
        name = path.relative_to(zurich).with_suffix(".jpg" if suffix.lower() != "png" else ".png")
        write_image(str(name)).rename(path.with_suffix(f".{suffix}"))
    check(open_pairs("dark-zurich", zurich))


def test_a_picture_that_is_there_twice_is_the_png(zurich, write_image):
    write_list(zurich)
    name = f"rgb_anon/{NIGHT.format(0)}_rgb_anon"
    write_image(f"{name}.jpg")
    assert open_pairs("dark-zurich", zurich)[0].night.image_path == zurich / f"{name}.png"
    assert open_data_set("dark-zurich", zurich, "train")[0].image_path == zurich / f"{name}.png"


def test_unusable_pairs_are_counted_and_the_first_is_named(zurich, write_image):
    lines = [
        f"{NIGHT.format(0)},{DAY.format(0)}",
        f"{NIGHT.format(1)};{DAY.format(1)}",
        f"{NIGHT.format(7)},{DAY.format(1)}",
    ]
    list_path = write_list(zurich, "\n".join([*lines, f"{NIGHT.format(2)},{DAY.format(2)}"]))
    write_image(f"rgb_anon/{DAY.format(2)}_rgb_anon.png", size=(64, 64))
    with pytest.raises(DataSetError) as caught:
        open_pairs("dark-zurich", zurich)
    message = str(caught.value)
    assert message.startswith(f"dark-zurich pairs in {zurich}: 1 malformed lines (first: {list_path} line 2: got '")
    assert "expected NIGHT,DAY" in message
    assert f"1 unreadable files (first: {zurich}/rgb_anon/{NIGHT.format(7)}_rgb_anon.png: cannot read" in message
    assert "1 pairs of two sizes" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no day-night pairs, expected 'corresp/"),
        ("\n \n", "pair list is empty"),
        (b"\xff\xfe\0", "not a text file"),
    ],
)
def test_no_pairs_is_an_error(zurich, content, said):
    if content is not None:
        path = write_list(zurich, "")
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataSetError, match=said):
        open_pairs("dark-zurich", zurich)


def test_a_list_that_is_not_there_and_a_data_set_without_pairs_are_named(zurich):
    with pytest.raises(DataSetError, match=r"absent\.csv: cannot read the pairs: No such file"):
        open_pairs("dark-zurich", zurich, zurich / "absent.csv")
    with pytest.raises(DataSetError, match="acdc-night: has no day-night pairs, expected one of dark-zurich"):
        open_pairs("acdc-night", zurich)


def test_val_has_labels_and_test_has_none(zurich, write_image, write_labels):
    write_image("rgb_anon/val/night/GOPR0356/GOPR0356_frame_000321_rgb_anon.png")
    write_labels("gt/val/night/GOPR0356/GOPR0356_frame_000321_gt_labelTrainIds.png", (0, 255))
    write_labels("gt/val/night/GOPR0356/GOPR0356_frame_000321_gt_labelIds.png", (7, 0))
    write_image("gt/val/night/GOPR0356/GOPR0356_frame_000321_gt_labelColor.png")
    write_image("rgb_anon/test/night/GP010364/GP010364_frame_000001_rgb_anon.png")
    val = open_data_set("dark-zurich", zurich)
    assert [sample.name for sample in val] == ["GOPR0356/GOPR0356_frame_000321"]
    assert val[0].encoding == "train_ids"
    by_label_ids = open_data_set("dark-zurich", zurich, encoding="label_ids")
    assert (val[0].read_labels() == by_label_ids[0].read_labels()).all()
    assert not open_data_set("dark-zurich", zurich, "test").labelled
    assert (
        len(open_data_set("dark-zurich", zurich, "train"))
        == len(open_data_set("dark-zurich", zurich, "train-day"))
        == 3
    )


@pytest.mark.parametrize(("folder", "count"), [("camvid_night/dark_zurich", 101), ("dark_zurich_pair", 1)])
def test_reads_real_pairs_in_both_formats(folder, count):
    if not (REAL_DATA / folder).is_dir():
        pytest.skip(f"no {REAL_DATA / folder}")
    pairs = open_pairs("dark-zurich", REAL_DATA / folder)
    assert len(pairs) == count
    assert pairs[0].night.read_image().mean() < pairs[0].day.read_image().mean()


def test_reads_the_real_labelled_night_pictures():
    if not (REAL_DATA / "camvid_night").is_dir():
        pytest.skip(f"no {REAL_DATA / 'camvid_night'}")
    val = open_data_set("dark-zurich", REAL_DATA / "camvid_night" / "dark_zurich", "val")
    assert len(val) == 34
    assert val[0].read_labels().shape == val[0].read_image().shape[:2] == (360, 480)
