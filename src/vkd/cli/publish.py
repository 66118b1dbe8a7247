"""``vkd publish``: a model as a folder or repository of the hub of Hugging Face."""

from vkd.cli.parser import Parser
from vkd.errors import FieldError


def publish(arguments: list[str]) -> None:
    """``vkd publish --checkpoint FILE_OR_RUN``"""
    parser = Parser(
        prog="vkd publish",
        description="A model as a folder for the hub of Hugging Face, or sent to it: weights, "
        "configuration and a card filled from the run.",
    )
    add = parser.add_argument
    add(
        "--checkpoint", required=True, help="weights file or run folder; or a folder that was "
        "written before, to be sent as it is",
    )  # fmt: skip
    add("--recipe", default="", help="where the checkpoint does not name its own")
    add("--student", default="", help="FILE.py:FUNCTION, where the run names a file of Python")
    add("--output", default="", help="new folder")
    add("--repo_id", default="", help="repository of the hub to send it to: OWNER/NAME")
    add("--private", action="store_true", help="close a new repository to others")
    add("--overwrite", action="store_true", help="replace what is in the folder or repository")
    add("--title", default="", help="of the card; the architecture's name by default")
    add("--license", default="", help="of the model, such as apache-2.0; unknown without it")
    add("--teacher_license", default="", help="of the teacher's weights; unknown without it")
    add("--data_license", default="", help="of the training data; unknown without it")
    add("--datasets", default="", help="their names on the hub, with commas between")
    add("--base_model", default="", help="name on the hub of the weights it started from")
    add("--projection", action="store_true", help="with the projection that the run trained")
    flags = parser.parse_args(arguments)
    if not (flags.output or flags.repo_id):
        raise FieldError("output", "is required: a new folder; or give --repo-id OWNER/NAME.")
    if flags.private and not flags.repo_id:
        raise FieldError("private", "has no effect without --repo-id.")
    given = (
        "recipe", "student", "title", "license", "teacher_license", "data_license", "datasets",
        "base_model", "projection",
    )  # fmt: skip
    options = {name: flags[name] for name in given if flags[name]}
    if "datasets" in options:
        options["datasets"] = [name.strip() for name in flags.datasets.split(",") if name.strip()]
    from vkd.hub.names import check_repository
    from vkd.hub.save import push_to_hub, save_pretrained

    source = flags.checkpoint
    if flags.repo_id:
        check_repository(flags.repo_id)
    if flags.output:
        source = save_pretrained(source, flags.output, overwrite=flags.overwrite, **options)
        options = {}
        print(source)
    if flags.repo_id:
        print(
            push_to_hub(
                source, flags.repo_id, private=flags.private, overwrite=flags.overwrite, **options
            )
        )
