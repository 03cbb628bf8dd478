"""libjpeg-turbo through a C shim: arrays in, bytes out."""
