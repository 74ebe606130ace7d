//! What it takes to read values off an image.

/// What a position on an axis means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    /// Itself.
    Linear,
    /// A logarithm of nanoseconds.
    LogNs,
    /// A logarithm.
    Log,
    /// So many nines of a share.
    Tail,
    /// Strips: nothing.
    Strips,
}

/// The scales of an image, and where in it they are: what it takes to read values off it.
#[derive(Debug, Clone, Default)]
pub(super) struct Scales {
    /// Left, right, top and bottom of each plot.
    pub(super) plots: Vec<[u32; 4]>,
    /// Of both axes: what a position means, and the ends.
    pub(super) axes: Vec<(Scale, f64, f64)>,
}

impl Scales {
    /// As an attribute: `x0,x1,y0,y1;…|linear,0,40|log-ns,5,9`; nothing where there is nothing to read.
    pub(super) fn attribute(&self) -> String {
        if self.plots.is_empty() {
            return String::new();
        }
        let plots: Vec<String> = self
            .plots
            .iter()
            .map(|[left, right, top, bottom]| format!("{left},{right},{top},{bottom}"))
            .collect();
        let axes = self.axes.iter().map(|(scale, from, to)| {
            let scale = match scale {
                Scale::Linear => "linear",
                Scale::LogNs => "log-ns",
                Scale::Log => "log",
                Scale::Tail => "tail",
                Scale::Strips => "strips",
            };
            format!("|{scale},{from:.6},{to:.6}")
        });
        format!(" data-scales=\"{}{}\"", plots.join(";"), axes.collect::<String>())
    }
}
