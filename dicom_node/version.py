"""The version of this software as results carry it."""

from __future__ import annotations

from importlib.metadata import version

SOFTWARE_VERSION = version("ceus-node")
