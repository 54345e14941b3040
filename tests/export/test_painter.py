import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facemae_jax.checkpoint import save_model
from facemae_jax.export import painter as painters
from facemae_jax.export.painter import Painter
from facemae_jax.export.release import mask_seeds, release_key
from facemae_jax.mesh import make_mesh
from facemae_jax.models.mae import Mae, MaeConfig
from facemae_jax.models.masking import hidden_pixels, patch_owners, patches_to_pixels, random_mask
from facemae_jax.models.scaling import to_unit
from facemae_jax.types import FacemaeError

SIZE, PATCH, VISIBLE, COUNT = 32, 8, 4, 11
CONFIG = MaeConfig(SIZE, PATCH, VISIBLE, 32, 1, 2, 16, 1, 2)
SEEDS = mask_seeds(release_key(bytes(32), "test"), [f"{n}" for n in range(COUNT)])
IMAGES = np.random.default_rng(0).integers(0, 256, (COUNT, SIZE, SIZE, 3), np.uint8)
FACES = IMAGES[:, None]  # each made of one image


@pytest.fixture(scope="module")
def variables():
    model, visible_BV = Mae(CONFIG), jnp.arange(VISIBLE)[None]
    found = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, SIZE, SIZE, 3)), visible_BV)
    # A fresh decoder paints grey in grey; larger last weights let every visible pixel count.
    found["params"]["decoder_pred"]["kernel"] *= 3.0
    return jax.tree.map(np.asarray, found)


@pytest.fixture(scope="module")
def directory(variables, tmp_path_factory):
    return saved(tmp_path_factory.mktemp("mae"), variables)


def saved(folder, variables, **changes):
    save_model(folder / "model", variables, CONFIG.to_dict() | dict(kind="mae", norm_pix=False) | changes)
    return folder


@pytest.fixture(scope="module")
def made(directory):
    """One painter per composition, compiled once."""
    mesh = make_mesh(8, 1)
    return {
        composition: Painter(directory, visible=VISIBLE, mesh=mesh, batch_per_device=1, composition=composition)
        for composition in painters.COMPOSITIONS
    }


def hidden_pixels_of(seeds_n2):
    """bool, [n, SIZE, SIZE, 1]: which pixels the encoder must not see."""
    keys = jax.random.wrap_key_data(jnp.asarray(seeds_n2), impl="threefry2x32")
    mask = random_mask(keys, patches=CONFIG.patches, visible=VISIBLE)
    return np.asarray(hidden_pixels(mask.hidden_BN, PATCH)), mask


def test_an_image_comes_out_the_same_wherever_it_stands(made):
    """Alone in a padded batch, at any place, before and behind other images: the same bytes."""
    whole = made["full"](FACES, SEEDS)
    assert whole.dtype == np.uint8 and whole.shape == IMAGES.shape and whole.std() > 5
    np.testing.assert_array_equal(made["full"](FACES[::-1], SEEDS[::-1]), whole[::-1])
    for rows in ([0], [10], [3, 7, 1], list(range(8)), list(range(2, 11)), [5] * 9):
        np.testing.assert_array_equal(made["full"](FACES[rows], SEEDS[rows]), whole[rows])
    assert made["full"](FACES[:0], SEEDS[:0]).shape == (0, SIZE, SIZE, 3)


def test_the_seed_chooses_the_mask(made):
    turned = np.roll(SEEDS, 1, axis=0)
    same_image = np.repeat(FACES[:1], COUNT, axis=0)
    painted = made["full"](same_image, turned)
    assert len({image.tobytes() for image in painted}) == COUNT


def test_an_untrained_decoder_paints_nothing(tmp_path, variables):
    saved(tmp_path, variables, untrained="decoder")
    with pytest.raises(FacemaeError, match="the decoder of this MAE was never trained.*mae.optim.init_from="):
        Painter(tmp_path, visible=VISIBLE, mesh=make_mesh(8, 1), batch_per_device=1)


