"""Weights of other projects, in and out: one file per foreign layout. They give and take plain numpy arrays."""
