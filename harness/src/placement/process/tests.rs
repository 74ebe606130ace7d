#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::Reception;
use super::departed::Departed;
use super::frame::{AgentRet, Ask, AskWhat, Channel, Hello, Planned, Reply, ToDriver, ToNode, Welcome};
use super::seat::{Phase, Seats};
use crate::engine::{Clock, EnterRet, Spent};
use crate::model::{
    Arrival, Event, Fault, FaultTarget, FaultVerb, Holder, LinkTo, Mode, NodeId, Operations, Outcome, Plan,
    PlanSettings, Promises, Resource, ResourceKind, StepRef, StepTree, TaskId, View, What,
};
use crate::placement::frames::{CONTROL_BYTES, Frames, PROTOCOL_VERSION};
use crate::placement::stage::{RunOptions, Stage};
use crate::secret::{Sealed, Secret};

/// Every wait below ends in time, or the test fails.
const PATIENCE: Duration = Duration::from_secs(20);

struct Door {
    reception: Arc<Reception>,
    stage: Stage,
    address: SocketAddr,
}

impl Door {
    /// A driver of two nodes whose processes are played by the test.
    async fn open() -> Self {
        Self::open_with(Vec::new()).await
    }

    async fn open_with(faults: Vec<Fault>) -> Self {
        let settings =
            PlanSettings { seed: 1, nodes: 2, window_ns: 1, deadline_ns: 1, holder: Holder::Checks };
        let resource = Resource { kind: ResourceKind::Vm, id: 0, level: 1 };
        let root =
            StepTree { resource, mode: Mode::Exclusive, hold_ns: 0, create_ns: None, children: Vec::new() };
        let arrival = |entry| Arrival { kind: 0, at_ns: 0, entry: NodeId(entry), root: root.clone() };
        let plan = Plan::new(settings, vec!["vm".into()], [0, 0, 1].map(arrival)).unwrap();
        let plan = plan.with_faults(faults);
        let stage = Stage::new(Arc::new(plan), Clock::real().unwrap(), RunOptions::default());
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let reception = Arc::new(Reception {
            plan: Arc::clone(&stage.plan),
            digest: stage.plan.digest(),
            secret: Secret::from("s3cret".to_owned()),
            mechanism: Sealed(serde_json::Value::Null),
            drawing: None,
            clock: stage.clock.clone(),
            opened_ns: 0,
            agent: Arc::clone(&stage.agent),
            recorder: Arc::clone(&stage.recorder),
            elsewhere: super::elsewhere::Elsewhere::default(),
            seats: Seats::new(2),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
        });
        reception.tasks.spawn(Arc::clone(&reception).listen(listener));
        Self { reception, stage, address }
    }

    async fn dial(&self, hello: &Hello) -> (Frames, Welcome) {
        let mut frames = Frames::new(TcpStream::connect(self.address).await.unwrap(), CONTROL_BYTES);
        frames.send(hello).await.unwrap();
        let welcome = timeout(PATIENCE, frames.next()).await.unwrap().unwrap();
        (frames, welcome)
    }

    /// A node's control connection, up to the end of the plan.
    async fn node(&self, node: u16) -> (Frames, Plan) {
        let (mut frames, welcome) = self.dial(&hello(node, Channel::Control)).await;
        assert_eq!(welcome, Welcome::Welcome);
        let ToNode::Job(job) = frames.next().await.unwrap() else { panic!("no job") };
        let Planned::Told { rest: mut plan, tasks } = job.plan else { panic!("it is to draw it") };
        while plan.tasks.len() < tasks as usize {
            let ToNode::Tasks(tasks) = frames.next().await.unwrap() else { panic!("no tasks") };
            plan.tasks.extend(tasks);
        }
        (frames, plan)
    }

    async fn phase(&self, node: u16, wanted: impl Fn(&Phase) -> bool) -> Phase {
        let seat = usize::from(node);
        let arrived = self.reception.seats.until(|seats| {
            let phase = &seats[seat].phase;
            wanted(phase).then(|| phase.clone())
        });
        timeout(PATIENCE, arrived).await.unwrap()
    }

    async fn dead(&self, node: u16) -> String {
        let Phase::Dead { how, .. } = self.phase(node, |phase| matches!(phase, Phase::Dead { .. })).await
        else {
            panic!("not dead")
        };
        how
    }

