"""The demonstration of embeddings."""

import json

import pytest

from vkd.demo.embedding import MEASURES, measure_rows


@pytest.mark.slow
def test_the_demonstration_writes_all_measures(vkd, tmp_path):
    words = ("demo", "embedding", "--output", "demo", "--epochs", 1, "--seeds", 2)
    done = vkd(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "demo" / "results.json").read_text())
    assert list(results["methods"]) == ["vkd", "linear", "mlp", "none"]
    assert results["metric"] == "knn"
    for name, found in results["methods"].items():
        for measure in MEASURES:
            # Without a linear map there is no mixed retrieval, and folding takes an orthogonal one.
            is_absent = (measure.startswith("mixed") and name in ("mlp", "none")) or (
                measure.startswith("folded") and name != "vkd"
            )
            assert len(found.get(measure, [])) == (0 if is_absent else 2), (name, measure)
    assert set(results["teacher"]) == {"knn", "linear_probe", "recall_1", "recall_5", "recall_10"}
    for heading in ("kNN %", "recall@10 %", "CKA", "folded@1 %", "untrained", "teacher"):
        assert heading in done.stdout
    page = (tmp_path / "demo" / "report.html").read_text()
    assert "All measures" in page
    assert vkd(*words, cwd=tmp_path).returncode == 2


def test_a_measure_that_a_method_lacks_is_a_dash():
    results = {
        "methods": {"vkd": {"knn": [90.0, 92.0], "cka": [0.5, 0.7]}},
        "teacher": {"knn": 99.0},
    }
    row, teacher = measure_rows(results, {"vkd": "VkD"})
    assert row[:3] == ["VkD", "91.0 ± 1.4", "-"]
    assert row[1 + list(MEASURES).index("cka")] == "0.60 ± 0.14"
    assert teacher[:3] == ["teacher", "99.0", "-"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("digits",), "WHAT must be classification or embedding, found digits"),
        (("embedding", "--grid", "true"), "--grid has no meaning for the embedding"),
        (("embedding", "--seeds", "1"), "--seeds must be from 2 to 1,000, found 1"),
    ],
)
def test_what_the_demonstration_cannot_do_is_a_sentence(vkd, words, message):
    done = vkd("demo", *words)
    assert done.returncode == 2
    assert message in done.stderr
