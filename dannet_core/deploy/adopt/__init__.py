"""Other projects' segmentation graphs as files of this package: what they want in front, what they give behind."""

from __future__ import annotations

from dannet_core.deploy.adopt.adopt import AdoptOptions, AdoptReport, adopt

__all__ = ["AdoptOptions", "AdoptReport", "adopt"]
