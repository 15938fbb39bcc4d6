-- listen --
-- Subscribes the connection: work is there, runs have ended, large maps wait for their rows.
listen pgflow_ready; listen pgflow_ended; listen pgflow_expand
