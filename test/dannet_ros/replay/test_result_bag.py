"""What the new bag holds beside the labels: every topic as it was, or the reason why not."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dannet_ros.replay.__main__ import main
from dannet_ros.replay.bag_reading import COMPRESSED, IMAGE, open_bag

highlevel = pytest.importorskip("rosbags.highlevel", reason="rosbags writes and reads bags")
COUNT = 2
HEADER = b"\0\1\0\0"
STAMPED = HEADER + bytes(8) + b"\1\0\0\0" + bytes(8)
LINE = "=" * 80


def evaluate(bag: Path, model: Path, out: Path, *more: str) -> dict[str, Any]:
    assert main(["evaluate_bag", str(bag), "--model", str(model), "--out", str(out), *more]) == 0
    return json.loads((out / "metrics.json").read_text())


def camera_and(bags: Any, path: Path, topics: dict[str, tuple[str, str, bytes]]) -> Path:
    """A camera, and messages of types with definitions of our own: (type, definition, bytes) by topic."""
    with bags.record(path) as writer:
        recorder = bags.Recorder(writer)
        connections = [
            (writer.add_connection(topic, kind, msgdef=text, rihs01="RIHS01_0"), data)
            for topic, (kind, text, data) in topics.items()
        ]
        for index, picture in enumerate(bags.frames(COUNT)):
            recorder.image("/camera/image", index, picture)
            for connection, data in connections:
                writer.write(connection, bags.START_NS + index * bags.STEP_NS + 9_000_000, data)
    # Without its metadata, whose hashes are of nothing, the file is a bag by itself.
    return next(path.glob("*.mcap"))


def content(path: Path) -> dict[tuple[str, str], list[bytes]]:
    """All messages as rosbags reads them, each deserialised once."""
    found: dict[tuple[str, str], list[bytes]] = {}
    with highlevel.AnyReader([path]) as reader:
        for connection, _, data in reader.messages():
            reader.deserialize(data, connection.msgtype)
            found.setdefault((connection.topic, connection.msgtype), []).append(bytes(data))
    return found


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_topic_of_two_types_keeps_both(bags: Any, tiny_onnx: Path, tmp_path: Path, storage: str) -> None:
    import cv2

    pictures = bags.frames(2 * COUNT)
    with bags.record(tmp_path / "bag", storage) as writer:
        recorder = bags.Recorder(writer)
        for index in range(COUNT):
            recorder.image("/camera/image", 2 * index, pictures[2 * index])
            png = cv2.imencode(".png", cv2.cvtColor(pictures[2 * index + 1], cv2.COLOR_RGB2BGR))[1].tobytes()
            recorder.compressed("/camera/image", 2 * index + 1, png)
            recorder.text("/camera/image", 2 * index + 1, "not a picture")
    result = evaluate(tmp_path / "bag", tiny_onnx, tmp_path / "out", "--storage", storage)
    assert (result["frames_read"], result["frames_labelled"], result["complete"]) == (4, 4, True)
    before, after = content(tmp_path / "bag"), content(tmp_path / "out" / "bag")
    assert {key: after[key] for key in before} == before
    assert {kind for topic, kind in after if topic == "/camera/image"} == {IMAGE, COMPRESSED, "std_msgs/msg/String"}
    with open_bag(tmp_path / "out" / "bag") as opened:
        for picture, image in zip(pictures, opened.images(["/camera/image"]), strict=True):
            np.testing.assert_array_equal(image.rgb, picture)


def test_definitions_that_cannot_be_used_are_named_and_the_rest_is_carried_over(
    bags: Any, tiny_onnx: Path, tmp_path: Path
) -> None:
    point = f"{LINE}\nMSG: my_msgs/Point\nfloat32 x\n"
    other_point = f"{LINE}\nMSG: my_msgs/Point\nint64 x\n"
    bag = camera_and(bags, tmp_path / "bag", {
        "/whole": ("my_msgs/msg/Place", f"my_msgs/Point at\n{point}", HEADER + b"\0\0\0\0"),
        "/lacks_own": ("my_msgs/msg/Thing", "my_msgs/Other other\n", HEADER + b"abcd"),
        "/lacks_common": ("my_msgs/msg/Stamped", "std_msgs/Header header\nint32 x\n", STAMPED),
        "/disagrees": ("my_msgs/msg/Way", f"my_msgs/Point[] points\n{other_point}", HEADER + b"\0\0\0\0"),
        "/no_text": ("my_msgs/msg/Unknown", "", HEADER + b"abcd"),
        "/no_package": ("RealsenseMetadata", "int32 x\n", HEADER + b"abcd"),
        "/no_language": ("my_msgs/msg/Odd", "}{ 5\n", HEADER + b"abcd"),
    })  # fmt: skip
    result = evaluate(bag, tiny_onnx, tmp_path / "out")
    after = content(tmp_path / "out" / "bag")
    assert after["/whole", "my_msgs/msg/Place"] == [HEADER + b"\0\0\0\0"] * COUNT
    assert after["/lacks_common", "my_msgs/msg/Stamped"] == [STAMPED] * COUNT
    left_out = {"/lacks_own", "/disagrees", "/no_text", "/no_package", "/no_language"}
    assert {topic for topic, _ in after}.isdisjoint(left_out)
    said = {note.split()[0]: note for note in result["bag"]["notes"]}
    assert set(said) == left_out
    assert "(2 messages) not copied: its definition of my_msgs/msg/Point is not that" in said["/disagrees"]
    assert "my_msgs/msg/Other" in said["/lacks_own"]
    assert "no definition of my_msgs/msg/Unknown" in said["/no_text"]
    assert result["complete"]


@pytest.mark.parametrize("encoding", ["jsn", "ros"])
def test_what_is_not_cdr_is_named_and_costs_nothing_else(
    bags: Any, tiny_onnx: Path, tmp_path: Path, encoding: str, capsys: Any
) -> None:
    bag = bags.write(tmp_path / "bag", bags.frames(COUNT))
    file = next(bag.glob("*.mcap"))
    note = b"/note\x03\x00\x00\x00"
    file.write_bytes(file.read_bytes().replace(note + b"cdr", note + encoding.encode()))
    result = evaluate(file, tiny_onnx, tmp_path / "out")
    assert (result["frames_labelled"], result["complete"], result["bag"]["problems"]) == (COUNT, True, [])
    said = f"/note (2 messages) not copied: its messages are {encoding}, not CDR"
    assert result["bag"]["notes"] == [said]
    assert f"note: {said}" in capsys.readouterr().out
    assert said in (tmp_path / "out" / "report.html").read_text()
    assert result["bag"]["topics"]["/note"] == {"type": f"std_msgs/msg/String as {encoding}", "messages": COUNT}
    assert ("/camera/image", IMAGE) in content(tmp_path / "out" / "bag")


def test_a_wrong_definition_of_pictures_does_not_spoil_them(bags: Any, tiny_onnx: Path, tmp_path: Path) -> None:
    picture = bags.frames(1)[0]
    with bags.record(tmp_path / "bag") as writer:
        recorder = bags.Recorder(writer)
        camera = writer.add_connection("/camera/image", IMAGE, msgdef="int32 x\n", rihs01="RIHS01_0")
        writer.write(camera, bags.START_NS, recorder.serialised(picture, "rgb8"))
    result = evaluate(next((tmp_path / "bag").glob("*.mcap")), tiny_onnx, tmp_path / "out")
    assert result["frames_labelled"] == 1
    (note,) = result["bag"]["notes"]
    assert note == f"/camera/image (1 messages) not copied: its definition of {IMAGE} is not that of the other topics"
    assert len(content(tmp_path / "out" / "bag")["/night_seg/label", IMAGE]) == 1


def test_a_type_that_two_files_describe_in_two_ways_is_not_copied_under_one_of_them(
    bags: Any, tiny_onnx: Path, tmp_path: Path
) -> None:
    (tmp_path / "bag").mkdir()
    for number, text in enumerate(("int32 x\n", "# the same\nint32 x\n", "float32 x\n")):
        thing = ("my_msgs/msg/Thing", text if number < 2 else "int32 x\n", HEADER + b"abcd")
        other = ("my_msgs/msg/Other", text, HEADER + b"abcd")
        file = camera_and(bags, tmp_path / f"part_{number}", {"/same": thing, "/other": other})
        file.rename(tmp_path / "bag" / f"bag_{number}.mcap")
    result = evaluate(tmp_path / "bag", tiny_onnx, tmp_path / "out")
    after = content(tmp_path / "out" / "bag")
    assert len(after["/same", "my_msgs/msg/Thing"]) == 3 * COUNT
    assert ("/other", "my_msgs/msg/Other") not in after
    assert "/other (6 messages) not copied: the bag describes my_msgs/msg/Other in two ways" in result["bag"]["notes"]
