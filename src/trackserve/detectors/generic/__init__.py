"""ACTS' GenericDetector, which is the detector of the TrackML challenge: its layers."""

from .layers import BARREL_LAYERS, DISKS, PIXEL_VOLUMES, BarrelLayer, Disk

__all__ = ["BARREL_LAYERS", "DISKS", "PIXEL_VOLUMES", "BarrelLayer", "Disk"]