def test_a_focus_chooses_other_masks_and_hidden_pixels_still_never_enter(directory, made):
    painter = Painter(directory, visible=VISIBLE, mesh=make_mesh(8, 1), batch_per_device=1, mask_focus=6.0)
    painted = painter(FACES, SEEDS)
    assert (painted != made["full"](FACES, SEEDS)).any()
    keys = jax.random.wrap_key_data(jnp.asarray(SEEDS), impl="threefry2x32")
    mask = random_mask(keys, patches=CONFIG.patches, visible=VISIBLE, focus=6.0)
    other = np.where(hidden_pixels(mask.hidden_BN, PATCH), 255 - IMAGES, IMAGES).astype(np.uint8)
    np.testing.assert_array_equal(painter(other[:, None], SEEDS), painted)


def test_meshes_differ_by_one_grey_level_at_most(directory, made):
    other = Painter(directory, visible=VISIBLE, mesh=make_mesh(4, 2), batch_per_device=1)
    gap = np.abs(other(FACES, SEEDS).astype(int) - made["full"](FACES, SEEDS))
    assert gap.max() <= 1
    larger = Painter(directory, visible=VISIBLE, mesh=make_mesh(8, 1), batch_per_device=2)
    assert np.abs(larger(FACES, SEEDS).astype(int) - made["full"](FACES, SEEDS)).max() <= 1


@pytest.mark.parametrize("composition", painters.COMPOSITIONS)
def test_hidden_pixels_of_the_source_never_show(made, composition):
    hidden, _ = hidden_pixels_of(SEEDS)
    assert hidden.mean() == 1 - VISIBLE / CONFIG.patches
    noise = np.random.default_rng(1).integers(0, 256, IMAGES.shape, np.uint8)
    before = made[composition](FACES, SEEDS)
    np.testing.assert_array_equal(made[composition](np.where(hidden, noise, IMAGES)[:, None], SEEDS), before)
    # And visible ones do: the test would pass with a painter that looks at nothing.
    changed = made[composition](np.where(hidden, IMAGES, noise)[:, None], SEEDS)
    assert all((a != b).any() for a, b in zip(changed, before, strict=True))


def test_paste_is_the_painting_with_visible_pixels_copied(made):
    hidden, _ = hidden_pixels_of(SEEDS)
    full, pasted = made["full"](FACES, SEEDS), made["paste"](FACES, SEEDS)
    np.testing.assert_array_equal(pasted, np.where(hidden, full, IMAGES))
    assert (full != IMAGES)[~np.broadcast_to(hidden, IMAGES.shape)].mean() > 0.9  # full copies none of them


def test_full_has_no_way_around_the_decoder(variables, tmp_path):
    """With the decoder's last layer at zero nothing of any image is left in ``full``; ``paste`` still copies."""
    blank = jax.tree.map(np.zeros_like, variables["params"]["decoder_pred"])
    directory = saved(tmp_path, {"params": variables["params"] | {"decoder_pred": blank}})
    arguments = dict(visible=VISIBLE, mesh=make_mesh(8, 1), batch_per_device=1)
    full, pasted = (Painter(directory, **arguments, composition=name)(FACES, SEEDS) for name in ("full", "paste"))
    assert (full == 128).all()  # 0 in units of −1…1
    hidden, _ = hidden_pixels_of(SEEDS)
    np.testing.assert_array_equal(pasted, np.where(hidden, np.uint8(128), IMAGES))


def test_the_derivative_by_hidden_pixels_is_exactly_zero(variables):
    hidden, mask = hidden_pixels_of(SEEDS)
    units, model = to_unit(jnp.asarray(IMAGES)), Mae(CONFIG)
    direction = jax.random.normal(jax.random.key(1), units.shape)

    def painted(images_BHWC):
        return model.apply(variables, images_BHWC, mask.visible_BV).pixels_BHWC

    along = jax.jit(lambda tangent: jax.jvp(painted, (units,), (tangent,))[1])
    assert not np.asarray(along(jnp.where(hidden, direction, 0.0))).any()
    assert np.asarray(along(jnp.where(hidden, 0.0, direction))).any(axis=(1, 2, 3)).all()


