"""The secret of a workdir, and what a release derives from it: keys, order, labels and masks.

Everything is HMAC-SHA256. Two releases of the same people share none of it, and without the secret nothing in a release can be
matched with its source by recomputing. The secret is no protection against recognizing a face: that is what ``audit`` measures.
"""

from __future__ import annotations

import hmac
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from facemae_jax.types import FacemaeError

LENGTH = 32  # bytes
KEY_CHARACTERS = 24  # of a released key: 96 bits, so that no two of billions are alike


def read_or_make_secret(path: Path) -> bytes:
    """The secret in ``path``; made once, readable by its owner alone.

    Raises:
        FacemaeError: a file of another length, or one that others may read.
    """
    path = Path(path)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial = path.with_name(f".{path.name}-{secrets.token_hex(8)}")  # containers on one disk share process numbers
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(LENGTH))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(partial, path)  # never replaces a secret that another process made meanwhile
        except FileExistsError:
            pass
        finally:
            partial.unlink()
    if path.stat().st_mode & 0o077:
        raise FacemaeError(
            f"{path} can be read by others: run `chmod 600 {path}`, and make a new secret if it was shared."
        )
    secret = path.read_bytes()
    if len(secret) != LENGTH:
        raise FacemaeError(
            f"{path} holds {len(secret)} bytes, a secret has {LENGTH}: give the right --secret-file, or delete it to make a new one."
        )
    return secret


def release_key(secret: bytes, release_id: str) -> bytes:
    """What drives one release."""
    return _mac(secret, "release", release_id)


def sealed(secret: bytes, text: str) -> str:
    """A fingerprint that only the holder of the secret can recompute; 16 hex characters."""
    return _mac(secret, "sealed", text).hex()[:16]


def _mac(key: bytes, purpose: str, text: str) -> bytes:
    return hmac.new(key, f"{purpose}\0{text}".encode(), "sha256").digest()


def record_keys(key: bytes, source_keys: Sequence[str]) -> list[str]:
    """The released key of each record: hex, unlinkable to the source key.

    Raises:
        FacemaeError: two source keys alike.
    """
    made = [_mac(key, "key", source).hex()[:KEY_CHARACTERS] for source in source_keys]
    if len(set(made)) < len(made):
        raise FacemaeError("two records of the source have the same key: import the faces again, keys must be unique.")
    return made


def release_order(key: bytes, source_keys: Sequence[str]) -> np.ndarray:
    """``positions_n``: source position of the record at each place of the release."""
    marks = [_mac(key, "order", source) for source in source_keys]
    return np.array(sorted(range(len(marks)), key=marks.__getitem__), np.int64)


def label_map(key: bytes, identities: int) -> np.ndarray:
    """``released_K``: the released label of each source label 0…K−1; a permutation."""
    marks = [_mac(key, "label", str(label)) for label in range(identities)]
    released_K = np.empty(identities, np.int64)
    released_K[sorted(range(identities), key=marks.__getitem__)] = np.arange(identities)
    return released_K


def contributors(key: bytes, labels_n: np.ndarray, source_keys: Sequence[str], people: int) -> np.ndarray:
    """``contributors_nM``: the positions of the M source images from which each face is painted, its own first.

    All identities stand in a circle, and every image of one is mixed with images of the M − 1 identities behind it: always the same people,
    one image of each, drawn anew for every face. So each person stands behind M released identities, and no two of these have the same people.

    Args:
        key: of the release.
        labels_n: source labels 0…K−1, each with at least one image.
        source_keys: of the n images.
        people: M; 1 = nobody is mixed.

    Raises:
        FacemaeError: not more identities than M.
    """
    own_n1 = np.arange(len(labels_n))[:, None]
    if people == 1:
        return own_n1
    images_K = np.bincount(labels_n)
    if len(images_K) <= people:
        raise FacemaeError(
            f"reconstruct.people={people}: of {len(images_K)} people some would be mixed with the same ones; more people than that are needed."
        )
    marks = [_mac(key, "circle", str(label)) for label in range(len(images_K))]
    circle_K = np.array(sorted(range(len(marks)), key=marks.__getitem__))
    rank_K = np.argsort(circle_K)
    order_n, starts_K = np.argsort(labels_n, kind="stable"), np.concatenate([[0], np.cumsum(images_K)[:-1]])
    columns = [own_n1]
    for number in range(1, people):
        other_n = circle_K[(rank_K[labels_n] + number) % len(circle_K)]
        drawn = [int.from_bytes(_mac(key, f"contributor {number}", source)[:8], "little") for source in source_keys]
        which_n = np.array([draw % int(images_K[other]) for draw, other in zip(drawn, other_n, strict=True)])
        columns.append(order_n[starts_K[other_n] + which_n][:, None])
    return np.concatenate(columns, axis=1)


def mask_seeds(key: bytes, source_keys: Sequence[str]) -> np.ndarray:
    """``seeds_n2``, uint32: the data of one random key per record, from which its mask is drawn."""
    seeds = [np.frombuffer(_mac(key, "mask", source)[:8], "<u4") for source in source_keys]
    return np.stack(seeds) if seeds else np.zeros((0, 2), np.uint32)
