//! A task that is forwarded to its owner over loopback, beside bare TCP that carries as many bytes.
//!
//! * `round-trip`: one caller, one task at a time; bare: a write and a read at either end, and nothing else.
//! * `pipelined`: so many callers that each wait for their answer; bare: frames of a length, a number and bytes over one
//!   connection, echoed as they come and given to their callers by the number, as many in one write as there are. *Patient*, it
//!   lets others put theirs in first, as the router does: what is left between the two is what the router does beside.
//!
//! Aims: a round trip ≤ 1.15 × bare, ≤ 1.4 × under load.
//!
//! Bare and router take turns within each sample, a few milliseconds each, since a neighbour on the machine takes from
//! whoever is at work. Criterion tells the router's times; the last lines the medians of both and of their ratio, of the time
//! and of the processors' time, of which neighbours take less.

#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

#[allow(dead_code, reason = "criterion measures time here")]
#[path = "common/cpu.rs"]
mod cpu;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use queue_lockfree::{
    HashKind, Membership, Node, NodeId, NodeOptions, Now, Ring, Secret, TokioNow, handler_fn,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// Of a task and of its answer.
const PAYLOAD: usize = 64;
/// What the router's frames have beside the payload: that of a request with its key, and that of an answer.
const REQUEST: usize = 4 + 10 + 24 + KEY_BYTES + PAYLOAD;
const ANSWER: usize = 4 + 10 + 1 + PAYLOAD;
const KEY_BYTES: usize = 11;
const CALLERS: [usize; 2] = [64, 1024];
/// Frames that are written together at most, as the router has it.
const BATCH: usize = 256;

/// Two nodes, and keys that the second owns; tasks enter at the first.
struct Routed {
    nodes: Vec<Node>,
    keys: Vec<String>,
    deadline_ns: u64,
}

impl Routed {
    async fn start() -> Self {
        let (now, membership) = (Arc::new(TokioNow::start()), Membership::new());
        let mut nodes = Vec::new();
        for id in 0..2 {
            let (name, secret) = (format!("node-{id}"), Secret::new([7; 32]));
            let options = NodeOptions::new(NodeId(id), &name, membership.clone(), secret, now.clone());
            nodes.push(
                Node::start(options, Arc::new(handler_fn(|delivery| async move { delivery.payload })))
                    .await
                    .expect("a node starts"),
            );
        }
        membership.install(Ring::new(1, HashKind::Mixed, nodes.iter().map(Node::member)));
        let keys = (0..).map(|key| format!("volume-{key:04}"));
        let keys = keys.filter(|key| membership.view().owner(key) == Some(NodeId(1))).take(2048).collect();
        Self { nodes, keys, deadline_ns: now.now_ns() + 3_600_000_000_000 }
    }

    async fn call(&self, caller: usize, number: usize) {
        // Every key in turn, each caller its own.
        let key = &self.keys[(caller + number * 1024) % self.keys.len()];
        let payload = Bytes::from_static(&[7; PAYLOAD]);
        let answer = self.nodes[0].submit(key, 1, payload, self.deadline_ns).await;
        assert_eq!(answer.expect("the owner answers").len(), PAYLOAD);
    }
}

/// One connection whose other end answers every message.
async fn ping_pong_peer(tasks: &mut JoinSet<()>) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
    let address = listener.local_addr().expect("it is bound");
    tasks.spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("somebody connects");
        stream.set_nodelay(true).expect("TCP can");
        let mut request = [0; REQUEST];
        while stream.read_exact(&mut request).await.is_ok() {
            stream.write_all(&request[..ANSWER]).await.expect("the peer reads");
        }
    });
    let stream = TcpStream::connect(address).await.expect("somebody listens");
    stream.set_nodelay(true).expect("TCP can");
    stream
}

/// Frames `length u32 | number u64 | bytes` over one connection.
#[derive(Clone)]
struct BareFrames {
    outbox: mpsc::Sender<(u64, Bytes)>,
    open: Arc<Mutex<HashMap<u64, oneshot::Sender<Bytes>>>>,
}

