import os

import pytest

from dannet_core.errors import DataSetError
from dannet_core.folders import files_below


def names(folder, on_problem=None):
    return [path.relative_to(folder).as_posix() for path in files_below(folder, on_problem)]


@pytest.fixture
def tree(tmp_path):
    """``root`` with a file and a folder, and another disk beside it."""
    for name in ("root/a.png", "root/real/b.png", "disk/deep/c.png", "disk/d.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_linked_files_and_folders_count_like_real_ones(tree):
    (tree / "root/linked").symlink_to(tree / "disk")
    (tree / "root/e.png").symlink_to(tree / "disk/d.png")
    assert names(tree / "root") == ["a.png", "e.png", "linked/d.png", "linked/deep/c.png", "real/b.png"]
    (tree / "whole").symlink_to(tree / "root")
    assert len(names(tree / "whole")) == 5


def test_loops_end_and_every_real_folder_is_read_once(tree):
    (tree / "root/real/self").symlink_to(tree / "root/real")
    (tree / "root/real/up").symlink_to("..")
    (tree / "root/above").symlink_to(tree)
    (tree / "root/again").symlink_to("real")
    (tree / "disk/deep/back").symlink_to(tree / "disk")
    (tree / "root/zz").symlink_to(tree / "disk/deep")
    assert names(tree / "root") == ["a.png", "real/b.png", "zz/back/d.png", "zz/c.png"]


def test_links_to_nowhere_are_named_or_an_error(tree):
    (tree / "root/gone").symlink_to(tree / "unmounted")
    (tree / "root/loop").symlink_to(tree / "root/loop")
    said = []
    assert names(tree / "root", said.append) == ["a.png", "real/b.png"]
    assert said[0] == f"{tree}/root/gone: broken link to {tree}/unmounted"
    assert f"{tree}/root/loop" in said[1]
    assert len(said) == 2
    with pytest.raises(DataSetError, match="gone: broken link to"):
        files_below(tree / "root")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_cannot_be_read_is_named(tree):
    (tree / "root/real").chmod(0)
    said = []
    assert names(tree / "root", said.append) == ["a.png"]
    (tree / "root/real").chmod(0o700)
    assert said == [f"{tree}/root/real: cannot read: Permission denied"]
