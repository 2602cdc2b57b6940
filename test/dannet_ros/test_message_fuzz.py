"""Property-based fuzzing of the message boundary: whatever a message holds, it has one outcome and the node lives.

`bench/faults.py` runs this file with 10,000 messages; DANNET_FUZZ_MESSAGES says how many.
"""

from __future__ import annotations

import array
import os
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy (ROS 2) is needed to run the node")
pytest.importorskip("hypothesis", reason="hypothesis makes the messages")

from builtin_interfaces.msg import Time
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from dannet_ros.conversions import ENCODINGS, to_image

pytestmark = pytest.mark.ros
MESSAGES = int(os.environ.get("DANNET_FUZZ_MESSAGES", "400"))
FUZZ = settings(
    max_examples=MESSAGES // 2,
    deadline=None,
    derandomize=MESSAGES == 400,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    database=None,
)

UINT32 = st.integers(0, 2**32 - 1)
SIDES = st.one_of(st.integers(60, 90), st.sampled_from([0, 1, 63, 64, 16384, 16385, 2**16, 2**31, 2**32 - 1]), UINT32)
HEADERS = st.builds(
    Header,
    stamp=st.builds(Time, sec=st.integers(-(2**31), 2**31 - 1), nanosec=UINT32),
    frame_id=st.text(max_size=30),
)


@st.composite
def images(draw: Any) -> Any:
    """Mostly nearly right, because what is wrong in one field only gets furthest."""
    encoding = draw(st.one_of(st.sampled_from(sorted(ENCODINGS)), st.text(max_size=12)))
    height, width = (draw(st.one_of(st.integers(64, 90), SIDES)) for _ in range(2))
    known = ENCODINGS.get(encoding, ENCODINGS["rgb8"])
    pixel_bytes, rows_per_row = known.bytes_per_pixel, known.rows_per_row
    row = width * pixel_bytes
    step = min(draw(st.one_of(st.just(row), st.integers(0, 40).map(lambda extra: row + extra), UINT32)), 2**32 - 1)
    whole = min(int(step * height * rows_per_row), 40_000)
    size = draw(st.one_of(st.just(whole), st.integers(0, whole + 20)))
    message = Image(header=draw(HEADERS), height=height, width=width, encoding=encoding, step=step)
    message.is_bigendian = draw(st.integers(0, 255))
    message.data = array.array("B", np.random.default_rng(draw(UINT32)).bytes(size))
    return message


@st.composite
def compressed_images(draw: Any) -> Any:
    """Real files with bytes changed, cut off or put in, and plain noise."""
    picture = np.random.default_rng(draw(st.integers(0, 3))).integers(0, 255, (70, 80, 3), np.uint8)
    data = bytearray(cv2.imencode(draw(st.sampled_from([".jpg", ".png"])), picture)[1].tobytes())
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data) - 1))
        data[at : at + draw(st.integers(0, 6))] = draw(st.binary(max_size=6))
    kept = draw(st.one_of(st.just(len(data)), st.integers(0, len(data))))
    noise = draw(st.one_of(st.none(), st.binary(max_size=200)))
    message = CompressedImage(header=draw(HEADERS), format=draw(st.one_of(st.just("jpeg"), st.text(max_size=20))))
    message.data = array.array("B", bytes(data[:kept]) if noise is None else noise)
    return message


def feed(rig: Any, messages: Any) -> None:
    """Each message through the subscription's own callback, waited for, and exactly one outcome."""
    rig.listen("label", "relit")
    session = rig.node._session

    @FUZZ
    @given(messages)
    def one(message: Any) -> None:
        before = rig.node.counts
        rig.node._on_image(message)
        assert session.wait_until_idle(300)
        after = rig.node.counts
        changed = {outcome for outcome, count in after.items() if count != before[outcome]}
        assert changed in ({"received", o} for o in ("processed", "malformed", "out_of_order")), changed
        if after["received"] % 100 == 0:
            rig.spin(0.0)

    one()
    assert rig.node.counts["received"] >= MESSAGES // 2
    assert rig.node.counts["malformed"] > 0
    assert rig.node.counts["processed"] > 0


@pytest.mark.timeout(3600 if MESSAGES > 1000 else 600)
def test_any_image_has_one_outcome_and_the_node_lives(make_rig: Callable[..., Any], night: np.ndarray) -> None:
    rig = make_rig()
    feed(rig, images())
    rig.node._session.order.forget()
    rig.node._on_image(to_image(night, "rgb8", Header(frame_id="good")))
    rig.until(lambda: any(message.header.frame_id == "good" for message in rig.came["label"]))


@pytest.mark.timeout(3600 if MESSAGES > 1000 else 600)
def test_any_compressed_image_has_one_outcome_and_the_node_lives(
    make_rig: Callable[..., Any], night: np.ndarray
) -> None:
    rig = make_rig(image_transport="compressed")
    feed(rig, compressed_images())
    rig.node._session.order.forget()
    png = cv2.imencode(".png", night)[1].tobytes()
    rig.node._on_image(CompressedImage(header=Header(frame_id="good"), format="png", data=png))
    rig.until(lambda: any(message.header.frame_id == "good" for message in rig.came["label"]))
