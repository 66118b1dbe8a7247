"""Mixing of fixed pairs, against timm's with the same draws."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.data.mixup import Mixup

from vkd.classification.mixing import (
    MixingRule,
    PairMixing,
    drawn_pairs,
    mixed_images,
    mixed_labels,
)
from vkd.errors import FieldError
from vkd.recipe import recipe

SIZE = (9, 12)
RULES = {
    "mixup": MixingRule(0.8, 0.0, None, 1.0, 0.5),
    "cutmix": MixingRule(0.0, 1.0, None, 1.0, 0.5),
    "both": MixingRule(0.8, 1.0, None, 1.0, 0.5),
    "sometimes": MixingRule(0.8, 1.0, None, 0.6, 0.3),
    "sides": MixingRule(0.0, 1.0, (0.2, 0.8), 1.0, 0.5),
    "sides and mixup": MixingRule(0.4, 1.0, (0.2, 0.8), 0.9, 0.5),
}


def timm_mixup(rule, smoothing):
    return Mixup(
        rule.mixup, rule.cutmix, rule.sides, rule.probability, rule.switch_probability, "pair",
        label_smoothing=smoothing, num_classes=5,
    )  # fmt: skip


class Replayed:
    """timm's draws in the order it asks for them, which are ours."""

    def __init__(self, rule, pairs, seed, view):
        random = np.random.RandomState([seed, view, 1])
        numpy_state = np.random.get_state()
        np.random.set_state(random.get_state())
        # timm's own code draws the ratios, from the random numbers that ours began with.
        self.ratios, self.is_cut = timm_mixup(rule, 0.0)._params_per_elem(pairs)
        random.set_state(np.random.get_state())
        np.random.set_state(numpy_state)
        self.whole = []
        for side in SIZE:
            if rule.sides:
                cut = random.randint(int(side * rule.sides[0]), int(side * rule.sides[1]), pairs)
                self.whole.append((cut, random.randint(0, side - cut + 1)))
            else:
                self.whole.append((random.randint(0, side, pairs),))
        self.rule = rule

    def integers(self):
        """What timm's ``randint`` is to return, for each patch that it places."""
        for pair in np.flatnonzero(self.is_cut & (self.ratios != 1)):
            for number in range(len(self.whole[0])):
                for axis in self.whole:
                    yield int(axis[number][pair])


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_pairs_are_mixed_as_timm_mixes_them_with_the_same_draws(name, smoothing, monkeypatch):
    rule, pairs, seed, view = RULES[name], 60, 3, 1
    replayed = Replayed(rule, pairs, seed, view)
    mixup = timm_mixup(rule, smoothing)
    integers = replayed.integers()
    monkeypatch.setattr(mixup, "_params_per_elem", lambda _: (replayed.ratios, replayed.is_cut))
    monkeypatch.setattr(np.random, "randint", lambda *_, size=None: next(integers))
    images, labels = torch.randn(2 * pairs, 3, *SIZE), torch.randint(5, (2 * pairs,))
    # timm's partner of i is the one as far from the end; ours is the neighbour.
    theirs = torch.cat([torch.arange(0, 2 * pairs, 2), torch.arange(1, 2 * pairs, 2).flip(0)])
    expected, shares = mixup(images[theirs], labels[theirs])
    assert next(integers, None) is None
    mixing = PairMixing(rule, *SIZE, 2 * pairs, seed)(torch.arange(2 * pairs) + 2 * pairs * view)
    found = mixed_images(images, mixing)
    torch.testing.assert_close(found[theirs], expected, rtol=1e-6, atol=1e-6)
    ours = mixed_labels(labels, mixing, 5, smoothing)
    torch.testing.assert_close(ours[theirs], shares, rtol=1e-6, atol=1e-6)
    assert not torch.equal(found, images)


def test_draws_have_the_shares_and_ratios_of_the_rule():
    drawn = drawn_pairs(RULES["sometimes"], SIZE, 200_000, 0, 0)
    ratios, shares = drawn[:, 0], drawn[:, 1]
    is_cut = (drawn[:, 2:].sum(1) > 0) & (shares == 1)
    is_mixed = shares < 1
    # 3 of 10 mixed pairs are CutMix's, some of whose patches have no pixel.
    assert (is_mixed.float().mean() - 0.6 * 0.7).abs() < 0.01
    assert 0.6 * 0.3 * 0.7 < is_cut.float().mean() < 0.6 * 0.3 + 0.01
    beta = torch.distributions.Beta(0.8, 0.8).sample((200_000,))
    quantiles = torch.linspace(0.05, 0.95, 19)
    found, expected = ratios[is_mixed].quantile(quantiles), beta.quantile(quantiles)
    torch.testing.assert_close(found, expected, atol=0.01, rtol=0)
    areas = (drawn[:, 3] - drawn[:, 2]) * (drawn[:, 5] - drawn[:, 4])
    torch.testing.assert_close(ratios[is_cut], 1 - areas[is_cut] / (9 * 12))


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(list(RULES)), st.integers(0, 2**32 - 1), st.integers(1, 4),
    st.lists(st.integers(0, 19), min_size=1, max_size=12, unique=True),
)  # fmt: skip
def test_a_pair_is_mixed_alike_whenever_and_with_whomever_it_is_asked_for(name, seed, views, pairs):
    mixing = PairMixing(RULES[name], *SIZE, 2 * (-(-20 // views)), seed)
    whole = mixing(torch.arange(mixing.rows_per_view * views))
    rows = torch.tensor(pairs)[:, None] * 2 + torch.arange(2)
    rows = rows.flatten()
    found = mixing(rows)
    assert torch.equal(found, whole[rows])
    assert torch.equal(found[0::2], found[1::2])
    images = torch.rand(len(rows), 1, *SIZE)
    mixed = mixed_images(images, found)
    # Both mixtures together hold every pixel once.
    torch.testing.assert_close(mixed[0::2] + mixed[1::2], images[0::2] + images[1::2])
    labels = mixed_labels(torch.arange(len(rows)) % 4, found, 4, 0.1)
    torch.testing.assert_close(labels.sum(1), torch.ones(len(rows)))


def test_a_recipe_gives_its_rule():
    config = recipe("digits", mixup=0.8, cutmix_max=0.7, cutmix_min=0.2, mixup_probability=0.5)
    assert MixingRule.of(config) == MixingRule(0.8, 1.0, (0.2, 0.7), 0.5, 0.5)
    config = replace(config, cutmix_min=0.0, cutmix_max=0.0, cutmix=0.3)
    assert MixingRule.of(config) == MixingRule(0.8, 0.3, None, 0.5, 0.5)
    with pytest.raises(FieldError, match="cutmix_max must leave a choice of sides, found 1 to"):
        MixingRule(0.0, 1.0, (0.2, 0.24), 1.0, 0.5).check_size(8, 8)


def test_draws_are_what_they_were_when_stores_were_written():
    """A store is useless once another ratio or patch is drawn."""
    rule = MixingRule(0.8, 1.0, None, 0.9, 0.5)
    expected = [
        [0.9245192408561707, 0.9245192408561707, 0, 0, 0, 0],
        [0.7407407164573669, 1, 0, 4, 4, 11],
        [0.5172672867774963, 0.5172672867774963, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
    ]
    assert drawn_pairs(rule, SIZE, 4, 3, 1).tolist() == expected
