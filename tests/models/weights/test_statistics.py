import pathlib
import sys

import jax
import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))  # tests/models

from recognizer_help import computed, made, pictures

from facemae_jax.models.recognizer import from_description
from facemae_jax.models.weights.recognizer_norms import folded_norm, ours
from facemae_jax.models.weights.statistics import measured_again
from facemae_jax.types import FacemaeError

NORMS = ("bn0", "inner_bn1", "bn3")


@pytest.fixture(scope="module")
def fresh():
    """(folded variables, measured again, description, faces)."""
    variables, description = made("cpu")
    for name in NORMS:
        bias = variables["params"][name]["bias"].astype(np.float64)
        variables["params"][name], variables["batch_stats"][name] = ours(folded_norm(bias))
    faces = pictures(24, seed=3) + np.float32(0.5)  # brighter than grey, so that the mean counts
    return variables, measured_again(variables, description, NORMS, faces, batch=8), description, faces


def test_evaluation_computes_what_it_did(fresh):
    before, after, description, _ = fresh
    expected = computed(before, description, pictures())
    np.testing.assert_allclose(
        computed(after, description, pictures()), expected, rtol=0, atol=1e-5 * np.abs(expected).max()
    )


def test_first_statistics_are_those_of_the_faces(fresh):
    before, after, _, faces = fresh
    kernel = before["params"]["down0"]["kernel"]
    maps = np.asarray(
        jax.lax.conv_general_dilated(faces, kernel, (2, 2), [(1, 1)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC"))
    )
    stats = after["batch_stats"]["bn0"]
    np.testing.assert_allclose(stats["mean"], maps.mean((0, 1, 2)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(stats["var"], maps.var((0, 1, 2)), rtol=1e-3)


def test_a_training_step_begins_with_the_same_network(fresh):
    """With the statistics of its own batch; before, they had nothing to do with what the network expects."""
    before, after, description, faces = fresh
    model = from_description(description)
    layers = dict(train=True, mutable=["batch_stats", "intermediates"], capture_intermediates=True)

    @jax.jit
    def trained(variables):
        kept = model.apply(variables, faces, **layers)[1]["intermediates"]
        return kept["bn0"]["__call__"][0]

    @jax.jit
    def evaluated(variables):
        kept = model.apply(variables, faces, train=False, capture_intermediates=True)[1]["intermediates"]
        return kept["bn0"]["__call__"][0]

    expected = np.asarray(evaluated(before))
    np.testing.assert_allclose(trained(after), expected, rtol=0, atol=1e-3 * np.abs(expected).max())
    assert np.abs(trained(before) - expected).max() > 0.1 * np.abs(expected).max()


def test_other_norms_and_the_given_variables_stay(fresh):
    before, after, description, faces = fresh
    for name in set(before["batch_stats"]) - set(NORMS):
        jax.tree.map(np.testing.assert_array_equal, after["batch_stats"][name], before["batch_stats"][name])
    assert (before["batch_stats"]["bn0"]["var"] == 1).all() and (after["batch_stats"]["bn0"]["var"] != 1).all()


def test_too_few_faces_are_refused(fresh):
    before, _, description, _ = fresh
    with pytest.raises(FacemaeError, match="need at least 8 faces, not 3"):
        measured_again(before, description, NORMS, pictures(3), batch=8)
    assert measured_again(before, description, (), pictures(3), batch=8) is before
