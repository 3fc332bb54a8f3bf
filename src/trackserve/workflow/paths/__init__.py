"""The paths of the menu, one in each module of this package.

A path has one number in each event, its quantity, and passes where that reaches a threshold::

    PATH = Path(inputs=("track_jets",), quantity=highest_pt, threshold=60.0, unit="GeV")
"""
