"""The SROS2 policy allows what the node does, no more and no less."""

from __future__ import annotations

import contextlib
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="rclpy (ROS 2) is needed to run the node")

pytestmark = pytest.mark.ros
POLICY = Path(__file__).parents[2] / "config" / "sros2.policy.xml"
NOT_IN_THIS_RUN = {"/image/compressed", "/clock", "~/label_info"}
"""The other image transport, simulated time and a package that may not be installed."""


def allowed(kind: str, right: str) -> set[str]:
    root = ET.parse(POLICY).getroot()  # noqa: S314  the repository's own file
    expressions = [e.text or "" for group in root.iter(kind) if group.get(right) == "ALLOW" for e in group]
    return {text if text.startswith("~") else f"/{text.lstrip('/')}" for text in expressions}


@pytest.mark.parametrize(
    ("kind", "right", "look"),
    [
        ("topics", "publish", "get_publisher_names_and_types_by_node"),
        ("topics", "subscribe", "get_subscriber_names_and_types_by_node"),
        ("services", "reply", "get_service_names_and_types_by_node"),
    ],
)
def test_policy_names_what_the_node_has(make_rig: Callable[..., Any], kind: str, right: str, look: str) -> None:
    # A name of its own: the graph is asked by name, and a process that was killed stays in it for 20 s.
    name = f"policy_{kind}_{right}"
    rig = make_rig(name=name)
    wanted = allowed(kind, right) - NOT_IN_THIS_RUN
    found: set[str] = set()

    def agrees() -> bool:
        found.clear()
        found.update(topic.replace(f"/{name}/", "~/") for topic, _ in getattr(rig.node, look)(name, "/"))
        return found - NOT_IN_THIS_RUN == wanted

    try:
        rig.until(agrees)
    except AssertionError:
        pytest.fail(f"{kind} to {right}: only the node: {found - wanted}, only the policy: {wanted - found}")


def test_node_may_call_and_subscribe_nothing_else() -> None:
    root = ET.parse(POLICY).getroot()  # noqa: S314  our own file
    rights = {(group.tag, name) for group in root.iter() for name in group.attrib if group.get(name) == "ALLOW"}
    assert rights == {("topics", "subscribe"), ("topics", "publish"), ("services", "reply")}
    assert [enclave.get("path") for enclave in root.iter("enclave")] == ["/night_seg"]


@pytest.mark.skipif(not Path("/proc/self/net/tcp").exists(), reason="only Linux shows a process's sockets there")
def test_node_listens_on_no_tcp_port(make_rig: Callable[..., Any]) -> None:
    make_rig()
    own = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # that of this listing itself
            own.add(str(descriptor.readlink()))
    assert any(name.startswith("socket:") for name in own), "DDS has some, so the look is a real one"
    listening = []
    for table in ("tcp", "tcp6"):
        path = Path("/proc/self/net") / table
        rows = [line.split() for line in path.read_text().splitlines()[1:]] if path.exists() else []
        listening += [row[1] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in own]
    assert listening == []
