from __future__ import annotations

import json

import pytest

from stepgres_cli.errors import CliError
from stepgres_cli.flowfile import parse_step, read_flow_file
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
    assert read_flow_file(str(file)) == {
        "slug": "etl",
        "max_attempts": 5,
        "steps": [
            Step("fetch", params={"url": "x", "n": 1}),
            Step("double", step_type="map", depends_on=["fetch"], timeout_s=60),
        ],
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[]", "the flow file: an object is needed, not list"),
        ('{"slag": "x"}', "slag: unknown field; the fields are base_delay_s"),
        ('{"steps": {}}', "steps: a list of steps"),
        ('{"steps": {"a": 1}}', "steps: a list of steps is needed"),
        ('{"steps": ["a"]}', r"steps\[0\]: an object is needed, not str"),
        ('{"steps": [{"slug": "a"}, {"depends_on": ["a"]}]}', r"steps\[1\]\.slug: missing"),
        ('{"steps": [{"slug": "a", "timeout": 5}]}', r"steps\[0\]\.timeout: unknown field"),
        ('{"steps": [{"slug": "a", "step_type": "loop"}]}', r"steps\[0\]\.step_type: 'loop' is unknown"),
        ('{"steps": [{"slug": "a", "depends_on": "b"}]}', r"steps\[0\].*depends_on is the text 'b'"),
        ('{"steps": ', "neither JSON nor YAML"),
    ],
)
def test_a_wrong_file_names_the_path_of_its_fault(text, says, tmp_path):
    file = tmp_path / "flow.json"
    file.write_text(text)
    if text == '{"steps": {}}':
        assert read_flow_file(str(file)) == {"steps": []}
        return
    with pytest.raises(CliError, match=says):
        read_flow_file(str(file))
