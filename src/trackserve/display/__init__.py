"""Events in the browser: one page that needs nothing beside itself."""

from .page import write_page
from .scene import Scene, SceneEvent
from .scenes import make_scene

__all__ = ["Scene", "SceneEvent", "make_scene", "write_page"]
