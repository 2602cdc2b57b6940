import subprocess
import sys

import cv2
import numpy as np
import pytest

from dannet_core.cli.main import main
from dannet_core.evaluation.submission import validate_submission
from dannet_core.pixels import read_rgb, write_png


def predict(*argv: object) -> int:
    return main(["predict", *map(str, argv)])


def test_labels_an_image_and_says_the_model_is_untrained(tiny_onnx, night_rgb, tmp_path, capsys):
    write_png(tmp_path / "a.png", night_rgb)
    assert predict(tmp_path / "a.png", "--model", tiny_onnx, "--out", tmp_path / "out", "--confidence", "--relit") == 0
    written = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert written == [f"a_{kind}.png" for kind in ("color", "confidence", "label", "overlay", "relit")]
    labels = cv2.imread(str(tmp_path / "out" / "a_label.png"), cv2.IMREAD_UNCHANGED)
    assert labels.shape == night_rgb.shape[:2]
    assert labels.max() < 19
    out = capsys.readouterr().out
    assert "untrained weights" in out
    assert "1 images and 0 video frames labelled" in out


def test_walks_a_folder_keeps_its_structure_and_leaves_out_what_it_cannot_read(tiny_onnx, night_rgb, tmp_path, capsys):
    (tmp_path / "in" / "sub").mkdir(parents=True)
    write_png(tmp_path / "in" / "a.png", night_rgb)
    write_png(tmp_path / "in" / "sub" / "a.png", night_rgb)
    (tmp_path / "in" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "in" / "notes.txt").write_text("not an image")
    assert predict(tmp_path / "in", "--model", tiny_onnx, "--out", tmp_path / "out") == 1
    assert (tmp_path / "out" / "a_label.png").is_file()
    assert (tmp_path / "out" / "sub" / "a_label.png").is_file()
    captured = capsys.readouterr()
    assert "broken.jpg: not a readable image" in captured.err
    assert "2 images and 0 video frames labelled, 1 left out" in captured.out


def test_linked_folders_are_walked_once_and_links_to_nowhere_are_named(tiny_onnx, night_rgb, tmp_path, capsys):
    for name in ("in/a.png", "disk/b.png"):
        (tmp_path / name).parent.mkdir()
        write_png(tmp_path / name, night_rgb)
    (tmp_path / "in/linked").symlink_to(tmp_path / "disk")
    (tmp_path / "disk/loop").symlink_to(tmp_path / "in")
    (tmp_path / "in/gone").symlink_to(tmp_path / "unmounted")
    predict(tmp_path / "in", "--model", tiny_onnx, "--out", tmp_path / "out")
    assert (tmp_path / "out/linked/b_label.png").is_file()
    assert len(list((tmp_path / "out").rglob("*_label.png"))) == 2
    assert f"left out: {tmp_path}/in/gone: broken link to {tmp_path}/unmounted" in capsys.readouterr().err


def test_a_second_run_into_the_same_folder_labels_the_same_pictures(tiny_onnx, night_rgb, tmp_path, capsys):
    write_png(tmp_path / "a.png", night_rgb)
    for _ in range(2):
        assert predict(tmp_path, "--model", tiny_onnx, "--out", tmp_path, "--relit") == 0
    assert len(list(tmp_path.iterdir())) == 5
    assert "1 images and 0 video frames labelled, 4 files of an earlier run left alone" in capsys.readouterr().out


