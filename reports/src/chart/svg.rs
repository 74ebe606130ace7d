//! plotters draws with stand-in colours; here they become CSS variables, dash patterns and a named image.

use std::error::Error;

use plotters::coord::Shift;
use plotters::prelude::*;

use super::look::{DASHES, Look};
use super::palette::{Colour, SERIES};
use super::scales::Scales;
use crate::ReportError;

/// Stand-in of the text colour.
pub(super) const INK: RGBColor = RGBColor(1, 2, 0);
/// Stand-in of hair lines.
pub(super) const RULE: RGBColor = RGBColor(1, 2, 1);
/// Stand-in of the surface, for the inside of hollow dots.
pub(super) const PAGE: RGBColor = RGBColor(1, 2, 2);

/// Stand-in of what is wrong.
pub(super) const BAD: RGBColor = RGBColor(1, 2, 3);

/// First second byte of the stand-ins of series; the dash pattern is added, the third byte is the colour.
const DASHED: u8 = 16;
const SOLID: u8 = 64;

/// Stand-in of a solid line or a filled dot.
pub(super) fn solid(look: Look) -> RGBColor {
    RGBColor(1, SOLID + look.dash as u8, look.colour as u8)
}

/// Stand-in of a line with the dashes of its row.
pub(super) fn dashed(look: Look) -> RGBColor {
    RGBColor(1, DASHED + look.dash as u8, look.colour as u8)
}

pub(super) type Drawing<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Name and description of an image for those who do not see it, and its scales for a script that reads values off it.
pub(super) struct Named<'a> {
    pub(super) id: &'a str,
    pub(super) title: &'a str,
    pub(super) description: &'a str,
    pub(super) scales: Scales,
}

/// Draws an image of the given size and gives it theme, name and description.
pub(super) fn image(
    named: &Named<'_>,
    size: (u32, u32),
    draw: impl FnOnce(&Drawing<'_>) -> Result<(), Box<dyn Error>>,
) -> Result<String, ReportError> {
    let failed = |reason: String| ReportError::Render { renderer: "chart", reason };
    let mut drawn = String::new();
    {
        let area = SVGBackend::with_string(&mut drawn, size).into_drawing_area();
        draw(&area).map_err(|error| failed(error.to_string()))?;
        area.present().map_err(|error| failed(error.to_string()))?;
    }
    let body = drawn.split_once(">\n").map_or("", |(_, body)| body);
    let Named { id, title, description, scales } = named;
    let head = format!(
        "<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-labelledby=\"{id}-t {id}-d\"{}>\n<title id=\"{id}-t\">{}</title>\n\
         <desc id=\"{id}-d\">{}</desc>\n",
        size.0,
        size.1,
        scales.attribute(),
        escape(title),
        escape(description),
    );
    Ok(head + &themed(body))
}

fn themed(body: &str) -> String {
    let mut out = body.to_owned();
    for (stand_in, name) in [(INK, "muted"), (RULE, "rule"), (PAGE, "page"), (BAD, "bad")] {
        out = out.replace(&hex(stand_in), &format!("var(--{name})"));
    }
    for (colour, Colour { name, .. }) in SERIES.iter().enumerate() {
        for dash in 0..DASHES.len() {
            let look = Look { colour, dash };
            let (class, dashes) = (look.class(), look.dashes());
            for (attribute, stand_in) in
                [("stroke", dashed(look)), ("stroke", solid(look)), ("fill", solid(look))]
            {
                let plain = format!("{attribute}=\"{}\"", hex(stand_in));
                if !out.contains(&plain) {
                    continue;
                }
                let pattern = if stand_in == dashed(look) { dashes } else { "" };
                let themed =
                    format!("class=\"{class}\" {attribute}=\"var(--{name})\" stroke-dasharray=\"{pattern}\"");
                out = out.replace(&plain, &themed);
            }
        }
    }
    out.replace(" stroke-dasharray=\"\"", "").replace(" opacity=\"1\"", "")
}

fn hex(RGBColor(red, green, blue): RGBColor) -> String {
    format!("#{red:02X}{green:02X}{blue:02X}")
}

/// Text inside XML.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
