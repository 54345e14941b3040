"""The trainings of a config as abstract programs."""

import jax
import pytest
from plan_help import BATCH, EMBEDDING, PEOPLE, WEIGHTS

from facemae_jax.plan.jobs import (
    Faces,
    batch_shapes,
    faces_of,
    frozen_shapes,
    job_of,
    loss_arguments,
    names,
    paper_mesh,
    parameters,
    step_arguments,
    step_program,
)  # fmt: skip
from facemae_jax.types import FacemaeError

FACES = Faces(PEOPLE, 400)


def test_who_sees_how_many_faces(tiny):
    tiny.data.seen_share = 0.1
    assert faces_of(tiny, 1000, 20_000) == {
        "teacher": Faces(100, 2000), "mae": Faces(100, 2000), "recognizer": Faces(900, 18_000)
    }  # fmt: skip
    tiny.reconstruct.subset = "all"
    assert faces_of(tiny, 1000, 20_000)["recognizer"] == Faces(1000, 20_000)
    tiny.reconstruct.subset = "seen"
    tiny.recognizer.faces = "somewhere"
    assert faces_of(tiny, 1000, 20_000)["recognizer"] == Faces(1000, 20_000)
    tiny.data.seen, tiny.data.unseen = "here", "there"
    assert set(faces_of(tiny, 1000, 20_000).values()) == {Faces(1000, 20_000)}


def test_only_what_is_trained_is_planned(tiny):
    assert names(tiny) == ["teacher", "mae", "recognizer"]
    tiny.teacher.source, tiny.mae.source, tiny.recognizer.variants = "onnx:x", "checkpoint:y", ()
    assert names(tiny) == []
    tiny.recognizer.faces = "z"
    assert names(tiny) == ["recognizer"]


def test_a_recognizer_is_abstract_and_knows_its_numbers(tiny):
    tiny.recognizer.optim.accumulate = 2
    job = job_of(tiny, "recognizer", FACES, paper_mesh(4, 2))
    assert (job.kind, job.batch, job.micro, job.steps, job.dtype) == (
        "recognizer",
        BATCH,
        8,
        2 * 400 // BATCH,
        "float32",
    )
    assert parameters(job.state.params) == WEIGHTS + 24 * EMBEDDING  # twenty people padded to eight devices
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(step_arguments(job)))
    assert batch_shapes(job, 16).images_BHWC.shape == (16, 4, 4, 3)


def test_the_loss_gets_only_the_sampled_centres(tiny):
    tiny.recognizer.head.sample = 0.1
    job = job_of(tiny, "recognizer", Faces(8000, 8000), paper_mesh(8, 1))
    params, _, _, batch, keys = loss_arguments(job)
    assert params["centres_KE"].shape == (8 * 128, EMBEDDING)  # a tenth of a thousand, in whole tiles
    assert keys["rows"].shape == (8 * 128,) and len(batch.labels_B) == BATCH


def test_the_mae_carries_its_teacher_as_shapes(tiny):
    job = job_of(tiny, "mae", FACES, paper_mesh(4, 2))
    assert parameters(frozen_shapes(job)) == WEIGHTS
    tiny.mae.irm_weight = 0.0
    assert parameters(frozen_shapes(job_of(tiny, "mae", FACES, paper_mesh(4, 2)))) == 0


def test_the_program_is_the_train_step_itself(tiny):
    job = job_of(tiny, "mae", FACES, paper_mesh(4, 2))
    traced = step_program(job).trace(*step_arguments(job))
    state, metrics = traced.out_info
    assert jax.tree.map(lambda x: x.shape, state) == jax.tree.map(lambda x: x.shape, job.state)
    assert {"loss", "pixel", "irm", "grad_norm"} <= set(metrics)


@pytest.mark.parametrize(
    ("changes", "images", "said"),
    [
        (
            {"batch": 12},
            400,
            "recognizer.optim.batch=12 does not divide over the 8 devices of the mesh (4 × 2): use 8 or 16",
        ),
        ({"batch": 16, "accumulate": 4}, 400, "recognizer.optim.batch / accumulate=4 does not divide"),
        (
            {"batch": 16, "accumulate": 3},
            400,
            "recognizer.optim.accumulate=3 does not divide recognizer.optim.batch=16",
        ),
        ({"batch": 16}, 10, "recognizer.optim.batch=16 is more than the 10 images"),
    ],
)
def test_a_batch_that_does_not_fit_is_told(tiny, changes, images, said):
    tiny.recognizer.optim.update(changes)
    with pytest.raises(FacemaeError) as error:
        job_of(tiny, "recognizer", Faces(PEOPLE, images), paper_mesh(4, 2))
    assert said in str(error.value)
