from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["run", "start"], "Missing argument 'FLOW'"),
        (["run", "start", "f", "{"], "INPUT: not JSON"),
        (["run", "start", "f", "hello"], "Texts need their own quotes"),
        (["run", "start", "f", "@/no/such/file"], "INPUT: /no/such/file cannot be read"),
        (["run", "list", "--status", "gone"], "--status: 'gone' is unknown; it is started"),
        (["run", "list", "--output", "xml"], "'xml' is not one of"),
        (["flow", "create"], "FLOW: missing"),
        (["flow", "create", "f", "--step", "a::b"], None),
        (["flow", "create", "f", "--step", ":b"], "--step: ':b' has an empty name"),
        (["flow", "create", "f", "--map", "a:b,"], "--map: 'a:b,' has an empty name"),
        (["flow", "create", "f", "--step", "a", "--file", "x"], "--step and --map: the steps come from --file"),
        (["flow", "create", "f", "--max-attempts", "0"], "--max-attempts"),
        (["flow", "add-step", "f", "s", "--params", "[1]"], "--params: list given; a JSON object"),
        (["flow", "add-step", "f", "s", "--depends-on", "a,,b"], "--depends-on: an empty name"),
        (["worker", "run", "hello"], "hello: written as MODULE:ATTR"),
        (["worker", "run", "no_such_module_here:worker"], "no module 'no_such_module_here'"),
        (["worker", "run", "json:nothing"], "json has no 'nothing'"),
        (["worker", "run", "json:loads"], "json:loads: function found; a Worker, a Flow"),
        (["migrate", "sideways"], "'sideways' is unknown; it is up or status"),
    ],
)
def test_a_wrong_command_line_says_what_is_wrong_and_ends_with_2(stepgres, args, says):
    answer = stepgres(*args)
    if says is None:  # the server judges names; here only emptiness counts
        assert answer.code != 0
        return
    assert answer.code == 2
    assert answer.err.startswith("error: ")
    assert says in answer.err
    assert answer.out == ""
    assert "Traceback" not in answer.err


def test_help_lists_the_commands_and_the_exit_codes(stepgres):
    answer = stepgres("--help")
    assert answer.code == 0
    for command in ("dev", "serve", "migrate", "health", "flow", "run", "worker"):
        assert f"│ {command} " in answer.out
    assert "5 unreachable" in answer.out


@pytest.mark.parametrize(
    "command",
    ["dev", "serve", "migrate", "health", "worker run", "flow create", "flow add-step", "flow list", "flow get",
     "flow delete", "run start", "run list", "run get", "run watch", "run cancel",
     "run retry"],
)  # fmt: skip
def test_every_command_has_help(stepgres, command):
    answer = stepgres(*command.split(), "-h")
    assert answer.code == 0
    assert f"stepgres {command}" in answer.out


def test_the_version_is_the_distribution_s(stepgres):
    from importlib import metadata

    assert stepgres("--version").out == f"stepgres {metadata.version('stepgres')}\n"