impl BareFrames {
    async fn start(patient: bool, tasks: &mut JoinSet<()>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
        let address = listener.local_addr().expect("it is bound");
        tasks.spawn(async move {
            let (stream, _) = listener.accept().await.expect("somebody connects");
            stream.set_nodelay(true).expect("TCP can");
            let (mut reader, mut writer) = stream.into_split();
            let (mut buffer, mut out) = (BytesMut::new(), BytesMut::new());
            while receive(&mut reader, &mut buffer).await {
                while let Some((number, bytes)) = decode(&mut buffer) {
                    encode(number, &bytes[..ANSWER - 12], &mut out);
                }
                writer.write_all(&out).await.expect("the peer reads");
                out.clear();
            }
        });
        let stream = TcpStream::connect(address).await.expect("somebody listens");
        stream.set_nodelay(true).expect("TCP can");
        let (mut reader, mut writer) = stream.into_split();
        let (outbox, mut inbox) = mpsc::channel::<(u64, Bytes)>(4096);
        tasks.spawn(async move {
            let (mut batch, mut out) = (Vec::new(), BytesMut::new());
            while inbox.recv_many(&mut batch, BATCH).await > 0 {
                if patient {
                    tokio::task::yield_now().await;
                    while batch.len() < BATCH
                        && let Ok(next) = inbox.try_recv()
                    {
                        batch.push(next);
                    }
                }
                for (number, bytes) in batch.drain(..) {
                    encode(number, &bytes, &mut out);
                }
                writer.write_all(&out).await.expect("the peer reads");
                out.clear();
            }
        });
        let open = Arc::new(Mutex::new(HashMap::<u64, oneshot::Sender<Bytes>>::new()));
        let answered = Arc::clone(&open);
        tasks.spawn(async move {
            let mut buffer = BytesMut::new();
            while receive(&mut reader, &mut buffer).await {
                while let Some((number, bytes)) = decode(&mut buffer) {
                    let caller = answered.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
                    caller.expect("a call is open").send(bytes).expect("its caller waits");
                }
            }
        });
        Self { outbox, open }
    }

    async fn call(&self, caller: usize, number: usize) {
        let number = (caller as u64) << 32 | number as u64;
        let (sender, receiver) = oneshot::channel();
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(number, sender);
        let request = Bytes::from_static(&[7; REQUEST - 12]);
        self.outbox.send((number, request)).await.expect("the connection is open");
        assert_eq!(receiver.await.expect("the peer answers").len(), ANSWER - 12);
    }
}

async fn receive(reader: &mut OwnedReadHalf, buffer: &mut BytesMut) -> bool {
    buffer.reserve(64 * 1024);
    reader.read_buf(buffer).await.is_ok_and(|count| count > 0)
}

fn encode(number: u64, bytes: &[u8], out: &mut BytesMut) {
    out.put_u32(u32::try_from(8 + bytes.len()).expect("frames are small"));
    out.put_u64(number);
    out.put_slice(bytes);
}

fn decode(buffer: &mut BytesMut) -> Option<(u64, Bytes)> {
    let length = u32::from_be_bytes(*buffer.first_chunk()?) as usize;
    if buffer.len() < 4 + length {
        return None;
    }
    buffer.advance(4);
    let mut frame = buffer.split_to(length).freeze();
    Some((frame.get_u64(), frame))
}

/// What calls took.
#[derive(Clone, Copy)]
struct Cost {
    wall_ns: f64,
    cpu_ns: f64,
}

/// Costs of both for the same number of calls, in turn.
#[derive(Default)]
struct Turns {
    pairs: Vec<(Cost, Cost)>,
    calls: f64,
}

impl Turns {
    fn enter(&mut self, bare: Cost, router: Cost, calls: u64) {
        let calls = calls as f64;
        let each = |cost: Cost| Cost { wall_ns: cost.wall_ns / calls, cpu_ns: cost.cpu_ns / calls };
        self.pairs.push((each(bare), each(router)));
        self.calls += calls;
    }

