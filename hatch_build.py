"""The step of the wheel's build that compiles the library of the native backend.

Without a C compiler the wheel comes without the library; the Python backend serves then.
"""

import importlib.util
import platform
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = "trackserve/serving/backend/native"


class NativeBackend(BuildHookInterface):  # type: ignore[misc]
    """Compiles the library and tells hatch where it belongs; the name is free."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the library to a wheel; an editable install compiles it when it is needed."""
        if version == "editable":
            return
        source = Path(self.root, "src", FOLDER, "build.py")
        spec = importlib.util.spec_from_file_location("build_native", source)
        build = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(build)
        file = Path(self.directory, build.LIBRARY)
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            build.compile_library(file)
        except build.BuildError as error:
            self.app.display_warning(f"a wheel without the native backend: {error}")
            return
        build_data["force_include"][str(file)] = f"{FOLDER}/{build.LIBRARY}"
        build_data["pure_python"] = False
        glibc = platform.libc_ver()[1].replace(".", "_")
        build_data["tag"] = f"py3-none-manylinux_{glibc}_{platform.machine()}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the library from the folder of the build."""
        for file in build_data["force_include"]:
            Path(file).unlink(missing_ok=True)
