"""Which values of ``data`` and of places of faces contradict each other: part of ``chain.rules``."""

from __future__ import annotations

from ml_collections import ConfigDict

from facemae_jax.data.formats.verification_bin import is_bin
from facemae_jax.data.variants import SET
from facemae_jax.types import FacemaeError


def check_import(c: ConfigDict) -> None:
    """How faces are aligned, and that those to train on say whom they show.

    Raises:
        FacemaeError: one sentence on the first fault.
    """
    if c.data.landmarks and c.data.detect:
        raise FacemaeError(
            f"--config.data.detect={c.data.detect}: data.landmarks={c.data.landmarks} says where the faces are: choose one of the two."
        )
    real = {name for name in (c.data.seen, c.data.unseen) if name not in ("", "synthetic")}
    for field in ("landmarks", "detect"):
        if c.data[field] and not real:
            raise FacemaeError(
                f"--config.data.{field}={c.data[field]}: rendered faces are aligned as they are; leave it empty, or name real faces in data.seen."
            )
    trained = [("data.seen", c.data.seen), ("data.unseen", c.data.unseen)]
    trained += [("recognizer.variants", v.removeprefix(SET)) for v in c.recognizer.variants if v.startswith(SET)]
    for field, place in trained:
        if is_bin(place):
            raise FacemaeError(
                f"--config.{field}={place}: a verification set does not say who is on its images, so that nothing can be trained on it; name it in "
                "verify.faces or verify.protocols."
            )
