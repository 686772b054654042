"""The JSON Schema of a run as people write it: a part may be a name, or a name with some of its fields."""

from __future__ import annotations

from typing import Any

from pretrain.config.load import PARTS
from pretrain.config.run import Run


def run_schema() -> dict[str, Any]:
    """For completion and checks in editors."""
    schema = Run.model_json_schema()
    for part in PARTS:
        reference = schema["properties"][part]
        definition = schema["$defs"][reference["$ref"].rpartition("/")[2]]
        definition.pop("required", None)  # the named file may give them
        schema["properties"][part] = {
            "anyOf": [{"type": "string"}, {"$ref": reference["$ref"]}],
            "description": reference["description"],
        }
    cluster = schema["$defs"]["Cluster"]["properties"]
    cluster["hardware"]["anyOf"].insert(0, {"type": "string"})
    parallel = schema["properties"]["parallel"]
    schema["properties"]["parallel"] = {
        "anyOf": [{"const": "auto"}, {"$ref": parallel["$ref"]}],
        "description": parallel["description"],
    }
    return schema
