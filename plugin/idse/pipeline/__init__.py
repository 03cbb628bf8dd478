"""Transcoding: demux, decode, analyse, encode, mux."""
