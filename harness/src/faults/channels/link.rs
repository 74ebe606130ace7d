//! The links of a node, to the server, the agent or the other nodes: cut, slow or reset.

use crate::engine;
use crate::faults::channel::{Blow, Channel, Done, Victim};
use crate::model::{Fault, FaultVerb, LinkTo, Section};

/// The links of a node, or those of all nodes to a server or one member of it.
#[derive(Debug)]
pub(super) struct Link;

impl Channel for Link {
    fn name(&self) -> &'static str {
        "link"
    }

    fn answers_for(&self, fault: &Fault) -> bool {
        fault.verb.is_of_link()
    }

    fn strike<'a>(&self, blow: Blow<'a>) -> Done<'a, Vec<Section>> {
        Box::pin(async move {
            let before = inside(blow);
            disturb(blow).await?;
            // A reset on the way to the agent ends those that it hits; everything else leaves them inside.
            let ends = (blow.fault.verb, blow.fault.link) == (FaultVerb::Reset, LinkTo::Agent);
            Ok(if ends { before } else { inside(blow) })
        })
    }

    fn take_back<'a>(&self, blow: Blow<'a>) -> Done<'a> {
        Box::pin(async move {
            match (blow.fault.link, blow.victim) {
                (LinkTo::Nodes, Victim::Node(node)) => blow.around.nodes.disturb(node, None).await,
                _ => links(blow)?.iter().for_each(|link| link.set(link.usual())),
            }
            Ok(())
        })
    }
}

async fn disturb(blow: Blow<'_>) -> Result<(), String> {
    let Blow { around, fault, victim } = blow;
    match (fault.link, victim) {
        (LinkTo::Nodes, Victim::Node(node)) => around.nodes.disturb(node, Some(fault.verb)).await,
        _ => links(blow)?.iter().for_each(|link| link.strike(fault.verb)),
    }
    if let (LinkTo::Agent, Victim::Node(node)) = (fault.link, victim) {
        // What has passed the link before the fault is not hit by it.
        around.nodes.hear_out(node).await;
    }
    Ok(())
}

/// The links of a node to the agent or the server; those of all nodes where the server, or a member, is meant.
fn links(blow: Blow<'_>) -> Result<Vec<&engine::Link>, String> {
    let Blow { around, fault, victim } = blow;
    if fault.link == LinkTo::Agent {
        let node = victim.node().ok_or_else(|| "only nodes have a link to the agent".to_owned())?;
        let link = around.nodes.agent_link(node);
        return link.map(|link| vec![link]).ok_or_else(|| "there is no link before the agent".to_owned());
    }
    let links = around.links.ok_or_else(|| "there is no link before the server".to_owned())?;
    let meant = move |node: usize, member: usize| match victim {
        Victim::Node(victim) => usize::from(victim.0) == node,
        Victim::Member(place) => place == member,
        Victim::Server => true,
    };
    let all = links
        .iter()
        .enumerate()
        .flat_map(|(node, links)| links.iter().enumerate().map(move |(member, link)| (node, member, link)));
    Ok(all.filter(|(node, member, _)| meant(*node, *member)).map(|(_, _, link)| link).collect())
}

/// Those inside at the node; none where the links of all nodes are meant.
fn inside(blow: Blow<'_>) -> Vec<Section> {
    blow.victim.node().map_or_else(Vec::new, |node| blow.around.inside(node))
}
