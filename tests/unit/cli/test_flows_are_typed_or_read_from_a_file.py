from __future__ import annotations

import json

import pytest

from stepgres_cli.errors import CliError
from stepgres_cli.flowfile import parse_step, read_plan
from stepgres_worker import Step


def test_a_step_is_a_slug_and_its_dependencies():
    assert parse_step("fetch", "single") == Step("fetch")
    assert parse_step("save: fetch, double", "single") == Step("save", depends_on=["fetch", "double"])
    assert parse_step("double:fetch", "map") == Step("double", depends_on=["fetch"], step_type="map")


PLAN = {
    "slug": "etl",
    "max_attempts": 5,
    "steps": [
        {"slug": "fetch", "params": {"url": "x", "n": 1}},
        {"slug": "double", "step_type": "STEP_TYPE_MAP", "depends_on": ["fetch"], "timeout_s": 60},
    ],
}


@pytest.mark.parametrize("name", ["flow.json", "flow.yaml"])
def test_json_and_yaml_say_the_same(name, tmp_path):
    import yaml

    file = tmp_path / name
    file.write_text(json.dumps(PLAN) if name.endswith("json") else yaml.safe_dump(PLAN))
    assert read_plan(str(file)) == PLAN


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[]", "holds a list; an object with slug and steps is needed"),
        ('"etl"', "holds a str; an object"),
        ('{"steps": ', "neither JSON nor YAML"),
        ('{"slug": "a", "slug": "b"}', "the key 'slug' is given twice in one object; keep one of them"),
        ('{"a":' * 5000 + "1" + "}" * 5000, "nested too deeply"),
        ("a: " + "[" * 5000, "nested too deeply"),
    ],
)
def test_a_file_that_holds_no_object_is_named(text, says, tmp_path):
    file = tmp_path / "flow.json"
    file.write_text(text)
    with pytest.raises(CliError, match=says):
        read_plan(str(file))
