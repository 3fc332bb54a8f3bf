"""Samples with names: setups that the docs, the studies and a trigger speak of.

The command line lists this table, and so does ``docs/simulation.md``.
"""

from __future__ import annotations

from typing import NamedTuple

from trackserve.errors import InputError

from .collisions import Setup
from .generate import Gun

_ALL_PT = Gun(particles=10, min_pt=0.3, max_pt=100.0)


class NamedSample(NamedTuple):
    """A setup with a name.

    Attributes:
        setup: the setup, for any number of events and any seed.
        what: what it is, and what for.
    """

    setup: Setup
    what: str


NAMED_SAMPLES = {
    "ttbar50": NamedSample(Setup("ttbar", 50.0), "ttbar over 50 collisions, as the CMS sample"),
    "ttbar20": NamedSample(Setup("ttbar", 20.0), "ttbar over 20 collisions"),
    "minbias50": NamedSample(
        Setup("minbias", 50.0), "minimum bias over 50 collisions, for rates of triggers"
    ),
    "jets50": NamedSample(
        Setup("jets", 50.0), "two jets of 200 GeV and more over 50 collisions, for dense cores"
    ),
    "muons50": NamedSample(
        Setup("muons", 50.0, gun=_ALL_PT),
        "muons of pT 0.3 to 100 GeV, flat in log(pT) and eta, over 50 collisions",
    ),
    "pions50": NamedSample(
        Setup("pions", 50.0, gun=_ALL_PT),
        "pions of pT 0.3 to 100 GeV, flat in log(pT) and eta, over 50 collisions",
    ),
    "electrons50": NamedSample(
        Setup("electrons", 50.0, gun=_ALL_PT),
        "electrons of pT 0.3 to 100 GeV, flat in log(pT) and eta, over 50 collisions",
    ),
}
"""By name. Numbers of collisions are the mean pile-up."""


def named_sample(name: str) -> Setup:
    """The setup of a sample.

    Raises:
        InputError: there is none of this name.
    """
    if name not in NAMED_SAMPLES:
        raise InputError("there is no such sample", found=name, bound=", ".join(NAMED_SAMPLES))
    return NAMED_SAMPLES[name].setup
