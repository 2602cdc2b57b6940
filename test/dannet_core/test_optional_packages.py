"""The deployed path needs neither torch nor ROS nor CUDA, and a missing package is an error only when asked for."""

import subprocess
import sys
import textwrap

import pytest

BLOCKER = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked}:
            raise ImportError("blocked: " + name, name=name.split(".")[0])
sys.meta_path.insert(0, Block())
"""


def run(code: str, *blocked: str) -> subprocess.CompletedProcess[str]:
    script = BLOCKER.format(blocked=set(blocked) or "()") + textwrap.dedent(code)
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=False)


HEAVY = ("torch", "torchvision", "onnx", "safetensors", "tensorrt", "tensorrt_rtx", "pycuda", "rclpy", "sensor_msgs")


def test_onnx_inference_works_without_torch_ros_and_cuda(tiny_onnx):
    result = run(
        f"""
        import numpy as np
        from dannet_core import NightSegmenter
        rgb = np.zeros((80, 90, 3), np.uint8)
        prediction = NightSegmenter.load({str(tiny_onnx)!r}).segment(rgb)
        print(prediction.labels.shape, prediction.overlay(rgb).shape, prediction.relit.shape)
        """,
        *HEAVY,
    )
    assert result.stdout.split("\n")[0] == "(80, 90) (80, 90, 3) (80, 90, 3)", result.stderr


def test_onnx_inference_does_not_import_torch_where_it_is_installed(tiny_onnx):
    result = run(
        f"""
        import sys, numpy as np
        from dannet_core import NightSegmenter
        NightSegmenter.load({str(tiny_onnx)!r}).segment(np.zeros((80, 90, 3), np.uint8))
        print(sorted({{m.split(".")[0] for m in sys.modules}} & {set(HEAVY)!r}))
        """
    )
    assert result.stdout.strip() == "[]", result.stdout + result.stderr


@pytest.mark.parametrize(
    ("missing", "suffix", "said"),
    [
        ("onnxruntime", ".onnx", "onnxruntime is needed to run .onnx models but cannot be imported: pip install"),
        ("torch", ".safetensors", "torch is needed to run .safetensors models but cannot be imported: pip install"),
    ],
)
def test_a_missing_backend_is_one_line_that_names_the_package(tmp_path, missing, suffix, said):
    path = tmp_path / f"m{suffix}"
    path.write_bytes(b"x")
    code = f"""
        import sys
        from dannet_core.cli.main import main
        sys.exit(main(["predict", {str(tmp_path)!r}, "--model", {str(path)!r}, "--out", {str(tmp_path / "o")!r}]))
        """
    result = run(code, missing)
    assert result.returncode == 2
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_the_package_and_its_engine_modules_import_without_tensorrt_and_torch():
    result = run(
        """
        import sys
        import dannet_core, dannet_core.deploy.engine_build, dannet_core.cli.build_engine
        from dannet_core.inference import engine_file, gpu, tensorrt_flavour
        print(sorted({m.split(".")[0] for m in sys.modules} & {"torch", "onnx", "tensorrt", "tensorrt_rtx", "pycuda"}))
        """,
        *HEAVY,
    )
    assert result.stdout.strip() == "[]", result.stderr


@pytest.mark.parametrize("flavour", ["tensorrt", "tensorrt_rtx"])
def test_building_an_engine_without_its_tensorrt_is_one_line_that_names_it(tmp_path, tiny_onnx, flavour):
    arguments = ["--model", str(tiny_onnx), "--out", str(tmp_path / "x.engine"), "--flavour", flavour]
    code = f"""
        import sys
        from dannet_core.cli.main import main
        sys.exit(main(["build_engine", *{arguments}]))
        """
    result = run(code, *HEAVY)
    assert result.returncode == 2
    package = {"tensorrt": "tensorrt", "tensorrt_rtx": "tensorrt-rtx-cu13"}[flavour]
    assert result.stderr == (
        f"dannet build_engine: {flavour} is needed to build engines but cannot be imported: pip install {package}\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_an_engine_is_built_without_torch_and_onnx(tmp_path, tiny_onnx):
    pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed: pip install tensorrt-rtx-cu13")
    arguments = ["--model", str(tiny_onnx), "--out", str(tmp_path / "x.engine"), "--flavour", "tensorrt_rtx"]
    result = run(
        f"""
        from dannet_core.cli.main import main
        main(["build_engine", *{arguments}])
        """,
        "torch",
        "onnx",
        "pycuda",
    )
    assert "built in" in result.stdout, result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.engine", "x.engine.json"]


def test_adopt_names_the_package_it_misses_and_needs_no_torch(tmp_path):
    verb = f"""
        from dannet_core.cli.main import main
        main(["adopt", {str(tmp_path / "theirs.onnx")!r}, "--out", {str(tmp_path / "ours.onnx")!r}])
        """
    result = run(verb, "onnx", "torch")
    said = "dannet adopt: onnx is needed to adopt models but cannot be imported: pip install onnx\n"
    assert (result.stdout, result.stderr) == ("", said)
    from foreign_graphs import TinyGraph

    TinyGraph().classify().save(tmp_path / "theirs.onnx")
    result = run(verb, "torch", "rclpy", "tensorrt_rtx")
    assert (result.stderr, (tmp_path / "ours.onnx").is_file()) == ("", True)


@pytest.mark.parametrize("argv", [["--help"], ["train", "--help"], ["train", "--print-config"]])
def test_what_only_shows_settings_needs_neither_arrays_nor_pictures(argv):
    result = run(f"from dannet_core.cli.main import main; main({argv})", "numpy", "cv2", "shtab", *HEAVY)
    assert (result.returncode, result.stderr) == (0, "")
    assert "train" in result.stdout


def test_the_package_opens_its_door_when_somebody_comes():
    result = run(
        """
        import sys
        import dannet_core
        print("numpy" in sys.modules, "NightSegmenter" in dir(dannet_core), hasattr(dannet_core, "Absent"))
        from dannet_core import NightSegmenter, preset
        print(NightSegmenter.__module__, preset("paper") == dannet_core.preset("paper"), "numpy" in sys.modules)
        """
    )
    assert result.stdout == "False True False\ndannet_core.inference.segmenter True True\n", result.stderr
