//! Colours that can be read whatever colour a business has: WCAG 2.2's contrast, by arithmetic.

use super::look::Color;
use std::fmt;

/// Least contrast of text with what it stands on (WCAG 2.2, 1.4.3).
pub const TEXT_CONTRAST_MIN: f64 = 4.5;
/// Least contrast of the edge of something that can be pressed (WCAG 2.2, 1.4.11).
pub const EDGE_CONTRAST_MIN: f64 = 3.0;

pub const BLACK: Color = Color([0, 0, 0]);
pub const WHITE: Color = Color([255, 255, 255]);

/// Steps in which a colour is moved until it can be read.
const STEPS: u16 = 64;

impl fmt::Display for Color {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Color([red, green, blue]) = self;
        write!(f, "#{red:02x}{green:02x}{blue:02x}")
    }
}

fn luminance(Color(channels): Color) -> f64 {
    let [red, green, blue] = channels.map(|channel| {
        let part = f64::from(channel) / 255.0;
        if part <= 0.040_45 {
            part / 12.92
        } else {
            ((part + 0.055) / 1.055).powf(2.4)
        }
    });
    0.2126 * red + 0.7152 * green + 0.0722 * blue
}

/// From 1, which is no contrast at all, to 21, which is black on white.
pub fn contrast(one: Color, other: Color) -> f64 {
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

/// White where it can be read, else black: one of them always can.
pub fn ink_on(ground: Color) -> Color {
    if contrast(WHITE, ground) >= TEXT_CONTRAST_MIN {
        WHITE
    } else {
        BLACK
    }
}

/// This colour, darkened only as far as it takes to stand out from a bright ground.
pub fn darkened(color: Color, ground: Color, contrast_min: f64) -> Color {
    first_that_stands_out(ground, contrast_min, BLACK, |step| {
        mixed(color, BLACK, step)
    })
}

/// This colour, lightened only as far as it takes to stand out from a dark ground: first it shines
/// as brightly as its hue allows, and only then it pales.
pub fn lightened(color: Color, ground: Color, contrast_min: f64) -> Color {
    let strongest = u16::from(color.0.into_iter().max().unwrap_or_default());
    let brightest = match strongest {
        0 => BLACK,
        strongest => Color(
            color
                .0
                .map(|channel| (u16::from(channel) * 255 / strongest) as u8),
        ),
    };
    first_that_stands_out(ground, contrast_min, WHITE, |step| {
        // Two ways of half the steps each.
        match step.checked_sub(STEPS / 2) {
            None => mixed(color, brightest, 2 * step),
            Some(beyond) => mixed(brightest, WHITE, 2 * beyond),
        }
    })
}

fn first_that_stands_out(
    ground: Color,
    contrast_min: f64,
    last: Color,
    at: impl Fn(u16) -> Color,
) -> Color {
    (0..=STEPS)
        .map(at)
        .find(|color| contrast(*color, ground) >= contrast_min)
        .unwrap_or(last)
}

/// `step` of [`STEPS`] on the way from one colour to another.
fn mixed(from: Color, to: Color, step: u16) -> Color {
    let mut channels = [0; 3];
    for (index, channel) in channels.iter_mut().enumerate() {
        let (from, to) = (u16::from(from.0[index]), u16::from(to.0[index]));
        *channel = ((from * (STEPS - step) + to * step) / STEPS) as u8;
    }
    Color(channels)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn many() -> impl Iterator<Item = Color> {
        let steps = || (0..=255u8).step_by(17);
        steps().flat_map(move |red| {
            steps().flat_map(move |green| steps().map(move |blue| Color([red, green, blue])))
        })
    }

    #[test]
    fn contrast_is_as_wcag_says() {
        assert!((contrast(BLACK, WHITE) - 21.0).abs() < 1e-9);
        assert!((contrast(WHITE, WHITE) - 1.0).abs() < 1e-9);
        // The grey that is known for being just enough on white.
        let grey = contrast(Color([0x76, 0x76, 0x76]), WHITE);
        assert!((4.5..4.6).contains(&grey), "{grey}");
    }

    #[test]
    fn text_on_any_colour_can_be_read() {
        for color in many() {
            let reached = contrast(ink_on(color), color);
            assert!(reached >= TEXT_CONTRAST_MIN, "{color}: {reached}");
        }
    }

    #[test]
    fn a_colour_is_moved_until_it_stands_out_and_no_further() {
        let night = Color([0x19, 0x1f, 0x1d]);
        let ways = [
            (WHITE, darkened as fn(Color, Color, f64) -> Color),
            (night, lightened),
        ];
        for color in many() {
            for (ground, way) in ways {
                let readable = way(color, ground, TEXT_CONTRAST_MIN);
                let reached = contrast(readable, ground);
                assert!(reached >= TEXT_CONTRAST_MIN, "{color}: {readable}");
                if contrast(color, ground) >= TEXT_CONTRAST_MIN {
                    assert_eq!(readable, color);
                }
            }
        }
    }

    #[test]
    fn what_is_lightened_keeps_its_hue_as_long_as_it_can() {
        // A dark green becomes a bright green, not a grey one.
        let Color([red, green, _]) = lightened(Color([0x23, 0x5f, 0x4c]), BLACK, 7.0);
        assert!(u16::from(green) > 2 * u16::from(red), "{red} {green}");
        assert_eq!(lightened(BLACK, BLACK, 21.0), WHITE);
    }
}
