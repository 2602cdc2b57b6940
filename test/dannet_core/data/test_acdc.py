from dannet_core.data.registry import open_data_set


def test_only_the_night_part_is_read(write_image, write_labels, tmp_path):
    for light in ("night", "fog"):
        write_image(f"rgb_anon/{light}/val/GOPR0356/GOPR0356_frame_000324_rgb_anon.png")
        write_labels(f"gt/{light}/val/GOPR0356/GOPR0356_frame_000324_gt_labelTrainIds.png", (0, 10))
    write_image("rgb_anon/night/test/GP010376/GP010376_frame_000001_rgb_anon.png")
    val = open_data_set("acdc-night", tmp_path)
    assert [sample.image_path.parts[-4] for sample in val] == ["night"]
    assert set(val[0].read_labels().ravel()) == {0, 10}
    assert not open_data_set("acdc-night", tmp_path, "test").labelled
