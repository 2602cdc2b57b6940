"""Engines that TensorRT for RTX really builds: their cache, two processes at once, and every way not to fit."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import onnx
import pytest
from onnx import TensorProto, helper

from dannet_core.deploy import engine_build
from dannet_core.deploy import plan as plan_module
from dannet_core.deploy.build_progress import BuildProgress, PhaseTree
from dannet_core.deploy.engine_build import BuildOptions, build_engine, cached_engine
from dannet_core.deploy.plan import PlanOptions, build_plan, read_graph
from dannet_core.errors import BackendError, ModelFileError, OutputError, SettingsError
from dannet_core.file_lock import locked
from dannet_core.inference import tensorrt_flavour
from dannet_core.inference.engine_file import Binding, read_engine_info, read_plan, side_file
from dannet_core.inference.gpu import Gpu
from dannet_core.inference.tensorrt_flavour import Flavour

rtx = pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed: pip install tensorrt-rtx-cu13")

RTX = BuildOptions(flavour="tensorrt_rtx")


@pytest.fixture
def engine(tiny_onnx, tmp_path) -> Path:
    return build_engine(tiny_onnx, tmp_path / "tiny.engine", RTX).path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def change(engine: Path, **changes: object) -> None:
    side_file(engine).write_text(json.dumps(json.loads(side_file(engine).read_text()) | changes))


def test_a_half_precision_engine_is_built_without_a_gpu_and_described(demo_fp16, tmp_path):
    seen: list[BuildProgress] = []
    built = build_engine(demo_fp16, tmp_path / "light.engine", RTX, seen.append)
    assert built.built
    info = read_engine_info(built.path)
    assert info == built.info
    assert (info.flavour, info.flavour_version) == ("tensorrt_rtx", rtx.__version__)
    assert (info.gpu, info.compute_capability, info.targets, info.precision) == (None, None, (), "fp16")
    assert info.onnx_sha256 == hashlib.sha256(demo_fp16.read_bytes()).hexdigest()
    assert info.inputs == {"image": Binding((1, 3, 288, 512), "float32")}
    assert info.outputs["stride_logits"] == Binding((1, 19, 36, 64), "float32")
    assert info.metadata == read_graph(demo_fp16).metadata
    assert (info.metadata.arch, info.metadata.trained, info.metadata.precision) == ("efficientvit", True, "fp16")
    plan = read_plan(built.path, info)
    assert plan[:4] == b"vtrt"
    # Half weights: in fp32 the plan of these weights has 5.2 MB.
    assert 3e6 < len(plan) < 4.4e6
    fractions = [progress.fraction for progress in seen]
    assert fractions == sorted(fractions)
    assert all(0 <= fraction <= 1 for fraction in fractions)
    assert names(tmp_path) == ["light.engine", "light.engine.json"]


def test_an_engine_that_fits_is_used_again(engine, tiny_onnx):
    before = engine.stat().st_mtime_ns
    again = build_engine(tiny_onnx, engine, RTX)
    assert (again.built, again.reasons, again.seconds) == (False, (), 0.0)
    assert again.info == read_engine_info(engine)
    assert engine.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"flavour_version": "1.3.0"}, "flavour_version: the engine has '1.3.0', here it is"),
        ({"flavour": "tensorrt"}, "flavour: the engine has 'tensorrt', here it is 'tensorrt_rtx'"),
        ({"gpu": "H100"}, "gpu: the engine has 'H100', here it is None"),
        ({"compute_capability": "9.0"}, "compute_capability: the engine has '9.0', here it is None"),
        ({"targets": ["8.6"]}, "targets: the engine has 8.6, here it is none"),
        ({"workspace_mib": 64}, "workspace_mib: the engine has 64, here it is 0"),
        ({"precision": "fp16"}, "precision: the engine has 'fp16', here it is 'fp32'"),
        ({"onnx_sha256": "0" * 64}, "onnx_sha256: the engine has '0000"),
        ({"plan_sha256": "0" * 64}, "damaged or exchanged: plan_sha256"),
        ({"plan_bytes": 5}, "damaged or exchanged: plan_bytes"),
        ({"colour": "red"}, "unknown field 'colour'"),
    ],
)
def test_an_engine_that_does_not_fit_is_refused_or_built_again_and_the_field_named(engine, tiny_onnx, changes, said):
    plan = engine.read_bytes()
    change(engine, **changes)
    changed = side_file(engine).read_text()
    with pytest.raises(ModelFileError, match=rf"does not fit: .*{re.escape(said)}.*: allow the rebuild"):
        build_engine(tiny_onnx, engine, BuildOptions(flavour="tensorrt_rtx", on_mismatch="refuse"))
    assert (engine.read_bytes(), side_file(engine).read_text()) == (plan, changed)
    built = build_engine(tiny_onnx, engine, RTX)
    assert built.built
    assert said in built.reasons[0]
    assert read_plan(engine, read_engine_info(engine))


def test_a_truncated_engine_and_a_lost_side_file_are_built_again(engine, tiny_onnx):
    whole = engine.stat().st_size
    with engine.open("r+b") as file:
        file.truncate(whole // 2)
    built = build_engine(tiny_onnx, engine, RTX)
    assert f"plan_bytes: the engine has {whole}, here it is {whole // 2}" in built.reasons[0]
    side_file(engine).unlink()
    assert "cannot read the engine's side file" in build_engine(tiny_onnx, engine, RTX).reasons[0]
    assert not build_engine(tiny_onnx, engine, RTX).built


def test_two_processes_build_one_engine_once(tiny_onnx, tmp_path):
    target = tmp_path / "tiny.engine"
    command = [sys.executable, "-m", "dannet_core", "build_engine", "--model", tiny_onnx, "--out", target]
    with locked(tmp_path / ".tiny.engine.lock"):
        processes = [
            subprocess.Popen(
                [*command, "--flavour", "tensorrt_rtx"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            for _ in range(2)
        ]
        # Each says that it waits, so both are at the lock when it opens.
        waiting = [process.stderr.readline() for process in processes]
        assert not target.exists()
    outputs = [process.communicate(timeout=300) for process in processes]
    assert all(engine_build.WAITING in line for line in waiting)
    assert [process.returncode for process in processes] == [0, 0], outputs
    said = sorted("was there and fits" in out for out, _ in outputs)
    assert said == [False, True]
    read_plan(target, read_engine_info(target))
    assert names(tmp_path) == ["tiny.engine", "tiny.engine.json"]


def test_a_build_that_is_interrupted_leaves_what_was_there(engine, tiny_onnx, demo_fp16):
    class StopBuildError(Exception):
        pass

    def stop(progress: BuildProgress) -> None:
        raise StopBuildError

    before = engine.read_bytes()
    with pytest.raises(StopBuildError):
        build_engine(demo_fp16, engine, RTX, stop)
    assert engine.read_bytes() == before
    assert names(engine.parent) == ["tiny.engine", "tiny.engine.json"]
    assert not build_engine(tiny_onnx, engine, RTX).built


def test_what_a_killed_writer_left_is_removed_and_nothing_else(tiny_onnx, tmp_path):
    (tmp_path / ".tiny.4711.partial.engine").write_bytes(b"half a plan")
    (tmp_path / ".tiny2.4711.partial.engine").write_bytes(b"another's")
    build_engine(tiny_onnx, tmp_path / "tiny.engine", RTX)
    assert names(tmp_path) == [".tiny2.4711.partial.engine", "tiny.engine", "tiny.engine.json"]


def test_a_stopped_builder_says_so(demo_fp16):
    tree = PhaseTree()
    tree.stop()
    flavour = Flavour("tensorrt_rtx", rtx.__version__, rtx)
    with pytest.raises(BackendError, match="could not build an engine"):
        build_plan(flavour, read_graph(demo_fp16), PlanOptions(), tree)


def test_the_cache_keeps_an_engine_for_each_set_of_options(tiny_onnx, tmp_path):
    folder = tmp_path / "new" / "cache"
    plain = cached_engine(tiny_onnx, folder, RTX)
    turing = cached_engine(tiny_onnx, folder, BuildOptions(flavour="tensorrt_rtx", targets=("8.6", "7.5")))
    assert (plain.built, turing.built) == (True, True)
    assert plain.path != turing.path
    assert turing.info.targets == ("7.5", "8.6")
    assert len(names(folder)) == 4
    assert not cached_engine(tiny_onnx, folder, RTX).built
    # The order of the targets makes no other engine.
    assert not cached_engine(tiny_onnx, folder, BuildOptions(flavour="tensorrt_rtx", targets=("7.5", "8.6"))).built


def test_tensorrt_keeps_its_timings_from_build_to_build(tiny_onnx, tmp_path):
    # The library of RTX still takes the timing cache's calls, so that TensorRT's way through the code runs here too.
    flavour = Flavour("tensorrt", "10.3.0", rtx)
    graph, timings = read_graph(tiny_onnx), tmp_path / "any.timing"
    with pytest.deprecated_call():
        plan = build_plan(flavour, graph, PlanOptions(workspace_mib=256, timing_cache=timings), PhaseTree())
    first = timings.read_bytes()
    assert len(first) > 0
    timings.write_bytes(b"damaged")
    with pytest.deprecated_call():
        again = build_plan(flavour, graph, PlanOptions(timing_cache=timings), PhaseTree())
    assert timings.read_bytes() == first
    assert plan.inputs == again.inputs == {"image": Binding((1, 3, 64, 96), "float32")}


def test_tensorrt_without_a_gpu_says_what_builds_instead(monkeypatch, tiny_onnx, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorrt", SimpleNamespace(__version__="10.3.0"))
    monkeypatch.setattr(tensorrt_flavour, "find_gpu", lambda _device=0: None)
    with pytest.raises(BackendError, match=r"tensorrt 10\.3\.0: found no NVIDIA GPU.*use flavour tensorrt_rtx"):
        build_engine(tiny_onnx, tmp_path / "x.engine", BuildOptions(flavour="tensorrt"))
    assert names(tmp_path) == []


def test_rtx_is_not_built_on_a_gpu_it_cannot_run_on_unless_for_another(monkeypatch, tiny_onnx, tmp_path):
    monkeypatch.setattr(tensorrt_flavour, "find_gpu", lambda _device=0: Gpu("NVIDIA H100", "9.0"))
    with pytest.raises(BackendError, match=r"NVIDIA H100 .*needs flavour tensorrt"):
        build_engine(tiny_onnx, tmp_path / "x.engine", RTX)
    with pytest.raises(BackendError, match=r"NVIDIA H100 .*needs flavour tensorrt"):
        cached_engine(tiny_onnx, tmp_path, RTX)
    assert names(tmp_path) == []
    for_others = BuildOptions(flavour="tensorrt_rtx", targets=("8.6",))
    assert build_engine(tiny_onnx, tmp_path / "x.engine", for_others).info.targets == ("8.6",)


def test_an_rtx_engine_takes_no_memory_while_it_runs_so_that_it_can_be_recorded():
    flag = rtx.BuilderFlag.REQUIRE_USER_ALLOCATION
    for name, expected in (("tensorrt_rtx", True), ("tensorrt", False)):
        flavour = Flavour(name, rtx.__version__, rtx)
        builder = rtx.Builder(flavour.error_log())
        assert plan_module._configured(flavour, builder, PlanOptions()).get_flag(flag) == expected


def test_mistakes_are_named_before_anything_is_built(tiny_onnx, tmp_path):
    target = tmp_path / "x.engine"
    with pytest.raises(ModelFileError, match=r"got suffix '\.plan', expected '\.engine'"):
        build_engine(tiny_onnx, tmp_path / "x.plan", RTX)
    with pytest.raises(OutputError, match="no such folder"):
        build_engine(tiny_onnx, tmp_path / "absent" / "x.engine", RTX)
    with pytest.raises(SettingsError, match=r"targets: got '5\.0'"):
        build_engine(tiny_onnx, target, BuildOptions(flavour="tensorrt_rtx", targets=("5.0",)))
    with pytest.raises(SettingsError, match="workspace_mib: got -1"):
        build_engine(tiny_onnx, target, BuildOptions(flavour="tensorrt_rtx", workspace_mib=-1))
    with pytest.raises(SettingsError, match="on_mismatch: got 'ignore', expected one of rebuild, refuse"):
        build_engine(tiny_onnx, target, BuildOptions(on_mismatch="ignore"))
    with pytest.raises(ModelFileError, match=r"no\.onnx: cannot read: No such file"):
        build_engine(tmp_path / "no.onnx", target, RTX)
    (tmp_path / "bad.onnx").write_bytes(b"not onnx")
    with pytest.raises(ModelFileError, match=r"bad\.onnx: not a usable ONNX file"):
        build_engine(tmp_path / "bad.onnx", target, RTX)
    assert names(tmp_path) == ["bad.onnx"]


def test_a_graph_that_tensorrt_cannot_read_is_named_with_its_reason(tiny_onnx, tmp_path):
    model = onnx.load(str(tiny_onnx))
    model.graph.node.append(helper.make_node("StringNormalizer", ["words"], ["normal"]))
    model.graph.input.append(helper.make_tensor_value_info("words", TensorProto.STRING, [1]))
    model.graph.output.append(helper.make_tensor_value_info("normal", TensorProto.STRING, [1]))
    onnx.save(model, str(tmp_path / "odd.onnx"))
    with pytest.raises(ModelFileError, match=r"odd\.onnx: tensorrt_rtx \S+ cannot read the graph: .+: export it again"):
        build_engine(tmp_path / "odd.onnx", tmp_path / "odd.engine", RTX)
    assert names(tmp_path) == ["odd.onnx"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_named(tiny_onnx, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="cannot lock: Permission denied"):
        build_engine(tiny_onnx, tmp_path / "x.engine", RTX)
