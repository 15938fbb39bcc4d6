from __future__ import annotations

from dataclasses import replace

from stepgres_cli.tasks import print_tasks
from stepgres_worker import TaskSnapshot, TaskStatus


def test_progress_is_shown_until_a_task_has_completed(capsys):
    started = TaskSnapshot(
        run_id="r", step="a", step_index=0, task_index=0, status=TaskStatus.STARTED, attempt=1, lost_leases=0,
        worker="w", create_time=None, start_time=None, end_time=None, available_time=None, progress=0.85,
        progress_message="33 of 39",
    )  # fmt: skip
    print_tasks([started, replace(started, status=TaskStatus.FAILED), replace(started, status=TaskStatus.COMPLETED)])
    shown = capsys.readouterr().out.splitlines()[1:]
    assert ["85% 33 of 39" in line for line in shown] == [True, True, False]
