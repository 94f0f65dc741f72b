//! A mail as it goes on the wire: headers, parts, lines.

use crate::domain::clean;
use crate::domain::delivery::Mail;
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::id::EmailAddress;
use lettre::message::header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Body, Mailbox, Message, MultiPart, SinglePart};

/// Longest subject and longest display name, in characters; RFC 5322 allows 998 bytes a line.
const LINE_CHARS_MAX: usize = 200;

/// Longest id of a mail; with the sender's domain it must fit a line.
const ID_BYTES_MAX: usize = 128;

/// Longest line of a message without its end, in bytes (RFC 5322, section 2.1.1).
const MESSAGE_LINE_BYTES_MAX: usize = 998;

/// The mail, in the name of `from`.
///
/// # Errors
/// It cannot be sent to anybody, ever.
pub(super) fn compose(
    mail: &Mail,
    from: &Mailbox,
    reply_to: Option<&Mailbox>,
) -> Result<Message, Failure> {
    let to = mailbox(None, &mail.to).map_err(|_| unsendable("the recipient's address"))?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    if !(1..=ID_BYTES_MAX).contains(&mail.id.len()) || !mail.id.bytes().all(plain) {
        return Err(unsendable("the mail's id is not letters and digits"));
    }
    let mut builder = Message::builder()
        .from(from.clone())
        .to(to)
        .subject(one_line(&mail.subject))
        .message_id(Some(format!("<{}@{}>", mail.id, from.email.domain())))
        .date_now()
        .raw_header(fixed("Content-Language", mail.language))
        // RFC 3834: no answering machine should answer.
        .raw_header(fixed("Auto-Submitted", "auto-generated"))
        .raw_header(fixed("X-Auto-Response-Suppress", "OOF, AutoReply"));
    if let Some(reply_to) = reply_to {
        builder = builder.reply_to(reply_to.clone());
    }
    let parts = MultiPart::alternative()
        .singlepart(part(ContentType::TEXT_PLAIN, &mail.text)?)
        .singlepart(part(ContentType::TEXT_HTML, &mail.html)?);
    let mut message = builder
        .multipart(parts)
        .map_err(|_| unsendable("the mail could not be composed"))?;
    if let Some(from) = quoted(from) {
        message.headers_mut().insert_raw(from);
    }
    Ok(message)
}

pub(super) fn mailbox(name: Option<String>, address: &EmailAddress) -> Result<Mailbox, String> {
    match address.as_str().parse() {
        Ok(parsed) => Ok(Mailbox::new(name, parsed)),
        Err(_) => Err("the mailer does not accept this address".to_owned()),
    }
}

/// A display name with a dot ("Inpla S.A."), which lettre writes bare and RFC 5322, section 3.2.5,
/// wants quoted: strict readers stumble over it.
fn quoted(mailbox: &Mailbox) -> Option<HeaderValue> {
    let name = mailbox.name.as_deref()?;
    if !name.is_ascii() || !name.contains('.') {
        return None;
    }
    let escaped = name.replace('\\', "\\\\").replace('"', "\\\"");
    let value = format!("\"{escaped}\" <{}>", mailbox.email);
    Some(HeaderValue::dangerous_new_pre_encoded(
        HeaderName::new_from_ascii_str("From"),
        value.clone(),
        value,
    ))
}

fn part(content_type: ContentType, text: &str) -> Result<SinglePart, Failure> {
    // A lone CR is a line end to some readers and a character to others: make it one thing.
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let body = Body::new_with_encoding(text, ContentTransferEncoding::QuotedPrintable)
        .map_err(|_| unsendable("a part of the mail could not be encoded"))?;
    Ok(SinglePart::builder().content_type(content_type).body(body))
}

/// A header of ours; name and value are constants of this file or of the language list.
fn fixed(name: &'static str, value: &'static str) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned())
}

/// Text as it may stand in a header, shortened to [`LINE_CHARS_MAX`].
pub(super) fn one_line(text: &str) -> String {
    // A run of spaces may be lost where the line is folded or encoded (RFC 2047, section 6.2), so
    // that what is read would be another text.
    let shown = clean::one_line(text, LINE_CHARS_MAX);
    let words: Vec<&str> = shown.split(' ').filter(|word| !word.is_empty()).collect();
    // RFC 2047: readers would decode an encoded word and find behind it what was removed here.
    words.join(" ").replace("=?", "= ?")
}

/// Whether these bytes are ASCII lines of at most 998 bytes, each ended by CRLF, with no other CR,
/// LF or NUL.
pub(super) fn is_wire_safe(bytes: &[u8]) -> bool {
    let mut lines = bytes.split(|b| *b == b'\n').peekable();
    while let Some(line) = lines.next() {
        let last = lines.peek().is_none();
        let line = match line.split_last() {
            Some((b'\r', line)) if !last => line,
            _ if last => line,
            _ => return false,
        };
        if line.len() > MESSAGE_LINE_BYTES_MAX
            || !line.iter().all(|b| b.is_ascii() && !matches!(b, b'\r' | 0))
        {
            return false;
        }
    }
    true
}

pub(super) fn unsendable(words: &str) -> Failure {
    Failure {
        kind: FailureKind::Permanent,
        reason: format!("mail: {words}"),
        advice: None,
    }
}
