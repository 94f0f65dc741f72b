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
const STEPS: u16 = 32;

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

/// This colour, moved towards `end` only as far as it takes to stand out from `ground`.
pub fn moved(color: Color, end: Color, ground: Color, contrast_min: f64) -> Color {
    let mixed = |step: u16| {
        let mut channels = [0; 3];
        for (index, channel) in channels.iter_mut().enumerate() {
            let (from, to) = (u16::from(color.0[index]), u16::from(end.0[index]));
            *channel = ((from * (STEPS - step) + to * step) / STEPS) as u8;
        }
        Color(channels)
    };
    (0..=STEPS)
        .map(mixed)
        .find(|mixed| contrast(*mixed, ground) >= contrast_min)
        .unwrap_or(end)
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
        for color in many() {
            let moved_on_white = moved(color, BLACK, WHITE, TEXT_CONTRAST_MIN);
            assert!(
                contrast(moved_on_white, WHITE) >= TEXT_CONTRAST_MIN,
                "{color}"
            );
            if contrast(color, WHITE) >= TEXT_CONTRAST_MIN {
                assert_eq!(moved_on_white, color);
            }
        }
    }
}
