"""What there is to choose from: the tasks and metrics commands."""

from __future__ import annotations

from typing import Any

import typer

from peftkit.cli.shelf import AsJson, print_json


def tasks(as_json: AsJson = False) -> None:
    """List the tasks, their settings and defaults."""
    from peftkit.tasks import TASKS

    listed: dict[str, dict[str, Any]] = {
        name: {"about": about(task), "settings": settings_of(task.settings_class)} for name, task in TASKS.items()
    }
    if as_json:
        print_json(listed)
        return
    for name, task in listed.items():
        print(f"{name}\n  {task['about']}\n  {_in_short(task['settings'])}\n")


def metrics(as_json: AsJson = False) -> None:
    """List the metrics and what defines them; evaluate:NAME takes any other from the evaluate library."""
    from peftkit.metrics import METRICS

    if as_json:
        print_json(
            {
                name: {"definition": metric.definition, "better": metric.direction, "reads": metric.reads}
                for name, metric in METRICS.items()
            }
        )
        return
    for name, metric in METRICS.items():
        print(f"{name:32} {metric.definition} ({metric.direction} is better)")


def add_to(app: typer.Typer) -> None:
    """Adds the commands of this file to the command line."""
    for command in (tasks, metrics):
        app.command()(command)


def about(entry: type) -> str:
    """The first paragraph of a class's docstring."""
    return " ".join((entry.__doc__ or "").split("\n\n")[0].split())


def settings_of(settings: Any) -> dict[str, Any]:
    """Default by setting, as JSON data; what the recipe must give says so."""
    found = {}
    for field, info in settings.model_fields.items():
        default = "required" if info.is_required() else info.get_default(call_default_factory=True)
        found[field] = default.model_dump(mode="json") if hasattr(default, "model_dump") else default
    return {field: default for field, default in found.items() if field != "name"}


def _in_short(settings: dict[str, Any]) -> str:
    return ", ".join(f"{field}={value}" for field, value in settings.items()) or "no settings"
