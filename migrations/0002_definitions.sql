-- Definitions: what a flow is. Written by create_flow, add_step and delete_flow, read by everything else.
-- Slugs compare bytewise (collate "C"): Foo and foo are two flows, and lists are ordered the same on every server.

create table pgflow.queues (
    queue_id int generated always as identity primary key,
    -- Name of a shared queue; null for a queue that one flow owns. The pgmq queue is called pgflow_<queue_id>:
    -- pgmq lowers and caps names, so no name of a user can reach it.
    queue_name text collate "C" unique,
    created_at timestamptz not null default now()
);
comment on table pgflow.queues is 'pgmq queues of runnable tasks, named pgflow_<queue_id> there';

create table pgflow.workflows (
    workflow_slug text collate "C" primary key,
    workflow_id int generated always as identity unique,
    -- The newest version; the options below are its options.
    latest_version int not null default 1,
    max_attempts int not null,
    timeout int not null,
    base_delay_s int,
    max_delay_s int,
    -- Name of the shared queue that was asked for; null: the flow has a queue of its own.
    queue text collate "C",
    created_at timestamptz not null default now(),
    -- Inline plans only: when prune_plans looks whether any run is left. null: some run was there when it looked.
    prune_at timestamptz,
    -- `plan:` and a hash is an inline plan: no name of a user has a colon.
    constraint workflow_slug_is_valid check (
        workflow_slug ~ '^[a-zA-Z_][a-zA-Z0-9_]*$' and length(workflow_slug) <= 128 and workflow_slug <> 'run'
        or workflow_slug ~ '^plan:[0-9a-f]{32}$'
    ),
    constraint only_plans_are_pruned check (prune_at is null or starts_with(workflow_slug, 'plan:')),
    constraint max_attempts_in_range check (max_attempts between 1 and 1000),
    constraint timeout_in_range check (timeout between 1 and 2592000),
    constraint base_delay_s_in_range check (base_delay_s between 0 and 86400),
    constraint max_delay_s_in_range check (max_delay_s between 0 and 604800)
);
comment on table pgflow.workflows is
'one row per flow or inline plan; its lock orders everything that changes the definition';
-- For lists of flows, however many plans there are.
create index workflows_without_plans on pgflow.workflows (workflow_slug) where not starts_with(workflow_slug, 'plan:');
create index workflows_to_prune on pgflow.workflows (prune_at) where prune_at is not null;

create table pgflow.deleted_workflows (
    workflow_id int primary key,
    deleted_at timestamptz not null default now()
);
comment on table pgflow.deleted_workflows is 'work list of prune_deleted_runs: deleted flows whose runs may still have rows';

create table pgflow.workflow_versions (
    version_id int generated always as identity primary key,
    workflow_id int not null,
    workflow_slug text collate "C" not null references pgflow.workflows on delete cascade,
    version int not null,
    max_attempts int not null,
    timeout int not null,
    base_delay_s int,
    max_delay_s int,
    queue text collate "C",
    -- Queue of the steps that name none.
    queue_id int not null references pgflow.queues,
    created_at timestamptz not null default now(),
    constraint version_is_unique unique (workflow_slug, version)
);
comment on table pgflow.workflow_versions is 'a shape of a flow; a run pins one';

create table pgflow.workflow_steps (
    version_id int not null references pgflow.workflow_versions on delete cascade,
    -- Dense from 0 in the order of creation: run-time tables key steps by it.
    step_index smallint not null,
    workflow_slug text collate "C" not null,
    version int not null,
    step_slug text collate "C" not null,
    step_type text not null default 'single',
    deps_count int not null default 0,
    initial_tasks int,
    -- null in the five columns below: the flow's value.
    max_attempts int,
    timeout int,
    base_delay_s int,
    max_delay_s int,
    queue text collate "C",
    queue_id int not null references pgflow.queues,
    handler text collate "C" not null,
    params json not null default '{}',
    created_at timestamptz not null default now(),
    primary key (version_id, step_index),
    constraint step_slug_is_unique unique (version_id, step_slug),
    constraint step_slug_is_valid check (
        step_slug ~ '^[a-zA-Z_][a-zA-Z0-9_]*$' and length(step_slug) <= 128 and step_slug <> 'run'
    ),
    constraint step_type_is_known check (step_type in ('single', 'map')),
    constraint handler_is_valid check (handler ~ '^[a-zA-Z_][a-zA-Z0-9_.-]*$' and length(handler) <= 260),
    constraint only_maps_promise_initial_tasks check (step_type = 'map' or initial_tasks is null),
    constraint initial_tasks_in_range check (initial_tasks >= 0),
    constraint maps_have_at_most_one_dependency check (step_type = 'single' or deps_count <= 1),
    constraint max_attempts_in_range check (max_attempts between 1 and 1000),
    constraint timeout_in_range check (timeout between 1 and 2592000),
    constraint base_delay_s_in_range check (base_delay_s between 0 and 86400),
    constraint max_delay_s_in_range check (max_delay_s between 0 and 604800)
);
comment on table pgflow.workflow_steps is 'steps of a version; append-only';
-- For the catalogue: which steps use a handler.
create index workflow_steps_by_handler on pgflow.workflow_steps (handler, workflow_slug, step_slug, version);

create table pgflow.workflow_step_dependencies_def (
    version_id int not null references pgflow.workflow_versions on delete cascade,
    dep_index smallint not null,
    step_index smallint not null,
    workflow_slug text collate "C" not null,
    dep_slug text collate "C" not null,
    step_slug text collate "C" not null,
    primary key (version_id, dep_index, step_index),
    constraint no_self_dependency check (dep_index < step_index)
);
comment on table pgflow.workflow_step_dependencies_def is 'edges dep -> step; a dependency always has the smaller index';
create index workflow_step_dependencies_by_step
on pgflow.workflow_step_dependencies_def (version_id, step_index, dep_index);

create table pgflow.routes (
    route_id int generated always as identity primary key,
    queue_id int not null references pgflow.queues on delete cascade,
    scope text collate "C" not null,
    handler text collate "C" not null,
    -- When a run last asked for it; kept up to date for named scopes only, whose routes are pruned.
    used_at timestamptz not null default now(),
    constraint route_is_unique unique (queue_id, scope, handler)
);
create index routes_of_scopes on pgflow.routes (used_at) where scope <> '';
comment on table pgflow.routes is
'(scope, handler) in a queue, interned: the number in each message that decides which sessions may take the task';
