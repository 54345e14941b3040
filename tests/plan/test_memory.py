"""Bytes per device: on paper, and against the arrays and the compiled program of a real step on eight devices."""

import jax
import pytest
from plan_help import BATCH, EMBEDDING, PEOPLE, SIZE, WEIGHTS

from facemae_jax.mesh import make_mesh
from facemae_jax.plan.jobs import Faces, job_of, paper_mesh
from facemae_jax.plan.memory import memory_of, tree_bytes
from facemae_jax.train.step import init_state

FACES = Faces(PEOPLE, 400)
COUNTER = 4  # bytes of the schedule's step number
ROW = SIZE * SIZE * 3 + 4 + 4 + 1  # bytes of an image, its label, its position, and whether it is valid


def test_a_tiny_recognizer_on_paper(tiny):
    memory = memory_of(job_of(tiny, "recognizer", FACES, paper_mesh(8, 1)))
    centres = 24 * EMBEDDING * 4 // 8  # three of 24 rows
    assert memory.weights == WEIGHTS * 4
    assert memory.optimizer == WEIGHTS * 4 + COUNTER
    assert memory.gradients == WEIGHTS * 4
    assert (memory.centres, memory.centres_optimizer, memory.centres_gradients) == (centres, centres, centres)
    assert (memory.frozen, memory.copies) == (0, 0)
    assert memory.batch == BATCH // 8 * ROW
    assert memory.total == sum(memory) and memory.fixed == memory.total - memory.batch - memory.activations


def test_accumulation_holds_two_gradients_and_fewer_activations(tiny):
    whole = memory_of(job_of(tiny, "recognizer", FACES, paper_mesh(8, 1)))
    tiny.recognizer.optim.accumulate = 2
    parts = memory_of(job_of(tiny, "recognizer", FACES, paper_mesh(8, 1)))
    assert parts.gradients == 2 * whole.gradients and parts.centres_gradients == 2 * whole.centres_gradients
    assert parts.activations < 0.6 * whole.activations
    assert parts.weights == whole.weights and parts.batch == whole.batch


def test_every_device_keeps_its_share_of_activations(tiny):
    tiny.recognizer.optim.batch = 256
    alone = memory_of(job_of(tiny, "recognizer", FACES, paper_mesh(1, 1))).activations
    eighth = memory_of(job_of(tiny, "recognizer", FACES, paper_mesh(8, 1))).activations
    # pixels, embeddings and logits are shared out; embeddings gathered for the logits are on every device
    pixels, embeddings = 256 * SIZE * SIZE * 3 * 4, 256 * EMBEDDING * 4
    assert alone > pixels + embeddings + 256 * PEOPLE * 4
    assert (pixels + embeddings) // 8 < eighth < alone / 2


def test_parameters_are_split_over_fsdp_and_adam_remembers_twice(tiny):
    tiny.mae.update(dict(width=64, heads=2))
    whole = memory_of(job_of(tiny, "mae", FACES, paper_mesh(8, 1)))
    split = memory_of(job_of(tiny, "mae", FACES, paper_mesh(1, 8)))
    # fc1 and fc2 of the encoder's layer have 64 · 256 numbers, just enough to be split; qkv's 64 · 192 are too few
    saved = 2 * 64 * 256 * 4 * 7 // 8
    assert whole.weights - split.weights == saved
    assert whole.optimizer - split.optimizer == 2 * saved and whole.gradients - split.gradients == saved
    assert split.copies - whole.copies == 2 * 64 * 256 * 4
    assert whole.frozen == split.frozen == WEIGHTS * 4


def test_two_million_centres_over_eight_devices(tiny):
    tiny.recognizer.update(dict(embedding=512))
    memory = memory_of(job_of(tiny, "recognizer", Faces(2_059_906, 42_474_558), paper_mesh(8, 1)))
    padded = 2_059_912  # the next multiple of eight
    assert memory.centres == memory.centres_optimizer == memory.centres_gradients == padded * 512 * 4 // 8
    assert memory.centres - 2_059_906 * 512 * 4 / 8 < 512 * 4
    # embeddings of 16 images against 257,489 classes, their logits once or twice, beside normalised centres
    assert memory.activations > 16 * 257_489 * 4 + memory.centres


def test_a_hundred_million_people_sampled_on_paper(tiny):
    tiny.recognizer.update(dict(embedding=512))
    tiny.recognizer.optim.batch = 4096
    tiny.recognizer.head.sample = 0.1
    faces = Faces(100_000_000, 2_000_000_000)
    memory = memory_of(job_of(tiny, "recognizer", faces, paper_mesh(64, 1)))
    assert memory.centres == memory.centres_optimizer == 1_562_500 * 512 * 4  # 3.2 GB each
    rows = 156_288  # a tenth of 1,562,500 in whole tiles of 128
    assert (
        memory.centres_gradients == 3 * rows * 512 * 4
    )  # their gradients, and copies of the rows and of their momentum
    tiny.recognizer.head.dtype = "bfloat16"
    half = memory_of(job_of(tiny, "recognizer", faces, paper_mesh(64, 1)))
    assert half.centres == half.centres_optimizer == 1_562_500 * 512 * 2


@pytest.mark.parametrize(
    ("name", "sizes", "sample"), [("recognizer", (8, 1), 1.0), ("recognizer", (4, 2), 0.1), ("mae", (2, 4), 1.0)]
)
def test_the_state_on_paper_is_the_state_on_the_devices(tiny, name, sizes, sample):
    tiny.recognizer.head.sample = sample
    tiny.mae.update(dict(width=64, heads=2))
    memory = memory_of(job_of(tiny, name, FACES, paper_mesh(*sizes)))
    real = job_of(tiny, name, FACES, make_mesh(*sizes))
    state = init_state(real.task._replace(frozen=()), real.optimizer, mesh=real.mesh, seed=0)
    device = jax.devices()[3]
    held = [s.data.nbytes for leaf in jax.tree.leaves(state) for s in leaf.addressable_shards if s.device == device]
    planned = memory.weights + memory.optimizer + memory.centres + memory.centres_optimizer
    assert sum(held) == planned + tree_bytes(real.state.step)
