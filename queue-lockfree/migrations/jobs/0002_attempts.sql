-- A job that kills the process of its worker visited node after node, for ever.

ALTER TABLE jobs.job DROP CONSTRAINT job_state_check, ADD CONSTRAINT job_state_check CHECK (state IN
    ('pending', 'running', 'completed', 'failed', 'worker-lost', 'issuer-lost', 'timed-out', 'given-up'));

-- After a worker died in this queue: its job goes back, or is given up, also where it was started the most times already.
-- The caller holds the queue.
CREATE OR REPLACE FUNCTION jobs.recover(p_job bigint, p_teller bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    -- ATTEMPTS_MAX of the nodes.
    c_attempts CONSTANT integer := 5;
BEGIN
    -- It has started in time.
    UPDATE jobs.job SET state = 'pending', slot = NULL, expires = NULL
     WHERE id = p_job AND state = 'running' AND restartable AND attempts < c_attempts;
    IF NOT FOUND THEN
        PERFORM jobs.conclude(id, CASE WHEN restartable THEN 'given-up' ELSE 'worker-lost' END, p_teller)
           FROM jobs.job WHERE id = p_job;
    END IF;
END $$;
