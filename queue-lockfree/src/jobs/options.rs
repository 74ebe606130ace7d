//! What a node of the job queue is started with.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::job::JobForm;
use crate::now::Now;

/// How a node is started.
#[derive(Clone)]
pub struct JobNodeOptions {
    /// `postgres://…`; the role must be allowed to create a schema.
    pub url: String,
    /// The node's name, 1 to `NAME_BYTES` bytes. Who starts under a name ends the former life of that name.
    pub name: String,
    /// How queues are worked through.
    pub form: JobForm,
    /// Jobs that run here at a time; 0 = an issuer only, which the faithful form does not have.
    pub workers: usize,
    /// For how long a node may be silent before others suspect it. It is declared dead a sixth of that later, unless
    /// it is heard of.
    pub detect: Duration,
    /// How often to look for work and outcomes of which no notification came.
    pub poll: Duration,
    /// For how long after its deadline a caller waits for a database that does not answer.
    pub grace: Duration,
    /// Submissions that may wait for their outcome.
    pub open: usize,
    /// For how long the outcome of a job is kept whose issuer is dead.
    pub retain: Duration,
    /// The clock that deadlines are on.
    pub now: Arc<dyn Now>,
}

impl JobNodeOptions {
    /// 4 workers, 2 s to detect a death, a look every half second, 5 s of grace, 100,000 open submissions, outcomes of
    /// dead issuers kept for a minute.
    pub fn new(url: &str, name: &str, form: JobForm, now: Arc<dyn Now>) -> Self {
        Self {
            url: url.to_owned(),
            name: name.to_owned(),
            form,
            workers: 4,
            detect: Duration::from_secs(2),
            poll: Duration::from_millis(500),
            grace: Duration::from_secs(5),
            open: 100_000,
            retain: Duration::from_secs(60),
            now,
        }
    }
}

impl fmt::Debug for JobNodeOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the URL, which may hold a password.
        f.debug_struct("JobNodeOptions")
            .field("name", &self.name)
            .field("form", &self.form)
            .field("workers", &self.workers)
            .field("detect", &self.detect)
            .finish_non_exhaustive()
    }
}
