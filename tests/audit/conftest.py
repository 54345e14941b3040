"""Set-up that the tests of attackers which train share."""

import jax
import pytest

from facemae_jax.mesh import make_mesh


@pytest.fixture(scope="module")
def mesh():
    return make_mesh(1, 1, jax.devices()[:1])


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """Seen and unseen people."""
    import attack_help

    folder = tmp_path_factory.mktemp("faces")
    return [
        attack_help.write_set(folder / name, *attack_help.rendered(people, 8, seed))
        for name, people, seed in (("seen", 80, 0), ("unseen", 40, 1))
    ]
