"""Files named ``hf://OWNER/REPO/PATH``: from the Hugging Face hub, or its cache on this machine."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from dannet_core.errors import ModelFileError, SettingsError, first_line, require

PREFIX: Final = "hf://"
_NAME: Final = re.compile(r"hf://(?P<repo>[^/@]+/[^/@]+)(@(?P<revision>[^/]+))?/(?P<path>.+)")


def local_file(name: str) -> Path:
    """A file on this disk: ``name`` itself, or what the hub has under it.

    Args:
        name: a path, or ``hf://OWNER/REPO/PATH``; ``hf://OWNER/REPO@REVISION/PATH`` for one state of the repository.

    Raises:
        SettingsError: a name of the hub without one of its parts.
        MissingPackageError: a name of the hub and huggingface_hub is not installed.
        ModelFileError: the file is neither in the cache nor can it be downloaded.
    """
    if not name.startswith(PREFIX):
        return Path(name)
    parts = _NAME.fullmatch(name)
    if parts is None:
        raise SettingsError(f"got '{name}', expected hf://OWNER/REPO/PATH")
    hub = require("huggingface_hub", f"read {name}", "pip install huggingface_hub")
    # Looked up first: on its way in, huggingface_hub sets up the log that is to be quiet.
    download = hub.hf_hub_download
    try:
        with quiet_retries():
            return Path(download(parts["repo"], parts["path"], revision=parts["revision"]))
    except Exception as error:
        raise ModelFileError(
            f"{name}: neither in the cache nor to be downloaded ({first_line(error)}): check the name and the network, "
            "or give the path of the file"
        ) from error


@contextlib.contextmanager
def quiet_retries() -> Iterator[None]:
    """Inside, huggingface_hub does not log every attempt: what it gives up with is said once, by who called it."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
