//! The verb, and what it prints.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use harness::placement::remote::{KEYS, make_keys};

use super::objects::{Asked, objects};
use crate::catalog;
use crate::command::print::print;
use crate::command::verb::{Example, Group, Work};

/// Run with nodes that are pods.
#[derive(Debug, Args)]
pub(in crate::command) struct Kubernetes {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Print manifests: a driver, and an indexed Job of hosts of nodes; for `kubectl apply -f -`, in whatever namespace, or Kustomize.
    Render(Render),
}

#[derive(Debug, Args)]
struct Render {
    /// Name of a scenario of the catalogue, or path of a .toml file.
    scenario: String,
    /// How many nodes, each in a pod of its own; as many as the scenario has where not given.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1000))]
    nodes: Option<u16>,
    /// The image with lockbench in it (see the Dockerfile).
    #[arg(long)]
    image: String,
    /// `Never` where the image was put onto the machines by hand.
    #[arg(long, value_name = "POLICY", default_value = "IfNotPresent", value_parser = ["Always", "IfNotPresent", "Never"])]
    pull: String,
    /// What all objects' names begin with.
    #[arg(long, default_value = "lockbench")]
    name: String,
    /// A Secret with the URLs of servers, as `LOCKBENCH_REDIS` and so on: in an option of `run` everybody who reads the Job would see their
    /// passwords.
    #[arg(long, value_name = "SECRET")]
    servers: Option<String>,
    /// Keys of `lockbench keys`; fresh ones where not given.
    #[arg(long, env = KEYS, value_name = "DIR", hide_env_values = true)]
    keys: Option<PathBuf>,
    /// What each pod asks for.
    #[arg(long, default_value = "100m", value_name = "QUANTITY")]
    cpu: String,
    /// What each pod asks for, and has at most.
    #[arg(long, default_value = "256Mi", value_name = "QUANTITY")]
    memory: String,
    /// Options of `lockbench run`.
    #[arg(last = true, value_name = "OPTIONS")]
    run: Vec<String>,
}

impl Work for Kubernetes {
    const NAME: &str = "kubernetes";
    const GROUP: Group = Group::Place;
    const EXAMPLES: &[Example] = &[(
        "Three hundred pods, and a Redis that they can reach",
        "lockbench kubernetes render vm-lifecycle --nodes 300 --image registry.local/lockbench:1 -- --redis redis://redis:6379",
    )];

    async fn work(self) -> anyhow::Result<u8> {
        let What::Render(render) = self.what;
        print(render.manifests()?.trim_end());
        Ok(0)
    }
}

impl Render {
    fn manifests(self) -> anyhow::Result<String> {
        let Self { scenario, nodes, image, pull, name, servers, keys, cpu, memory, run } = self;
        let scenario = catalog::load(&scenario, &[])?;
        let fresh = tempfile::tempdir()?;
        let keys = match keys {
            Some(keys) => keys,
            None => {
                make_keys(fresh.path()).map_err(anyhow::Error::msg)?;
                fresh.path().to_owned()
            }
        };
        let file = |name: &str| {
            let path = keys.join(name);
            let content = std::fs::read(&path).with_context(|| path.display().to_string())?;
            anyhow::Ok((name.to_owned(), content))
        };
        let of = |names: [&str; 3]| names.map(file).into_iter().collect::<anyhow::Result<BTreeMap<_, _>>>();
        let asked = Asked {
            nodes: nodes.unwrap_or(scenario.spec.nodes),
            scenario: scenario.text,
            image,
            pull,
            name,
            servers,
            driver_keys: of(["ca.pem", "driver.pem", "driver.key"])?,
            node_keys: of(["ca.pem", "node.pem", "node.key"])?,
            cpu,
            memory,
            run,
        };
        let documents = objects(&asked).into_iter().map(|object| {
            let text = serde_yaml_ng::to_string(&object?)?;
            anyhow::Ok(format!("---\n{text}"))
        });
        documents.collect()
    }
}

#[cfg(test)]
mod tests;
