//! `lockbench kubernetes`: manifests for a run whose nodes are pods.

mod objects;
mod verb;

pub(super) use verb::Kubernetes;
