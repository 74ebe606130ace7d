//! Colours of both themes.

/// A colour in the light and in the dark theme, by the name of its CSS variable.
pub(crate) struct Colour {
    pub(crate) name: &'static str,
    pub(crate) light: u32,
    pub(crate) dark: u32,
}

const fn colour(name: &'static str, light: u32, dark: u32) -> Colour {
    Colour { name, light, dark }
}

/// What the text stands on.
pub(crate) const SURFACES: &[Colour] =
    &[colour("page", 0xff_ff_ff, 0x14_17_1c), colour("panel", 0xf5_f6_f8, 0x1d_21_28)];

/// What is read as text: 4.5:1 on every surface.
pub(crate) const TEXTS: &[Colour] = &[
    colour("ink", 0x1b_1f_26, 0xe8_ea_ee),
    colour("muted", 0x56_5d_69, 0xa6_ad_b9),
    colour("link", 0x0a_5a_a8, 0x7c_bc_f2),
    colour("good", 0x0b_6b_43, 0x5c_cf_9c),
    colour("bad", 0xb0_2a_1a, 0xff_93_80),
    colour("doubt", 0x7a_52_00, 0xf0_b8_4a),
];

/// Lines of the contenders, then of all controls: 3:1 on every surface. Okabe and Ito's hues, darkened on white where
/// the originals are too pale, lifted on black where they are too deep.
pub(crate) const SERIES: &[Colour] = &[
    colour("s0", 0x00_72_b2, 0x5a_ae_e6),
    colour("s1", 0xd5_5e_00, 0xf2_8a_3c),
    colour("s2", 0x00_85_5f, 0x2f_c4_96),
    colour("s3", 0xb3_53_89, 0xe0_98_c0),
    colour("s4", 0xa3_6f_00, 0xe6_9f_00),
    colour("s5", 0x2b_87_bd, 0x8c_d0_f5),
    colour("s6", 0x7d_73_00, 0xf0_e4_42),
    colour("s7", 0x33_38_40, 0xd6_d9_df),
    colour("s8", 0x7b_82_8e, 0x8d_95_a3),
];

/// Hair lines that carry no meaning.
pub(crate) const RULES: &[Colour] = &[colour("rule", 0xdc_df_e5, 0x34_3a_45)];

/// The CSS variables of both themes; print has no dark one.
pub(crate) fn css() -> String {
    let all = || [SURFACES, TEXTS, SERIES, RULES].into_iter().flatten();
    let light: String = all().map(|c| format!("--{}:#{:06x};", c.name, c.light)).collect();
    let dark: String = all().map(|c| format!("--{}:#{:06x};", c.name, c.dark)).collect();
    format!(":root{{{light}}}\n@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Contrast ratio of two sRGB colours (WCAG 2.2, "contrast ratio").
    fn contrast(a: u32, b: u32) -> f64 {
        let channel = |value: u32| {
            let share = f64::from(value & 0xff) / 255.0;
            if share <= 0.040_45 { share / 12.92 } else { ((share + 0.055) / 1.055).powf(2.4) }
        };
        let luminance = |c: u32| 0.2126 * channel(c >> 16) + 0.7152 * channel(c >> 8) + 0.0722 * channel(c);
        let (a, b) = (luminance(a) + 0.05, luminance(b) + 0.05);
        a.max(b) / a.min(b)
    }

    #[test]
    fn black_on_white_has_the_contrast_of_the_definition() {
        assert!((contrast(0, 0xff_ff_ff) - 21.0).abs() < 1e-9);
    }

    #[test]
    fn text_and_lines_stand_out_from_every_surface_in_both_themes() {
        for (colours, least) in [(TEXTS, 4.5), (SERIES, 3.0)] {
            for (colour, surface) in colours.iter().flat_map(|c| SURFACES.iter().map(move |s| (c, s))) {
                let (light, dark) =
                    (contrast(colour.light, surface.light), contrast(colour.dark, surface.dark));
                assert!(light >= least, "{} on light {}: {light:.2}", colour.name, surface.name);
                assert!(dark >= least, "{} on dark {}: {dark:.2}", colour.name, surface.name);
            }
        }
    }
}
