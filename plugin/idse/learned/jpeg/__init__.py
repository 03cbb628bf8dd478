"""JPEG as something to be learned through, and networks that choose its tables."""
