-- Sessions: who may hold leases, and until when. A lease is its session's, so a heartbeat writes one small row.

create table pgflow.workers (
    worker_id int generated always as identity primary key,
    worker_name text collate "C" not null unique,
    seen_at timestamptz not null default now()
);
comment on table pgflow.workers is 'names of workers, interned: a task remembers who had it after the session is gone';

-- No index but the key, and room in the page: a beat stays a HOT update.
create table pgflow.sessions (
    session_id uuid primary key,
    -- sha256 of the worker's secret instance id: a resume must prove it.
    instance_hash bytea not null,
    -- Raised by each resume; a renewal that carries an older one changes nothing.
    epoch int not null default 1,
    coordinator_id uuid not null,
    worker_id int not null,
    lease_until timestamptz not null,
    -- As of the last renewal, which writes this row anyway: when a frame came last, and credits without a task.
    seen_at timestamptz not null,
    credits int not null default 0,
    -- Set when the session ended: by Goodbye, by its grace or by its lease. It stays a while so that a lease that
    -- raced the end is found by the next sweep.
    closed_at timestamptz,
    grace_ms int not null,
    sdk text not null default '',
    connected_at timestamptz not null
) with (fillfactor = 50);

create table pgflow.handler_details (
    details_id int generated always as identity primary key,
    -- sha256 of the four columns: a hundred workers that serve the same share one row for each handler.
    content_hash bytea not null unique,
    description text not null,
    params_schema json,
    input_schema json,
    output_schema json,
    -- When a Hello last brought it, to 10 minutes: what no session refers to goes an hour later.
    seen_at timestamptz not null
);
comment on table pgflow.handler_details is 'what workers tell of handlers, once per content; see prune_names';

create table pgflow.session_handlers (
    handler text collate "C" not null,
    scope text collate "C" not null,
    session_id uuid not null references pgflow.sessions on delete cascade,
    details_id int not null,
    -- In the order of the catalogue's pages.
    primary key (handler, scope, session_id)
);
create index session_handlers_by_session on pgflow.session_handlers (session_id);
comment on table pgflow.session_handlers is 'what each session serves: the catalogue';

-- What was handed out to a session, a row for each hand-out: what to look through when its worker has vanished. Entries
-- of tasks that are over stay for some seconds, so whoever reads it asks step_tasks which the session still holds.
create table pgflow.lease_batches (
    session_id uuid not null,
    batch_id bigint generated always as identity,
    -- Side by side.
    run_ids uuid[] not null,
    step_indexes smallint[] not null,
    task_indexes int[] not null,
    primary key (session_id, batch_id)
) with (toast_tuple_target = 8160);
-- Ids of runs hardly shrink: what is too large for a page goes elsewhere as it is.
alter table pgflow.lease_batches alter column run_ids set storage external;
comment on table pgflow.lease_batches is 'what sessions were handed; see leases_of_sessions for what they hold';

create view pgflow.lease_entries as
select b.session_id, b.batch_id, e.run_id, e.step_index, e.task_index
from pgflow.lease_batches as b
cross join lateral (
    select unnest(b.run_ids) as run_id, unnest(b.step_indexes) as step_index, unnest(b.task_indexes) as task_index
) as e;
