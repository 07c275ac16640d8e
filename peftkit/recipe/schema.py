"""The JSON schema of a recipe file, for editors: short and long forms, every method and task."""

from __future__ import annotations

from typing import Any

from peftkit.methods import METHODS
from peftkit.mixtures import MixtureSettings
from peftkit.recipe.forms import QUANTIZATIONS
from peftkit.recipe.spec import Recipe
from peftkit.tasks import TASKS


def schema() -> dict[str, Any]:
    """JSON schema (draft 2020-12) that accepts exactly the keys a recipe may have."""
    document = Recipe.model_json_schema(mode="validation")
    properties, definitions = document["properties"], document["$defs"]
    for group, table in (("method", METHODS), ("task", TASKS)):
        long_forms = []
        for entry in table.values():
            definition = definitions[entry.settings_class.__name__]
            definition["required"] = sorted({*definition.get("required", ()), "name"})
            long_forms.append({"$ref": f"#/$defs/{entry.settings_class.__name__}"})
        properties[group] = {"anyOf": [{"enum": sorted(table)}, *long_forms]}
    one = properties["method"]
    properties["method"] = {"anyOf": [*one["anyOf"], {"type": "array", "items": one, "minItems": 1, "maxItems": 2}]}
    del definitions[MixtureSettings.__name__]
    properties["model"] = {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/Model"}]}
    properties["data"] = {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/Data"}]}
    properties["quantization"] = {
        "anyOf": [{"enum": list(QUANTIZATIONS)}, {"$ref": "#/$defs/Quantization"}, {"type": "null"}]
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **document, "title": "peftkit recipe"}
