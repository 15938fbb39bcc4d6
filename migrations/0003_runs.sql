-- Run-time state. Steps are keyed by their small index; there are no foreign keys between these tables (they cost
-- a tenth of the throughput, and only the transitions write here). Fillfactor 50 keeps updates of one page HOT.

create table pgflow.runs (
    run_id uuid primary key,
    workflow_id int not null,
    version_id int not null,
    -- Steps that existed when the run started: every join says step_index < step_count.
    step_count smallint not null,
    remaining_steps smallint not null,
    status text not null default 'started',
    -- Raised once by each transaction that changes the run, under its lock: the cursor of a watch.
    revision bigint not null default 1,
    started_at timestamptz not null,
    completed_at timestamptz,
    scope text collate "C" not null default '',
    idempotency_key text collate "C",
    -- Of an inline plan: its key is unique among the runs of all plans.
    is_plan boolean not null default false,
    input_hash bytea,
    -- Why it failed: step, task, attempt, code, message.
    error_step_index smallint,
    error_task_index int,
    error_attempt int,
    error_code text,
    error_message text,
    traceparent text,
    input json not null,
    constraint status_is_known check (status in ('started', 'completed', 'failed', 'cancelled')),
    constraint a_terminal_run_has_an_end check ((status = 'started') = (completed_at is null)),
    constraint remaining_steps_not_negative check (remaining_steps >= 0)
) with (fillfactor = 50);
create unique index runs_by_idempotency_key on pgflow.runs (workflow_id, idempotency_key)
where idempotency_key is not null;
create unique index runs_of_plans_by_idempotency_key on pgflow.runs (idempotency_key)
where is_plan and idempotency_key is not null;
create index runs_by_workflow on pgflow.runs (workflow_id, run_id);
-- The predicates below speak of completed_at, never of status: a hot statement whose WHERE implies the predicate of
-- a partial index would be planned through it, at three times the cost.
create index runs_active on pgflow.runs (run_id) where completed_at is null;
create index runs_active_by_version on pgflow.runs (version_id) where completed_at is null;
-- For prune_names; runs without a scope, nearly all, pay nothing for it.
create index runs_active_by_scope on pgflow.runs (scope) where scope <> '' and completed_at is null;
create index runs_unsuccessful on pgflow.runs (run_id) where error_code is not null;
create index runs_ended on pgflow.runs (completed_at) where completed_at is not null;

create table pgflow.step_states (
    run_id uuid not null,
    step_index smallint not null,
    is_map boolean not null,
    status text not null default 'created',
    remaining_deps int not null,
    -- Number of tasks: 1 for a single step, null for a map that has not started.
    initial_tasks int,
    -- Tasks that are not completed; null while initial_tasks is.
    remaining_tasks int,
    failed_tasks int not null default 0,
    -- Maps: tasks whose rows are written, and tasks that were sent to the queue at least once.
    -- Invariant: next_index = least(expanded_count, completed tasks + the window of 1,000).
    expanded_count int not null default 0,
    next_index int not null default 0,
    route_id int not null,
    -- The run's revision at the last change.
    revision bigint not null default 1,
    -- Bytes of the outputs recorded so far, and of the dependencies' outputs that are this step's input.
    output_bytes bigint not null default 0,
    input_bytes bigint not null default 0,
    started_at timestamptz,
    completed_at timestamptz,
    -- Output of a single step, and [] of an empty map; other maps have theirs on the tasks.
    output json,
    primary key (run_id, step_index),
    constraint status_is_known check (
        status in ('created', 'started', 'completed', 'failed', 'cancelled', 'skipped')
    ),
    constraint remaining_deps_not_negative check (remaining_deps >= 0),
    constraint remaining_tasks_not_negative check (remaining_tasks >= 0)
) with (fillfactor = 50);

create table pgflow.step_tasks (
    run_id uuid not null,
    step_index smallint not null,
    task_index int not null,
    status text not null default 'queued',
    -- Raised by every hand-out and never reset: with the session it fences the lease.
    lease_seq int not null default 0,
    -- Failures and timeouts; the attempt shown to people is failures + 1.
    failures int not null default 0,
    lost_leases int not null default 0,
    -- Hand-backs in a row without a result.
    releases int not null default 0,
    -- The session that holds the lease; null unless started. In no index: lease and result are HOT updates. The tasks
    -- of a session are found through its lease_batches.
    session_id uuid,
    -- The worker that has it or had it last.
    worker_id int,
    -- The message in the step's queue; null while none is there.
    message_id bigint,
    -- A retry's due time; null when it does not wait.
    available_at timestamptz,
    queued_at timestamptz not null,
    started_at timestamptz,
    completed_at timestamptz,
    -- Element of a map; null tells a single step's task.
    item json,
    -- Output of a map's task; a single step's is on its state.
    output json,
    primary key (run_id, step_index, task_index),
    constraint status_is_known check (
        status in ('queued', 'started', 'completed', 'failed', 'cancelled', 'skipped')
    )
) with (fillfactor = 50);
create index step_tasks_waiting on pgflow.step_tasks (available_at) where available_at is not null;

create table pgflow.task_errors (
    run_id uuid not null,
    step_index smallint not null,
    task_index int not null,
    lease_seq int not null,
    attempt int not null,
    code text not null,
    message text not null,
    details text not null default '',
    worker_id int,
    started_at timestamptz,
    failed_at timestamptz not null,
    primary key (run_id, step_index, task_index, lease_seq)
);
comment on table pgflow.task_errors is 'one row per failure, timeout or lost lease';

create table pgflow.task_progress (
    run_id uuid not null,
    step_index smallint not null,
    task_index int not null,
    fraction real not null,
    message text not null default '',
    reported_at timestamptz not null,
    primary key (run_id, step_index, task_index)
) with (fillfactor = 50);
comment on table pgflow.task_progress is 'what handlers last reported; apart from step_tasks to keep their rows small';

create table pgflow.map_expansions (
    run_id uuid not null,
    step_index smallint not null,
    created_at timestamptz not null,
    primary key (run_id, step_index)
);
comment on table pgflow.map_expansions is 'work list: maps whose rows are being written in chunks';
