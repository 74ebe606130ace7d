-- Nodes, queues and jobs, and the operations on them. Each operation is one function, so one round trip and one
-- transaction. Rows are locked in one order: the one lock of the faithful form, a node, queues by name, the first jobs of
-- queues, other jobs. A worker that looks for a first job waits for none and locks no queue.
--
-- Two traps shape the code. A statement sees what was committed when it began, so what depends on a row lock is read
-- in a statement after the one that waited for it. And every operation may be repeated after a lost reply, so each
-- recognises its own former effect.
--
-- What every job passes, submit and work, does many jobs in each statement. That is also why no column has a foreign
-- key, which would be checked row by row: whoever acts for a node locks its row once instead, its death
-- waits for that and then orphans what it had (jobs.orphan), and a queue is locked by whoever adds to it or removes it.

CREATE TABLE jobs.node (
    -- A new one for every start: a restarted node is another node.
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE CHECK (octet_length(name) BETWEEN 1 AND 255),
    sticky boolean NOT NULL,
    -- When the node was last heard of, on the database's clock, and how often.
    heard timestamptz NOT NULL DEFAULT clock_timestamp(),
    beats bigint NOT NULL DEFAULT 0
);

-- A queue is there while it has unfinished jobs. The one with the lowest id is its first: it runs, or is in jobs.first.
CREATE TABLE jobs.queue (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE CHECK (octet_length(name) BETWEEN 1 AND 255),
    -- Faithful: the node that runs its jobs until it is drained. NULL: orphaned.
    worker bigint
);
CREATE INDEX queue_worker ON jobs.queue (worker) WHERE worker IS NOT NULL;

CREATE TABLE jobs.job (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- NULL once finished.
    queue bigint,
    -- Who is told the outcome, and its own number of the submission. NULL: dead.
    issuer bigint,
    number bigint NOT NULL,
    payload bytea NOT NULL CHECK (octet_length(payload) <= 1048576),
    restartable boolean NOT NULL,
    -- A job that has not started by then never does.
    expires timestamptz,
    state text NOT NULL DEFAULT 'pending' CHECK (state IN
        ('pending', 'running', 'completed', 'failed', 'worker-lost', 'issuer-lost', 'timed-out')),
    -- Who runs it, and in which of its slots. NULL while running: the worker is dead.
    worker bigint,
    slot bigint,
    -- Fencing token of the last start.
    token bigint,
    attempts integer NOT NULL DEFAULT 0,
    result bytea CHECK (octet_length(result) <= 1048576),
    finished timestamptz,
    UNIQUE (issuer, number),
    CHECK ((finished IS NULL) = (state IN ('pending', 'running')))
-- Room on each page for the row that a start writes, so that it touches no index.
) WITH (fillfactor = 70);
CREATE INDEX job_unfinished ON jobs.job (queue, id) WHERE queue IS NOT NULL;
CREATE INDEX job_finished ON jobs.job (issuer) WHERE finished IS NOT NULL;
-- None on the worker, for the same reason; the death of a node reads the table.

-- The first job of each queue in which nothing runs.
CREATE TABLE jobs.first (
    job bigint PRIMARY KEY,
    queue bigint NOT NULL UNIQUE,
    expires timestamptz
);

CREATE SEQUENCE jobs.token AS bigint NO CYCLE CACHE 1;

-- The one lock of the faithful form.
CREATE FUNCTION jobs.lock_all() RETURNS void LANGUAGE sql AS
$$ SELECT pg_advisory_xact_lock(hashtextextended('lockbench jobs', 0)) $$;

