"""Label images of a bag and of folders, in every form that tools write: the ids as written, or a refusal."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from png_files import png

from dannet_core.errors import DannetError
from dannet_core.formats.label_png import LabelCode
from dannet_core.pixels import write_png
from dannet_ros.replay.bag_reading import open_bag
from dannet_ros.replay.frame_files import FrameFiles
from dannet_ros.replay.ground_truth import open_truth

pytest.importorskip("rosbags", reason="rosbags writes and reads bags")
IDS = np.kron(np.array([[0, 1, 2], [13, 5, 8]], np.uint8), np.ones((40, 40), np.uint8))[:, :112]
FORMS = {
    "2 bits": png(IDS % 3, 2),
    "4 bits": png(IDS, 4),
    "16 bits": png(IDS, 16),
    "palette": png(IDS, 8, 3, palette=[(1, 2, 3), (0, 5, 6)] + [(0, 0, 0)] * 254),
    "grey and alpha": png(np.dstack([IDS, np.full_like(IDS, 255)]), 8, 4),
    "equal channels": png(np.dstack([IDS] * 3), 8, 2),
    "interlaced": png(IDS, 8, interlaced=True),
}
REFUSED = {
    "1 bit": (png(IDS % 2, 1), "1-bit grey, whose 1 is id 1 or a reduced 8-bit 255"),
    "colours": (png(np.dstack([IDS, IDS, IDS + 1]), 8, 2), "labels in colour, expected ids"),
    "grey palette": (
        png(IDS % 3, 2, 3, palette=[(2,) * 3, (0,) * 3, (1,) * 3]),
        "colours and indices say different ids",
    ),
    "instances": (png(IDS.astype(np.uint16) * 1000, 16), "16-bit values above 255"),
    "see-through": (png(np.dstack([IDS, IDS]), 8, 4), "pixels are transparent"),
    "JPEG": (cv2.imencode(".jpg", IDS)[1].tobytes(), "labels as JPEG, which changes them"),
}


def found(bags, tmp_path: Path, data: bytes, where: str) -> np.ndarray:
    bag, folder = tmp_path / "bag", tmp_path / "labels"
    with bags.record(bag) as writer:
        recorder = bags.Recorder(writer)
        recorder.image("/camera/image", 0, bags.frames(1)[0])
        recorder.compressed("/gt", 0, data)
    folder.mkdir()
    (folder / f"{bags.START_NS}.PNG").write_bytes(data)
    (tmp_path / "scratch").mkdir()
    with open_bag(bag) as reader:
        wanted = "/gt" if where == "topic" else str(folder)
        (truth,) = open_truth(reader, [wanted], ["/camera/image"], LabelCode("train_ids"), tmp_path / "scratch")
    return truth.find(bags.START_NS, IDS.shape)


@pytest.mark.parametrize("where", ["topic", "folder"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_with_one_meaning_is_read_as_written(bags, tmp_path, form, where):
    np.testing.assert_array_equal(found(bags, tmp_path, FORMS[form], where), IDS % 3 if form == "2 bits" else IDS)


@pytest.mark.parametrize("where", ["topic", "folder"])
@pytest.mark.parametrize("form", REFUSED)
def test_other_forms_are_refused_by_name(bags, tmp_path, form, where):
    data, said = REFUSED[form]
    with pytest.raises(DannetError, match=said) as caught:
        found(bags, tmp_path, data, where)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("step", "said"), [(0, None), (1, "labels in colour, expected ids: publish them as mono8")])
def test_raw_labels_in_colour_are_read_only_with_equal_channels(bags, tmp_path, step, said):
    with bags.record(tmp_path / "bag") as writer:
        recorder = bags.Recorder(writer)
        recorder.image("/camera/image", 0, bags.frames(1)[0])
        recorder.image("/gt", 0, np.dstack([IDS, IDS, IDS + np.uint8(step)]))
    (tmp_path / "scratch").mkdir()
    with open_bag(tmp_path / "bag") as reader:
        arguments = (reader, ["/gt"], ["/camera/image"], LabelCode("train_ids"), tmp_path / "scratch")
        if said:
            with pytest.raises(DannetError, match=said):
                open_truth(*arguments)
        else:
            np.testing.assert_array_equal(open_truth(*arguments)[0].find(bags.START_NS, IDS.shape), IDS)


def test_frames_that_are_packed_with_labels_have_to_be_upright(tmp_path):
    pillow = pytest.importorskip("PIL.Image", reason="Pillow writes EXIF")
    for name in ("frames", "labels"):
        (tmp_path / name).mkdir()
    write_png(tmp_path / "labels/a.png", IDS)
    exif, data = pillow.Exif(), io.BytesIO()
    exif[0x0112] = 3
    pillow.fromarray(np.zeros((*IDS.shape, 3), np.uint8)).save(data, "JPEG", exif=exif)
    (tmp_path / "frames/a.jpg").write_bytes(data.getvalue())
    assert len(list(FrameFiles(tmp_path / "frames"))) == 1
    with pytest.raises(DannetError, match=r"a\.jpg: EXIF orientation 3 .* write the picture's pixels upright"):
        list(FrameFiles(tmp_path / "frames", tmp_path / "labels"))
