"""Writes docs/topics_and_parameters.md from the code: python docs/make_reference.py"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from dannet_core.atomic_files import write_whole  # noqa: E402 - the tree's own package, whatever is installed
from dannet_ros.frame_statistics import OUTCOMES, STAGES  # noqa: E402
from dannet_ros.parameters import CLASS_NAMES_PARAMETER, ParameterSpec, specs  # noqa: E402
from dannet_ros.topics import TOPICS, TopicSpec  # noqa: E402

TARGET = ROOT / "docs" / "topics_and_parameters.md"
INTRODUCTION = """# Topics and parameters of `night_seg`

Made from the code by `python docs/make_reference.py`; a test holds it current. `~` is the node's own name, `/night_seg`
unless it is renamed or has a namespace.
"""
LIVE = """
A parameter that is not live is read in configure: set it, then `ros2 lifecycle set /night_seg deactivate`, `cleanup`,
`configure`, `activate`. A value out of its range, or a change that has to wait, is refused with the reason; a name that
is not listed here stops configure, so that a typing error cannot pass unnoticed. The read-only parameter
`{class_names}` holds the class names in train-id order of the model that is configured.

QoS can be overridden in the standard way, `qos_overrides./RESOLVED/TOPIC.subscription.reliability` and the like, for
every topic but /diagnostics; an override that no topic takes stops configure.
"""
SERVICES = """
## Services

The five of every lifecycle node (`ros2 lifecycle get|set|list /night_seg`), the six of every node's parameters, and
`~/get_type_description`.
"""
DIAGNOSTICS = """
## Diagnostics

One status, named after the node, `hardware_id` the image topic. Level and message say what is wrong now and what to do;
the values are figures since configure. Frames by outcome add up to `received`, with those `in work`:
"""
LATENCY = """
Latency by stage, as `STAGE ms p50/p95/p99` over the last 300 processed frames, and on `~/stage_latency_ms` for each:
"""


def reference() -> str:
    """The whole page."""
    text = [INTRODUCTION, "\n## Topics\n\n", *_table(("topic", "type", "QoS", "what"), map(_topic_row, TOPICS))]
    text += [SERVICES, "\n## Parameters\n\n"]
    text += _table(("parameter", "default", "values", "live", "what"), map(_parameter_row, specs().values()))
    text += [LIVE.format(class_names=CLASS_NAMES_PARAMETER), DIAGNOSTICS, "\n"]
    text += _table(("outcome", "the frame was"), ((f"`{name}`", meaning) for name, meaning in OUTCOMES.items()))
    text += [LATENCY, "\n", *_table(("stage", "from where to where"), ((f"`{n}`", what) for n, what in STAGES.items()))]
    return "".join(text)


def _topic_row(spec: TopicSpec) -> tuple[str, ...]:
    name = f"`{spec.name}`" + (" (in)" if spec.direction == "in" else "")
    return name, spec.kind, spec.qos, spec.description


def _parameter_row(spec: ParameterSpec) -> tuple[str, ...]:
    default = "[" + ", ".join(spec.default) + "]" if isinstance(spec.default, tuple) else str(spec.default)
    if isinstance(spec.default, bool):
        default = default.lower()
    return (
        f"`{spec.name}`",
        f"`{default}`" if default else "required" if spec.name == "model" else "empty",
        spec.expected,
        "yes" * spec.live,
        spec.description,
    )


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    for row in (head, ("---",) * len(head), *rows):
        yield "| " + " | ".join(row).replace("|  |", "| |") + " |\n"


if __name__ == "__main__":
    write_whole(TARGET, reference().encode())
    print(TARGET.relative_to(ROOT))
