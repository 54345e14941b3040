import jax.numpy as jnp
import numpy as np

from facemae_jax.models.scaling import to_uint8, to_unit

EVERY_BYTE = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)


def test_ends_and_middle():
    units = np.asarray(to_unit(EVERY_BYTE)).reshape(-1)
    assert units.dtype == np.float32
    assert units[0] == -1 and units[255] == 1
    np.testing.assert_allclose(units[[51, 204]], [-0.6, 0.6], rtol=1e-6)
    assert (np.diff(units) > 0).all()


def test_every_byte_comes_back():
    back = to_uint8(to_unit(EVERY_BYTE))
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, EVERY_BYTE)


def test_paintings_are_rounded_and_clipped_and_never_wrap_around():
    units = np.array([-5.0, -1.01, -1 + 0.6 / 127.5, -1 + 0.4 / 127.5, 1 - 0.4 / 127.5, 1.01, 5.0], np.float32)
    np.testing.assert_array_equal(to_uint8(units), [0, 0, 1, 0, 255, 255, 255])


def test_half_precision_is_widened_before_it_is_scaled():
    units = jnp.asarray(to_unit(EVERY_BYTE), jnp.bfloat16)
    np.testing.assert_array_equal(to_uint8(units), to_uint8(units.astype(jnp.float32)))
