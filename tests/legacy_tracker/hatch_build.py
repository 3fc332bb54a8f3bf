"""Compiles the C library when the wheel is built."""

from __future__ import annotations

import subprocess
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CustomBuildHook(BuildHookInterface):
    """Runs make, and puts the library into a wheel of this platform."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile; see hatchling's documentation."""
        subprocess.run(["make", "-C", self.root], check=True)
        build_data["artifacts"].append("src/legacy_tracker/liblegacy.so")
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
