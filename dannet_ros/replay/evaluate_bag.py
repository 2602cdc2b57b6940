"""`ros2 run dannet_ros evaluate_bag BAG... --model M --out DIR`: a model's quality on recorded drives."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dannet_core.errors import OutputError
from dannet_core.program import EXIT_INTERRUPTED
from dannet_ros.replay.bag_options import Settings
from dannet_ros.replay.bag_report import JSON_NAME, summary_text
from dannet_ros.replay.bag_writing import check_free
from dannet_ros.replay.fleet.bag_search import find_bags
from dannet_ros.replay.fleet.fleet import evaluate_fleet
from dannet_ros.replay.live import LivePlan, replay_live
from dannet_ros.replay.one_bag import BAG_NAME, REPORT_NAME, evaluate, warn_without_page

__all__ = ["DESCRIPTION", "Settings", "run"]

DESCRIPTION = (
    "Labels every frame of a bag once, in order; writes OUT/metrics.json, OUT/report.html and OUT/bag with label, "
    "color and overlay topics beside the originals. Needs no ROS installation, except for --live. Several bags, or a "
    "folder of them: these in OUT/bags/NAME each, and one summary over all in OUT; the same command again does what is "
    "not done yet."
)


def run(settings: Settings) -> int:
    """Check everything, go through the bag or the bags, write the results, print where they are."""
    found = find_bags(settings.bag, settings.out)
    if found.single and settings.jobs is None and settings.ray is None:
        return _evaluate_one(settings, settings.bag[0])
    return evaluate_fleet(settings, found)


def _evaluate_one(settings: Settings, bag: Path) -> int:
    _check_out(settings)
    with_page = warn_without_page()
    done = evaluate(bag, settings, settings.out)
    done.write(settings.out)
    content, complete = done.content, not done.content["interrupted"]
    if done.live and complete:
        # After the results are safe: the node may turn out not to be there.
        content["timing"]["live"] = _replay_live(settings, bag, done.live, content)
        done.write(settings.out)
    print(summary_text(content))
    names = [
        *([REPORT_NAME] if with_page else []),
        JSON_NAME,
        *([] if settings.write_bag == "none" else [f"{BAG_NAME}/"]),
    ]
    print(f"wrote {', '.join(str(settings.out / name) for name in names)}")
    return 0 if complete else EXIT_INTERRUPTED


def _check_out(settings: Settings) -> None:
    if settings.out.exists() and not settings.out.is_dir():
        raise OutputError(f"{settings.out}: is a file, expected a folder")
    if not settings.overwrite and any((settings.out / name).exists() for name in (JSON_NAME, REPORT_NAME)):
        raise OutputError(f"{settings.out}: holds results already: choose another folder or add --overwrite")
    if settings.write_bag != "none":
        check_free(settings.out / BAG_NAME, settings.overwrite)


def _replay_live(settings: Settings, bag: Path, topic: str, content: Mapping[str, Any]) -> dict[str, Any]:
    plan = LivePlan(bag, topic, settings.live_rate, settings.live_node, settings.live_wait)
    name = content["models"][0]["name"]
    frames = [frame for frame in content["frames"] if frame["topic"] == topic]
    expected = [frame["models"][name]["labels"] if "models" in frame else "" for frame in frames]
    return replay_live(plan, expected)
