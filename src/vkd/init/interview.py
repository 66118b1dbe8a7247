"""The questions of ``vkd init``."""

from collections.abc import Callable, Mapping
from typing import Any

from vkd.init.data import drafting_of, kinds_of
from vkd.init.facts import usual_weights, weights_of
from vkd.init.questions import Questions
from vkd.init.recipe import PLACES, check_output
from vkd.models.factory import check_name


def interview(answers: Mapping[str, str], given: Mapping[str, Any]) -> dict[str, str]:
    """Return answers for all that is missing, asked at the terminal.

    Args:
        answers: by question, as far as flags have them: ``data_path``, ``task``, ``teacher``,
            ``teacher_checkpoint``, ``student`` and ``output``.
        given: fields of the recipe that are decided.

    Raises:
        UserError: if a flag's answer will not do, or there are no more answers.
    """
    questions, found = Questions(), dict(answers)
    places = {name: given[name] for name in PLACES if given.get(name)}

    def kinds(path: str) -> list[str]:
        found["data_path"] = path
        return [kind.task for kind in kinds_of(path, answers["task"], **places)]

    def named(role: str) -> Callable[[str], str]:
        def accept(name: str) -> str:
            check_name(name, role)
            return name

        return accept

    def weights(checkpoint: str) -> str:
        return weights_of(found["teacher"], checkpoint)[0]

    if found["data_path"]:
        tasks = kinds(found["data_path"])
    else:
        tasks = questions.ask("Pictures: a folder, table or data.yaml", kinds)
    found["task"] = tasks[0] if len(tasks) == 1 else questions.choose("Task", tasks)
    suggested = drafting_of(found["task"])
    if not found["teacher"]:
        found["teacher"] = questions.ask(
            "Teacher: the network to learn from", named("teacher"), suggested.teacher
        )
    if not found["teacher_checkpoint"]:
        found["teacher_checkpoint"] = questions.ask(
            "Its weights: a file, a run folder, or hub", weights, usual_weights(found["teacher"])
        )
    if not found["student"]:
        found["student"] = questions.ask(
            "Student: the network to train", named("student"), suggested.student
        )
    if not found["output"]:
        found["output"] = questions.ask(
            "Recipe to write", lambda file: str(check_output(file)), "recipe.yaml"
        )
    return found
