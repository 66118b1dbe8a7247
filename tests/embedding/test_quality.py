"""Measures of embeddings, against scikit-learn, numpy and what they are by definition."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier

from vkd.embedding import quality
from vkd.embedding.mixed import folded, projected
from vkd.embedding.quality import (
    cosine_correlation,
    knn_accuracy,
    linear_cka,
    linear_probe_accuracy,
    retrieval_recall,
)
from vkd.projection import OrthogonalProjection


def data(seed=0, rows=60, width=8, classes=4):
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, width, generator=generator)
    labels = torch.randint(classes, (rows,), generator=generator)
    return centres[labels] + torch.randn(rows, width, generator=generator), labels


def rotation(width, seed=0):
    return torch.linalg.qr(torch.randn(width, width, generator=torch.manual_seed(seed)))[0]


@pytest.mark.parametrize("k", [1, 5, 20, 1000])
@pytest.mark.parametrize("block", [7, 512])
def test_neighbours_vote_as_scikit_learns_do(k, block, monkeypatch):
    monkeypatch.setattr(quality, "_BLOCK", block)
    (x, y), (queries, known) = data(0), data(1, rows=50)
    peer = KNeighborsClassifier(
        min(k, len(x)), metric="cosine", weights=lambda distance: np.exp((1 - distance) / 0.07)
    ).fit(x, y)
    expected = 100 * (peer.predict(queries) == known.numpy()).mean()
    assert knn_accuracy(x, y, queries, known, k=k) == pytest.approx(expected)


def test_equal_votes_go_to_the_smaller_label():
    x = torch.eye(2)
    between = torch.ones(1, 2)
    for label in (0, 1):
        found = knn_accuracy(x, torch.tensor([1, 0]), between, torch.tensor([label]), k=2)
        assert found == 100 * (label == 0)


def test_a_probe_finds_what_is_linear_and_not_what_is_noise():
    y = data(rows=400, width=6)[1]
    teachable = torch.cat([torch.eye(4)[y] * 5, torch.randn(400, 6) * 100], 1)
    noise = torch.randn(400, 6, generator=torch.manual_seed(3))
    half = slice(0, 200), slice(200, 400)
    assert linear_probe_accuracy(teachable[half[0]], y[:200], teachable[half[1]], y[200:]) == 100
    assert linear_probe_accuracy(noise[half[0]], y[:200], noise[half[1]], y[200:]) < 45


def test_a_probe_takes_one_class_and_classes_of_one_row():
    x = torch.randn(5, 3)
    ones = torch.ones(5, dtype=torch.long)
    assert linear_probe_accuracy(x, ones, x, torch.tensor([1, 1, 1, 0, 0])) == 60
    assert 0 <= linear_probe_accuracy(x, torch.tensor([0, 0, 0, 0, 7]), x, ones) <= 100


def recall_written_out(index, labels, queries, known, k, same):
    hits = 0
    for number, query in enumerate(queries.numpy()):
        cosines = [
            -np.inf if same and place == number
            else row @ query / np.linalg.norm(row) / np.linalg.norm(query)
            for place, row in enumerate(index.numpy())
        ]  # fmt: skip
        nearest = [place for place in np.argsort(cosines)[::-1][:k] if cosines[place] > -np.inf]
        hits += any(labels[place] == known[number] for place in nearest)
    return 100 * hits / len(queries)


@pytest.mark.parametrize("same", [True, False])
def test_recall_is_that_of_its_definition(same, monkeypatch):
    monkeypatch.setattr(quality, "_BLOCK", 16)
    (x, y), (queries, known) = data(0, rows=40), data(1, rows=30)
    if same:
        queries, known = x, y
    found = retrieval_recall(x, y, queries, known, ks=(1, 3, 100), same=same)
    for k, value in found.items():
        expected = recall_written_out(x, y, queries, known, k, same)
        assert value == pytest.approx(expected)


def test_one_row_has_no_neighbour_but_itself():
    x, y = torch.ones(1, 2), torch.zeros(1, dtype=torch.long)
    assert retrieval_recall(x, y, x, y, same=True) == {1: 0.0, 5: 0.0, 10: 0.0}
    assert retrieval_recall(x, y, x, y) == {1: 100.0, 5: 100.0, 10: 100.0}


def cka_of_kernels(a, b):
    """Kornblith et al., equations 1 to 3, by kernels and the centring matrix."""
    centring = np.eye(len(a)) - 1 / len(a)

    def hsic(k, m):
        return np.trace(k @ centring @ m @ centring)

    k, m = (side.double().numpy() @ side.double().numpy().T for side in (a, b))
    return hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))


@given(st.integers(0, 100), st.integers(2, 30), st.integers(1, 6), st.floats(0.01, 100))
@settings(max_examples=30, deadline=None)
def test_similarities_are_those_of_their_formulas_and_know_no_rotation(seed, rows, width, scale):
    a, b = data(seed, rows, width)[0], data(seed + 1, rows, width + 1)[0]
    assert linear_cka(a, b) == pytest.approx(cka_of_kernels(a, b), abs=1e-6)
    assert linear_cka(a, scale * a @ rotation(width)) == pytest.approx(1, abs=1e-5)
    cosines = [(side / side.norm(dim=1, keepdim=True)).double().numpy() for side in (a, b)]
    first, second = ((side @ side.T)[~np.eye(rows, dtype=bool)] for side in cosines)
    if min(first.std(), second.std()) > 1e-6:
        expected = np.corrcoef(first, second)[0, 1]
        assert cosine_correlation(a, b) == pytest.approx(expected, abs=1e-6)
    if first.std() > 1e-6:
        turned = scale * a @ rotation(width)
        assert cosine_correlation(a, turned) == pytest.approx(1, abs=1e-4)


def test_similarities_of_what_is_all_alike_are_nothing():
    same, x = torch.ones(9, 3) / 3, torch.randn(9, 4)
    assert linear_cka(same, x) == linear_cka(x, same) == 0
    assert cosine_correlation(same, x) == cosine_correlation(x, same) == 0


def test_blocks_change_nothing(monkeypatch):
    a, b = data(0, rows=50)[0], data(1, rows=50)[0]
    whole = cosine_correlation(a, b)
    monkeypatch.setattr(quality, "_BLOCK", 9)
    assert cosine_correlation(a, b) == pytest.approx(whole, abs=1e-12)


def test_zeros_are_alike_to_nothing():
    x, y = torch.tensor([[0.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 1])
    assert retrieval_recall(x, y, torch.tensor([[2.0, 0.1]]), torch.tensor([1]), ks=(1,)) == {
        1: 100
    }
    assert 0 <= cosine_correlation(torch.cat([x, x]), torch.randn(4, 2)) ** 2 <= 1


X, Y = torch.randn(4, 3), torch.tensor([0, 1, 0, 1])
BAD = torch.tensor([[1.0, float("nan"), 0.0]]).repeat(4, 1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: knn_accuracy(X, Y, BAD, Y), "4 rows that are not"),
        (lambda: knn_accuracy(X, Y, X, Y, k=0), "k must be at least 1"),
        (lambda: knn_accuracy(X, Y[:3], X, Y), "found (4, 3) and (3,)"),
        (lambda: knn_accuracy(X, Y, X[:, :2], Y), "found 3 and 2"),
        (lambda: linear_probe_accuracy(X, Y, X[:, :2], Y), "found 3 and 2"),
        (lambda: linear_probe_accuracy(X, Y.float(), X, Y), "whole numbers"),
        (lambda: retrieval_recall(X, Y - 1, X, Y), "from 0 on"),
        (lambda: retrieval_recall(X, Y, X[:2], Y[:2], same=True), "found 2"),
        (lambda: retrieval_recall(X, Y, X, Y, ks=(0,)), "at least 1"),
        (lambda: linear_cka(X, X[:2]), "found (4, 3) and (2, 3)"),
        (lambda: cosine_correlation(X[:1], X[:1]), "two or more"),
        (lambda: projected(X, torch.eye(4)), "found (4, 3)"),
        (lambda: folded(X, torch.randn(5, 3)), "must be (N, 5)"),
    ],
)
def test_what_does_not_fit_is_told(call, message):
    with pytest.raises(ValueError, match=r"\.$") as caught:
        call()
    assert message in str(caught.value)


@given(st.integers(0, 1000), st.integers(1, 12), st.integers(1, 12))
@settings(max_examples=30, deadline=None)
def test_both_spaces_give_the_same_inner_products(seed, student, teacher):
    torch.manual_seed(seed)
    weight = OrthogonalProjection(student, teacher).weight.detach()
    z, t = torch.randn(7, student), torch.randn(5, teacher)
    there, here = projected(z, weight) @ t.T, z @ folded(t, weight).T
    assert torch.allclose(there, here, atol=1e-4)
    if teacher < student:  # rows are orthonormal
        assert torch.allclose(folded(t, weight).norm(dim=1), t.norm(dim=1), atol=1e-4)
        return
    assert torch.allclose(projected(z, weight).norm(dim=1), z.norm(dim=1), atol=1e-5)
    assert torch.allclose(folded(projected(z, weight), weight), z, atol=1e-5)
