"""Codecs: arrays in, packets or bytes out. They know no network and import no torch."""
