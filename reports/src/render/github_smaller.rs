//! `benchmark-smaller.json`: github-action-benchmark's `customSmallerIsBetter`.

use harness::record::Better;

use super::Renderer;
use crate::{Comparison, ReportError, github};

pub(super) const RENDERER: Renderer =
    Renderer { name: "github-smaller", file: "benchmark-smaller.json", render };

fn render(comparison: &Comparison) -> Result<String, ReportError> {
    github::entries(comparison, Better::Less)
        .map_err(|error| ReportError::Render { renderer: RENDERER.name, reason: error.to_string() })
}
