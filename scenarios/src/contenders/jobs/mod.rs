//! The job queue in the database: a step is a job in the queue of its resource, and runs at whichever node works it off.

mod mechanism;

use std::sync::Arc;

use harness::engine::{BoxFuture, Mechanism};
use harness::record::{Role, Survives};
use harness::servers::ServerKind;
use queue_lockfree::JobForm;

use self::mechanism::JobMechanism;
use crate::contenders::contender::{Contender, Design};
use crate::contenders::setting::Setting;
use crate::spec::{Class, ScenarioSpec};

/// One for each form of the queue.
pub(super) fn contenders() -> Vec<Contender> {
    JobForm::ALL.iter().map(|form| contender(*form)).collect()
}

fn contender(form: JobForm) -> Contender {
    let (name, summary) = match form {
        JobForm::Faithful => (
            "jobs-faithful",
            "queue of jobs in PostgreSQL, as ZStack had it: one lock for all queues; the node that makes a queue works it \
             off until it is empty",
        ),
        JobForm::SkipLocked => (
            "jobs-skip-locked",
            "queue of jobs in PostgreSQL with a row lock per queue: each job runs at whichever node finds it first, and \
             submissions share transactions",
        ),
    };
    let kept = "kept, with synchronous_commit";
    Contender {
        name,
        summary,
        role: Role::Contender,
        server: Some(ServerKind::named("postgres")),
        survives: Survives {
            node_crash: match form {
                JobForm::Faithful => {
                    "its jobs are dropped with it; others take over its queues, and run what ran there again"
                }
                JobForm::SkipLocked => "its jobs outlive it; others run what ran there again",
            }
            .to_owned(),
            server_kill: format!("{kept} on; nobody is let in meanwhile"),
            power_loss: format!("{kept} and fsync on"),
        },
        design: Arc::new(Queue(form)),
    }
}

/// Why the steps of a scenario cannot be jobs, where they cannot.
fn refuses(spec: &ScenarioSpec) -> Option<String> {
    if let Some((kind, resource)) = spec.resources.iter().find(|(_, resource)| resource.level != 1) {
        let (kind, level) = (kind.name(), resource.level);
        return Some(format!("its queues work jobs off one by one, and {kind} has level {level}, not 1"));
    }
    let nested = spec.tasks.iter().find(|task| !task.step.steps.is_empty())?;
    Some(format!(
        "a job holds its worker until it is done: those of `{}`, which ask for further steps, could hold all workers and \
         wait for one",
        nested.name.get_ref()
    ))
}

#[derive(Debug)]
struct Queue(JobForm);

impl Design for Queue {
    fn class(&self) -> Class {
        Class::Jobs
    }

    fn refuses(&self, spec: &ScenarioSpec) -> Option<String> {
        refuses(spec)
    }

    fn build<'a>(&'a self, setting: &'a Setting) -> BoxFuture<'a, anyhow::Result<Arc<dyn Mechanism>>> {
        Box::pin(async move {
            let mechanism = JobMechanism::start(self.0, setting).await?;
            Ok(Arc::new(mechanism) as Arc<dyn Mechanism>)
        })
    }
}
