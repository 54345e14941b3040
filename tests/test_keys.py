import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facemae_jax.keys import image_keys, keys_for
from facemae_jax.mesh import batch_sharding, make_mesh


def data(key):
    return np.asarray(jax.random.key_data(key))


def test_a_key_depends_on_seed_step_and_name_alone():
    alone = data(keys_for(3, 7, ["mask"])["mask"])
    among = keys_for(3, 7, ("dropout", "mask", "augment"))
    np.testing.assert_array_equal(data(among["mask"]), alone)
    others = [keys_for(4, 7, ["mask"])["mask"], keys_for(3, 8, ["mask"])["mask"], among["dropout"], among["augment"]]
    assert all((data(other) != alone).any() for other in others)


def test_all_steps_and_names_give_different_keys():
    names = [f"name{n}" for n in range(20)]
    found = [tuple(data(key)) for step in range(20) for key in keys_for(0, step, names).values()]
    assert len(set(found)) == 400


def test_values_stay_as_they_are():
    # A change here changes the masks, the dropout and the first weights of every run that is resumed.
    assert data(keys_for(0, 0, ["mask"])["mask"]).tolist() == [2428151207, 3615838089]
    assert data(keys_for(12, 345, ["dropout"])["dropout"]).tolist() == [2571576487, 3445245559]


def test_traced_steps_give_the_same_keys():
    traced = jax.jit(lambda seed, step: keys_for(seed, step, ["mask"])["mask"])(jnp.int32(5), jnp.int32(11))
    np.testing.assert_array_equal(data(traced), data(keys_for(5, 11, ["mask"])["mask"]))


def test_typed_scalars():
    key = keys_for(0, 0, ["mask"])["mask"]
    assert key.shape == () and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)


def test_image_keys_follow_the_position_and_not_the_batch_size():
    key = jax.random.key(1)
    keys_B = image_keys(key, 16)
    assert keys_B.shape == (16,) and len({tuple(data(one)) for one in keys_B}) == 16
    np.testing.assert_array_equal(data(image_keys(key, 4)), data(keys_B)[:4])
    np.testing.assert_array_equal(data(keys_B[5]), data(jax.random.fold_in(key, 5)))


@pytest.mark.parametrize(("devices", "fsdp"), [(1, 1), (8, 1), (8, 2)])
def test_image_keys_do_not_depend_on_the_mesh(devices, fsdp):
    mesh = make_mesh(-1, fsdp, devices=jax.devices()[:devices])
    drawn = jax.jit(
        lambda key: jax.vmap(lambda one: jax.random.uniform(one, (3,)))(image_keys(key, 8)),
        out_shardings=batch_sharding(mesh),
    )(jax.random.key(2))
    expected = [jax.random.uniform(jax.random.fold_in(jax.random.key(2), position), (3,)) for position in range(8)]
    np.testing.assert_array_equal(np.asarray(drawn), np.stack(expected))
