"""Print what one method of an answered question has more than another, paired by seed.

python benchmarks/evidence/difference.py recognition SRD alone
"""

import argparse
import json

from answer import QUESTIONS, RESULTS

from vkd.reporting.statistics import paired_interval


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
        first, second = scores[arguments.first], scores[arguments.second]
        shared = [seed for seed in first if seed in second]
        gap = paired_interval(
            [first[seed][metric] for seed in shared], [second[seed][metric] for seed in shared]
        )
        print(f"{condition} {gap.mean:+.2f} ({gap.low:+.2f} to {gap.high:+.2f})".strip())


if __name__ == "__main__":
    main()
