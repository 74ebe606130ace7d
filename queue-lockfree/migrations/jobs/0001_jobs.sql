-- Nodes, queues and jobs, and the operations on them. Each operation is one function, so one round trip and one
-- transaction. Rows are locked in one order: the one lock of the faithful form, a node, a queue, its jobs.
--
-- Two traps shape the code. A statement sees what was committed when it began, so what depends on a row lock is read
-- in a statement after the one that waited for it. And every operation may be repeated after a lost reply, so each
-- recognises its own former effect.

CREATE TABLE jobs.node (
    -- A new one for every start: a restarted node is another node.
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE CHECK (octet_length(name) BETWEEN 1 AND 255),
    sticky boolean NOT NULL,
    -- When the node was last heard of, on the database's clock, and how often.
    heard timestamptz NOT NULL DEFAULT clock_timestamp(),
    beats bigint NOT NULL DEFAULT 0
);

-- A queue is there while it has unfinished jobs.
CREATE TABLE jobs.queue (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE CHECK (octet_length(name) BETWEEN 1 AND 255),
    -- Faithful: the node that runs its jobs until it is drained. NULL: orphaned.
    worker bigint REFERENCES jobs.node ON DELETE SET NULL,
    -- The job that runs.
    running bigint,
    -- The pending job with the lowest id.
    head bigint
);
CREATE INDEX queue_ready ON jobs.queue (head) WHERE running IS NULL AND head IS NOT NULL;
CREATE INDEX queue_worker ON jobs.queue (worker) WHERE worker IS NOT NULL;

CREATE TABLE jobs.job (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- NULL once finished.
    queue bigint REFERENCES jobs.queue,
    -- Who is told the outcome, and its own number of the submission. NULL: dead.
    issuer bigint REFERENCES jobs.node ON DELETE SET NULL,
    number bigint NOT NULL,
    payload bytea NOT NULL CHECK (octet_length(payload) <= 1048576),
    restartable boolean NOT NULL,
    -- A job that has not started by then never does.
    expires timestamptz,
    state text NOT NULL DEFAULT 'pending' CHECK (state IN
        ('pending', 'running', 'completed', 'failed', 'worker-lost', 'issuer-lost', 'timed-out')),
    -- Who runs it, and in which of its slots. NULL while running: the worker is dead.
    worker bigint REFERENCES jobs.node ON DELETE SET NULL,
    slot bigint,
    -- Fencing token of the last start.
    token bigint,
    attempts integer NOT NULL DEFAULT 0,
    result bytea CHECK (octet_length(result) <= 1048576),
    finished timestamptz,
    UNIQUE (issuer, number),
    CHECK ((finished IS NULL) = (state IN ('pending', 'running')))
);
CREATE INDEX job_unfinished ON jobs.job (queue, id) WHERE queue IS NOT NULL;
CREATE INDEX job_finished ON jobs.job (issuer) WHERE finished IS NOT NULL;
-- None on the worker, so that a start touches no index; the death of a node reads the table.

CREATE SEQUENCE jobs.token AS bigint NO CYCLE CACHE 1;

-- The one lock of the faithful form.
CREATE FUNCTION jobs.lock_all() RETURNS void LANGUAGE sql AS
$$ SELECT pg_advisory_xact_lock(hashtextextended('lockbench jobs', 0)) $$;

-- Gives an unfinished job its outcome and tells the issuer, unless that is the teller itself. The caller holds the
-- queue and puts it in order afterwards.
CREATE FUNCTION jobs.conclude(p_job bigint, p_state text, p_result bytea, p_teller bigint) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_issuer bigint;
BEGIN
    UPDATE jobs.job
       SET state = p_state, result = p_result, finished = clock_timestamp(), queue = NULL, worker = NULL, slot = NULL
     WHERE id = p_job AND finished IS NULL
    RETURNING issuer INTO v_issuer;
    IF v_issuer <> p_teller THEN
        PERFORM pg_notify('jobs_outcome_' || v_issuer, '');
    END IF;
END $$;

