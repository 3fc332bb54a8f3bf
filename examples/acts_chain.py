"""Particles, Fatras and measurements in ACTS; tracks by a learned tracker; ACTS' Kalman fit.

Needs `pip install 'trackserve[acts]'`. Give the url of a server, as grpc://localhost:8001, and the
tracker runs there.
"""

import sys

import acts
from acts.examples.simulation import EtaConfig, MomentumConfig, ParticleConfig, addParticleGun

from trackserve.integration.acts import TrackCollector, TrackFinder, chain

geometry, field = chain.make_geometry(), chain.make_field()
random_numbers = acts.examples.RandomNumbers(seed=1)
sequencer = acts.examples.Sequencer(events=10, numThreads=2, logLevel=acts.logging.WARNING)
muons = ParticleConfig(100, acts.PdgParticle.eMuon, randomizeCharge=True)
momentum = MomentumConfig(1 * acts.UnitConstants.GeV, 20 * acts.UnitConstants.GeV, transverse=True)
addParticleGun(sequencer, momentum, EtaConfig(-2.5, 2.5), muons, rnd=random_numbers)
collector = TrackCollector()
for algorithm in (
    chain.simulate_particles(geometry, field, random_numbers),
    chain.smear_hits(geometry, random_numbers),
    chain.make_space_points(geometry),
    TrackFinder("exatrkx", url=sys.argv[1] if len(sys.argv) > 1 else None),
    chain.seed_proto_tracks(geometry, field),
    chain.estimate_parameters(geometry, field),
    chain.fit_tracks(geometry, field),
    chain.extrapolate_tracks(geometry, field),
    chain.resolve_ambiguities(),
    collector,
):
    sequencer.addAlgorithm(algorithm)
sequencer.run()
for event, tracks in sorted(collector.tracks.items()):
    quality = (tracks.chi2 / tracks.ndof).mean()
    print(f"event {event}: {len(tracks)} tracks, mean chi2/ndof {quality:.2f}")
