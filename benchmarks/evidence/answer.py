"""Answer the questions of docs/evidence.md.

    python benchmarks/evidence/answer.py QUESTION WORK_FOLDER [--seeds 5]

Results are in benchmarks/results/evidence/QUESTION.json after every seed; the same command goes on
from there, also where the work folder is lost.
"""

import argparse
from pathlib import Path

import canvases
import digits_embedding
import narrow_deit
import small_gan
from question import Answer, Question

RESULTS = Path(__file__).parents[1] / "results" / "evidence"
QUESTIONS: dict[str, Question] = {
    "recognition": narrow_deit.RECOGNITION,
    "schedules": narrow_deit.SCHEDULES,
    "widths": narrow_deit.WIDTHS,
    "labels": narrow_deit.LABELS,
    "detection": canvases.DETECTION,
    "generation": small_gan.GENERATION,
    "scale": narrow_deit.SCALE,
    "embedding": digits_embedding.EMBEDDING,
}


def main() -> None:
    """Find the answer to a question, and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("question", choices=QUESTIONS)
    parser.add_argument("folder", type=Path, help="a folder for runs")
    parser.add_argument("--seeds", type=int, default=0, help="0 for the plan's")
    arguments = parser.parse_args()
    question = QUESTIONS[arguments.question]
    answer = Answer(question, RESULTS / f"{arguments.question}.json", arguments.folder)
    answer.find(arguments.seeds or question.seeds)
    print("\n".join(answer.table()))


if __name__ == "__main__":
    main()
