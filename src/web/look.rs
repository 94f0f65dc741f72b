//! How the sign-in page looks: the business's name, colour and logo.

use crate::domain::id::Malformed;

/// A colour: red, green and blue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Color(pub [u8; 3]);

impl Color {
    /// Reads `#rrggbb`.
    pub fn parse(text: &str) -> Result<Color, Malformed> {
        const SHAPE: Malformed =
            Malformed("a colour is \"#\" and six hex digits, as in \"#2c6e58\"");
        let digits = text.strip_prefix('#').ok_or(SHAPE)?;
        // `from_str_radix` would take a sign.
        if digits.len() != 6 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(SHAPE);
        }
        let number = u32::from_str_radix(digits, 16).map_err(|_| SHAPE)?;
        let [_, red, green, blue] = number.to_be_bytes();
        Ok(Color([red, green, blue]))
    }
}

/// What a page shows of the business.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// The business, as people know it.
    pub business: String,
    /// Its colour; without one, a quiet green.
    pub color: Option<Color>,
    /// Whether there is a logo to ask for.
    pub logo: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colour_is_six_hex_digits() {
        assert_eq!(Color::parse("#2c6E58"), Ok(Color([0x2c, 0x6e, 0x58])));
        for wrong in [
            "", "#", "2c6e58", "#2c6", "#2c6e5", "#2c6e588", "#+c6e58", "#2c6e5é", "red",
        ] {
            assert!(Color::parse(wrong).is_err(), "{wrong}");
        }
    }
}
