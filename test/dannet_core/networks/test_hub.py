"""`hf://` names against a stand-in of the hub's cache, laid out as huggingface_hub does, with the network off."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from dannet_core.errors import MissingPackageError, ModelFileError, SettingsError
from dannet_core.networks.hub import local_file

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    constants = pytest.importorskip("huggingface_hub.constants", reason="pip install huggingface_hub")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    repository = tmp_path / "models--someone--night-eyes"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    file = repository / "snapshots" / COMMIT / "cityscapes" / "b0.pt"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"weights")
    return tmp_path


@pytest.mark.parametrize("revision", ["", "@main", f"@{COMMIT}"])
def test_a_name_of_the_hub_is_found_in_its_cache(cache, revision):
    found = local_file(f"hf://someone/night-eyes{revision}/cityscapes/b0.pt")
    assert found.read_bytes() == b"weights"
    assert cache in found.parents


@pytest.mark.parametrize("name", ["hf://someone/night-eyes/b1.pt", "hf://nobody/none/b0.pt", "hf://a/b@other/b0.pt"])
def test_what_is_neither_there_nor_to_be_had_is_one_line(cache, name):
    with pytest.raises(ModelFileError, match=f"{name}: neither in the cache nor to be downloaded") as caught:
        local_file(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["hf://", "hf://owner", "hf://owner/repo", "hf://owner/repo/", "hf:///repo/file"])
def test_a_name_without_one_of_its_parts_is_refused(name):
    with pytest.raises(SettingsError, match="expected hf://OWNER/REPO/PATH"):
        local_file(name)


def test_a_path_is_left_as_it_is_and_needs_no_package(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    assert local_file("weights/b0.pt") == Path("weights/b0.pt")
    with pytest.raises(
        MissingPackageError, match="huggingface_hub is needed to read hf://a/b/c but cannot be imported"
    ):
        local_file("hf://a/b/c")


def test_attempts_are_not_logged_one_by_one_and_the_log_is_as_before_afterwards(cache, monkeypatch):
    hub = pytest.importorskip("huggingface_hub")
    attempts = logging.getLogger("huggingface_hub.utils._http")
    heard = []

    def fail(*_: object, **__: object) -> None:
        heard.append(attempts.isEnabledFor(logging.WARNING))
        raise OSError("no route to host")

    monkeypatch.setattr(hub, "hf_hub_download", fail)
    before = attempts.isEnabledFor(logging.WARNING)
    with pytest.raises(ModelFileError, match=r"\(no route to host\)"):
        local_file("hf://a/b/c")
    assert heard == [False]
    assert attempts.isEnabledFor(logging.WARNING) == before
