"""Training a recognizer and keeping it without its class centres: shared by teacher and recognizers of variants."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from facemae_jax import logs
from facemae_jax.checkpoint import save_model
from facemae_jax.data.face_set import FaceSet
from facemae_jax.models import recognizer
from facemae_jax.stages.training import faces_of_size, fit, mesh_of, warm_start
from facemae_jax.train.recognizer_task import HEAD, Head, Margin, recognizer_task


def train_recognizer(
    config: Any,
    section: Any,
    faces: FaceSet,
    out: Path,
    *,
    label: str,
    field: str,
    transform: Callable[..., Any] | None = None,
) -> dict[str, Any]:
    """Train on ``faces`` and write ``out/model``.

    The class centres stay behind in the checkpoints: each one is the mean face of a person in all but name.

    Args:
        config: with seed, data.image_size, data.threads, mesh.
        section: ``config.teacher`` or ``config.recognizer``.
        faces: any labels.
        out: stage directory.
        label: of the progress bar, and the model's name in reports.
        field: of the section, for messages.
        transform: image and key → image, before augmentation.
    """
    faces = faces_of_size(faces.relabelled(), config)
    mesh = mesh_of(config)
    network = recognizer.build(section.network, section.embedding, section.dtype, section.dropout)
    task = recognizer_task(
        network,
        identities=faces.identities,
        embedding=section.embedding,
        image_size=config.data.image_size,
        margin=Margin(**section.margin.to_dict()),
        mesh=mesh,
        head=Head(**section.head.to_dict()),
    )
    warm = warm_start(section.optim.init_from, "recognizer", f"{field}.optim.init_from")
    fitted = fit(
        config=config, section=section, faces=faces, tasks=[(1.0, task)], mesh=mesh, out=out, label=label,
        transform=transform, warm=warm,
    )  # fmt: skip
    description = recognizer.described(
        section.network, section.embedding, section.dtype, section.dropout, config.data.image_size
    )
    rest = {name: value for name, value in fitted.state.extra.items() if name != HEAD}
    variables = {"params": fitted.state.params["network"], **rest}
    save_model(out / "model", variables, description | {"name": label, "identities": faces.identities})
    logs.say(
        f"{label}: {fitted.summary['images']:,} images of {fitted.summary['identities']} people; model in {out.name}/model"
    )
    return fitted.summary
