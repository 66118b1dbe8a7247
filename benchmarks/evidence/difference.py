"""Print what one method of an answered question has more than another, paired by seed.

python benchmarks/evidence/difference.py recognition SRD alone [--metric cka_after]
"""

import argparse
import json

from answer import QUESTIONS, RESULTS
from question import difference, interval_text


def main() -> None:
    """Print the mean difference of a metric with its 95 % interval, by condition."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("question", choices=QUESTIONS)
    parser.add_argument("first")
    parser.add_argument("second")
    parser.add_argument("--metric", default="", help="empty for the main figure")
    arguments = parser.parse_args()
    found = json.loads((RESULTS / f"{arguments.question}.json").read_text())
    methods = QUESTIONS[arguments.question].methods
    for name in (arguments.first, arguments.second):
        if name not in methods:
            parser.error(f"{name} is none of {', '.join(methods)}.")
    metrics = QUESTIONS[arguments.question].metrics
    metric = arguments.metric or metrics[0]
    if metric not in metrics:
        parser.error(f"argument --metric: {metric} is none of {', '.join(metrics)}.")
    for condition, scores in found["scores"].items():
        gap = difference(scores, arguments.first, arguments.second, metric)
        text = interval_text(gap) if gap else "fewer than two seeds"
        print(f"{condition} {text}".strip())


if __name__ == "__main__":
    main()