    /// As the driver does when the barrier is open.
    fn set_to_work(&self, node: u16) {
        self.reception.seats.change(NodeId(node), |seat| seat.phase = Phase::Running);
    }

    async fn close(self) {
        self.reception.closing.cancel();
        self.reception.tasks.close();
        timeout(PATIENCE, self.reception.tasks.wait()).await.unwrap();
    }
}

fn hello(node: u16, channel: Channel) -> Hello {
    Hello { version: PROTOCOL_VERSION, secret: "s3cret".to_owned().into(), node: NodeId(node), channel }
}

fn ready(digest: String) -> ToDriver {
    ToDriver::Ready {
        digest,
        introduction: "here".into(),
        detection: "none".into(),
        promises: Promises::default(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_receives_the_plan_and_stands_at_the_barrier() {
    let door = Door::open().await;
    let (mut frames, plan) = door.node(0).await;
    assert_eq!(plan, *door.stage.plan);
    frames.send(&ready(plan.digest())).await.unwrap();
    door.phase(0, |phase| *phase == Phase::Ready).await;
    let introduction = door.reception.seats.look(|seats| seats[0].introduction.clone());
    assert_eq!(introduction.as_deref(), Some("here"));
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_plan_is_refused_on_both_sides_with_both_digests() {
    let door = Door::open().await;
    let (mut frames, plan) = door.node(0).await;
    frames.send(&ready("beef".into())).await.unwrap();
    let ToNode::Refused(told) = frames.next().await.unwrap() else { panic!("not refused") };
    let noted = door.dead(0).await;
    assert_eq!(told, noted);
    assert!(told.contains("beef") && told.contains(&plan.digest()), "{told}");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_protocol_version_is_refused_on_both_sides() {
    let door = Door::open().await;
    let hello = Hello { version: PROTOCOL_VERSION + 1, ..hello(1, Channel::Control) };
    let (_, Welcome::Refused(told)) = door.dial(&hello).await else { panic!("let in") };
    let versions = format!("version {} of the node, {PROTOCOL_VERSION} of the driver", PROTOCOL_VERSION + 1);
    assert!(told.contains(&versions), "{told}");
    assert_eq!(door.dead(1).await, told);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_second_comers_and_nodes_that_do_not_exist_are_refused_without_harm() {
    let door = Door::open().await;
    let (_first, _) = door.node(0).await;
    for hello in [
        Hello { secret: "s3creT".to_owned().into(), ..hello(1, Channel::Control) },
        Hello { secret: String::new().into(), ..hello(1, Channel::Control) },
        hello(0, Channel::Control),
        hello(9, Channel::Control),
        // Its control connection comes first.
        hello(1, Channel::Agent),
    ] {
        assert!(matches!(door.dial(&hello).await.1, Welcome::Refused(_)), "{hello:?}");
    }
    assert_eq!(door.reception.seats.look(|seats| seats[1].phase.clone()), Phase::Starting);
    door.node(1).await;
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_closed_without_an_answer_and_without_harm() {
    let door = Door::open().await;
    for garbage in [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        vec![0xff; 64],
        vec![0; 64],
        [&(1_u32 << 30).to_be_bytes()[..], b"much to come"].concat(),
        [&5_u32.to_be_bytes()[..], b"[[[[["].concat(),
    ] {
        let mut stream = TcpStream::connect(door.address).await.unwrap();
        let mut heard = Vec::new();
        stream.write_all(&garbage).await.unwrap();
        // A reset is closed, too.
        drop(timeout(PATIENCE, stream.read_to_end(&mut heard)).await.unwrap());
        assert_eq!(heard, b"", "{garbage:?}");
    }
    door.node(0).await;
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_strangers_in_any_number_do_not_keep_a_node_out() {
    let door = Door::open().await;
    let mut strangers = Vec::new();
    for _ in 0..300 {
        strangers.push(TcpStream::connect(door.address).await.unwrap());
    }
    // It waits until the time of the first of them is up.
    timeout(PATIENCE, door.node(0)).await.unwrap();
    drop(strangers);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_may_speak_only_of_itself_and_not_for_the_agent() {
    let own = StepRef { task: TaskId(0), step: 0 };
    let event = |node, step, what| Event { at_ns: 1, node, step, what };
    let fine = event(Some(NodeId(0)), own, What::Invoked);
    let returned = || What::Returned { outcome: Outcome::Completed };
    for foreign in [
        event(Some(NodeId(1)), own, What::Invoked),
        event(None, own, What::Left { wrote: Some(1) }),
        event(Some(NodeId(0)), own, What::Left { wrote: Some(1) }),
        event(Some(NodeId(0)), StepRef { task: TaskId(99), step: 0 }, What::Invoked),
        event(Some(NodeId(0)), StepRef { task: TaskId::bystander(NodeId(0), 1), step: 0 }, What::Invoked),
        Event {
            at_ns: u64::MAX,
            ..event(Some(NodeId(0)), StepRef { task: TaskId(1), step: 0 }, What::Invoked)
        },
        // It began once, and another never; a third enters elsewhere.
        fine.clone(),
        event(Some(NodeId(0)), StepRef { task: TaskId(1), step: 0 }, returned()),
        event(Some(NodeId(0)), StepRef { task: TaskId(2), step: 0 }, What::Invoked),
    ] {
        let door = Door::open().await;
        let (mut frames, _) = door.node(0).await;
        door.set_to_work(0);
        frames.send(&ToDriver::Events(vec![fine.clone()])).await.unwrap();
        frames.send(&ToDriver::Events(vec![foreign])).await.unwrap();
        assert!(door.dead(0).await.starts_with("it told of"));
        assert_eq!(door.stage.recorder.take(), std::slice::from_ref(&fine));
        door.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_may_not_tell_of_a_run_that_has_not_begun_nor_end_it() {
    let own = StepRef { task: TaskId(0), step: 0 };
    let events = vec![Event { at_ns: 1, node: Some(NodeId(0)), step: own, what: What::Invoked }];
    for early in
        [ToDriver::Events(events), ToDriver::Returned { errands: 0 }, ToDriver::Ended(Box::default())]
    {
        let door = Door::open().await;
        let (mut frames, plan) = door.node(0).await;
        frames.send(&ready(plan.digest())).await.unwrap();
        frames.send(&early).await.unwrap();
        assert_eq!(door.dead(0).await, "it spoke out of turn");
        assert_eq!(door.stage.recorder.take(), []);
        door.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_tells_of_the_time_after_the_end_of_a_stopped_run_is_left_out_and_no_reason_to_refuse_it()
{
    let door = Door::open().await;
    let (mut frames, _) = door.node(0).await;
    door.set_to_work(0);
    let own = StepRef { task: TaskId(0), step: 0 };
    let event = |at_ns, what| Event { at_ns, node: Some(NodeId(0)), step: own, what };
    door.stage.recorder.end(5);
    // Its beginning is not recorded, so that nobody knows of it at its end.
    let late = vec![event(6, What::Invoked), event(7, What::Returned { outcome: Outcome::Completed })];
    frames.send(&ToDriver::Events(late)).await.unwrap();
    frames.send(&ToDriver::Returned { errands: 0 }).await.unwrap();
    door.phase(0, |phase| *phase == Phase::Returned).await;
    assert_eq!(door.stage.recorder.take(), []);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_agent_connection_abandons_the_sections_of_its_node_alone() {
    let door = Door::open().await;
    let mut connections = Vec::new();
    for node in [0, 1] {
        let (control, _) = door.node(node).await;
        let (mut agent, welcome) = door.dial(&hello(node, Channel::Agent)).await;
        assert_eq!(welcome, Welcome::Welcome);
        let step = StepRef { task: TaskId(node.into()), step: 0 };
        for (number, step) in [(1, step), (2, StepRef { task: TaskId(77), step: 0 })] {
            let what = AskWhat::Enter { token: None };
            agent.send(&Ask { number, step, slot: Some(0), what }).await.unwrap();
            let reply: Reply = timeout(PATIENCE, agent.next()).await.unwrap().unwrap();
            let let_in = matches!(reply.ret, AgentRet::Enter(EnterRet::Entered(_)));
            assert_eq!((reply.number, let_in), (number, number == 1));
        }
        connections.push((control, agent));
    }
    assert_eq!(door.stage.agent.inside().len(), 2);
    drop(connections.remove(0));
    door.dead(0).await;
    let closed = door.reception.seats.until(|seats| seats[0].agent.is_none().then_some(()));
    timeout(PATIENCE, closed).await.unwrap();
    assert_eq!(door.stage.agent.inside().iter().map(|section| section.node).collect::<Vec<_>>(), [NodeId(1)]);
    door.close().await;
}

fn framed(frame: &impl serde::Serialize) -> Vec<u8> {
    let bytes = serde_json::to_vec(frame).unwrap();
    [&(bytes.len() as u32).to_be_bytes()[..], &bytes].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_node_has_said_is_heard_to_its_end_though_nothing_more_can_be_told_to_it() {
    let door = Door::open().await;
    let folder = tempfile::tempdir().unwrap();
    let said = |task| {
        let step = StepRef { task: TaskId(task), step: 0 };
        Event { at_ns: u64::from(task), node: Some(NodeId(0)), step, what: What::Invoked }
    };
    let frames = [vec![said(0)], vec![said(1)]].map(|events| framed(&ToDriver::Events(events)));
    std::fs::write(folder.path().join("hello"), framed(&hello(0, Channel::Control))).unwrap();
    std::fs::write(folder.path().join("events"), frames.concat()).unwrap();
    // It never reads, so that the driver is stuck with what it tells it.
    let story = "exec 3<>/dev/tcp/127.0.0.1/$1; cat hello >&3; read -r; cat events >&3; kill -9 $$";
    let mut bash = Command::new("bash");
    bash.args(["-c", story, "node", &door.address.port().to_string()]);
    let mut node = bash.current_dir(folder.path()).stdin(Stdio::piped()).spawn().unwrap();
    let control = door.reception.seats.until(|seats| seats[0].control.clone());
    let control = timeout(PATIENCE, control).await.unwrap();
    door.set_to_work(0);
    let introductions = vec!["more than a connection takes in".repeat(1 << 20)];
    let view = View { epoch: 1, members: vec![] };
    control
        .send(ToNode::Start { origin_ns: 0, from_ns: 0, from_task: None, introductions, view })
        .await
        .unwrap();
    let taken = async {
        while control.capacity() < control.max_capacity() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, taken).await.unwrap();
    node.stdin.take().unwrap().write_all(b"now\n").unwrap();
    assert_eq!(node.wait().unwrap().signal(), Some(9));
    door.dead(0).await;
    assert_eq!(door.stage.recorder.finish().to_vec().unwrap(), [said(0), said(1)]);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_node_had_done_and_not_told_is_in_its_last_words_and_counts_once() {
    let door = Door::open_with(vec![Fault {
        at_ns: 0,
        for_ns: 1,
        verb: FaultVerb::Kill,
        target: FaultTarget::Holder,
        link: LinkTo::Server,
    }])
    .await;
    let departed = Departed::new(&door.stage.plan);
    let said = |task, what| {
        let step = StepRef { task: TaskId(task), step: 0 };
        Event { at_ns: u64::from(task), node: Some(NodeId(0)), step, what }
    };
    let (told, untold) = ([said(0, What::Invoked), said(1, What::Invoked)], [said(2, What::Lost)]);
    let (mut control, _) = door.node(0).await;
    door.set_to_work(0);
    control.send(&ToDriver::Events(told.to_vec())).await.unwrap();
    let words = departed.words_of_its_next_process(NodeId(0)).unwrap();
    let spent =
        |load| Spent { operations: Some(Operations { load, ..Operations::default() }), ..Spent::default() };
    told.iter().chain(&untold).for_each(|event| words.event(event));
    words.probe(1_000, true);
    words.spent(&spent(1));
    words.spent(&spent(5));
    drop(control);
    door.dead(0).await;
    let deserted = door.reception.seats.until(|seats| seats[0].is_deserted().then_some(()));
    timeout(PATIENCE, deserted).await.unwrap();
    departed.hear(&door.reception, NodeId(0)).unwrap();
    departed.hear(&door.reception, NodeId(0)).unwrap();
    assert_eq!(door.stage.recorder.take(), [&told[..], &untold].concat());
    let ret = departed.ret();
    assert_eq!((ret.bystander.count(), ret.spent), (1, spent(5)));
    door.close().await;
}
