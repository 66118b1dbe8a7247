"""Installed packages that add methods and tasks, found by their entry points.

A package that declares, in its pyproject.toml,

    [project.entry-points."vkd.plugins"]
    name = "module"

is imported before a command runs, and registers what it adds.
"""

from importlib.metadata import entry_points

from vkd.errors import UserError

GROUP = "vkd.plugins"


def load_plugins() -> None:
    """Import the plugins of all installed packages.

    Raises:
        UserError: for one that cannot be imported.
    """
    for entry in entry_points(group=GROUP):
        try:
            entry.load()
        except (ImportError, AttributeError) as error:
            raise UserError(
                f"The plugin {entry.name} ({entry.value}) cannot be imported: {error}; repair or "
                "uninstall its package."
            ) from error
