"""Every block of the README, in an empty folder that has nothing of the repository but the packed SDK."""

from __future__ import annotations

import re
import shutil

import pytest

from tests.acceptance.processes import Running, start_dev
from tests.languages.typescript import SDK, build, need_node, pinned, run

README = (SDK / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
#: The programs, by the file names that stand before them.
PROGRAMS = dict(re.findall(r"`(\w+\.ts)`[^`]*?:?\n\n```ts\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL))


def comments(program: str) -> list[str]:
    """What a program says it prints, in the comments behind its `console.log`s."""
    return re.findall(r"console\.log\(.*\); // (.*)$", program, flags=re.MULTILINE)


def test_every_program_has_a_name():
    assert sorted(PROGRAMS) == ["charge.ts", "client.ts", "etl.ts", "plans.ts"]
    assert len(BLOCKS) == len(PROGRAMS) + 1, "one block more: the commands"
    worker = next(block for language, block in BLOCKS if language == "ts")
    assert len([line for line in worker.splitlines() if line]) <= 20


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_every_block_runs(tmp_path):
    need_node()
    build()
    archive = run("npm", "pack", "--silent", "--ignore-scripts", "--pack-destination", str(tmp_path), cwd=SDK).strip()
    for name, program in PROGRAMS.items():
        (tmp_path / name).write_text(program)
    (commands,) = [block for language, block in BLOCKS if language == "sh"]
    for plain, exact in [
        ("npm install stepgres-worker", f"npm install --no-audit --no-fund ./{archive}"),
        ("typescript @types/node", f"{pinned('typescript')} {pinned('@types/node')} --no-audit --no-fund"),
    ]:
        assert plain in commands
        commands = commands.replace(plain, exact)
    run("sh", "-ec", commands, cwd=tmp_path, timeout_s=300)
    dev, target = start_dev()
    with dev:
        for worker, client in [("etl", "client"), ("charge", "plans")]:
            with Running("node", f"{worker}.js", cwd=tmp_path, STEPGRES_TARGET=target) as serving:
                serving.wait_for("is connected to")
                answer = run("node", f"{client}.js", cwd=tmp_path, STEPGRES_TARGET=target)
                promised = comments(PROGRAMS[f"{client}.ts"])
                assert promised
                for line in promised:
                    assert line in answer.splitlines(), answer + serving.output()
                serving.process.terminate()
                assert serving.process.wait(30) == 0, serving.output()


def test_the_package_carries_what_it_needs_and_nothing_else(tmp_path):
    need_node()
    build()
    archive = run("npm", "pack", "--silent", "--ignore-scripts", "--pack-destination", str(tmp_path), cwd=SDK).strip()
    shutil.unpack_archive(tmp_path / archive, tmp_path)
    tops = {path.relative_to(tmp_path / "package").parts[0] for path in (tmp_path / "package").rglob("*")}
    assert tops == {"package.json", "README.md", "LICENSE", "dist"}
    assert not list((tmp_path / "package" / "dist").rglob("*test*"))
    assert "any" not in public_types(tmp_path / "package" / "dist" / "src")


def public_types(folder):
    """Words that the declarations of hand-written modules use as types."""
    text = "\n".join(re.sub(r"/\*.*?\*/|//.*", "", path.read_text(), flags=re.DOTALL) for path in folder.glob("*.d.ts"))
    return set(re.findall(r"[:<,|&(]\s*(any)\b", text))
