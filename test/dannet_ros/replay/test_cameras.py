"""Which topics are cameras is decided by what they hold, each camera is taken once, and what is left out is said."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from dannet_core.errors import ImageError
from dannet_core.tone import ToneSettings, curve
from dannet_ros.replay.bag_reading import BagError, open_bag
from dannet_ros.replay.cameras import camera_topics

zstd = pytest.importorskip("dannet_ros.replay.zstandard").zstd
pytest.importorskip("rosbags", reason="rosbags writes and reads bags")
DEPTH = np.tile(np.linspace(500, 8000, 112).astype(np.uint16), (80, 1))


def png(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".png", pixels)[1].tobytes()


def jpeg(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", pixels)[1].tobytes()


def chosen(bag: Path, *wanted: str, labels: tuple[str, ...] = ()) -> tuple[list[str], dict[str, str]]:
    """The cameras, and what is said by topic."""
    with open_bag(bag, lenient=True) as opened:
        topics = camera_topics(opened, wanted, labels)
        return topics, dict(note.split(" left out: ") for note in opened.notes if " left out: " in note)


def record(bags: Any, path: Path, content: dict[str, Any]) -> Path:
    """Two messages of each topic: an array and its encoding, or bytes and their format."""
    with bags.record(path) as writer:
        recorder = bags.Recorder(writer)
        for index in range(2):
            for topic, (pixels, encoding) in content.items():
                if isinstance(pixels, bytes):
                    recorder.compressed(topic, index, pixels, encoding)
                else:
                    recorder.image(topic, index, pixels, encoding=encoding)
    return path


@pytest.mark.parametrize(
    ("pixels", "encoding", "word"),
    [
        (DEPTH, "16UC1", "depth"),
        (DEPTH.astype(np.float32), "32FC1", "depth"),
        (DEPTH.astype(np.int16), "16SC1", "depth"),
        (DEPTH, "mono16", "infrared"),
        (DEPTH, "Y16", "infrared"),
        (DEPTH, "Z16", "not read"),
        (png(DEPTH), "16UC1; png compressed ", "depth"),
        (jpeg(DEPTH.astype(np.uint8)), "16UC1; jpeg compressed ", "depth"),
        (png(DEPTH), "mono16; png compressed ", "infrared"),
        (b"\0" * 12 + png(DEPTH), "16UC1; compressedDepth png", "depth"),
        (b"\0" * 12 + png(DEPTH), "32FC1; compressedDepth", "depth"),
        (png(DEPTH), "png", "16-bit"),
        (b"\0\0\0\1\x67\x42", "h264", "h264"),
    ],
)
def test_what_is_no_camera_is_left_out_with_a_word_whatever_its_topic_is_called(
    bags: Any, tmp_path: Path, pixels: Any, encoding: str, word: str
) -> None:
    colour = (bags.frames(1)[0], "rgb8")
    bag = record(bags, tmp_path / "bag", {"/front/image": (pixels, encoding), "/front/depth/image_rect_raw": colour})
    topics, said = chosen(bag)
    assert topics == ["/front/depth/image_rect_raw"]
    assert list(said) == ["/front/image"]
    assert word in said["/front/image"]
    assert said["/front/image"].endswith("; --topics takes it")
    assert chosen(bag, "/front/image")[0] == ["/front/image"]


@pytest.mark.parametrize(
    ("pixels", "encoding"),
    [
        (np.full((80, 112), 90, np.uint8), "mono8"),
        (np.full((80, 112), 90, np.uint8), "8UC1"),
        (jpeg(np.full((80, 112), 90, np.uint8)), "mono8; jpeg compressed "),
        (jpeg(np.full((80, 112), 90, np.uint8)), "jpeg"),
        (png(np.full((80, 112), 90, np.uint8)), "png"),
    ],
)
def test_a_grey_pair_is_left_out_beside_colours_and_taken_with_a_word_alone(
    bags: Any, tmp_path: Path, pixels: Any, encoding: str
) -> None:
    pair = {"/a/image_rect_raw": (pixels, encoding), "/b/image_rect_raw": (pixels, encoding)}
    topics, said = chosen(record(bags, tmp_path / "all", {**pair, "/c/image": (bags.frames(1)[0], "bgr8")}))
    assert topics == ["/c/image"]
    assert sorted(said) == sorted(pair)
    assert all("infrared" in words for words in said.values())
    with open_bag(record(bags, tmp_path / "grey", pair)) as opened:
        assert camera_topics(opened, (), ()) == list(pair)
        assert opened.notes == [f"{', '.join(pair)}: grey pictures, taken for cameras: infrared looks the same"]


def test_one_camera_is_taken_once_the_raw_topic_first(bags: Any, tmp_path: Path) -> None:
    picture = bags.frames(1)[0]
    with bags.record(tmp_path / "bag") as writer:
        recorder = bags.Recorder(writer)
        packed = zstd().compress(recorder.serialised(picture, "rgb8"))
        for index in range(3):
            recorder.compressed("/cam/image_raw/zstd", index, packed, "zstd")
            recorder.compressed("/cam/image_raw/compressed", index, jpeg(picture), "rgb8; jpeg compressed bgr8")
            recorder.compressed("/cam/image_raw/compressedDepth", index, b"nothing", "rgb8; compressedDepth png")
            recorder.image("/cam/image_raw", index, picture)
            recorder.compressed("/rear/image_raw/zstd", index, packed, "zstd")
            recorder.compressed("/rear/image_raw/compressed", index, jpeg(picture), "jpeg")
            if index == 0:
                recorder.image("/rear/image_raw", index, picture)
            recorder.compressed("/side/image_raw/zstd", index, packed, "zstd")
    topics, said = chosen(tmp_path / "bag")
    # Of the rear camera the raw topic has lost two frames of three.
    assert topics == ["/cam/image_raw", "/rear/image_raw/compressed", "/side/image_raw/zstd"]
    assert (
        said["/cam/image_raw/zstd"] == "the same camera as /cam/image_raw (3 messages, that has 3); --topics takes it"
    )
    assert "the same camera as /rear/image_raw/compressed (1 messages" in said["/rear/image_raw"]
    assert sorted(said) == ["/cam/image_raw/compressed", "/cam/image_raw/compressedDepth", "/cam/image_raw/zstd",
                            "/rear/image_raw", "/rear/image_raw/zstd"]  # fmt: skip


def test_a_bag_without_a_camera_names_every_topic_and_the_way_out(bags: Any, tmp_path: Path) -> None:
    bag = record(bags, tmp_path / "bag", {
        "/a": (DEPTH, "16UC1"), "/a/compressedDepth": (b"x", "16UC1; compressedDepth png"), "/b": (b"\0\0\1", "hevc"),
    })  # fmt: skip
    with open_bag(bag) as opened, pytest.raises(BagError) as caught:
        camera_topics(opened, (), ())
    said = str(caught.value)
    assert "/a: 16UC1 pixels: depth" in said
    assert "/a/compressedDepth: a depth map" in said
    assert "/b: 'hevc', which is not read" in said
    assert said.endswith("name one with --topics to take it all the same")
    assert "\n" not in said


def test_video_streams_are_named_without_a_way_out(bags: Any, tmp_path: Path) -> None:
    with bags.record(tmp_path / "bag") as writer:
        for topic, kind in (
            ("/a/theora", "theora_image_transport/msg/Packet"),
            ("/b", "foxglove_msgs/msg/CompressedVideo"),
        ):
            connection = writer.add_connection(topic, kind, msgdef="uint8[] data\n", rihs01="RIHS01_0")
            writer.write(connection, bags.START_NS, b"\0\1\0\0\0\0\0\0")
    with open_bag(tmp_path / "bag") as opened, pytest.raises(BagError) as caught:
        camera_topics(opened, (), ())
    said = str(caught.value)
    assert "/a/theora: theora_image_transport/msg/Packet, a video stream: record" in said
    assert "/b: foxglove_msgs/msg/CompressedVideo, a video stream: record" in said
    assert "--topics" not in said


def test_a_damaged_first_message_does_not_decide(bags: Any, tmp_path: Path) -> None:
    with bags.record(tmp_path / "bag") as writer:
        recorder = bags.Recorder(writer)
        recorder.image("/cam", 0, bags.frames(1)[0], encoding="")
        recorder.image("/cam", 1, bags.frames(1)[0])
        recorder.compressed("/depth", 0, b"no picture", "jpeg")
        recorder.compressed("/depth", 1, png(DEPTH), "16UC1; png compressed ")
    topics, said = chosen(tmp_path / "bag")
    assert topics == ["/cam"]
    assert list(said) == ["/depth"]


def test_a_topic_that_is_all_damaged_is_kept_and_takes_no_grey_cameras_place(bags: Any, tmp_path: Path) -> None:
    grey = np.full((80, 112), 90, np.uint8)
    bag = record(bags, tmp_path / "bag", {"/rear/compressed": (b"no picture", "jpeg"), "/front": (grey, "mono8")})
    assert chosen(bag) == (["/rear/compressed", "/front"], {})


def test_outputs_of_a_node_and_ground_truth_are_no_cameras_but_a_camera_may_be_called_color(
    bags: Any, tmp_path: Path
) -> None:
    picture, labels = (bags.frames(1)[0], "rgb8"), (bags.labels(1)[0], "mono8")
    bag = record(bags, tmp_path / "bag", {
        "/front/color": picture, "/night_seg/overlay": picture, "/left/seg/label": labels, "/left/seg/color": picture,
        "/truth": labels, "/ground_truth/label": labels,
    })  # fmt: skip
    topics, said = chosen(bag, labels=("/truth",))
    assert topics == ["/front/color"]
    assert sorted(said) == ["/left/seg/color", "/left/seg/label", "/night_seg/overlay"]


def test_a_topic_without_messages_is_named(bags: Any, tmp_path: Path) -> None:
    with bags.record(tmp_path / "bag") as writer:
        recorder = bags.Recorder(writer)
        recorder.image("/cam", 0, bags.frames(1)[0])
        writer.add_connection("/rear", "sensor_msgs/msg/Image", typestore=recorder._store)
    assert chosen(tmp_path / "bag") == (["/cam"], {"/rear": "no messages"})


@pytest.mark.parametrize("encoding", ["rgb16", "bgr16", "rgba16", "bayer_rggb16"])
def test_cameras_of_16_bits_are_cameras(bags, tmp_path: Path, encoding: str) -> None:
    channels = {"rgba16": 4, "bayer_rggb16": 1}.get(encoding, 3)
    samples = np.dstack([DEPTH] * channels)
    bag = record(bags, tmp_path / "bag", {"/front": (samples, encoding), "/lidar": (DEPTH, "16UC1")})
    assert chosen(bag) == (["/front"], {"/lidar": "16UC1 pixels: depth, or other measurements; --topics takes it"})
    name = f"{encoding}; png compressed "
    stored = samples[:, :, :3] if channels > 1 else samples
    bag = record(
        bags, tmp_path / "packed", {"/front/compressed": (png(stored), name), "/d/compressed": (png(DEPTH), "png")}
    )
    assert chosen(bag)[0] == ["/front/compressed"]


def test_mono16_is_read_where_it_is_asked_for(bags, tmp_path: Path) -> None:
    bag = record(
        bags, tmp_path / "bag", {"/ir": (DEPTH, "mono16"), "/front": (np.zeros((80, 112, 3), np.uint8), "rgb8")}
    )
    assert chosen(bag)[0] == ["/front"]
    assert chosen(bag, "/ir")[0] == ["/ir"]
    with open_bag(bag) as opened:
        expected = curve("gamma", 14)[DEPTH]
        for image in opened.images(["/ir"]):
            np.testing.assert_array_equal(image.rgb, np.dstack([expected] * 3))
        assert opened.tones() == ["/ir: 14 bits (found: samples end at 8000), tone gamma"]


def test_mono16_named_after_distances_is_refused_unless_its_depth_is_given(bags, tmp_path: Path) -> None:
    content = {"/cam/depth/image": (DEPTH, "mono16"), "/depth/compressed": (png(DEPTH), "mono16; png compressed ")}
    bag = record(bags, tmp_path / "bag", content)
    with open_bag(bag) as opened:
        for message in opened.pictures(list(content)):
            with pytest.raises(ImageError, match=f"mono16 on {message.topic}: got 'depth' in the topic's name"):
                opened.image(message)
    with open_bag(bag, tone=ToneSettings(bit_depth=13)) as opened:
        assert len(list(opened.images(list(content)))) == 4
