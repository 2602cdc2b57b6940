import struct

import numpy as np
import pytest

from dannet_core.errors import ImageError
from dannet_ros.replay.serialized import labels_of, stamp_of, with_stamp

stores = pytest.importorskip("rosbags.typesys", reason="rosbags serialises")
STAMP_NS = 1_700_000_000_123_456_789


def serialised(frame_id: str, labels: np.ndarray, step: int, little: bool) -> bytes:
    store = stores.get_typestore(stores.Stores.ROS2_JAZZY)
    rows = np.zeros((labels.shape[0], step), np.uint8)
    rows[:, : labels.shape[1]] = labels
    stamp = store.types["builtin_interfaces/msg/Time"](*divmod(STAMP_NS, 10**9))
    header = store.types["std_msgs/msg/Header"](stamp, frame_id)
    kind = "sensor_msgs/msg/Image"
    message = store.types[kind](header, *labels.shape, "mono8", 0, step, rows.reshape(-1))
    return bytes(store.serialize_cdr(message, kind, little_endian=little))


@pytest.mark.parametrize("little", [True, False])
@pytest.mark.parametrize("frame_id", ["", "c", "cam", "camera", "camera_front_left"])
def test_labels_and_stamp_are_found_whatever_the_alignment(frame_id: str, little: bool) -> None:
    labels = np.random.default_rng(1).integers(0, 19, (13, 17), dtype=np.uint8)
    data = serialised(frame_id, labels, 20, little)
    np.testing.assert_array_equal(labels_of(data), labels)
    assert stamp_of(data) == STAMP_NS
    assert stamp_of(with_stamp(data, 5_000_000_001)) == 5_000_000_001
    assert with_stamp(with_stamp(data, 7), STAMP_NS) == data


def test_cut_bytes_are_an_image_error() -> None:
    data = serialised("camera", np.zeros((4, 4), np.uint8), 4, True)
    for length in (0, 3, 9, 30, len(data) - 3):
        with pytest.raises(ImageError):
            labels_of(data[:length])
    with pytest.raises(ImageError, match=r"damaged sensor_msgs/msg/Image of \d+ bytes"):
        labels_of(data[:40])
    assert struct.unpack_from("<I", data, 4)[0] == STAMP_NS // 10**9


@pytest.mark.parametrize("length", [0, 1, 4, 11])
def test_a_message_that_ends_before_its_stamp_is_an_image_error(length: int) -> None:
    data = serialised("camera", np.zeros((4, 4), np.uint8), 4, True)
    with pytest.raises(ImageError, match=f"damaged message of {length} bytes: no header"):
        stamp_of(data[:length])
    assert stamp_of(data[:12]) == STAMP_NS