    #[allow(clippy::print_stdout, reason = "a bench tells its result")]
    fn tell(&self, name: &str) {
        if self.pairs.is_empty() {
            return;
        }
        let median = |of: &dyn Fn(&(Cost, Cost)) -> f64| {
            let mut values: Vec<f64> = self.pairs.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        let tell = |what: &str, of: fn(&Cost) -> f64| {
            format!(
                "{what}: bare {:.0} ns, router {:.0} ns, router ÷ bare {:.2}",
                median(&|(bare, _)| of(bare)),
                median(&|(_, router)| of(router)),
                median(&|(bare, router)| of(router) / of(bare)),
            )
        };
        println!(
            "{name}: medians of {} turns, {} calls. {}; {}",
            self.pairs.len(),
            self.calls,
            tell("Time", |cost| cost.wall_ns),
            tell("Processors", |cost| cost.cpu_ns),
        );
    }
}

fn timed(runtime: &Runtime, work: impl Future<Output = ()> + Send + 'static) -> Cost {
    let (start, cpu) = (tokio::time::Instant::now(), cpu::cpu_ns());
    runtime.block_on(runtime.spawn(work)).expect("nobody panics");
    Cost { wall_ns: start.elapsed().as_nanos() as f64, cpu_ns: cpu::cpu_ns() - cpu }
}

fn round_trip(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime starts");
    let mut tasks = JoinSet::new();
    let routed = Arc::new(runtime.block_on(Routed::start()));
    let stream = runtime.block_on(ping_pong_peer(&mut tasks));
    let stream = Arc::new(tokio::sync::Mutex::new(stream));
    let mut turns = Turns::default();
    let mut group = c.benchmark_group("router");
    group.sample_size(60).throughput(Throughput::Elements(1));
    group.bench_function("round-trip", |b| {
        b.iter_custom(|calls| {
            let stream = Arc::clone(&stream);
            let bare = timed(&runtime, async move {
                let (mut stream, mut answer) = (stream.lock().await, [0; ANSWER]);
                for _ in 0..calls {
                    stream.write_all(&[7; REQUEST]).await.expect("the peer reads");
                    stream.read_exact(&mut answer).await.expect("the peer answers");
                }
            });
            let routed = Arc::clone(&routed);
            let router = timed(&runtime, async move {
                for number in 0..calls {
                    routed.call(0, number as usize).await;
                }
            });
            turns.enter(bare, router, calls);
            Duration::from_nanos(router.wall_ns as u64)
        });
    });
    group.finish();
    turns.tell("round-trip");
}

/// `calls` calls of each of `callers`.
async fn all<F: Future<Output = ()> + Send + 'static>(
    callers: usize,
    calls: u64,
    call: impl Fn(usize, usize) -> F + Clone + Send + 'static,
) {
    let mut running = JoinSet::new();
    for caller in 0..callers {
        let call = call.clone();
        running.spawn(async move {
            for number in 0..calls {
                call(caller, number as usize).await;
            }
        });
    }
    while let Some(joined) = running.join_next().await {
        joined.expect("a caller does not panic");
    }
}

fn pipelined(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime starts");
    let mut tasks = JoinSet::new();
    let routed = Arc::new(runtime.block_on(Routed::start()));
    let (bare, patient) = {
        let _context = runtime.enter();
        let mut start = |patient| runtime.block_on(BareFrames::start(patient, &mut tasks));
        (start(false), start(true))
    };
    let mut told = Vec::new();
    for callers in CALLERS {
        let (mut turns, mut beside_patient) = (Turns::default(), Turns::default());
        let mut group = c.benchmark_group("router/pipelined");
        group.sample_size(60).throughput(Throughput::Elements(callers as u64));
        group.bench_function(callers.to_string(), |b| {
            b.iter_custom(|calls| {
                let [bare, patient] = [&bare, &patient].map(|frames| {
                    let frames = frames.clone();
                    let call = move |caller, number| {
                        let frames = frames.clone();
                        async move { frames.call(caller, number).await }
                    };
                    timed(&runtime, all(callers, calls, call))
                });
                let routed = Arc::clone(&routed);
                let router = timed(
                    &runtime,
                    all(callers, calls, move |caller, number| {
                        let routed = Arc::clone(&routed);
                        async move { routed.call(caller, number).await }
                    }),
                );
                turns.enter(bare, router, calls * callers as u64);
                beside_patient.enter(patient, router, calls * callers as u64);
                Duration::from_nanos(router.wall_ns as u64)
            });
        });
        group.finish();
        told.push((callers, turns, beside_patient));
    }
    for (callers, turns, beside_patient) in told {
        turns.tell(&format!("pipelined, {callers} callers"));
        beside_patient.tell(&format!("pipelined, {callers} callers, patient"));
    }
}

criterion_group!(benches, round_trip, pipelined);
criterion_main!(benches);
