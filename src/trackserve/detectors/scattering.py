"""Multiple scattering in any matter: the constants of Highland's formula.

The rms of the angle in a plane after x radiation lengths is KICK / (momentum x velocity) x sqrt(x)
x (1 + LOG_TERM ln x). V. L. Highland, Nucl. Instrum. Meth. 129 (1975) 497, with the constants of
the Particle Data Group.
"""

KICK = 0.0136
"""GeV."""
LOG_TERM = 0.038
