from __future__ import annotations

import json

import pytest

from dannet_core.errors import ModelFileError, OutputError
from dannet_core.inference.engine_file import (
    MAX_SIDE_FILE_BYTES,
    Binding,
    EngineInfo,
    Running,
    check_engine,
    describe,
    read_engine_info,
    read_plan,
    side_file,
    write_engine,
)
from dannet_core.metadata import ModelMetadata

PLAN = b"plan" * 100
TENSORRT = Running("tensorrt", "10.3.0", "Orin", "8.7")
KNOWN = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")
RTX = Running("tensorrt_rtx", "1.7.1", "RTX 4090", "8.9", KNOWN)


@pytest.fixture
def info() -> EngineInfo:
    return EngineInfo(
        flavour="tensorrt",
        flavour_version="10.3.0",
        gpu="Orin",
        compute_capability="8.7",
        targets=(),
        workspace_mib=512,
        precision="fp16",
        onnx_sha256="a" * 64,
        plan_sha256="",
        plan_bytes=0,
        inputs={"image": Binding((1, 3, 64, 96), "float32")},
        outputs={"stride_logits": Binding((1, 19, 8, 12), "float32")},
        metadata=ModelMetadata("pspnet", "resnet101", input_size=(64, 96), metrics={"miou": 0.4}),
    )


@pytest.fixture
def engine(info, tmp_path):
    path = tmp_path / "net.engine"
    write_engine(path, PLAN, info)
    return path


def change(engine, **changes) -> None:
    values = json.loads(side_file(engine).read_text())
    for name, value in changes.items():
        if value is ...:
            del values[name]
        else:
            values[name] = value
    side_file(engine).write_text(json.dumps(values))


def test_every_field_survives_the_file(engine, info):
    read = read_engine_info(engine)
    assert read == info.replace(plan_sha256=read.plan_sha256, plan_bytes=400)
    assert read_plan(engine, read) == PLAN
    assert sorted(path.name for path in engine.parent.iterdir()) == ["net.engine", "net.engine.json"]


@pytest.mark.parametrize(
    ("plan", "field"), [(PLAN[:-1], "plan_bytes: the engine has 400, here it is 399"), (b"naln" * 100, "plan_sha256")]
)
def test_a_truncated_or_exchanged_engine_is_refused_by_field(engine, plan, field):
    engine.write_bytes(plan)
    with pytest.raises(ModelFileError, match=rf"net\.engine: damaged or exchanged: {field}.*: build the engine again"):
        read_plan(engine, read_engine_info(engine))


def test_a_missing_engine_or_side_file_is_named(engine, tmp_path):
    info = read_engine_info(engine)
    engine.unlink()
    with pytest.raises(ModelFileError, match=r"net\.engine: cannot read: No such file"):
        read_plan(engine, info)
    with pytest.raises(
        ModelFileError, match=r"other\.engine\.json: cannot read .*build the engine with `dannet build_"
    ):
        read_engine_info(tmp_path / "other.engine")


@pytest.mark.parametrize(
    "text",
    ["", "{", "[" * 100_000, "null", "[]", "{}", "\udce4", "x" * (MAX_SIDE_FILE_BYTES + 1)],
    ids=["empty", "cut", "deep", "null", "list", "object", "bytes", "large"],
)
def test_a_damaged_side_file_is_one_line(engine, text):
    side_file(engine).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ModelFileError, match=r"^\S+net\.engine\.json: ") as raised:
        read_engine_info(engine)
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format_version": 2}, "got format version 2, expected 1: update"),
        ({"gpu": ...}, "missing field 'gpu'"),
        ({"colour": 1}, "unknown field 'colour'"),
        ({"flavour": "tensorflow"}, "field 'flavour': got 'tensorflow', expected one of tensorrt, tensorrt_rtx"),
        ({"compute_capability": "new"}, "field 'compute_capability'"),
        ({"targets": "8.6"}, "field 'targets'"),
        ({"onnx_sha256": "a" * 63}, "field 'onnx_sha256'"),
        ({"plan_bytes": True}, "field 'plan_bytes'"),
        ({"inputs": {}}, "field 'inputs'"),
        ({"outputs": {"relit": {"shape": [1, -1], "dtype": "float32"}}}, "field 'outputs'"),
        ({"metadata": []}, "field 'metadata'"),
        ({"metadata": {"arch": 1, "backbone": "resnet18", "format_version": 1}}, "metadata 'arch': got 1"),
    ],
)
def test_a_field_that_does_not_hold_is_named(engine, changes, said):
    change(engine, **changes)
    with pytest.raises(ModelFileError, match=said):
        read_engine_info(engine)


def test_a_tensorrt_engine_belongs_to_one_version_and_gpu(info):
    assert check_engine(info, TENSORRT) == []
    found = check_engine(info, Running("tensorrt", "10.4.0", "Thor", "11.0"))
    assert [difference.field for difference in found] == ["flavour_version", "gpu", "compute_capability"]
    assert "flavour_version: the engine has '10.3.0', here it is '10.4.0'; gpu: the engine has 'Orin'" in describe(
        found
    )
    assert check_engine(info, RTX)[0].field == "flavour"


def test_an_rtx_engine_belongs_to_its_targets_on_any_gpu_name(info):
    rtx = info.replace(flavour="tensorrt_rtx", flavour_version="1.7.1", gpu=None, compute_capability=None)
    assert check_engine(rtx, RTX) == []
    assert check_engine(rtx.replace(targets=("8.6", "8.9")), RTX) == []
    assert describe(check_engine(rtx.replace(targets=("8.6", "12.0")), RTX)) == (
        "targets: the engine has 8.6, 12.0, here it is '8.9'"
    )
    turing = Running("tensorrt_rtx", "1.7.1", "RTX 2080", "7.5", KNOWN)
    assert [d.field for d in check_engine(rtx, turing)] == ["targets"]
    assert check_engine(rtx.replace(targets=("7.5",)), turing) == []
    assert [d.field for d in check_engine(rtx, Running("tensorrt_rtx", "1.7.1", None, None, KNOWN))] == ["targets"]


@pytest.mark.parametrize(("gpu", "capability"), [("H100", "9.0"), ("Orin", "8.7"), ("B200", "10.0"), ("Next", "13.0")])
def test_an_rtx_engine_does_not_fit_a_gpu_that_its_flavour_has_no_kernels_for(info, gpu, capability):
    rtx = info.replace(flavour="tensorrt_rtx", flavour_version="1.7.1", gpu=None, compute_capability=None)
    here = Running("tensorrt_rtx", "1.7.1", gpu, capability, KNOWN)
    assert here.is_unknown_gpu
    assert not RTX.is_unknown_gpu
    assert describe(check_engine(rtx, here)) == (
        f"targets: the engine has 8.0, 8.6, 8.9, 12.0, 12.1, here it is '{capability}'"
    )


def test_nothing_is_written_into_a_folder_that_is_not_there(info, tmp_path):
    with pytest.raises(OutputError, match="No such file"):
        write_engine(tmp_path / "absent" / "net.engine", PLAN, info)
    assert list(tmp_path.iterdir()) == []
