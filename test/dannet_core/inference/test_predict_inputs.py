import pytest

from dannet_core.inference.predict_inputs import find_inputs, overwritten_inputs


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_own_outputs_are_recognised_by_their_company(tmp_path):
    touch(tmp_path, "a.png", "a_label.png", "a_color.png", "a_overlay.png", "a_relit.png", "a_confidence.png")
    touch(tmp_path, "out/b_label.png", "out/b_color.png", "out/b_overlay.png", "clip.avi", "out/clip_overlay.mp4")
    found = find_inputs([tmp_path])
    assert sorted(found.jobs) == ["a", "clip"]
    assert found.own_outputs == 9
    assert found.problems == []


@pytest.mark.parametrize(
    "names",
    [
        ("x.png", "x_label.png"),
        ("aachen_000000_000019_gtFine_color.png", "aachen_000000_000019_gtFine_labelIds.png"),
        ("night.png", "night_color.png", "night_overlay.png"),
        ("x.jpg", "x_label.jpg", "x_color.jpg", "x_overlay.jpg"),
        ("drive_overlay.mp4",),
        ("label.png", "color.png", "overlay.png", "_label.png"),
    ],
)
def test_names_that_only_look_like_outputs_are_inputs(tmp_path, names):
    touch(tmp_path, *names)
    found = find_inputs([tmp_path])
    assert sorted(path.name for path in found.jobs.values()) == sorted(names)


def test_an_output_that_is_given_by_name_is_an_input(tmp_path):
    touch(tmp_path, "a.png", "a_label.png", "a_color.png", "a_overlay.png")
    assert list(find_inputs([tmp_path / "a_overlay.png"]).jobs) == ["a_overlay"]


def test_a_folder_of_nothing_but_outputs_is_said(tmp_path):
    touch(tmp_path, "a_label.png", "a_color.png", "a_overlay.png")
    found = find_inputs([tmp_path])
    assert "no image or video but what an earlier run wrote" in found.problems[0]


def test_one_bad_name_costs_only_itself(tmp_path):
    touch(tmp_path, "good.png", "twice.png", "twice.jpg", "sub/twice.png", "n" * 230 + ".png")
    found = find_inputs([tmp_path, tmp_path / "absent.png"])
    assert sorted(found.jobs) == ["good", "sub/twice"]
    said = "\n".join(found.problems)
    assert "twice.jpg and" in said
    assert "would both write twice_label.png" in said
    assert "leaves no room for _label" in said
    assert "absent.png: no such file or folder" in said
    assert len(found.problems) == 3


def test_files_of_macos_are_no_pictures(tmp_path):
    touch(tmp_path, "a.png", "._plain.png")
    (tmp_path / "._a.png").write_bytes(b"\x00\x05\x16\x07" + bytes(100))
    found = find_inputs([tmp_path])
    assert sorted(found.jobs) == ["._plain", "a"]
    assert found.problems == []


def test_linked_folders_are_followed_and_loops_are_not(tmp_path):
    touch(tmp_path, "in/a.png", "elsewhere/b.png")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "c.png").symlink_to(tmp_path / "elsewhere" / "b.png")
    assert sorted(find_inputs([tmp_path / "in"]).jobs) == ["a", "c", "link/b"]


def test_an_output_never_takes_the_place_of_an_input(tmp_path):
    touch(tmp_path, "x.png", "x_label.png", "y.png", "y_relit.png")
    jobs = find_inputs([tmp_path]).jobs
    assert overwritten_inputs(jobs, tmp_path, ["label", "color"]) == {"x": tmp_path / "x_label.png"}
    assert overwritten_inputs(jobs, tmp_path / "out", ["label"]) == {}
