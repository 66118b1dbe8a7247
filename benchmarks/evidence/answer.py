"""Answer the questions of docs/evidence.md.

    python benchmarks/evidence/answer.py QUESTION WORK_FOLDER [--seeds 5]

Results are in benchmarks/results/evidence/QUESTION.json after every seed; the same command goes on
from there, also where the work folder is lost.
"""

import argparse
from pathlib import Path

import recognition
from question import Answer, Question

QUESTIONS: dict[str, Question] = {"recognition": recognition.RECOGNITION}


def main() -> None:
    """Find the answer to a question, and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("question", choices=QUESTIONS)
    parser.add_argument("folder", type=Path, help="a folder for runs")
    parser.add_argument("--seeds", type=int, default=0, help="0 for the plan's")
    arguments = parser.parse_args()
    question = QUESTIONS[arguments.question]
    answer = Answer(question, arguments.question, arguments.folder)
    answer.find(arguments.seeds or question.seeds)
    print("\n".join(answer.table()))


if __name__ == "__main__":
    main()
