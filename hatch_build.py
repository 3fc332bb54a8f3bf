"""Steps of a build: the library of the native backend, and the readme of the metadata.

Without a C compiler the wheel comes without the library; the Python backend serves then. Links and
pictures of README.md name files beside it, which a package index does not have. With a ``Source``
among the urls of the project they become links to that repository, at the tag of the version.
Without one, a link is its text, and a picture is left out.
"""

import importlib.util
import platform
import re
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

FOLDER = "trackserve/serving/backend/native"
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|#)([^)]+)\)")
"""A link or a picture of Markdown whose target is a file."""


class NativeBackend(BuildHookInterface):  # type: ignore[misc]
    """Compiles the library and tells hatch where it belongs; the name is free."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the library to a wheel; an editable install compiles it when it is needed."""
        if version == "editable":
            return
        build = _load("build_native", Path(self.root, "src", FOLDER, "build.py"))
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


class Readme(MetadataHookInterface):  # type: ignore[misc]
    """Gives the metadata a readme that needs no files beside it."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the readme."""
        text = Path(self.root, "README.md").read_text()
        source = metadata.get("urls", {}).get("Source", "")
        version = re.search(
            r'^__version__ = "(.+)"',
            Path(self.root, "src/trackserve/__init__.py").read_text(),
            re.M,
        )
        tag = f"v{version[1]}" if version else ""
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": readme_of_index(text, source, tag),
        }


def readme_of_index(text: str, source: str, tag: str) -> str:
    """The text of a readme without links to files beside it.

    Args:
        text: Markdown.
        source: url of the repository; empty: it has none.
        tag: of the version in the repository.
    """

    def replace(match: re.Match[str]) -> str:
        picture, shown, target = match.groups()
        if not source:
            return "" if picture else shown
        kind = "raw" if picture else "blob"
        return f"{picture}[{shown}]({source.rstrip('/')}/{kind}/{tag}/{target})"

    return LINK.sub(replace, text)


def _load(name: str, file: Path) -> Any:
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
