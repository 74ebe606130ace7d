//! Nodes that are killed: what they had done and not told yet is found in their last words.

use std::io;
use std::process::Stdio;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::connection::Reception;
use crate::engine::{LastWords, PartRet};
use crate::model::{NodeId, Plan};
use crate::placement::remote::Guest;

/// The last words of each node's process, and what those say that are gone.
#[derive(Debug)]
pub(super) struct Departed {
    /// Whether any are written: where the plan kills nobody, a node that dies makes the run invalid anyhow.
    pub(super) written: bool,
    words: Mutex<Vec<Option<LastWords>>>,
    ret: Mutex<PartRet>,
}

impl Departed {
    pub(super) fn new(plan: &Plan) -> Self {
        let nodes = usize::from(plan.settings.nodes);
        Self {
            written: plan.kills(),
            words: Mutex::new((0..nodes).map(|_| None).collect()),
            ret: Mutex::default(),
        }
    }

    /// What a node's next process is to have as its standard output.
    pub(super) fn paper(&self, node: NodeId) -> io::Result<Stdio> {
        if self.written { Ok(self.words_of_its_next_process(node)?.into()) } else { Ok(Stdio::null()) }
    }

    pub(super) fn words_of_its_next_process(&self, node: NodeId) -> io::Result<LastWords> {
        let words = LastWords::blank()?;
        let written = words.share()?;
        lock(&self.words)[usize::from(node.0)] = Some(words);
        Ok(written)
    }

    /// Takes in what a dead node had not told. Its connections have been heard to their ends; once a process.
    ///
    /// # Errors
    /// Why its last words are lost, or what is amiss in them.
    pub(super) fn hear(&self, reception: &Reception, node: NodeId) -> Result<(), String> {
        let Some(words) = lock(&self.words)[usize::from(node.0)].take() else { return Ok(()) };
        let (events, ret) = words.read().map_err(|error| error.to_string())?;
        reception.hear_the_rest(node, events)?;
        lock(&self.ret).merge(&ret);
        Ok(())
    }

    /// The same of one at a host of nodes, which has kept them.
    ///
    /// # Errors
    /// As [`Self::hear`].
    pub(super) async fn hear_of(
        &self,
        reception: &Reception,
        node: NodeId,
        guest: &Guest,
    ) -> Result<(), String> {
        let (events, ret) = guest.last_words(reception.heard(node)).await?;
        reception.take_in(node, events)?;
        lock(&self.ret).merge(&ret);
        Ok(())
    }

    /// What the parts of those have taken whose last words were heard.
    pub(super) fn ret(&self) -> PartRet {
        lock(&self.ret).clone()
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
