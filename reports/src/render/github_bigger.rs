//! `benchmark-bigger.json`: github-action-benchmark's `customBiggerIsBetter`.

use harness::record::Better;

use super::Renderer;
use crate::{Comparison, ReportError, github};

pub(super) const RENDERER: Renderer =
    Renderer { name: "github-bigger", file: "benchmark-bigger.json", render };

fn render(comparison: &Comparison) -> Result<String, ReportError> {
    github::entries(comparison, Better::More)
        .map_err(|error| ReportError::Render { renderer: RENDERER.name, reason: error.to_string() })
}
