"""What the node says about itself on /diagnostics, by a timer that runs whether the worker thread hangs or not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from dannet_ros.camera_input import InputFacts
from dannet_ros.frame_statistics import Spread
from dannet_ros.parameters import NodeParameters
from dannet_ros.worker import ModelFacts

SILENCE_S: Final = 2.0
"""A topic that was alive and sent nothing for longer than this is reported."""
LOSS_MEMORY_S: Final = 10.0
"""For how long lost frames are warned about."""
AHEAD_MS: Final = 100.0
"""Stamps this far ahead of the node's clock are reported: clocks are not synchronised."""
OK: Final = DiagnosticStatus.OK
WARN: Final = DiagnosticStatus.WARN
ERROR: Final = DiagnosticStatus.ERROR


class Health(NamedTuple):
    """The node at one moment.

    Attributes:
        state: lifecycle state.
        failure: why configure failed, or why the model was closed; empty when it did not.
        opening_s: for how long configure has waited for the model.
        opening: what is being done to open it; empty = nothing to say.
        input: the image topic.
        received: frames received since configure.
        counts: frames by outcome.
        in_work: frames waiting or in work.
        silence_s: since the last frame, or since activation.
        lost: frames that never arrived, see `LostFrames`.
        lost_ago_s: since the last of them; None = never.
        repeated: frames that carried the newest stamp once more.
        time_jumps: times that stamps or the node's clock jumped back.
        clock_stands: the node's clock is simulated and nothing has published /clock.
        busy_s: for how long the worker has been at its frame.
        spreads: latency percentiles by stage.
        limits: the parameters that findings depend on.
        last_problem: the last refused or failed frame's reason.
        intensity: mean of the last picture, 0..255; None = no picture yet.
        changed_share: share of the pixels whose label changed, 0..1; None = not measured.
        model: path of the model file.
        model_file_problem: what happened to that file since; empty = nothing.
        facts: what the opened model says about itself.
        samples: what is done to samples of 16 bits, in words; empty while there were none.
    """

    state: str
    failure: str
    opening_s: float
    opening: str
    input: InputFacts
    received: int
    counts: dict[str, int]
    in_work: int
    silence_s: float
    lost: int
    lost_ago_s: float | None
    repeated: int
    time_jumps: int
    clock_stands: bool
    busy_s: float
    spreads: dict[str, Spread]
    limits: NodeParameters
    last_problem: str
    intensity: float | None
    changed_share: float | None
    model: str
    model_file_problem: str
    facts: ModelFacts | None
    samples: str = ""


class Counted(NamedTuple):
    """What the report before this one had counted."""

    outcomes: dict[str, int]
    repeated: int
    time_jumps: int


NOTHING_COUNTED: Final = Counted({}, 0, 0)


class Finding(NamedTuple):
    """One thing to report, with its diagnostic level."""

    level: bytes
    text: str


def findings(health: Health, before: Counted) -> list[Finding]:
    """Everything wrong now, worst first."""
    if health.state == "configuring":
        doing = f": {health.opening}" if health.opening else ""
        return [Finding(OK, f"opening the model for {health.opening_s:.0f} s{doing}")]
    if health.state != "active":
        return [Finding(ERROR, health.failure)] if health.failure else []
    found = [
        *_input_findings(health),
        *_time_findings(health, before),
        *_frame_findings(health, before.outcomes),
        *_model_findings(health),
    ]
    return sorted(found, key=lambda finding: finding.level, reverse=True)


def _input_findings(health: Health) -> Iterator[Finding]:
    topic = health.input
    if health.received and health.silence_s < SILENCE_S:
        if topic.problem:
            yield Finding(WARN, f"a publisher on {topic.topic} cannot be heard: {topic.problem}")
        return
    what = f"no image for {health.silence_s:.0f} s on {topic.topic}"
    if topic.problem:
        yield Finding(WARN, f"{what}: {topic.problem}")
    elif topic.publishers == 0:
        others = f"; pictures are published on {', '.join(topic.others)}" if topic.others else ""
        others += f": write image:={topic.meant}" if topic.meant else ""
        yield Finding(WARN, f"{what}: the topic has no publisher{others}")
    else:
        yield Finding(WARN, f"{what}: {topic.publishers} publisher(s), nothing arrives")


def _time_findings(health: Health, before: Counted) -> Iterator[Finding]:
    if health.clock_stands:
        yield Finding(WARN, "use_sim_time is set and nothing publishes /clock")
    receive = health.spreads.get("receive")
    if receive is not None and receive.p50 < -AHEAD_MS:
        yield Finding(
            WARN,
            f"stamps lie {-receive.p50:.0f} ms ahead of the node's clock: synchronise the clocks, or set use_sim_time "
            "for a bag",
        )
    if health.time_jumps > before.time_jumps:
        yield Finding(WARN, "time jumped back: a bag started over, or a clock was set")
    out_of_order = health.counts.get("out_of_order", 0) - before.outcomes.get("out_of_order", 0)
    if out_of_order > 0:
        several = f": {health.input.publishers} publish on {health.input.topic}" if health.input.publishers > 1 else ""
        yield Finding(WARN, f"{out_of_order} frame(s) out of order{several}")
    if health.repeated > before.repeated:
        yield Finding(WARN, "stamps stand still: the camera driver has to set header.stamp")


