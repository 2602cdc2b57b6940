import pytest

from dannet_core.atomic_files import replaced_folder, whole_file, whole_folder, write_whole
from dannet_core.errors import OutputError


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_behind(tmp_path):
    path = write_whole(tmp_path / "a.bin", b"old")

    def fail_half_way():
        with whole_file(path) as partial:
            partial.write_bytes(b"ne")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail_half_way()
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]
    assert path.read_bytes() == b"old"


def test_the_new_content_replaces_the_old_under_a_name_with_the_same_suffix(tmp_path):
    path = write_whole(tmp_path / "a.mp4", b"old")
    with whole_file(path) as partial:
        assert partial.suffix == ".mp4"
        partial.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


def test_the_file_gets_ordinary_permissions(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    assert write_whole(tmp_path / "whole", b"").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_folder_that_is_not_there_or_is_a_file_is_one_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match=r"b\.bin: cannot write: Not a directory"):
        write_whole(tmp_path / "file" / "b.bin", b"")
    with pytest.raises(OutputError, match=r"b\.bin: cannot write: No such file or directory"):
        write_whole(tmp_path / "absent" / "b.bin", b"")


def test_a_full_disk_is_one_error_and_keeps_the_old_file(tmp_path):
    resource = pytest.importorskip("resource", reason="only POSIX limits the size of files")
    path = write_whole(tmp_path / "cache.bin", b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"cache\.bin: cannot write: File too large"):
            write_whole(path, bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [p.name for p in tmp_path.iterdir()] == ["cache.bin"]
    assert path.read_bytes() == b"old"


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    def fail_half_way():
        with whole_folder(tmp_path / "new" / "folder") as partial:
            (partial / "half").touch()
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail_half_way()
    assert list((tmp_path / "new").iterdir()) == []
    (tmp_path / "new" / "folder").mkdir()
    with whole_folder(tmp_path / "new" / "folder") as partial:
        (partial / "whole").touch()
        assert list((tmp_path / "new" / "folder").iterdir()) == []
    assert [path.name for path in (tmp_path / "new").rglob("*")] == ["folder", "whole"]


def test_a_folder_that_is_taken_is_left_alone(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "old").touch()
    for name in ("file", "full"):
        with pytest.raises(OutputError, match="exists and is not an empty folder"), whole_folder(tmp_path / name):
            pass
    with pytest.raises(OutputError, match="cannot"), whole_folder(tmp_path / "file" / "below"):
        pass
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "full", "old"]


def test_a_folder_that_was_to_be_replaced_stays_where_nothing_was_made(tmp_path):
    (tmp_path / "bag").mkdir()
    (tmp_path / "bag" / "kept").write_text("all there is")
    with pytest.raises(OutputError, match="bag: cannot write: No such file"), replaced_folder(tmp_path / "bag"):
        pass
    assert (tmp_path / "bag" / "kept").read_text() == "all there is"
    assert [path.name for path in tmp_path.iterdir()] == ["bag"]
