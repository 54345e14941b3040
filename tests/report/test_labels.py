"""Places of labels: none covers another, a point or what is taken; who finds none is told so."""

import numpy as np
import pytest

from facemae_jax.report import labels

FRAME = (0.0, 0.0, 360.0, 240.0)


def boxes(places, sizes):
    middles = np.array(places)
    return np.hstack([middles - sizes / 2, middles + sizes / 2])


def clash(a, b):
    return bool((a[:2] < b[2:]).all() and (a[2:] > b[:2]).all())


@pytest.mark.parametrize("spread", [100.0, 20.0])
def test_in_a_crowd_no_label_covers_another_or_a_point(spread):
    points = np.array([180, 120]) + np.random.default_rng(0).uniform(-spread, spread, (24, 2))
    sizes = np.tile([12.0, 9.0], (24, 1))
    places = labels.place(points, sizes, frame=FRAME)
    assert None not in places
    found = boxes(places, sizes)
    assert not any(clash(found[a], found[b]) for a in range(24) for b in range(a))
    assert not any(box[0] < x < box[2] and box[1] < y < box[3] for box in found for x, y in points)
    assert (found[:, :2] >= 0).all() and (found[:, 2:] <= FRAME[2:]).all()


def test_points_on_one_spot_are_told_apart():
    points, sizes = np.full((6, 2), 120.0), np.tile([30.0, 9.0], (6, 1))
    found = boxes(labels.place(points, sizes, frame=FRAME), sizes)
    assert not any(clash(found[a], found[b]) for a in range(6) for b in range(a))


def test_what_is_taken_stays_free_and_lines_are_avoided():
    point, size = np.array([[100.0, 100.0]]), np.array([[20.0, 9.0]])
    (usual,) = labels.place(point, size, frame=FRAME)
    taken = boxes([usual], size)
    (moved,) = labels.place(point, size, frame=FRAME, taken_m4=taken)
    assert not clash(boxes([moved], size)[0], taken[0])
    line = np.array([[usual[0] - 30, usual[1], usual[0] + 30, usual[1]]])
    (moved,) = labels.place(point, size, frame=FRAME, lines_l4=line)
    box = boxes([moved], size)[0]
    assert moved != usual and not (box[1] < usual[1] < box[3])


def test_who_finds_no_place_is_told():
    points, sizes = np.full((30, 2), 20.0), np.tile([38.0, 18.0], (30, 1))
    places = labels.place(points, sizes, frame=(0.0, 0.0, 40.0, 40.0))
    assert None in places
    assert labels.place(np.zeros((0, 2)), np.zeros((0, 2)), frame=FRAME) == []


def test_a_line_to_a_label_ends_at_its_nearest_edge():
    assert labels.edge((10.0, 10.0), (4.0, 2.0), (0.0, 10.5)) == (8.0, 10.5)
    assert labels.edge((10.0, 10.0), (4.0, 2.0), (20.0, 0.0)) == (12.0, 9.0)
