"""Is the picture drawn, and are its lines what they claim to be?"""

import math
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.image import imread

from telescope.studies.telescoping.plot import draw
from telescope.studies.telescoping.plot_data import (
    PlottedEstimate,
    PlottedLadder,
    PlottedLevel,
    PlottedRun,
    lowest_losses,
    seed_adjusted_means,
    width_line,
)


def bowl(width, lr, weight_decay, seed=0):
    octaves = math.log2(lr) + 5
    if octaves > 2.5:
        return PlottedRun(width, lr, weight_decay, seed, None)
    shape = 0.02 * octaves**2 + 0.005 * (math.log2(weight_decay) + 3) ** 2
    return PlottedRun(width, lr, weight_decay, seed, (3 - width / 200) * (1 + shape) + 0.01 * seed)


def ladder(optimizer="muon", answered=True):
    grid = [bowl(32, 2.0**x, 2.0**y) for x in range(-9, -1) for y in (-6, -3, 0)]
    corners = [
        bowl(64, 2.0**x, 2.0**y, seed) for x in (-6, -4) for y in (-5, -1) for seed in (0, 1)
    ]
    estimate = PlottedEstimate(0.025, 0.031, 0.039)
    levels = (
        PlottedLevel(32, 2.0**-9, 2.0**-2, estimate, 2.84),
        PlottedLevel(64, 2.0**-6, 2.0**-4, estimate, 2.75),
    )
    return PlottedLadder(
        optimizer, "resolved", levels, (*grid, *corners), 128, estimate if answered else None
    )


def pixels(path):
    return np.round(imread(path)[..., :3] * 255).astype(int)


def close_to(picture, colour, tolerance=12):
    return int((np.abs(picture - np.array(colour)).max(-1) <= tolerance).sum())


def test_the_picture_is_a_png_with_both_sides_filled_and_the_target_in_its_colour(tmp_path):
    draw([ladder()], tmp_path / "a.png", "quickstart")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    picture = pixels(tmp_path / "a.png")
    assert picture.shape[0] > 500
    assert picture.shape[1] > 1000
    for half in np.array_split(picture, 2, axis=1):
        assert (half.min(-1) < 200).mean() > 0.005, "half of the picture is blank"
    assert close_to(picture, (0xD1, 0x49, 0x5B)) > 100


def test_two_ladders_are_two_rows(tmp_path):
    draw([ladder()], tmp_path / "one.png")
    draw([ladder(), ladder("adamw")], tmp_path / "two.png")
    assert pixels(tmp_path / "two.png").shape[0] > 1.7 * pixels(tmp_path / "one.png").shape[0]


def test_what_is_compared_is_a_row_above_those_of_its_ladders(tmp_path):
    two = [ladder("muon, code"), ladder("muon, prose")]
    draw(two, tmp_path / "two.png")
    draw(two, tmp_path / "data.png", "", "data")
    compared, plain = pixels(tmp_path / "data.png"), pixels(tmp_path / "two.png")
    assert compared.shape[0] > 1.4 * plain.shape[0]
    for half in np.array_split(compared[: compared.shape[0] // 3], 2, axis=1):
        assert close_to(half, (0xFF, 0x7F, 0x0E)) > 100, (
            "the second ladder's colour, which lies above the first one's"
        )
    draw(
        [PlottedLadder("muon, code", "unresolved", (), (), 64, None)] * 2,
        tmp_path / "none.png",
        "",
        "data",
    )


def test_losses_of_different_texts_are_drawn_over_their_first():
    assert lowest_losses(ladder(), "model") == [(32, 2.84), (64, 2.75)]
    assert lowest_losses(ladder(), "data") == [(32, 1.0), (64, 2.75 / 2.84)]


def test_without_an_answer_nothing_is_drawn_in_the_target_colour(tmp_path):
    draw([ladder(answered=False)], tmp_path / "a.png")
    assert close_to(pixels(tmp_path / "a.png"), (0xD1, 0x49, 0x5B)) == 0


@pytest.mark.parametrize(
    "runs", [(), (PlottedRun(32, 0.01, 0.1, 0, None), PlottedRun(32, 0.02, 0.1, 0, None))]
)
def test_a_ladder_where_nothing_ended_or_everything_diverged_can_be_drawn(tmp_path, runs):
    draw(
        [
            PlottedLadder(
                "muon", "unresolved", (PlottedLevel(32, 0.01, 0.02, None, None),), runs, 64, None
            )
        ],
        tmp_path / "a.png",
    )
    assert (tmp_path / "a.png").stat().st_size > 10_000


def test_seeds_are_compared_where_they_meet_before_they_are_averaged():
    first = [bowl(32, 2.0**x, 0.125, 0) for x in (-7, -6, -5, -4)]
    second = [bowl(32, 2.0**x, 0.125, 1) for x in (-6, -5, -3)]
    means = seed_adjusted_means(first + second)
    for x in (-7, -6, -5, -4, -3):
        assert means[2.0**x, 0.125] == pytest.approx(bowl(32, 2.0**x, 0.125, 0).loss)


def test_the_line_is_the_best_of_the_weight_decays_tried_at_most_learning_rates():
    grid = [bowl(32, 2.0**x, 2.0**y) for x in range(-9, -3) for y in (-6, -3, 0)]
    off_grid = [PlottedRun(32, 2.0**-4.5, 2.0**-2.5, 0, 0.5)]
    line = width_line(seed_adjusted_means(grid + off_grid))
    assert [lr for lr, _ in line] == [2.0**x for x in range(-9, -3)]
    assert dict(line) == {2.0**x: bowl(32, 2.0**x, 2.0**-3).loss for x in range(-9, -3)}
    assert all(a < b for (a, _), (b, _) in pairwise(line))


def test_diverged_runs_have_no_mean():
    assert seed_adjusted_means([PlottedRun(32, 0.5, 0.1, 0, None)]) == {}
    assert width_line({}) == []