def test_switches_of_training_do_not_change_the_painting(made, variables, tmp_path):
    """An MAE trained with remat and scan, at another mask ratio, is painted with as any other."""
    other = saved(tmp_path, variables, remat=True, scan=True, visible=8)
    again = Painter(other, visible=VISIBLE, mesh=make_mesh(8, 1), batch_per_device=1)
    assert again.config.visible == VISIBLE
    np.testing.assert_array_equal(again(FACES, SEEDS), made["full"](FACES, SEEDS))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (dict(kind="recognizer", network="cpu"), "holds a recognizer, not an MAE: name a train-mae directory"),
        (dict(norm_pix=True), "norm_pix_loss.*is a leak: train one with mae.norm_pix_loss=False"),
    ],
)
def test_models_that_must_not_paint_are_refused(variables, tmp_path, changes, told):
    with pytest.raises(FacemaeError, match=told):
        Painter(saved(tmp_path, variables, **changes), visible=VISIBLE, mesh=make_mesh(8, 1), batch_per_device=1)


def test_an_unknown_composition_is_refused(directory):
    with pytest.raises(FacemaeError, match="reconstruct.composition=collage: choose one of full, paste"):
        Painter(directory, visible=VISIBLE, mesh=make_mesh(8, 1), batch_per_device=1, composition="collage")


def test_no_model_there(tmp_path):
    with pytest.raises(FacemaeError, match="no model in"):
        Painter(tmp_path, visible=VISIBLE, mesh=make_mesh(8, 1), batch_per_device=1)


def test_on_a_gpu_the_export_is_compiled_deterministic(directory, monkeypatch):
    # There is no GPU here: what the compiler is told is looked at, and that it knows the option (it refuses unknown ones).
    told = []
    real = jax.jit
    monkeypatch.setattr(painters.jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(painters.jax, "jit", lambda f, **more: told.append(more["compiler_options"]) or real(f, **more))
    painter = Painter(directory, visible=VISIBLE, mesh=make_mesh(8, 1), batch_per_device=1)
    assert told == [{"xla_gpu_deterministic_ops": True}]
    monkeypatch.undo()
    painter(
        np.zeros((1, 1, painter.config.image_size, painter.config.image_size, 3), np.uint8), np.zeros((1, 2), np.uint32)
    )
    assert painters.compiler_options("cpu") is None and painters.compiler_options("tpu") is None


def test_a_face_of_several_people_shows_each_of_them_in_equal_shares(directory):
    """What is changed in an image shows where that image gives visible patches, and nowhere else can it."""
    painter = Painter(directory, visible=VISIBLE, mesh=make_mesh(8, 1), batch_per_device=1)
    mixed = np.stack([IMAGES, IMAGES[::-1]], axis=1)
    painted = painter(mixed, SEEDS)
    keys = jax.random.wrap_key_data(jnp.asarray(SEEDS), impl="threefry2x32")
    mask = random_mask(keys, patches=CONFIG.patches, visible=VISIBLE)
    owner_nN = np.asarray(patch_owners(keys, mask.visible_BV, patches=CONFIG.patches, people=2))
    visible_nN = ~np.asarray(mask.hidden_BN)
    for number in (0, 1):
        given_nN = visible_nN & (owner_nN == number)
        assert (given_nN.sum(axis=1) == VISIBLE // 2).all()
        shown = np.asarray(patches_to_pixels(jnp.asarray(given_nN), PATCH))
        other = mixed.copy()
        other[:, number] = np.where(shown, mixed[:, number], 255 - mixed[:, number])
        np.testing.assert_array_equal(painter(other, SEEDS), painted)
        other[:, number] = np.where(shown, 255 - mixed[:, number], mixed[:, number])
        assert all((a != b).any() for a, b in zip(painter(other, SEEDS), painted, strict=True))
    single = painter(np.stack([IMAGES, IMAGES], axis=1), SEEDS)
    np.testing.assert_array_equal(single, painter(FACES, SEEDS))


def test_more_people_than_visible_patches_are_refused(directory):
    painter = Painter(directory, visible=VISIBLE, mesh=make_mesh(8, 1), batch_per_device=1)
    with pytest.raises(FacemaeError, match=r"reconstruct.people=5: 4 patches are visible, one for each person"):
        painter(np.repeat(FACES, 5, axis=1), SEEDS)
