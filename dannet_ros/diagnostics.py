"""What the node says about itself on /diagnostics, by a timer that runs whether the worker thread hangs or not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from dannet_ros.frame_statistics import Spread
from dannet_ros.worker import ModelFacts

HANG_S: Final = 2.0
"""A frame in work for longer than this is reported as an error."""
SILENCE_S: Final = 2.0
"""A topic that was alive and sent nothing for longer than this is reported."""
LOSS_MEMORY_S: Final = 10.0
"""For how long lost frames are warned about."""
OK: Final = DiagnosticStatus.OK
WARN: Final = DiagnosticStatus.WARN
ERROR: Final = DiagnosticStatus.ERROR


class Health(NamedTuple):
    """The node at one moment.

    Attributes:
        state: lifecycle state.
        failure: why configure failed; empty when it did not.
        topic: the image topic, resolved.
        publishers: how many publish on it.
        incompatible_qos: the QoS policy that keeps a publisher from being heard; empty = none.
        received: frames received since configure.
        counts: frames by outcome.
        in_work: frames waiting or in work.
        silence_s: since the last frame, or since activation.
        lost: frames that never arrived, see `LostFrames`.
        lost_ago_s: since the last of them; None = never.
        busy_s: for how long the worker has been at its frame.
        spreads: latency percentiles by stage.
        slow_frame_ms: limit for the 95th percentile of ``total``; 0 = none.
        last_problem: the last refused or failed frame's reason.
        model: path of the model file.
        facts: what the opened model says about itself.
    """

    state: str
    failure: str
    topic: str
    publishers: int
    incompatible_qos: str
    received: int
    counts: dict[str, int]
    in_work: int
    silence_s: float
    lost: int
    lost_ago_s: float | None
    busy_s: float
    spreads: dict[str, Spread]
    slow_frame_ms: float
    last_problem: str
    model: str
    facts: ModelFacts | None


class Finding(NamedTuple):
    """One thing to report, with its diagnostic level."""

    level: bytes
    text: str


def findings(health: Health, before: dict[str, int]) -> list[Finding]:
    """Everything wrong now, worst first.

    Args:
        health: the node now.
        before: frames by outcome at the report before this one.
    """
    if health.state != "active":
        return [Finding(ERROR, health.failure)] if health.failure else []
    found = [*_input_findings(health), *_frame_findings(health, before)]
    return sorted(found, key=lambda finding: finding.level, reverse=True)


def _input_findings(health: Health) -> list[Finding]:
    if health.received and health.silence_s < SILENCE_S:
        return []
    what = f"no image for {health.silence_s:.0f} s on {health.topic}"
    if health.incompatible_qos:
        return [Finding(WARN, f"{what}: a publisher's QoS is incompatible: {health.incompatible_qos}")]
    if health.publishers == 0:
        return [Finding(WARN, f"{what}: the topic has no publisher")]
    return [Finding(WARN, f"{what}: {health.publishers} publisher(s), nothing arrives")]


def _frame_findings(health: Health, before: dict[str, int]) -> list[Finding]:
    found = []
    fresh = {outcome: count - before.get(outcome, 0) for outcome, count in health.counts.items()}
    if health.busy_s > HANG_S:
        found.append(Finding(ERROR, f"worker busy for {health.busy_s:.0f} s with one frame"))
    if fresh.get("failed"):
        found.append(Finding(ERROR, f"{fresh['failed']} frame(s) failed: {health.last_problem}"))
    if fresh.get("malformed"):
        found.append(Finding(WARN, f"{fresh['malformed']} malformed frame(s): {health.last_problem}"))
    if fresh.get("stale"):
        found.append(Finding(WARN, f"{fresh['stale']} frame(s) too old, see max_age_ms"))
    if health.lost_ago_s is not None and health.lost_ago_s < LOSS_MEMORY_S:
        found.append(
            Finding(
                WARN,
                f"{health.lost} frame(s) lost before they arrived: camera driver and node must "
                "both load the Fast DDS profile fastdds.xml (FASTDDS_DEFAULT_PROFILES_FILE)",
            )
        )
    total = health.spreads.get("total")
    if total is not None and 0 < health.slow_frame_ms < total.p95:
        found.append(Finding(WARN, f"slow: p95 {total.p95:.0f} ms, slow_frame_ms is {health.slow_frame_ms:g}"))
    return found


def values(health: Health) -> dict[str, str]:
    """The figures, in words a rqt or Foxglove table shows."""
    facts = health.facts
    shown = {"state": health.state, "image topic": health.topic, "model": health.model}
    if facts is not None:
        shown |= {"backend": facts.backend, "device": facts.device, "arch": facts.metadata.arch}
        shown["trained"] = "yes" if facts.metadata.trained else "no: random weights"
    shown["received"] = str(health.received)
    shown |= {outcome: str(count) for outcome, count in health.counts.items()}
    shown |= {"in work": str(health.in_work), "lost before arrival": str(health.lost)}
    for stage, spread in health.spreads.items():
        shown[f"{stage} ms p50/p95/p99"] = " / ".join(f"{value:.1f}" for value in spread)
    if health.last_problem:
        shown["last problem"] = health.last_problem
    return shown


class Diagnostics:
    """Publishes /diagnostics. `report` is called by a timer of the executor thread."""

    def __init__(self, node: Any, health: Callable[[], Health]) -> None:
        self._node = node
        self._health = health
        self._before: dict[str, int] = {}
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)

    def report(self) -> None:
        """Publish the node's state now."""
        health = self._health()
        found = findings(health, self._before)
        self._before = health.counts
        status = DiagnosticStatus()
        status.name = f"{self._node.get_fully_qualified_name()}: night segmentation"
        status.hardware_id = health.topic
        status.level = found[0].level if found else OK
        status.message = "; ".join(finding.text for finding in found) or health.state
        status.values = [KeyValue(key=key, value=value) for key, value in values(health).items()]
        message = DiagnosticArray(status=[status])
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)
