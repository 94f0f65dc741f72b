//! F-5. Mail addresses: what is accepted can go into an envelope, is read back as itself, and the
//! mailer accepts it.

use portero::domain::id::EmailAddress;
use portero::domain::reading::likely_meant;

pub fn holds(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let whole = EmailAddress::parse(&text);
    assert_eq!(whole.is_ok(), is_address(&text), "{text:?}");
    if let Ok(address) = &whole {
        is_safe(address);
        let lower = text.to_ascii_lowercase();
        assert_eq!(EmailAddress::parse(&lower).as_ref(), Ok(address));
        assert_eq!(address.key(), lower);
        let masked = address.masked();
        assert!(masked.chars().count() <= 9, "{masked}");
        if let Some(meant) = likely_meant(address) {
            is_safe(&meant);
            assert_eq!(meant.local(), address.local());
            assert_ne!(meant.domain(), address.domain());
        }
    }
    // And every word of a text, and every address that is found in it.
    for word in text.split_whitespace() {
        if let Ok(address) = EmailAddress::parse(word) {
            is_safe(&address);
        }
    }
    if let portero::domain::reading::Reading::Addresses(found) =
        portero::domain::reading::read(&text, 8)
    {
        assert!((1..=2).contains(&found.len()));
        for address in &found {
            is_safe(address);
            let folded = text.to_ascii_lowercase();
            assert!(folded.contains(&address.key()), "{address:?} is not in it");
        }
        assert!(found.len() == 1 || found[0] != found[1]);
    }
}

fn is_safe(address: &EmailAddress) {
    let text = address.as_str();
    assert!(text.is_ascii() && text.len() <= 254, "{text:?}");
    let never = |byte: u8| byte <= b' ' || byte == 0x7f || b",;<>()\"".contains(&byte);
    assert!(!text.bytes().any(never), "{text:?}");
    assert_eq!(text.matches('@').count(), 1, "{text:?}");
    assert_eq!(text, format!("{}@{}", address.local(), address.domain()));
    assert!(address.local().len() <= 64, "{text:?}");
    let again = EmailAddress::parse(text).expect("what was accepted");
    assert_eq!(again.as_str(), text);
    assert_eq!(again, *address);
    let mailer: lettre::Address = text.parse().expect("what the mailer accepts");
    assert_eq!(mailer.to_string(), text);
    assert_eq!(mailer.user(), address.local());
    assert_eq!(mailer.domain(), address.domain());
}

/// The dot-atom form of RFC 5322, section 3.2.3, in ASCII, of which the right side is a host name
/// of RFC 1123, section 2.1, with a dot in it and no number at its end.
fn is_address(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else {
        return false;
    };
    let atext = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c);
    let labels: Vec<&str> = domain.split('.').collect();
    let host = |label: &&str| {
        let inner = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let ends = label.starts_with('-') || label.ends_with('-');
        (1..=63).contains(&label.len()) && label.chars().all(inner) && !ends
    };
    let top = labels.last().copied().unwrap_or("");
    text.len() <= 254
        && local.len() <= 64
        && local
            .split('.')
            .all(|atom| !atom.is_empty() && atom.chars().all(atext))
        && labels.len() >= 2
        && labels.iter().all(host)
        && top.len() >= 2
        && !top.chars().all(|c| c.is_ascii_digit())
}