-- Puts a queue in order in which nothing runs any more: its first pending job is next. Without one it is removed, and
-- the answer is false.
CREATE FUNCTION jobs.advance(p_queue bigint) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    v_head bigint;
BEGIN
    SELECT id INTO v_head FROM jobs.job WHERE queue = p_queue ORDER BY id LIMIT 1;
    IF v_head IS NULL THEN
        DELETE FROM jobs.queue WHERE id = p_queue;
        RETURN false;
    END IF;
    UPDATE jobs.queue SET running = NULL, head = v_head WHERE id = p_queue;
    RETURN true;
END $$;

-- After a worker died in this queue: its job goes back, or is given up. The caller holds the queue.
CREATE FUNCTION jobs.recover(p_job bigint, p_teller bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE jobs.job SET state = 'pending', slot = NULL WHERE id = p_job AND state = 'running' AND restartable;
    IF NOT FOUND THEN
        PERFORM jobs.conclude(p_job, 'worker-lost', NULL, p_teller);
    END IF;
END $$;

-- Faithful: takes an orphaned queue over. Jobs of dead issuers are dropped. True if anything is left to do.
CREATE FUNCTION jobs.adopt(p_queue jobs.queue, p_node bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM jobs.conclude(id, 'issuer-lost', NULL, p_node)
       FROM jobs.job WHERE queue = p_queue.id AND issuer IS NULL;
    PERFORM jobs.recover(id, p_node) FROM jobs.job WHERE queue = p_queue.id AND state = 'running';
    UPDATE jobs.queue SET worker = p_node WHERE id = p_queue.id;
    RETURN jobs.advance(p_queue.id);
END $$;

-- Takes over what dead workers left. Cheap if there is nothing.
CREATE FUNCTION jobs.take_over(p_node bigint, p_sticky boolean) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_queue jobs.queue;
    v_ready boolean := false;
BEGIN
    IF p_sticky THEN
        IF NOT EXISTS (SELECT FROM jobs.queue WHERE worker IS NULL) THEN
            RETURN;
        END IF;
        PERFORM jobs.lock_all();
        FOR v_queue IN SELECT * FROM jobs.queue WHERE worker IS NULL ORDER BY id FOR UPDATE LOOP
            PERFORM jobs.adopt(v_queue, p_node);
        END LOOP;
    ELSE
        -- A locked queue is being changed by somebody who cannot wait for us; the next round sees to it.
        FOR v_queue IN
            SELECT q.* FROM jobs.queue q JOIN jobs.job j ON j.id = q.running
             WHERE j.state = 'running' AND j.worker IS NULL ORDER BY q.id FOR UPDATE OF q SKIP LOCKED
        LOOP
            -- It may have been seen to while its lock was on the way to us.
            IF EXISTS (SELECT FROM jobs.job WHERE id = v_queue.running AND state = 'running' AND worker IS NULL) THEN
                PERFORM jobs.recover(v_queue.running, p_node);
                v_ready := jobs.advance(v_queue.id) OR v_ready;
            END IF;
        END LOOP;
        IF v_ready THEN
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

-- Declares a node dead that has given no sign of life since it was suspected. Its foreign keys orphan what it had.
CREATE FUNCTION jobs.evict(p_victim bigint, p_beats bigint, p_node bigint, p_sticky boolean) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    IF p_sticky THEN
        PERFORM jobs.lock_all();
    END IF;
    DELETE FROM jobs.node WHERE id = p_victim AND beats = p_beats;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM jobs.take_over(p_node, p_sticky);
    RETURN true;
END $$;

-- Submits jobs, at most one transaction for many. Returns for each the id and, in the faithful form, the queue if it
-- is the issuer's to run. More new work than the issuer has idle workers is announced to all.
CREATE FUNCTION jobs.submit(
    p_issuer bigint, p_sticky boolean, p_idle bigint,
    p_queues text[], p_numbers bigint[], p_payloads bytea[], p_restartable boolean[], p_wait_ms bigint[]
) RETURNS TABLE (number bigint, job bigint, mine bigint) LANGUAGE plpgsql AS $$
DECLARE
    s record;
    v_queue jobs.queue;
    v_job bigint;
    v_created boolean;
    v_ready bigint := 0;
BEGIN
    IF p_sticky THEN
        PERFORM jobs.lock_all();
    END IF;
    -- In one order, so that two batches cannot wait for each other.
    FOR s IN
        SELECT * FROM unnest(p_queues, p_numbers, p_payloads, p_restartable, p_wait_ms)
            AS u (queue, number, payload, restartable, wait_ms) ORDER BY u.queue, u.number
    LOOP
        v_created := false;
        LOOP
            SELECT * INTO v_queue FROM jobs.queue q WHERE q.name = s.queue FOR UPDATE;
            EXIT WHEN FOUND;
            INSERT INTO jobs.queue (name, worker) VALUES (s.queue, CASE WHEN p_sticky THEN p_issuer END)
                ON CONFLICT (name) DO NOTHING RETURNING * INTO v_queue;
            v_created := FOUND;
            EXIT WHEN v_created;
        END LOOP;
        INSERT INTO jobs.job AS j (queue, issuer, number, payload, restartable, expires)
        VALUES (v_queue.id, p_issuer, s.number, s.payload, s.restartable,
                clock_timestamp() + s.wait_ms * interval '1 ms')
        ON CONFLICT ON CONSTRAINT job_issuer_number_key DO NOTHING RETURNING j.id INTO v_job;
        IF v_job IS NULL THEN
            -- The reply to a former try was lost.
            SELECT j.id INTO v_job FROM jobs.job j WHERE j.issuer = p_issuer AND j.number = s.number;
            IF v_created THEN
                DELETE FROM jobs.queue q WHERE q.id = v_queue.id;
            END IF;
        ELSIF v_queue.head IS NULL THEN
            UPDATE jobs.queue q SET head = v_job WHERE q.id = v_queue.id;
            v_ready := v_ready + CASE WHEN v_queue.running IS NULL THEN 1 ELSE 0 END;
        END IF;
        IF p_sticky AND v_queue.worker IS NULL AND jobs.adopt(v_queue, p_issuer) THEN
            v_queue.worker := p_issuer;
        END IF;
        number := s.number;
        job := v_job;
        mine := CASE WHEN v_queue.worker = p_issuer THEN v_queue.id END;
        RETURN NEXT;
    END LOOP;
    IF NOT p_sticky AND v_ready > p_idle THEN
        PERFORM pg_notify('jobs_ready', '');
    END IF;
END $$;

-- A worker's turn: writes the result of the job that it has run, then starts the next. p_source is the worker's slot
-- or, in the faithful form, the queue; NULL starts nothing. settled = false: the job was another's by then, and the
-- result is not written. number is the issuer's own, if that is this node.
CREATE FUNCTION jobs.work(
    p_node bigint, p_sticky boolean, p_source bigint, p_repeated boolean,
    p_done bigint, p_done_queue bigint, p_token bigint, p_state text, p_result bytea
) RETURNS TABLE (
    settled boolean, job bigint, queue bigint, name text, number bigint, payload bytea, token bigint, attempt integer
) LANGUAGE plpgsql AS $$
DECLARE
    v_queue jobs.queue;
    v_job jobs.job;
BEGIN
    IF p_sticky THEN
        PERFORM jobs.lock_all();
    END IF;
    settled := p_done IS NULL
        OR jobs.settle(p_node, p_sticky, p_done, p_done_queue, p_token, p_state, p_result);
    IF p_repeated AND NOT p_sticky THEN
        SELECT * INTO v_job FROM jobs.job j
         WHERE j.worker = p_node AND j.slot = p_source AND j.state = 'running';
        IF FOUND THEN
            SELECT * INTO v_queue FROM jobs.queue q WHERE q.id = v_job.queue;
        END IF;
    END IF;
    WHILE v_job.id IS NULL LOOP
        IF p_sticky THEN
            SELECT * INTO v_queue FROM jobs.queue q WHERE q.id = p_source AND q.worker = p_node FOR UPDATE;
        ELSIF p_source IS NOT NULL THEN
            SELECT * INTO v_queue FROM jobs.queue q WHERE q.running IS NULL AND q.head IS NOT NULL
             ORDER BY q.head LIMIT 1 FOR UPDATE SKIP LOCKED;
        END IF;
        EXIT WHEN v_queue.id IS NULL;
        IF v_queue.running IS NOT NULL THEN
            -- Faithful, and ours: the reply to a former try was lost.
            SELECT * INTO v_job FROM jobs.job j WHERE j.id = v_queue.running;
            EXIT;
        END IF;
        UPDATE jobs.job j SET state = 'running', worker = p_node, slot = p_source,
               token = nextval('jobs.token'), attempts = j.attempts + 1
         WHERE j.id = v_queue.head AND (j.expires IS NULL OR j.expires > clock_timestamp())
        RETURNING * INTO v_job;
        IF FOUND THEN
            UPDATE jobs.queue q SET running = v_job.id, head = (
                SELECT j.id FROM jobs.job j
                 WHERE j.queue = v_queue.id AND j.id > v_job.id ORDER BY j.id LIMIT 1)
             WHERE q.id = v_queue.id;
        ELSE
            PERFORM jobs.conclude(v_queue.head, 'timed-out', NULL, p_node);
            PERFORM jobs.advance(v_queue.id);
            v_queue := NULL;
        END IF;
    END LOOP;
    job := v_job.id;
    queue := v_queue.id;
    name := v_queue.name;
    number := CASE WHEN v_job.issuer = p_node THEN v_job.number END;
    payload := v_job.payload;
    token := v_job.token;
    attempt := v_job.attempts;
    RETURN NEXT;
END $$;

-- Writes the result of a job. False: it was taken away from this worker.
CREATE FUNCTION jobs.settle(
    p_node bigint, p_sticky boolean, p_job bigint, p_queue bigint, p_token bigint, p_state text, p_result bytea
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    v_head bigint;
    v_issuer bigint;
BEGIN
    SELECT q.head INTO v_head FROM jobs.queue q WHERE q.id = p_queue AND q.running = p_job FOR UPDATE;
    IF FOUND THEN
        UPDATE jobs.job j SET state = p_state, result = p_result, finished = clock_timestamp(),
               queue = NULL, worker = NULL, slot = NULL
         WHERE j.id = p_job AND j.token = p_token AND j.worker = p_node AND j.state = 'running'
        RETURNING j.issuer INTO v_issuer;
    END IF;
    IF NOT FOUND THEN
        -- True if a former try has written it and only the reply was lost.
        RETURN EXISTS (SELECT FROM jobs.job j WHERE j.id = p_job AND j.token = p_token AND j.state = p_state);
    END IF;
    IF v_issuer <> p_node THEN
        PERFORM pg_notify('jobs_outcome_' || v_issuer, '');
    END IF;
    IF v_head IS NOT NULL OR p_sticky THEN
        UPDATE jobs.queue q SET running = NULL WHERE q.id = p_queue;
    ELSE
        DELETE FROM jobs.queue q WHERE q.id = p_queue;
    END IF;
    RETURN true;
END $$;

-- Times out those of the issuer's jobs that have not started.
CREATE FUNCTION jobs.withdraw(p_issuer bigint, p_sticky boolean, p_numbers bigint[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_job record;
BEGIN
    IF p_sticky THEN
        PERFORM jobs.lock_all();
    END IF;
    FOR v_job IN
        SELECT j.id, q.id AS queue FROM jobs.job j JOIN jobs.queue q ON q.id = j.queue
         WHERE j.issuer = p_issuer AND j.number = ANY (p_numbers) AND j.state = 'pending'
         ORDER BY q.name FOR UPDATE OF q
    LOOP
        IF EXISTS (SELECT FROM jobs.job WHERE id = v_job.id AND state = 'pending') THEN
            PERFORM jobs.conclude(v_job.id, 'timed-out', NULL, p_issuer);
            UPDATE jobs.queue q SET head =
                (SELECT min(j.id) FROM jobs.job j WHERE j.queue = q.id AND j.state = 'pending')
             WHERE q.id = v_job.queue;
            DELETE FROM jobs.queue q WHERE q.id = v_job.queue AND q.head IS NULL AND q.running IS NULL;
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