def test_what_cannot_be_labelled_is_named_and_the_rest_is_labelled(tiny_onnx, night_rgb, tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("good.png", "two.png", "x.png", "x_label.png"):
        write_png(folder / name, night_rgb)
    whole = cv2.imencode(".jpg", night_rgb)[1].tobytes()
    for name, data in {
        "cut.jpg": whole[: len(whole) // 2],
        "cut_with_an_end.jpg": whole[: len(whole) // 2] + b"\xff\xd9",
        "padded.jpg": whole + bytes(99),
        "two.jpg": whole,
        "deep.png": cv2.imencode(".png", night_rgb.astype(np.uint16) << 4)[1].tobytes(),
    }.items():
        (folder / name).write_bytes(data)
    assert predict(folder, tmp_path / "absent.png", "--model", tiny_onnx, "--out", folder) == 1
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if line.startswith("left out: ")]
    assert len(lines) == 6
    for said in (
        "cut.jpg: not a readable image: truncated JPEG",
        "cut_with_an_end.jpg: not a readable image: truncated JPEG",
        "two.jpg and ",
        "deep.png: not a readable image: PNG of 16 bits whose samples end at",
        "absent.png: no such file or folder",
        "x.png: its output would replace the input ",
    ):
        assert any(said in line for line in lines), said
    assert "3 images and 0 video frames labelled, 6 left out" in captured.out
    assert sorted(p.name for p in folder.glob("*_overlay.png")) == [
        "good_overlay.png",
        "padded_overlay.png",
        "x_label_overlay.png",
    ]
    np.testing.assert_array_equal(read_rgb(folder / "x_label.png"), night_rgb)


def test_a_video_that_is_cut_off_is_named_and_its_frames_are_counted(tiny_onnx, night_rgb, tmp_path, capsys):
    path = tmp_path / "v.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 211.222, (200, 120))
    for _ in range(9):
        writer.write(night_rgb)
    writer.release()
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    assert predict(path, "--model", tiny_onnx, "--out", tmp_path / "out") == 1
    captured = capsys.readouterr()
    stored = int(cv2.VideoCapture(str(tmp_path / "out" / "v_overlay.mp4")).get(cv2.CAP_PROP_FRAME_COUNT))
    assert 0 < stored < 9
    assert f"0 images and {stored} video frames labelled, 1 videos cut off" in captured.out
    assert f"v.avi: cut off, damaged or never closed: it ends after {stored} of 9 frames" in captured.err
    assert "v.avi: 211.222 frames/s, stored at 211.22" in captured.err


def test_labels_a_video_into_an_overlay_video_of_the_same_length(tiny_onnx, night_rgb, tmp_path):
    writer = cv2.VideoWriter(str(tmp_path / "v.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, (200, 120))
    for _ in range(5):
        writer.write(night_rgb)
    writer.release()
    assert predict(tmp_path / "v.mp4", "--model", tiny_onnx, "--out", tmp_path / "out") == 0
    capture = cv2.VideoCapture(str(tmp_path / "out" / "v_overlay.mp4"))
    assert int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) == 5
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(10)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["v_overlay.mp4"]


def test_the_overlay_opacity_is_the_one_asked_for(tiny_onnx, night_rgb, tmp_path):
    write_png(tmp_path / "a.png", night_rgb)
    predict(tmp_path / "a.png", "--model", tiny_onnx, "--out", tmp_path / "out", "--alpha", "0")
    np.testing.assert_array_equal(read_rgb(tmp_path / "out" / "a_overlay.png"), night_rgb)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("absent.png", "--model", "{model}", "--out", "{out}"), "absent.png: no such file or folder"),
        (("{a}", "--model", "absent.onnx", "--out", "{out}"), "absent.onnx: no such model file"),
        (("{a}", "--model", "m.pt", "--out", "{out}"), "got suffix '.pt'"),
        (("{a}", "--model", "{model}", "--out", "{out}", "--prest", "paper"), "did you mean '--preset'?"),
        (("{a}", "--model", "{model}", "--out", "{out}", "--preset", "papr"), "preset: got 'papr'"),
        (("{a}", "{a}", "--model", "{model}", "--out", "{out}"), "would both write a_label.png"),
        (("{a}", "--model", "{model}", "--out", "{a}"), "cannot make the output folder"),
        (("{a}", "--model", "{model}"), "--out is required"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(tiny_onnx, night_rgb, tmp_path, capsys, argv, said):
    write_png(tmp_path / "a.png", night_rgb)
    places = {"model": tiny_onnx, "out": tmp_path / "out", "a": tmp_path / "a.png"}
    assert predict(*(word.format(**places) for word in argv)) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("dannet predict: ")
    assert said in lines[0]


def test_an_unknown_verb_gets_a_suggestion(capsys):
    assert main(["predcit"]) == 2
    assert capsys.readouterr().err == "dannet: unknown verb 'predcit': did you mean 'predict'?\n"


def test_runs_as_a_module():
    result = subprocess.run(
        [sys.executable, "-m", "dannet_core", "--help"], capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0
    assert "predict" in result.stdout


def test_submission_labels_the_test_pictures_of_dark_zurich_into_a_checked_zip(tiny_onnx, tmp_path, capsys):
    frames = ["GOPR0356_frame_000001", "GOPR0356_frame_000002"]
    folder = tmp_path / "dz" / "rgb_anon" / "test" / "night" / "GOPR0356"
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames):
        write_png(folder / f"{frame}_rgb_anon.png", np.full((1080, 1920, 3), 40 * number, np.uint8))
    argv = (tmp_path / "dz", "--model", tiny_onnx, "--out", tmp_path / "out", "--submission")
    assert predict(*argv, "--min_confidence", "0.9") == 0
    assert "2 frames of 1920x1080, checked" in capsys.readouterr().out
    validate_submission(tmp_path / "out" / "submission.zip", frames)
    assert predict(tmp_path / "dz", *argv) == 2
    assert "got 2 inputs, expected one, the root folder of Dark Zurich" in capsys.readouterr().err
    assert predict(tmp_path, *argv[1:]) == 2
    assert str(tmp_path) in capsys.readouterr().err


def sensor_samples(rgb: np.ndarray) -> np.ndarray:
    """12-bit samples in proportion to light, blue first as OpenCV writes them."""
    share = rgb[:, :, ::-1] / 255
    light = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return np.rint(light * 4095).astype(np.uint16)


def test_samples_of_a_sensor_are_labelled_as_their_8_bit_picture(tiny_onnx, night_rgb, tmp_path, capsys):
    write_png(tmp_path / "plain.png", night_rgb)
    for suffix in ("png", "tiff"):
        cv2.imwrite(str(tmp_path / f"deep_{suffix}.{suffix}"), sensor_samples(night_rgb))
    files = [tmp_path / name for name in ("plain.png", "deep_png.png", "deep_tiff.tiff")]
    assert predict(*files, "--model", tiny_onnx, "--out", tmp_path / "refused") == 1
    assert capsys.readouterr().err.count("predict: --bit-depth") == 2
    assert predict(*files, "--model", tiny_onnx, "--out", tmp_path / "out", "--bit-depth", "12") == 0
    for name in ("deep_png", "deep_tiff"):
        for kind in ("label", "overlay"):
            np.testing.assert_array_equal(
                read_rgb(tmp_path / "out" / f"{name}_{kind}.png"), read_rgb(tmp_path / "out" / f"plain_{kind}.png")
            )
    assert predict(files[1], "--model", tiny_onnx, "--out", tmp_path / "narrow", "--bit-depth", "10") == 1
    assert "expected at most 1023 for bit_depth 10" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--bit-depth", "8"), "bit_depth: got 8, expected 9 to 16 bits"),
        (("--bit-depth", "17"), "bit_depth"),
        (("--tone", "log"), "tone: got 'log', expected --bit-depth with it"),
        (("--bit-depth", "12", "--tone", "filmic"), "tone: got"),
        (("--bit-depth", "12", "--submission"), "bit_depth: got 12, expected none with --submission"),
    ],
)
def test_wrong_depths_and_tones_are_named(tiny_onnx, night_rgb, tmp_path, capsys, more, said):
    write_png(tmp_path / "a.png", night_rgb)
    assert predict(tmp_path / "a.png", "--model", tiny_onnx, "--out", tmp_path / "out", *more) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert said in line
