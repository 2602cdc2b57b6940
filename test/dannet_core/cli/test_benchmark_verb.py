import json

from dannet_core.cli.main import main


def test_measures_models_side_by_side_and_goes_on_where_one_fails(tiny_onnx, tmp_path, capsys):
    broken, out = tmp_path / "broken.onnx", tmp_path / "b.json"
    broken.write_bytes(b"no graph")
    arguments = ["--model", str(broken), str(tiny_onnx), "--camera-size", "90", "160", "--frames", "6"]
    code = main(["benchmark", *arguments, "--warm-up", "2", "--outputs", "overlay", "--out", str(out)])
    assert code == 0, capsys.readouterr().err
    record = json.loads(out.read_text())
    assert {one["model"] for one in record["measurements"]} == {"tiny.onnx"}
    measured = [one["backend"] for one in record["measurements"]]
    assert measured in (["openvino", "onnxruntime"], ["onnxruntime"])
    first = record["measurements"][0]
    assert (first["frames"], first["outputs"], first["camera_size"]) == (6, ["overlay"], [90, 160])
    assert first["latency_ms"]["min"] <= first["latency_ms"]["p50"] <= first["latency_ms"]["p99"]
    assert set(first["stages_ms"]) == {"preprocess", "infer", "postprocess"}
    assert first["memory_kind"] == "process"
    assert any("not a usable ONNX file" in reason for reason in record["failures"].values())
    assert "broken.onnx" in capsys.readouterr().out


def test_nothing_measured_is_an_error_and_a_wrong_name_is_one_line(tmp_path, capsys):
    assert main(["benchmark", "--model", str(tmp_path / "no.onnx"), "--out", str(tmp_path / "b.json")]) == 2
    assert main(["benchmark", "--model", "x.onnx", "--out", "b.txt"]) == 2
    assert "out: got b.txt, expected a name that ends in .json" in capsys.readouterr().err
