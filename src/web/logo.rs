//! The business's logo, as the sign-in page shows it.

use crate::domain::id::Malformed;
use std::fmt;

/// A picture whose kind was told from its own bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Logo {
    /// The file as it is.
    pub bytes: Vec<u8>,
    /// For `Content-Type`.
    pub media_type: &'static str,
}

impl Logo {
    /// Largest logo: it is kept in memory, and people on the road load it.
    pub const BYTES_MAX: usize = 128 * 1024;

    /// Accepts PNG, JPEG, WebP and SVG up to [`Self::BYTES_MAX`]. The refusal is words that follow
    /// the name of the file.
    pub fn parse(bytes: Vec<u8>) -> Result<Logo, Malformed> {
        if bytes.len() > Self::BYTES_MAX {
            return Err(Malformed("is larger than 131072 bytes"));
        }
        let media_type = match bytes.as_slice() {
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => "image/png",
            [0xff, 0xd8, 0xff, ..] => "image/jpeg",
            [
                b'R',
                b'I',
                b'F',
                b'F',
                _,
                _,
                _,
                _,
                b'W',
                b'E',
                b'B',
                b'P',
                ..,
            ] => "image/webp",
            other if is_svg(other) => "image/svg+xml",
            _ => return Err(Malformed("is not a PNG, JPEG, WebP or SVG image")),
        };
        Ok(Logo { bytes, media_type })
    }
}

/// `<svg` at the beginning, or after what XML has before it.
fn is_svg(bytes: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(bytes) else {
        return false;
    };
    let text = text.trim_start_matches('\u{feff}').trim_start();
    text.starts_with("<svg") || (text.starts_with("<?xml") && text.contains("<svg"))
}

impl fmt::Debug for Logo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Logo({}, {} bytes)", self.media_type, self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_kind_of_a_logo_is_told_from_its_bytes() {
        let kinds: [(&[u8], &str); 6] = [
            (b"\x89PNG\r\n\x1a\nrest", "image/png"),
            (b"\xff\xd8\xff\xe0rest", "image/jpeg"),
            (b"RIFF\x10\0\0\0WEBPVP8 ", "image/webp"),
            (
                b"<svg xmlns=\"http://www.w3.org/2000/svg\"/>",
                "image/svg+xml",
            ),
            (b"\xef\xbb\xbf\n<svg/>", "image/svg+xml"),
            (
                b"<?xml version=\"1.0\"?><!-- drawn --><svg/>",
                "image/svg+xml",
            ),
        ];
        for (bytes, media_type) in kinds {
            let logo = Logo::parse(bytes.to_vec()).unwrap();
            assert_eq!(
                (logo.media_type, logo.bytes.as_slice()),
                (media_type, bytes)
            );
        }
        let wrong: [&[u8]; 7] = [
            b"",
            b"GIF89a",
            b"RIFF\x10\0\0\0WAVE",
            b"\x89PNG",
            b"<html><svg/></html>",
            b"<?xml version=\"1.0\"?><html/>",
            b"<?xml \xff?><svg/>",
        ];
        for bytes in wrong {
            assert!(Logo::parse(bytes.to_vec()).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn a_logo_is_small_and_prints_no_bytes() {
        let mut bytes = b"<svg/>".to_vec();
        bytes.resize(Logo::BYTES_MAX, b' ');
        let logo = Logo::parse(bytes.clone()).unwrap();
        assert_eq!(format!("{logo:?}"), "Logo(image/svg+xml, 131072 bytes)");
        bytes.push(b' ');
        let refused = Logo::parse(bytes).unwrap_err().to_string();
        assert_eq!(refused, format!("is larger than {} bytes", Logo::BYTES_MAX));
    }
}
