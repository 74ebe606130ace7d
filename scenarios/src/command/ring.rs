//! `lockbench ring`: which node owns which key, how even that is, and what a join moves.

use std::io::{self, BufRead, IsTerminal as _, Write};
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, bail, ensure};
use clap::{Args, ValueEnum};
use queue_lockfree::{HashKind, Member, NodeId, Ring, zstack_node_id};

use super::verb::{Example, Group, Work};

/// Say which node of a hash ring owns which key, and what a join moves.
///
/// Standard output has one line per key, `KEY<tab>HASH<tab>OWNER`, and nothing else, so that it can be cut and sorted;
/// the shares and the keys that a join moves go to standard error.
#[derive(Debug, Args)]
#[command(
    after_help = "Keys are also read from standard input, one a line, if none is given or one is `-`.\n\
                        HASH and OWNER are those of --nodes, before the join."
)]
pub(super) struct RingArgs {
    /// How nodes and keys are placed.
    #[arg(long, value_name = "zstack-compat|mixed", hide_possible_values = true, default_value = "mixed")]
    hash: Hash,
    /// The nodes, separated by commas; with zstack-compat their addresses, or node ids of 32 hex digits.
    #[arg(long, value_name = "A,B,…", value_delimiter = ',', required = true)]
    nodes: Vec<String>,
    /// A node that joins.
    #[arg(long, value_name = "C")]
    join: Option<String>,
    /// Keys to look up, such as the uuids of resources.
    #[arg(value_name = "KEY")]
    keys: Vec<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Hash {
    ZstackCompat,
    Mixed,
}

impl Work for RingArgs {
    const NAME: &str = "ring";
    const GROUP: Group = Group::Look;
    const EXAMPLES: &[Example] = &[(
        "Who owns two keys, and what moves when a node joins",
        "lockbench ring --nodes 10.0.0.1,10.0.0.2 --join 10.0.0.3 vm-1 vm-2",
    )];

