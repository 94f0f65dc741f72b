//! Text from outside on its way to people: what cannot be seen must not do anything.

/// Whether a character shows nothing and yet acts: control characters, which end lines and steer
/// terminals (S-90), the marks that turn the direction of reading, so that an address or a name
/// looks like another, line and paragraph separators, and the byte order mark.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
                | '\u{feff}'
        )
}

/// The text without what [`is_hidden`] and without space at its ends, cut after `chars_max`
/// characters. Empty when nothing is left.
pub fn one_line(text: &str, chars_max: usize) -> String {
    let shown: String = text
        .chars()
        .filter(|c| !is_hidden(*c))
        .take(chars_max)
        .collect();
    shown.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_unseen_is_left_out_and_the_rest_stays() {
        for (text, line) in [
            (
                "A\n{\"level\":\"INFO\"}\u{1b}[2J\u{202e}B",
                "A{\"level\":\"INFO\"}[2JB",
            ),
            ("a\r\nBcc: b\u{0}\u{7f}\u{85}", "aBcc: b"),
            (
                "\u{feff}\u{2066} ana \u{2069}\u{61c}\u{200e}\u{200f}",
                "ana",
            ),
            ("a\u{2028}b\u{2029}c", "abc"),
            ("Panadería 🥐 مخبز", "Panadería 🥐 مخبز"),
            // Joins the parts of an emoji and of Persian words.
            ("👩\u{200d}🍳", "👩\u{200d}🍳"),
            ("\u{202e}\n ", ""),
        ] {
            assert_eq!(one_line(text, 100), line, "{text:?}");
        }
    }

    #[test]
    fn a_line_is_cut_by_what_is_shown() {
        assert_eq!(one_line("\u{202e}ñandú", 3), "ñan");
        assert_eq!(one_line("ab cd", 3), "ab");
    }
}
