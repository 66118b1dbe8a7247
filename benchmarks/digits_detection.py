"""Detectors of digits on cluttered canvases: alone, by matching tokens, and by VkD.

    python benchmarks/digits_detection.py FOLDER

Student and teacher have tokens of equal width, so that tokens can be matched as they are, which is
how detectors were distilled before (paper, section 4.2); it is tried with three weights. VkD has
the weight of its recipe. The teacher is trained in FOLDER/teacher, unless --teacher names a run of
`vkd train digits-detection-teacher`. Every student is evaluated on the test canvases once. The same
command continues what is in FOLDER.
"""

import argparse
from pathlib import Path
from typing import Any

import vkd
from comparison import by_metric, tables, write_results

REFERENCE = "VkD: orthogonal, standardised"
_MATCHING = {"projection": "identity", "normalization": "identity"}
METHODS: dict[str, dict[str, Any]] = {
    "alone": {"feature_weight": 0.0},
    "tokens matched, weight 1": _MATCHING | {"feature_weight": 1.0},
    "tokens matched, weight 4": _MATCHING | {"feature_weight": 4.0},
    "tokens matched, weight 16": _MATCHING | {"feature_weight": 16.0},
    REFERENCE: {},
}


def main() -> None:
    """Train every method with every seed; print and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="a folder for the runs")
    parser.add_argument("--teacher", default="", help="run folder of the teacher")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    results = vkd.compare(
        "digits-detection", METHODS, arguments.folder, seeds=arguments.seeds, reference=REFERENCE,
        teacher_checkpoint=arguments.teacher, device="cpu", checkpoint_every=1,
    )  # fmt: skip
    found = by_metric(results, ("AP", "AP50"))
    lines = tables(found, REFERENCE)
    print("\n".join(lines))
    content = {"metrics": found, "recipe": results["recipe"], "table": lines}
    write_results("digits_detection.json", content)


if __name__ == "__main__":
    main()
