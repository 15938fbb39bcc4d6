from __future__ import annotations

from stepgres_cli.commands.plan import percentile
from stepgres_cli.graph import Node, draw, mermaid, sort_nodes


def node(slug: str, *needs: str, is_map: bool = False, handler: str = "") -> Node:
    return Node(slug, needs, is_map, handler)


def test_rails_part_join_and_cross():
    nodes = [node("a"), node("b"), node("c", "a", "b"), node("d", "a"), node("e", "c", "d", "b"), node("z")]
    assert draw(nodes).splitlines() == [
        "● a",
        "├─╮",
        "│ │ ● b",
        "│ │ ├─╮",
        "│ │ │ │ ● z",
        "├─┼─╯ │",
        "● │   │ c",
        "│ ●   │ d",
        "├─┴───╯",
        "● e",
    ]


def test_a_step_stands_behind_what_it_needs_whatever_the_order():
    nodes = [node("last", "mid"), node("mid", "first"), node("first")]
    assert [n.slug for n in sort_nodes(nodes)] == ["first", "mid", "last"]
    assert draw(nodes) == "● first\n● mid\n● last"


def test_steps_that_do_not_need_each_other_stand_apart():
    assert draw([node("a"), node("b"), node("c")]) == "● a\n\n● b\n\n● c"
    assert draw([node("a"), node("b", "a"), node("c", "a"), node("d", "b"), node("e", "c")]).splitlines() == [
        "● a",
        "├─╮",
        "● │ b",
        "│ ● c",
        "● │ d",
        "  ● e",
    ]
    beside = draw([node("a"), node("b"), node("c", "a"), node("d")])
    assert beside.splitlines() == ["● a", "│ ● b", "│", "│ ● d", "● c"]


def test_a_circle_and_an_unknown_dependency_are_drawn_too():
    assert draw([node("a", "b"), node("b", "a"), node("c", "nowhere")]).count("●") == 3


def test_what_is_too_wide_is_listed():
    wide = [node("a"), *(node(f"m{i}", "a") for i in range(60)), node("j", *(f"m{i}" for i in range(60)))]
    lines = draw(wide).splitlines()
    assert lines[0] == "● a"
    assert lines[1] == "● m0  ← a"
    assert lines[-1].endswith("and 52 more  (leaf)")


def test_mermaid_is_safe_with_its_own_words():
    assert mermaid([node("end"), node("style", "end", is_map=True)]).splitlines() == [
        "flowchart TD",
        '    s_end["end"]',
        '    s_style@{ shape: procs, label: "style (map)" }',
        "    s_end --> s_style",
    ]


def test_no_steps_are_no_lines():
    assert draw([]) == ""


def test_percentiles_are_nearest_ranks():
    assert percentile([], 0.5) is None
    assert percentile([1.0], 0.95) == 1.0
    assert percentile([float(n) for n in range(1, 101)], 0.95) == 95.0
    assert percentile([float(n) for n in range(1, 101)], 0.5) == 50.0
