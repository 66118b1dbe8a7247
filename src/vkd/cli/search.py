"""``vkd search``: the pictures that are nearest to others."""

import json
import sys

from vkd.cli.flags import add_option_flags, given_options, option_names
from vkd.cli.parser import Parser
from vkd.errors import RunError
from vkd.plain_text import plain
from vkd.tasks import TASKS


def search(arguments: list[str]) -> None:
    """``vkd search --checkpoint FILE_OR_RUN --index FOLDER QUERY ...``"""
    kinds = {name: spec.search_options for name, spec in TASKS.items()}
    parser = Parser(
        prog="vkd search",
        description="The pictures of an index that are nearest to each query, by the cosine of "
        "embeddings: a line of JSON for each, with query, rank, image and similarity. A query is "
        "not its own neighbour.",
    )
    add = parser.add_argument
    add("queries", nargs="+", metavar="QUERY", help="image files, folders or patterns in quotes")
    add("--checkpoint", required=True, help="weights file or run folder of an embedding")
    add("--recipe", default="", help="where the checkpoint does not name its own")
    add("--output", default="", help="new .html or .png file of queries with their neighbours")
    add(
        "--image-folder",
        default="",
        help="folder of the pictures that an index file names, to draw them; those below the "
        "file's folder or the current one are drawn without it",
    )
    add_option_flags(parser, kinds)
    flags = parser.parse_args(arguments)
    from vkd.api.search import each_neighbour

    options = given_options(flags, option_names(kinds))
    index = options.pop("index", "")
    answered, bad = set(), 0
    for record in each_neighbour(
        flags.checkpoint, flags.queries, index, flags.recipe,
        output=flags.output, image_folder=flags.image_folder, **options,
    ):  # fmt: skip
        if "error" in record:
            bad += 1
            print(plain(f"vkd: {record['error']}"), file=sys.stderr)
        else:
            answered.add(record["query"])
            print(json.dumps(record), flush=True)
    if flags.output:
        print(f"drawn: {flags.output}", file=sys.stderr)
    if bad:
        raise RunError(f"{bad} of {len(answered) + bad} queries could not be read.")