-- Whoever acts for a node calls this first: the node's row stays until the transaction ends, or the operation fails, since
-- the node was declared dead and nobody may wait for this call any more. What every job passes looks for itself, which
-- costs less, and calls this when the row is not there.
CREATE FUNCTION jobs.lives(p_node bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM jobs.node n WHERE n.id = p_node FOR KEY SHARE;
    IF NOT FOUND THEN
        RAISE foreign_key_violation USING MESSAGE = 'the node was declared dead';
    END IF;
END $$;

-- A node that is gone works and issues no more.
CREATE FUNCTION jobs.orphan() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    v_queues bigint[] := ARRAY(
        SELECT q.id FROM jobs.queue q
         WHERE q.worker = OLD.id OR q.id IN (SELECT j.queue FROM jobs.job j WHERE OLD.id IN (j.worker, j.issuer))
         ORDER BY q.name FOR UPDATE);
BEGIN
    -- Nobody starts one of these meanwhile.
    PERFORM FROM jobs.first f WHERE f.queue = ANY (v_queues) FOR UPDATE;
    UPDATE jobs.queue SET worker = NULL WHERE worker = OLD.id;
    UPDATE jobs.job SET worker = NULL WHERE worker = OLD.id;
    UPDATE jobs.job SET issuer = NULL WHERE issuer = OLD.id;
    RETURN NULL;
END $$;
CREATE TRIGGER orphan AFTER DELETE ON jobs.node FOR EACH ROW EXECUTE FUNCTION jobs.orphan();

-- Gives an unfinished job its outcome and tells the issuer, unless that is the teller itself. The caller holds the
-- queue and puts it in order afterwards.
CREATE FUNCTION jobs.conclude(p_job bigint, p_state text, p_teller bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_issuer bigint;
BEGIN
    UPDATE jobs.job
       SET state = p_state, finished = clock_timestamp(), queue = NULL, worker = NULL, slot = NULL
     WHERE id = p_job AND finished IS NULL
    RETURNING issuer INTO v_issuer;
    IF v_issuer <> p_teller THEN
        PERFORM pg_notify('jobs_outcome_' || v_issuer, '');
    END IF;
END $$;

-- Puts a queue in order in which nothing runs and that has no first job any more: the pending job with the lowest id is
-- that. Without one the queue is removed, and the answer is false. The caller holds the queue.
CREATE FUNCTION jobs.advance(p_queue bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO jobs.first (job, queue, expires)
    SELECT j.id, j.queue, j.expires FROM jobs.job j WHERE j.queue = p_queue ORDER BY j.id LIMIT 1;
    IF NOT FOUND THEN
        DELETE FROM jobs.queue WHERE id = p_queue;
        RETURN false;
    END IF;
    RETURN true;
END $$;

-- After a worker died in this queue: its job goes back, or is given up. The caller holds the queue.
CREATE FUNCTION jobs.recover(p_job bigint, p_teller bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    -- It has started in time.
    UPDATE jobs.job SET state = 'pending', slot = NULL, expires = NULL
     WHERE id = p_job AND state = 'running' AND restartable;
    IF NOT FOUND THEN
        PERFORM jobs.conclude(p_job, 'worker-lost', p_teller);
    END IF;
END $$;

-- Faithful: takes an orphaned queue over. Jobs of dead issuers are dropped. True if anything is left to do.
CREATE FUNCTION jobs.adopt(p_queue bigint, p_node bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM jobs.first WHERE queue = p_queue;
    PERFORM jobs.conclude(id, 'issuer-lost', p_node) FROM jobs.job WHERE queue = p_queue AND issuer IS NULL;
    PERFORM jobs.recover(id, p_node) FROM jobs.job WHERE queue = p_queue AND state = 'running';
    UPDATE jobs.queue SET worker = p_node WHERE id = p_queue;
    RETURN jobs.advance(p_queue);
END $$;

-- Takes over what dead workers left. Cheap if there is nothing.
CREATE FUNCTION jobs.take_over(p_node bigint, p_sticky boolean) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_queue bigint;
    v_job bigint;
    v_ready boolean := false;
BEGIN
    IF p_sticky THEN
        IF NOT EXISTS (SELECT FROM jobs.queue WHERE worker IS NULL) THEN
            RETURN;
        END IF;
        PERFORM jobs.lock_all();
        PERFORM jobs.lives(p_node);
        FOR v_queue IN SELECT id FROM jobs.queue WHERE worker IS NULL ORDER BY name FOR UPDATE LOOP
            PERFORM jobs.adopt(v_queue, p_node);
        END LOOP;
    ELSE
        -- A locked queue is being changed by somebody who cannot wait for us; the next round sees to it.
        FOR v_queue IN
            SELECT q.id FROM jobs.queue q CROSS JOIN LATERAL (
                SELECT j.state, j.worker FROM jobs.job j WHERE j.queue = q.id ORDER BY j.id LIMIT 1) AS first
             WHERE first.state = 'running' AND first.worker IS NULL ORDER BY q.name FOR UPDATE OF q SKIP LOCKED
        LOOP
            -- It may have been seen to while its lock was on the way to us.
            SELECT id INTO v_job FROM jobs.job WHERE queue = v_queue AND state = 'running' AND worker IS NULL;
            IF FOUND THEN
                PERFORM jobs.recover(v_job, p_node);
                v_ready := jobs.advance(v_queue) OR v_ready;
            END IF;
        END LOOP;
        -- Workers that always find something to start do not look for what is too late.
        IF jobs.expire(p_node) OR v_ready THEN
            PERFORM pg_notify('jobs_ready', '');
        END IF;
    END IF;
END $$;

-- Enters a node; a former life of the same name is over with that. NULL if a node that lives runs the other form.
CREATE FUNCTION jobs.enter(p_name text, p_sticky boolean, p_detect_ms bigint) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    v_node bigint;
BEGIN
    PERFORM jobs.lock_all();
    DELETE FROM jobs.node WHERE name = p_name;
    IF EXISTS (SELECT FROM jobs.node WHERE sticky <> p_sticky
                  AND heard > clock_timestamp() - p_detect_ms * interval '1 ms') THEN
        RETURN NULL;
    END IF;
    INSERT INTO jobs.node (name, sticky) VALUES (p_name, p_sticky) RETURNING id INTO v_node;
    PERFORM jobs.take_over(v_node, p_sticky);
    RETURN v_node;
END $$;

-- A node goes; others take over what it has.
CREATE FUNCTION jobs.leave(p_node bigint, p_sticky boolean) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF p_sticky THEN
        PERFORM jobs.lock_all();
    END IF;
    DELETE FROM jobs.node WHERE id = p_node;
END $$;

-- A sign of life. False: others have declared this node dead. Also removes outcomes that nobody can ask for any more.
CREATE FUNCTION jobs.beat(p_node bigint, p_retain_ms bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    UPDATE jobs.node SET heard = clock_timestamp(), beats = beats + 1 WHERE id = p_node;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    DELETE FROM jobs.job WHERE issuer IS NULL AND finished < clock_timestamp() - p_retain_ms * interval '1 ms';
    RETURN true;
END $$;

-- Nodes that were not heard of for so long, or are heard of from the future.
CREATE FUNCTION jobs.suspects(p_node bigint, p_detect_ms bigint) RETURNS TABLE (node bigint, beats bigint)
LANGUAGE sql AS $$
    SELECT n.id, n.beats FROM jobs.node n
     WHERE n.id <> p_node
       AND n.heard NOT BETWEEN clock_timestamp() - p_detect_ms * interval '1 ms'
                           AND clock_timestamp() + p_detect_ms * interval '1 ms'
$$;

-- Declares a node dead that has given no sign of life since it was suspected. What it had is orphaned.
CREATE FUNCTION jobs.evict(p_victim bigint, p_beats bigint, p_node bigint, p_sticky boolean) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    IF p_sticky THEN
        PERFORM jobs.lock_all();
    END IF;
    PERFORM jobs.lives(p_node);
    DELETE FROM jobs.node WHERE id = p_victim AND beats = p_beats;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM jobs.take_over(p_node, p_sticky);
    RETURN true;
END $$;

-- Submits jobs, many in one transaction. Returns for each the id and, in the faithful form, the queue if it is the
-- issuer's to run. If more can start than the issuer has idle workers, all are told.
CREATE FUNCTION jobs.submit(
    p_issuer bigint, p_sticky boolean, p_idle bigint,
    p_queues text[], p_numbers bigint[], p_payloads bytea[], p_restartable boolean[], p_wait_ms bigint[]
) RETURNS TABLE (number bigint, job bigint, mine bigint) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_entered bigint;
BEGIN
    IF p_sticky THEN
        PERFORM jobs.lock_all();
    END IF;
    PERFORM FROM jobs.node n WHERE n.id = p_issuer FOR KEY SHARE;
    IF NOT FOUND THEN
        PERFORM jobs.lives(p_issuer);
    END IF;
    -- Makes the queues that are not there and locks the others; the condition keeps it from writing them.
    INSERT INTO jobs.queue AS q (name, worker)
    SELECT DISTINCT u.name, CASE WHEN p_sticky THEN p_issuer END FROM unnest(p_queues) AS u (name) ORDER BY u.name
        ON CONFLICT (name) DO UPDATE SET name = q.name WHERE false;
    RETURN QUERY
        WITH entered AS (
            INSERT INTO jobs.job (queue, issuer, number, payload, restartable, expires)
            SELECT q.id, p_issuer, u.number, u.payload, u.restartable, clock_timestamp() + u.wait_ms * interval '1 ms'
              FROM unnest(p_queues, p_numbers, p_payloads, p_restartable, p_wait_ms)
                    AS u (queue, number, payload, restartable, wait_ms)
              JOIN jobs.queue q ON q.name = u.queue ORDER BY u.number
            ON CONFLICT (issuer, number) DO NOTHING RETURNING id, queue, number, expires
        ), first AS (
            INSERT INTO jobs.first (job, queue, expires)
            SELECT DISTINCT ON (e.queue) e.id, e.queue, e.expires FROM entered e
             WHERE NOT EXISTS (SELECT FROM jobs.job j WHERE j.queue = e.queue) ORDER BY e.queue, e.id
            RETURNING job
        ), told AS (
            SELECT CASE WHEN count(*) > p_idle AND NOT p_sticky THEN pg_notify('jobs_ready', '')::text END FROM first
        )
        SELECT e.number, e.id, CASE WHEN p_sticky THEN
                   (SELECT q.id FROM jobs.queue q WHERE q.id = e.queue AND coalesce(q.worker, p_issuer) = p_issuer) END
          FROM entered e CROSS JOIN told;
    GET DIAGNOSTICS v_entered = ROW_COUNT;
    IF v_entered < cardinality(p_numbers) THEN
        -- The reply to a former try was lost. Its queues may have been drained since.
        DELETE FROM jobs.queue q WHERE q.name = ANY (p_queues)
           AND NOT EXISTS (SELECT FROM jobs.job j WHERE j.queue = q.id);
        RETURN QUERY
            SELECT j.number, j.id, q.id FROM jobs.job j
              LEFT JOIN jobs.queue q ON q.id = j.queue AND coalesce(q.worker, p_issuer) = p_issuer AND p_sticky
             WHERE j.issuer = p_issuer AND j.number = ANY (p_numbers);
    END IF;
    IF p_sticky THEN
        PERFORM jobs.adopt(q.id, p_issuer) FROM jobs.queue q WHERE q.name = ANY (p_queues) AND q.worker IS NULL;
    END IF;
END $$;

-- Turns of workers, many in one transaction: results of jobs that were run are written, then others are started.
-- p_sources has the slots that are free or, in the faithful form, the queues to look at. Returns a row for each result
-- that is written, settled its job, and one for each job that was started; other results are of jobs that were taken
-- away. number is the issuer's own, if that is this node.
CREATE FUNCTION jobs.work(
    p_node bigint, p_sticky boolean, p_repeated boolean, p_sources bigint[],
    p_done bigint[], p_queues bigint[], p_tokens bigint[], p_states text[], p_results bytea[]
) RETURNS TABLE (
    settled bigint, source bigint, job bigint, queue bigint, name text, number bigint, payload bytea, token bigint,
    attempt integer
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_jobs bigint[];
    v_written bigint;
BEGIN
    IF p_sticky THEN
        PERFORM jobs.lock_all();
    END IF;
    PERFORM FROM jobs.node n WHERE n.id = p_node FOR KEY SHARE;
    IF NOT FOUND THEN
        PERFORM jobs.lives(p_node);
    END IF;
    IF p_done <> '{}' THEN
        PERFORM FROM unnest(p_queues) AS u (queue) JOIN jobs.queue q ON q.id = u.queue ORDER BY q.name FOR UPDATE OF q;
        RETURN QUERY
            WITH written AS (
                UPDATE jobs.job j SET state = d.state, result = d.result, finished = clock_timestamp(),
                       queue = NULL, worker = NULL, slot = NULL
                  FROM unnest(p_done, p_queues, p_tokens, p_states, p_results) AS d (job, queue, token, state, result)
                 WHERE j.id = d.job AND j.token = d.token AND j.worker = p_node AND j.state = 'running'
                RETURNING j.id, d.queue,
                    CASE WHEN j.issuer <> p_node THEN pg_notify('jobs_outcome_' || j.issuer, '')::text END
            ), first AS (
                INSERT INTO jobs.first (job, queue, expires)
                SELECT next.id, w.queue, next.expires FROM written w CROSS JOIN LATERAL (
                    SELECT j.id, j.expires FROM jobs.job j WHERE j.queue = w.queue AND j.id > w.id ORDER BY j.id LIMIT 1
                ) AS next
                RETURNING queue
            ), drained AS (
                DELETE FROM jobs.queue q USING written w
                 WHERE q.id = w.queue AND NOT EXISTS (SELECT FROM first WHERE first.queue = w.queue)
            )
            SELECT id, NULL::bigint, NULL::bigint, NULL::bigint, NULL::text, NULL::bigint, NULL::bytea, NULL::bigint, NULL::integer
              FROM written;
        GET DIAGNOSTICS v_written = ROW_COUNT;
        IF v_written < cardinality(p_done) THEN
            -- Those that a former try has written, of which only the reply was lost.
            RETURN QUERY
                SELECT j.id, NULL::bigint, NULL::bigint, NULL::bigint, NULL::text, NULL::bigint, NULL::bytea, NULL::bigint, NULL::integer
                  FROM unnest(p_done, p_tokens, p_states) AS d (job, token, state)
                  JOIN jobs.job j ON j.id = d.job AND j.token = d.token AND j.state = d.state;
        END IF;
    END IF;
    IF p_repeated THEN
        -- What a former try has started, whose reply was lost.
        v_jobs := ARRAY(SELECT j.id FROM jobs.job j
                         WHERE j.worker = p_node AND j.slot = ANY (p_sources) AND j.state = 'running');
        RETURN QUERY
            SELECT NULL::bigint, j.slot, j.id, j.queue, q.name, CASE WHEN j.issuer = p_node THEN j.number END,
                   j.payload, j.token, j.attempts
              FROM jobs.job j JOIN jobs.queue q ON q.id = j.queue WHERE j.id = ANY (v_jobs);
        p_sources := ARRAY(SELECT u.source FROM unnest(p_sources) AS u (source) WHERE NOT EXISTS (
            SELECT FROM jobs.job j WHERE j.id = ANY (v_jobs) AND j.slot = u.source));
    END IF;
    LOOP
        IF p_sources = '{}' THEN
            RETURN;
        ELSIF p_sticky THEN
            v_jobs := ARRAY(SELECT f.job FROM jobs.queue q JOIN jobs.first f ON f.queue = q.id
                             WHERE q.id = ANY (p_sources) AND q.worker = p_node
                               AND (f.expires IS NULL OR f.expires > clock_timestamp()));
        ELSE
            v_jobs := ARRAY(SELECT f.job FROM jobs.first f
                             WHERE f.expires IS NULL OR f.expires > clock_timestamp()
                             ORDER BY f.job LIMIT cardinality(p_sources) FOR UPDATE SKIP LOCKED);
        END IF;
        EXIT WHEN cardinality(v_jobs) = cardinality(p_sources) OR NOT jobs.expire(p_node);
    END LOOP;
    IF v_jobs <> '{}' THEN
        DELETE FROM jobs.first f WHERE f.job = ANY (v_jobs);
        RETURN QUERY
            UPDATE jobs.job j SET state = 'running', worker = p_node, token = nextval('jobs.token'),
                   slot = CASE WHEN p_sticky THEN j.queue ELSE p_sources[array_position(v_jobs, j.id)] END,
                   attempts = j.attempts + 1
              FROM jobs.queue q WHERE j.id = ANY (v_jobs) AND q.id = j.queue
            RETURNING NULL::bigint, j.slot, j.id, j.queue, q.name, CASE WHEN j.issuer = p_node THEN j.number END,
                      j.payload, j.token, j.attempts;
    END IF;
END $$;

-- Times out the first jobs of queues that have not started in time. True if there were any. The queues that are locked
-- are left to whoever comes next.
CREATE FUNCTION jobs.expire(p_teller bigint) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    v_queue bigint;
    v_job bigint;
    v_found boolean := false;
BEGIN
    FOR v_queue IN
        SELECT q.id FROM jobs.first f JOIN jobs.queue q ON q.id = f.queue
         WHERE f.expires <= clock_timestamp() ORDER BY q.name FOR UPDATE OF q, f SKIP LOCKED
    LOOP
        -- It may have been seen to while its lock was on the way to us.
        DELETE FROM jobs.first f WHERE f.queue = v_queue AND f.expires <= clock_timestamp() RETURNING f.job INTO v_job;
        IF FOUND THEN
            PERFORM jobs.conclude(v_job, 'timed-out', p_teller);
            PERFORM jobs.advance(v_queue);
            v_found := true;
        END IF;
    END LOOP;
    RETURN v_found;
END $$;

-- Times out those of the issuer's jobs that have not started.
CREATE FUNCTION jobs.withdraw(p_issuer bigint, p_sticky boolean, p_numbers bigint[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_job record;
    v_first boolean;
BEGIN
    IF p_sticky THEN
        PERFORM jobs.lock_all();
    END IF;
    FOR v_job IN
        SELECT j.id, q.id AS queue FROM jobs.job j JOIN jobs.queue q ON q.id = j.queue
         WHERE j.issuer = p_issuer AND j.number = ANY (p_numbers) AND j.state = 'pending' AND j.attempts = 0
         ORDER BY q.name FOR UPDATE OF q
    LOOP
        -- Waits for whoever starts it.
        DELETE FROM jobs.first WHERE job = v_job.id;
        v_first := FOUND;
        IF EXISTS (SELECT FROM jobs.job WHERE id = v_job.id AND state = 'pending') THEN
            PERFORM jobs.conclude(v_job.id, 'timed-out', p_issuer);
        END IF;
        IF v_first THEN
            PERFORM jobs.advance(v_job.queue);
        END IF;
    END LOOP;
END $$;

-- The outcomes that the issuer has not acknowledged yet; those that it has are removed.
CREATE FUNCTION jobs.collect(p_issuer bigint, p_acknowledged bigint[])
RETURNS TABLE (number bigint, job bigint, state text, result bytea) LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM jobs.job j WHERE j.id = ANY (p_acknowledged) AND j.finished IS NOT NULL;
    RETURN QUERY SELECT j.number, j.id, j.state, j.result FROM jobs.job j
                  WHERE j.issuer = p_issuer AND j.finished IS NOT NULL ORDER BY j.id LIMIT 1000;
END $$;
