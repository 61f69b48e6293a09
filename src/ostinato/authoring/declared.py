"""The automations that modules hold. One that several modules import is one, and goes by its first variable's name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ostinato.automations.automation import row_of

if TYPE_CHECKING:
    from ostinato.automations.automation import Automation
    from ostinato.timing import AutomationRow


class Declared:
    """Automations as they were found."""

    def __init__(self) -> None:
        self._found: dict[int, tuple[Automation, str, str, str]] = {}

    def add(self, automation: Automation, variable: str, below: str, file: str) -> None:
        """Note one.

        Args:
            automation: The automation; it is kept, so that its id stays its own.
            variable: The variable that holds it.
            below: The file, below the project's root.
            file: The file.
        """
        self._found.setdefault(id(automation), (automation, variable, below, file))

    def rows(self, project: str) -> tuple[list[AutomationRow], dict[str, dict[str, str]]]:
        """Describe them, by name.

        Returns:
            The rows, and those names that several have: where, each with its file.
        """
        rows: dict[str, AutomationRow] = {}
        places: dict[str, dict[str, str]] = {}
        for automation, variable, below, file in self._found.values():
            row = row_of(automation, variable, project)
            rows[row.name] = row
            places.setdefault(row.name, {})[f"{below}, {variable}"] = file
        doubles = {name: found for name, found in places.items() if len(found) > 1}
        return [row for name, row in sorted(rows.items()) if name not in doubles], doubles
