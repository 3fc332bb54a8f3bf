"""Programs that measure, and what they share with the tests.

A program runs from the root of the repository as ``python -m benchmarks.NAME``.
"""
