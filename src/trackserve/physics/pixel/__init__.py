"""Pixel tracks and vertices beside their truth."""
