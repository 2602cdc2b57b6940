"""The live replay's part of the report."""

from __future__ import annotations

from typing import Any, Final

from dannet_core.report.charts import LIVE_COLOR, Line, Row, histogram, timeline, timeline_height
from dannet_core.report.page import figure_div, milliseconds
from dannet_ros.replay.explorer import Json, extremes

_MAX_POINTS: Final = 4000


def live_section(live: Json | None) -> dict[str, Any] | None:
    """What the template ``bag.html.j2`` shows of a live replay; None where there was none.

    Args:
        live: what `live.replay_live` gives.
    """
    if live is None:
        return None
    note = f"{live['topic']} replayed at {live['rate']:g}x through DDS to {live['node']}, stamped anew. Latency: from "
    note += "sending a frame to the arrival of its label here. Age: from the frame's stamp, the camera's own delay in "
    note += "the bag included."
    drops = [[why, str(count)] for why, count in live["dropped"].items()]
    hint = ""
    if live["dropped"]["lost before the node"] and not live["fastdds_profile"]:
        hint = "This replay ran without the Fast DDS profile for large images (FASTDDS_DEFAULT_PROFILES_FILE)."
    return {
        "note": note,
        "color": LIVE_COLOR,
        "tiles": _tiles(live),
        "drops": [*drops, ["all frames without a label", str(live["sent"] - live["labelled"])]],
        "hint": hint,
        "histogram": None,
        **(_charts(live) if live["latency_ms"] else {}),
    }


def _tiles(live: Json) -> list[dict[str, str]]:
    tiles = [(f"{live['labelled']} / {live['sent']}", "", "frames came back labelled")]
    latency, age = live["latency_ms"], live["age_ms"]
    if latency:
        text = f"latency (median); p99 {milliseconds(latency['p99'])} ms"
        tiles.append((milliseconds(latency["p50"]), "ms", text))
        tiles.append((milliseconds(age["p99"]), "ms", f"age of a label (p99); worst {milliseconds(age['max'])} ms"))
        same = f"{live['identical_to_replay']} / {live['labelled']}"
        tiles.append((same, "", "labels equal the replay's, bit for bit"))
    return [{"value": value, "unit": unit, "text": text} for value, unit, text in tiles]


def _charts(live: Json) -> dict[str, Any]:
    latencies = [frame["latency_ms"] for frame in live["frames"]]
    chosen = extremes([latencies], _MAX_POINTS)
    frames = [live["frames"][index] for index in chosen]
    dots = Line(
        "live",
        LIVE_COLOR,
        [frame["sent_s"] for frame in frames],
        [frame["latency_ms"] for frame in frames],
        joined=False,
        texts=[f"stamp {frame['stamp_ns']}" for frame in frames],
    )
    rows = [Row("Latency over time, ms; red: frames without a label", [dots])]
    bars = histogram(
        [("live", LIVE_COLOR, [value for value in latencies if value is not None])], "ms from sent to labelled"
    )
    return {
        "histogram": figure_div(bars, "Frames by latency", 260),
        "timeline": figure_div(
            timeline(rows, "seconds of the replay"), "Latency over the replay", timeline_height(rows)
        ),
    }
