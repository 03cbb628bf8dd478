"""Variational autoencoders that code pictures: networks, losses, training."""