    async fn work(self) -> anyhow::Result<u8> {
        answer(self, io::stdout().lock(), io::stderr().lock()).map(|()| 0)
    }
}

/// Answers on `out` and `summary`, the two streams of a process. A reader of `out` that goes away ends it quietly.
fn answer(args: RingArgs, out: impl Write, summary: impl Write) -> anyhow::Result<()> {
    let mut lookup = Lookup::new(&args, io::BufWriter::new(out), summary)?;
    let answered = lookup.answer(args.keys);
    match answered.and_then(|()| Ok(lookup.out.flush()?)) {
        Err(error) if is_reader_gone(&error) => Ok(()),
        Err(error) => Err(error),
        Ok(()) => {
            lookup.summarise();
            Ok(())
        }
    }
}

fn is_reader_gone(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

struct Lookup<O, S> {
    ring: Ring,
    joined: Option<Ring>,
    /// As on the command line, by id; the joiner last.
    nodes: Vec<String>,
    looked_up: u64,
    moved: u64,
    out: O,
    summary: S,
}

impl<O: Write, S: Write> Lookup<O, S> {
    fn new(args: &RingArgs, out: O, summary: S) -> anyhow::Result<Self> {
        let hash = match args.hash {
            Hash::ZstackCompat => HashKind::ZstackCompat,
            Hash::Mixed => HashKind::Mixed,
        };
        let nodes: Vec<String> = args.nodes.iter().chain(&args.join).cloned().collect();
        ensure!(u16::try_from(nodes.len()).is_ok(), "--nodes: a ring has at most {} nodes", u16::MAX);
        let mut members: Vec<Member> = Vec::with_capacity(nodes.len());
        let mut places = std::collections::BTreeMap::new();
        for (id, node) in (0..).zip(&nodes) {
            let option = if usize::from(id) < args.nodes.len() { "--nodes" } else { "--join" };
            ensure!(!node.is_empty(), "{option}: a node has no name; separate names by single commas");
            ensure!(!node.contains(['\t', '\n']), "{option}: the name {node:?} has a tab or a line break");
            let name = place(hash, node);
            if let Some(twin) = places.insert(name.clone(), node) {
                bail!("{option}: {node} and {twin} are one node; name each node once");
            }
            // Nobody is called: an address is asked for, but it places nothing.
            members.push(Member {
                id: NodeId(id),
                name,
                address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            });
        }
        let joined = args.join.is_some().then(|| Ring::new(2, hash, members.iter().cloned()));
        members.truncate(args.nodes.len());
        Ok(Self { ring: Ring::new(1, hash, members), joined, nodes, looked_up: 0, moved: 0, out, summary })
    }

    fn answer(&mut self, keys: Vec<String>) -> anyhow::Result<()> {
        if keys.is_empty() && !io::stdin().is_terminal() {
            return self.read_keys();
        }
        for key in keys {
            if key == "-" {
                self.read_keys()?;
            } else {
                ensure!(!key.contains(['\t', '\n']), "the key {key:?} has a tab or a line break");
                self.look_up(&key)?;
            }
        }
        Ok(())
    }

    /// One key a line; empty lines are passed over.
    fn read_keys(&mut self) -> anyhow::Result<()> {
        let mut input = io::stdin().lock();
        let mut line = Vec::new();
        for number in 1_u64.. {
            line.clear();
            if input.read_until(b'\n', &mut line).context("standard input cannot be read")? == 0 {
                break;
            }
            let key = str::from_utf8(&line).map_err(|_| {
                anyhow::anyhow!("standard input, line {number}: a key is text in UTF-8, this is not")
            })?;
            let key = key.trim_end_matches(['\n', '\r']);
            ensure!(
                !key.contains('\t'),
                "standard input, line {number}: a tab; one key a line, for instance through `cut -f1`"
            );
            if !key.is_empty() {
                self.look_up(key)?;
            }
        }
        Ok(())
    }

    fn look_up(&mut self, key: &str) -> anyhow::Result<()> {
        let owner = owner(&self.ring, key);
        writeln!(self.out, "{key}\t{}\t{}", self.ring.hash().hash(key), self.nodes[owner])?;
        self.looked_up += 1;
        if let Some(joined) = &self.joined {
            let next = self::owner(joined, key);
            if next != owner {
                self.moved += 1;
                // Standard error may be closed; the keys are what was asked for.
                drop(writeln!(
                    self.summary,
                    "moves: {key} from {} to {}",
                    self.nodes[owner], self.nodes[next]
                ));
            }
        }
        Ok(())
    }

    fn summarise(&mut self) {
        let mut lines = vec![self.balance(&self.ring)];
        if let (Some(joined), Some(joiner)) = (&self.joined, self.nodes.last()) {
            let (_, share) = joined.shares().last().expect("the joiner is a member");
            lines.push(format!(
                "join of {joiner}: moves {} of {} keys ({:.1} % of the ring; fair would be {:.1} %)",
                self.moved,
                self.looked_up,
                100.0 * share,
                100.0 / joined.members().len() as f64,
            ));
            lines.push(format!("after it, {}", self.balance(joined)));
        }
        for line in lines {
            drop(writeln!(self.summary, "{line}"));
        }
    }

    fn balance(&self, ring: &Ring) -> String {
        let nodes = ring.members().len();
        let (largest, share) =
            ring.shares().max_by(|a, b| a.1.total_cmp(&b.1)).expect("a ring on the command line has nodes");
        format!(
            "largest of {nodes} node{}: {} with {:.1} % of the ring, {:.2} of the fair share",
            if nodes == 1 { "" } else { "s" },
            self.nodes[usize::from(largest.id.0)],
            100.0 * share,
            share * nodes as f64,
        )
    }
}

fn owner(ring: &Ring, key: &str) -> usize {
    usize::from(ring.owner(key).expect("a ring on the command line has nodes").0)
}

/// The original places a node by an id that it derives from the node's address.
fn place(hash: HashKind, node: &str) -> String {
    let is_id = node.len() == 32 && node.bytes().all(|byte| byte.is_ascii_hexdigit());
    match hash {
        HashKind::ZstackCompat if !is_id => zstack_node_id(node),
        HashKind::ZstackCompat | HashKind::Mixed => node.to_owned(),
    }
}
