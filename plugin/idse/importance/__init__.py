"""Importance of the parts of a picture to a network: Jacobian sketches, maps, motion."""
