import attack_help
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facemae_jax.audit import inversion_attack as i
from facemae_jax.audit.pair_training import AttackOptim, PairSource
from facemae_jax.audit.retrieval_attack import retrieval_attack
from facemae_jax.data.distort import Distortion
from facemae_jax.embed import embed
from facemae_jax.models.scaling import to_uint8, to_unit

BLUR = Distortion("blur", attack_help.SIZE, blur=10.0)
OPTIM = AttackOptim(steps=80, batch=16, learning_rate=5e-3)
WIDTHS = (12, 16)


def trained(out, source, mesh, **more):
    where = dict(optim=OPTIM, seed=0, mesh=mesh, threads=0, label="inversion", widths=WIDTHS)
    return i.train_inverter(source, out=out, **where | more)


@pytest.mark.slow
def test_a_blurred_face_is_painted_back_and_found_again(tmp_path, faces, mesh):
    seen, unseen = faces
    judge = attack_help.judge(16)
    where = dict(batch=64, mesh=mesh, threads=0)
    pairs = PairSource(unseen, unseen, transform=BLUR)
    gallery_GE = embed(judge, unseen, **where)
    found = {"input": embed(judge, unseen, transform=BLUR, **where)}
    ratio = {}
    for name, weight in (("pixels", 0.0), ("features", 2.0)):
        source = PairSource(seen, seen, transform=BLUR)
        inverter, params = trained(tmp_path / name, source, mesh, recognizer=judge, feature_weight=weight)
        ratio[name] = i.signal_to_noise(inverter, params, pairs, label="psnr", **where)
        found[name] = embed(i.behind(inverter, params, judge), unseen, transform=BLUR, **where)
    assert ratio["pixels"]["inverted"] > ratio["pixels"]["input"] + 1.0  # dB
    assert ratio["features"]["input"] == ratio["pixels"]["input"]
    cosine = {name: float((queries_QE * gallery_GE).sum(1).mean()) for name, queries_QE in found.items()}
    assert cosine["features"] > cosine["pixels"] > cosine["input"]
    truth = dict(sources_Q=np.arange(len(unseen)), labels_G=unseen.labels_n)
    rank = {name: retrieval_attack(q, gallery_GE, **truth)["same_image"]["rank"]["1"] for name, q in found.items()}
    assert rank["features"] > rank["input"] + 0.04


@pytest.mark.slow
def test_images_of_other_people_give_no_more_than_chance(tmp_path, faces, mesh):
    random = np.random.default_rng(0)
    seen, unseen = (each.subset(random.permutation(len(each))) for each in faces)  # a face, but not of that original
    inverter, params = trained(tmp_path, PairSource(seen, faces[0], transform=BLUR), mesh)
    where = dict(batch=64, mesh=mesh, threads=0)
    judge = attack_help.judge(16)
    found_QE = embed(i.behind(inverter, params, judge), unseen, transform=BLUR, **where)
    truth = dict(sources_Q=np.arange(len(unseen)), labels_G=faces[1].labels_n)
    found = retrieval_attack(found_QE, embed(judge, faces[1], **where), **truth)["same_image"]
    blind = found["chance"]["rank"]["10"]
    assert abs(found["rank"]["10"] - blind) < 4 * (blind * (1 - blind) / 320) ** 0.5


def test_an_untrained_inverter_gives_its_input_back(faces, mesh):
    seen = faces[0].subset(np.arange(50))
    inverter = i.Inverter(WIDTHS)
    params = jax.jit(inverter.init)(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))["params"]
    ratio = i.signal_to_noise(
        inverter, params, PairSource(seen, seen, transform=BLUR), batch=32, mesh=mesh, threads=0, label="psnr"
    )
    assert ratio["input"] == ratio["inverted"]
    images = attack_help.rendered(80, 8, 0)[0][:50]
    blurred = np.stack([BLUR(image, "") for image in images])
    error_n = ((images.astype(float) - blurred) ** 2).mean(axis=(1, 2, 3))
    assert ratio["input"] == pytest.approx((10 * np.log10(255**2 / error_n)).mean(), rel=1e-5)
    judge = attack_help.judge(16)
    both = i.behind(inverter, params, judge)
    units = to_unit(jnp.asarray(images[:4]))
    np.testing.assert_allclose(both.apply(both.params, units), judge.apply(judge.params, units), atol=1e-5)
    assert both.digest != judge.digest


def test_decibels_by_hand():
    images = np.zeros((2, 4, 4, 3), np.uint8)
    other = images.copy()
    other[1] += 51  # a fifth of the range: 20 · log10(5)
    np.testing.assert_allclose(i.decibels(images, other), [i.BEST, 20 * np.log10(5)], rtol=1e-6)


def test_inverted_images_pass_through_bytes(faces, mesh):
    seen = []

    def apply(params, images_BHWC):
        seen.append(images_BHWC)
        return images_BHWC.reshape(len(images_BHWC), -1)

    judge = attack_help.judge(16)._replace(apply=apply)
    inverter = i.Inverter(WIDTHS)
    params = jax.jit(inverter.init)(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))["params"]
    images = jnp.full((1, 32, 32, 3), 1.3)
    both = i.behind(inverter, params, judge)
    both.apply(both.params, images)
    np.testing.assert_array_equal(seen[0], to_unit(to_uint8(images)))
