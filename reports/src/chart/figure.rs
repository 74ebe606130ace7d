//! A chart as a page takes it.

use super::look::Look;
use super::palette::SERIES;
use crate::table::Table;

/// A chart, ready for a page.
pub(crate) struct Chart {
    pub(crate) id: &'static str,
    pub(crate) title: String,
    /// What the axes are and how to read it.
    pub(crate) caption: String,
    /// Safe markup: every name in it is escaped.
    pub(crate) svg: String,
    pub(crate) legend: Vec<Key>,
    pub(crate) data: Table,
}

/// A line of a legend.
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) colour: &'static str,
    pub(crate) dashes: &'static str,
    /// The class of all that is drawn so.
    pub(crate) class: String,
}

/// The legend of a line of that look.
pub(crate) fn key(name: &str, look: Look) -> Key {
    Key {
        name: name.to_owned(),
        colour: SERIES[look.colour].name,
        dashes: look.dashes(),
        class: look.class(),
    }
}
