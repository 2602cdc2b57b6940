"""Options of `evaluate_bag`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dannet_core.inference.presets import PRESETS
from dannet_core.settings import option
from dannet_core.tone import DEFAULT_TONE, MAX_DEPTH, TONES
from dannet_ros.replay.cameras import NODE
from dannet_ros.replay.ground_truth import ENCODINGS


@dataclass(frozen=True)
class Settings:
    """Options of `evaluate_bag`."""

    bag: list[Path] = option("a bag's folder, or one .mcap or .db3 file; several, or folders of them", positional=True)
    model: Path = option(".safetensors, .onnx or .engine")
    out: Path = option("folder for the results")
    compare: Path | None = option("a second model, set beside the first", None)
    topics: list[str] = option("image topics to label; none: every camera once, without depth, labels and overlays", [])
    labels: list[str] = option(
        "ground truth: a topic of the bag, a folder of PNG files named by stamp, or none; one for all image topics or "
        "one each; unset: /ground_truth/label where the bag has it",
        [],
    )
    label_encoding: str = option("ids of the ground truth", "train_ids", choices=ENCODINGS)
    classes: Path | None = option("YAML of the ground truth's class set; unset: the model's own", None)
    preset: str = option("inference preset", "paper", choices=tuple(PRESETS))
    reweight_std: float | None = option("spread of the class weights; unset: the preset's", None, limits=(0, 1))
    min_confidence: float = option("pixels below this likelihood become unknown", 0.0, limits=(0, 1))
    input_size: tuple[int, int] | None = option("height and width in pixels the network runs at", None)
    device: str = option("auto, cpu, cuda or cuda:N", "auto")
    threads: int = option(
        "CPU threads; 0 = one per core, and with --jobs or --ray one for each bag", 0, limits=(0, 1024)
    )
    tone: str = option("samples of 16 bits to 8, as the node's", DEFAULT_TONE, choices=TONES)
    bit_depth: int = option("of their bits, how many count, 9 to 16; 0 = found as they come", 0, limits=(0, MAX_DEPTH))
    worst: int = option("how many of the worst frames to show", 6, limits=(0, 100))
    write_bag: str = option("the new bag: the originals and the outputs, the outputs, or none", "full",
                            choices=("full", "outputs", "none"))  # fmt: skip
    storage: str = option("file format of the new bag", "mcap", choices=("mcap", "sqlite3"))
    overlay_alpha: float = option("opacity of the overlay: 0 picture only, 1 colours only", 0.5, limits=(0, 1))
    overwrite: bool = option("replace earlier results in OUT; of several bags: those that are done already too", False)
    jobs: int | None = option("of several bags, how many at a time, each in a process of its own; unset: one", None,
                              limits=(1, 1024))  # fmt: skip
    ray: str | None = option(
        "address of a Ray cluster to evaluate them on: HOST:PORT, or auto for this machine's", None
    )
    live: bool = option("replay it again through DDS to the running node and report what a vehicle would see", False)
    live_rate: float = option("1 = as recorded, 2 = twice as fast", 1.0, limits=(0.01, 100))
    live_node: str = option("the running node's name", f"/{NODE}")
    live_topic: str | None = option("image topic to replay; unset: the first evaluated one", None)
    live_wait: float = option("seconds to wait for the node to subscribe", 10.0, limits=(0, 3600))
