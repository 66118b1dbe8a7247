"""Print what one method of an answered question has more than another, paired by seed.

python benchmarks/evidence/difference.py recognition SRD alone
"""

import argparse
import json

from answer import QUESTIONS, RESULTS
from question import difference, interval_text


def main() -> None:
    """Print the mean difference of the main figure with its 95 % interval, by condition."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("question", choices=QUESTIONS)
    parser.add_argument("first")
    parser.add_argument("second")
    arguments = parser.parse_args()
    found = json.loads((RESULTS / f"{arguments.question}.json").read_text())
    metric = QUESTIONS[arguments.question].metrics[0]
    for condition, scores in found["scores"].items():
        gap = difference(scores, arguments.first, arguments.second, metric)
        text = interval_text(gap) if gap else "fewer than two seeds"
        print(f"{condition} {text}".strip())


if __name__ == "__main__":
    main()
