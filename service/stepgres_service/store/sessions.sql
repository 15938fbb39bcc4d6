-- open_session --
-- Opens a session; returns the worker's id.
select pgflow.open_session(%s, %s, %s, %s, %s, %s, %s)

-- serve_handlers --
-- Writes what a session serves.
select pgflow.serve_handlers(%s, %s, %s, %s, %s, %s, %s, %s)

-- resume_session --
-- Moves a session to a new stream; no row = it is lost.
select epoch, worker_id, held_item, age_s, version_id
from pgflow.resume_session(%s, %s, %s, %s, %s, %s, %s, %s, %s)

-- renew_sessions --
-- Renews leases; returns the sessions that were.
select uuid_send(session_id) from pgflow.renew_sessions(%s, %s, %s, %s, %s) as r (session_id)

-- close_sessions --
-- Ends sessions and takes back what they hold.
select pgflow.close_sessions(%s, %s, %s, %s)

-- sweep_sessions --
-- Ends sessions whose lease ran out, one a row; the last row tells the time.
select session_id::text, null::timestamptz
from pgflow.sweep_sessions(p_max_lost_leases => %s, p_heard_at => %s, p_max_silence_ms => %s) as s (session_id)
union all
select null, pgflow.now()

-- read_clock --
-- The database's time.
select pgflow.now()

-- leases_of_sessions --
-- The leases that sessions hold by the database's account.
select uuid_send(session_id), uuid_send(run_id), step_index, task_index, lease_seq from pgflow.leases_of_sessions(%s)
