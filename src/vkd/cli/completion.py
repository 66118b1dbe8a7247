"""``vkd completion``: what lets shells complete commands, recipes and flags, by argcomplete."""

from vkd.cli.parser import Parser
from vkd.errors import FieldError

SHELLS = ("bash", "zsh", "fish", "tcsh", "powershell")


def completion(arguments: list[str]) -> None:
    """``vkd completion SHELL``"""
    parser = Parser(
        prog="vkd completion",
        description='What completes vkd in a shell: put eval "$(vkd completion bash)" into '
        "~/.bashrc, or the same with zsh into ~/.zshrc; for fish, vkd completion fish | source.",
    )
    parser.add_argument("shell", metavar="SHELL", help=f"one of {', '.join(SHELLS)}")
    flags = parser.parse_args(arguments)
    if flags.shell not in SHELLS:
        raise FieldError("SHELL", f"must be one of {', '.join(SHELLS)}, found {flags.shell}.")
    from argcomplete import shellcode

    print(shellcode(["vkd"], shell=flags.shell))
