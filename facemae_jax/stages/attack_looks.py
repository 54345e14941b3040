"""What pixels alone tell of an audited set: copies of the originals (an attack), and how much the images of a person differ (no attack).

Every image is decoded once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from facemae_jax.audit.contributors import Contributors
from facemae_jax.audit.copy_detector import nearest_pixel, thumbnails, visible_share
from facemae_jax.data.face_set import FaceSet
from facemae_jax.data.images import decode_record
from facemae_jax.embed import Transform
from facemae_jax.metrics.set_quality import image_statistics, set_diversity
from facemae_jax.stages.attack_faces import Protected


def looks(
    config: Any,
    gallery: FaceSet,
    sources_Q: np.ndarray,
    protected: dict[str, Protected],
    behind: Mapping[str, Contributors | None],
    *,
    copies: bool,
) -> dict[str, Any]:
    """``set`` and, if ``copies``, ``pixels`` of ``audit.json``: variant → figures.

    Args:
        config: of the stage; ``audit.attack_images`` bounds how many images are looked at whole.
        gallery: originals.
        sources_Q: gallery position of each query's own source, ascending.
        protected: variant → images of the queries, in their order.
        behind: variant → who else is behind the queries; None or missing: nobody.
        copies: whether to look for copies.
    """
    seed, people_Q = config.audit.seed, gallery.labels_n[sources_Q]
    some = np.arange(min(len(sources_Q), config.audit.attack_images))  # the queries are in order of people
    sources_nHWC, gallery_GE = _seen(gallery, None, sources_Q[some], copies)
    statistics_nS = image_statistics(sources_nHWC)
    quality, pixels = {}, {}
    for variant, (images, transform) in protected.items():
        shown_nHWC, small_QE = _seen(images, transform, some, copies)
        quality[variant] = set_diversity(image_statistics(shown_nHWC), statistics_nS, people_Q[some], seed=seed)
        if copies:
            pixels[variant] = {
                "visible": visible_share(
                    shown_nHWC, sources_nHWC, people_Q[some], patch=config.mae.patch, seed=seed
                ),
                "nearest": nearest_pixel(
                    small_QE, gallery_GE, sources_Q=sources_Q, labels_G=gallery.labels_n, others=behind.get(variant), seed=seed
                ),
            }  # fmt: skip
    return {"set": quality} | ({"pixels": pixels} if copies else {})


def _seen(
    faces: FaceSet, transform: Transform | None, whole_n: np.ndarray, small: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Images at the positions ``whole_n`` (ascending), and thumbnails of all, or of none."""
    if not small:
        return np.concatenate(list(decoded(faces.subset(whole_n), transform))), np.zeros((0, 0), np.float32)
    whole, thumbs, start = [], [], 0
    for part_nHWC in decoded(faces, transform):
        here_n = whole_n[(whole_n >= start) & (whole_n < start + len(part_nHWC))] - start
        whole.append(part_nHWC[here_n])
        thumbs.append(thumbnails(part_nHWC))
        start += len(part_nHWC)
    return np.concatenate(whole), np.concatenate(thumbs)


def decoded(faces: FaceSet, transform: Transform | None, size: int = 1024) -> Iterator[np.ndarray]:
    """Images, uint8, up to ``size`` at a time, as somebody sees them."""
    for start in range(0, len(faces), size):
        records = [faces[place] for place in range(start, min(start + size, len(faces)))]
        images = [decode_record(record.image, record.key) for record in records]
        if transform is not None:
            images = [transform(image_HWC, record.key) for image_HWC, record in zip(images, records, strict=True)]
        yield np.stack(images)
