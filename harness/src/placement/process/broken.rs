//! What faults do to nodes as processes, and how their driver takes it.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::driver::{DRAIN, Driver, GOODBYE, POLL};
use super::frame::ToNode;
use super::seat::{Drain, Phase, Seat};
use crate::engine::{BoxFuture, Link, Way};
use crate::faults::Nodes;
use crate::model::{FaultVerb, NodeId, Point, Standstill, View};

/// How much later than its delay a link may pass something on.
const FORWARDED: Duration = Duration::from_millis(2);

impl Driver {
    /// Has the agent hear all that the node has said; so many bytes, where that is known.
    ///
    /// # Errors
    /// When it has not heard what is known to be on its way.
    async fn drain(&self, node: NodeId, said: Option<u64>) -> Result<(), String> {
        if let Some(Way { delay, .. }) = self.agent_link(node).map(|link| link.usual().to)
            && !delay.is_zero()
        {
            // It said it before it stood still, and it is on its way.
            let clock = &self.reception.clock;
            clock.sleep_until(clock.now_ns() + (delay + FORWARDED).as_nanos() as u64).await;
        }
        let agent = self.reception.seats.look(|seats| seats[usize::from(node.0)].agent.clone());
        let (dry, drained) = oneshot::channel();
        // A connection that has ended is dry.
        if let Some(agent) = agent
            && timeout(DRAIN, agent.send(Drain { said, dry })).await.is_ok_and(|sent| sent.is_ok())
        {
            let heard = timeout(DRAIN, drained).await.is_ok();
            if said.is_some() && !heard {
                return Err("the agent has not heard all that the node said before it stood still".to_owned());
            }
        }
        Ok(())
    }

    async fn pause_one(&self, node: NodeId) -> Result<(), String> {
        let from_ns = self.reception.clock.now_ns();
        let process = self.process(node)?.lock().await;
        let said = process.pause().await?;
        self.outages.begin(node, from_ns, Standstill::Paused);
        drop(process);
        self.drain(node, said).await
    }

    async fn resume_one(&self, node: NodeId) -> Result<(), String> {
        self.process(node)?.lock().await.resume().await?;
        self.outages.end(node, self.reception.clock.now_ns(), Standstill::Paused);
        Ok(())
    }

    async fn stall_one(&self, node: NodeId, for_ns: u64) -> Result<(), String> {
        self.outages.begin(node, self.reception.clock.now_ns(), Standstill::Paused);
        self.reception.tell_one(node, ToNode::Stall { for_ns }).await;
        // It cannot say that it stands still.
        sleep(POLL).await;
        self.drain(node, None).await
    }

    async fn kill_one(&self, node: NodeId) -> Result<(), String> {
        self.reception.seats.change(node, |seat| seat.comes_back = true);
        // It stands still and will never go on. Were its sections to end with its connection, the server's news of its
        // death might overtake the agent's, and let somebody in while it still seems to be inside.
        self.reception.agent.abandon(node);
        self.process(node)?.lock().await.kill().await?;
        let place = usize::from(node.0);
        let buried = self.reception.seats.until(|seats| match seats[place].phase {
            Phase::Dead { at_ns, .. } => seats[place].is_deserted().then_some(at_ns),
            _ => None,
        });
        let at_ns = timeout(GOODBYE, buried).await.map_err(|_| "its connections stay open".to_owned())?;
        self.outages.end(node, at_ns, Standstill::Paused);
        self.outages.begin(node, at_ns, Standstill::Down);
        self.hear_last_words(node).await;
        self.reception.send_elsewhere(node).await;
        Ok(())
    }

    async fn restart_one(&self, node: NodeId) -> Result<(), String> {
        let restarted = self.start_again(node).await;
        if let Err(how) = &restarted {
            self.reception.dead(node, how.clone());
        }
        restarted
    }

    async fn start_again(&self, node: NodeId) -> Result<(), String> {
        self.reception.seats.change(node, Seat::vacate);
        let process = self.spawn(node).await.map_err(|error| error.to_string())?;
        *self.process(node)?.lock().await = process;
        self.ready(&[node]).await.map_err(|(_, reason)| reason)?;
        self.reception.call_back(node).await?;
        let (from_ns, view) = (self.reception.clock.now_ns(), self.views.renew());
        self.start_one(node, from_ns, view.clone()).await;
        // The others too, or they would take it for one that is ahead of them.
        for other in
            (0..self.processes.len()).map(|other| NodeId(other as u16)).filter(|other| *other != node)
        {
            self.reception.tell_one(other, ToNode::View(view.clone())).await;
        }
        self.outages.end(node, from_ns, Standstill::Down);
        Ok(())
    }
}

impl Nodes for Driver {
    fn tell<'a>(&'a self, node: NodeId, view: &'a View) -> BoxFuture<'a, ()> {
        Box::pin(self.reception.tell_one(node, ToNode::View(view.clone())))
    }

    fn disturb(&self, node: NodeId, verb: Option<FaultVerb>) -> BoxFuture<'_, ()> {
        Box::pin(self.reception.tell_one(node, ToNode::Disturb(verb)))
    }

    fn pause(&self, node: NodeId) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(self.pause_one(node))
    }

    fn resume(&self, node: NodeId) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(self.resume_one(node))
    }

    fn stall(&self, node: NodeId, for_ns: u64) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(self.stall_one(node, for_ns))
    }

    fn goes_on(&self, node: NodeId) {
        self.outages.end(node, self.reception.clock.now_ns(), Standstill::Paused);
    }

    fn kill(&self, node: NodeId) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(self.kill_one(node))
    }

    fn restart(&self, node: NodeId) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(self.restart_one(node))
    }

    fn halt_at(&self, point: Option<Point>, but: Option<NodeId>) -> BoxFuture<'_, ()> {
        Box::pin(self.reception.halt_all_at(point, but))
    }

    fn halted(&self) -> BoxFuture<'_, NodeId> {
        Box::pin(self.reception.halted())
    }

    fn agent_link(&self, node: NodeId) -> Option<&Link> {
        self.agent_links.get(usize::from(node.0))
    }

    fn hear_out(&self, node: NodeId) -> BoxFuture<'_, ()> {
        Box::pin(async move { drop(self.drain(node, None).await) })
    }

    fn processes(&self) -> Vec<u32> {
        // One that is being killed, or started again, is left out.
        self.processes.iter().filter_map(|process| process.try_lock().ok()?.id()).collect()
    }
}