def _frame_findings(health: Health, before: dict[str, int]) -> Iterator[Finding]:
    fresh = {outcome: count - before.get(outcome, 0) for outcome, count in health.counts.items()}
    limits = health.limits
    if health.busy_s * 1e3 > limits.hang_ms:
        yield Finding(ERROR, f"worker busy for {health.busy_s:.1f} s with one frame")
    for outcome, (level, text) in _OUTCOME_FINDINGS.items():
        if fresh.get(outcome, 0) > 0:
            yield Finding(level, f"{fresh[outcome]} {text}{_reason(health, outcome)}")
    if health.lost_ago_s is not None and health.lost_ago_s < LOSS_MEMORY_S:
        yield Finding(
            WARN,
            f"{health.lost} frame(s) lost before they arrived: camera driver and node must "
            "both load the Fast DDS profile fastdds.xml (FASTDDS_DEFAULT_PROFILES_FILE)",
        )
    total = health.spreads.get("total")
    if total is not None and 0 < limits.slow_frame_ms < total.p95:
        yield Finding(WARN, f"slow: p95 {total.p95:.0f} ms, slow_frame_ms is {limits.slow_frame_ms:g}")


_OUTCOME_FINDINGS: Final = MappingProxyType(
    {
        "failed": (ERROR, "frame(s) failed"),
        "malformed": (WARN, "malformed frame(s)"),
        "stale": (WARN, "frame(s) older than max_age_ms before they were labelled: camera, network or clocks"),
        "late": (WARN, "frame(s) older than max_age_ms once labelled: the model is too slow for it"),
    }
)


def _reason(health: Health, outcome: str) -> str:
    return f": {health.last_problem}" if outcome in ("failed", "malformed") else ""


def _model_findings(health: Health) -> Iterator[Finding]:
    if health.model_file_problem:
        yield Finding(WARN, health.model_file_problem)
    bright = health.limits.bright_above
    if health.intensity is not None and 0 < bright < health.intensity:
        yield Finding(
            WARN, f"bright picture: mean {health.intensity:.0f}, bright_above is {bright:g}: the model is for night"
        )


def values(health: Health) -> dict[str, str]:
    """The figures, in words a rqt or Foxglove table shows."""
    facts = health.facts
    shown = {"state": health.state, "image topic": health.input.topic, "model": health.model}
    shown |= {"publishers": str(health.input.publishers), "input reliability": health.input.reliability}
    if facts is not None:
        shown |= {"backend": facts.backend, "device": facts.device, "arch": facts.metadata.arch}
        shown |= {"why this backend": facts.why} if facts.why else {}
        shown["outputs by"] = facts.outputs_by
        shown["trained"] = "yes" if facts.metadata.trained else "no: random weights"
    shown |= {"samples of 16 bits": health.samples} if health.samples else {}
    shown["received"] = str(health.received)
    shown |= {outcome: str(count) for outcome, count in health.counts.items()}
    shown |= {"in work": str(health.in_work), "lost before arrival": str(health.lost)}
    shown |= {"repeated stamps": str(health.repeated), "time jumps": str(health.time_jumps)}
    for stage, spread in health.spreads.items():
        shown[f"{stage} ms p50/p95/p99"] = " / ".join(f"{value:.1f}" for value in spread)
    if health.intensity is not None:
        shown["picture mean 0..255"] = f"{health.intensity:.1f}"
    if health.changed_share is not None:
        shown["labels changed %"] = f"{health.changed_share * 100:.2f}"
    if health.last_problem:
        shown["last problem"] = health.last_problem
    return shown


class Diagnostics:
    """Publishes /diagnostics. `report` is called by a timer of the executor thread."""

    def __init__(self, node: Any, health: Callable[[], Health]) -> None:
        self._node = node
        self._health = health
        self._before = NOTHING_COUNTED
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)

    def report(self) -> None:
        """Publish the node's state now."""
        health = self._health()
        found = findings(health, self._before)
        self._before = Counted(health.counts, health.repeated, health.time_jumps)
        status = DiagnosticStatus()
        status.name = f"{self._node.get_fully_qualified_name()}: night segmentation"
        status.hardware_id = health.input.topic
        status.level = found[0].level if found else OK
        status.message = "; ".join(finding.text for finding in found) or health.state
        status.values = [KeyValue(key=key, value=value) for key, value in values(health).items()]
        message = DiagnosticArray(status=[status])
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)
