//! The head of a request, checked byte by byte before any other code reads it.
//!
//! Two programs that disagree on where a request ends can be made to see a request that nobody
//! sent (request smuggling). So this check is stricter than RFC 9112 asks for: what is not
//! written in exactly one way is refused, and only what passed here reaches hyper. Rows S-70,
//! S-71, S-74 and S-77 of the threat model.
//!
//! Everything here is a pure function of the bytes.

/// Longest head accepted, from the first byte of the request line to the empty line. (S-71)
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Most field lines accepted in a head. (S-71)
pub const FIELDS_MAX: usize = 64;

/// Most digits of a Content-Length. Nineteen digits always fit an unsigned 64-bit number.
const CONTENT_LENGTH_DIGITS_MAX: usize = 19;

/// Why a request is not passed on. Each has one status; the connection closes after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Not a request, or one that can be read in two ways. 400; the words say which rule.
    Malformed(&'static str),
    /// The request did not arrive whole within its deadline. 408.
    TooSlow,
    /// The body has no declared length (chunked). 411.
    LengthRequired,
    /// The declared length is over the cap of this route. 413.
    BodyTooLarge,
    /// The body is compressed. 415: what it would unpack to has no bound.
    CompressedBody,
    /// Plain HTTP at a port that speaks TLS. 400.
    NotEncrypted,
    /// An `Expect` other than `100-continue`. 417.
    UnknownExpectation,
    /// `Host` names somebody else. 421.
    UnknownHost,
    /// The head is longer, or has more fields, than accepted. 431.
    HeadTooLarge,
    /// A transfer coding or a method that changes what a connection is. 501.
    NotImplemented,
    /// No connection, thread or memory is free for this request. 503.
    Busy,
    /// Neither HTTP/1.1 nor HTTP/1.0. 505.
    UnknownVersion,
}

impl Refusal {
    /// Status code and reason phrase.
    pub fn status(self) -> (u16, &'static str) {
        match self {
            Refusal::Malformed(_) | Refusal::NotEncrypted => (400, "Bad Request"),
            Refusal::TooSlow => (408, "Request Timeout"),
            Refusal::LengthRequired => (411, "Length Required"),
            Refusal::BodyTooLarge => (413, "Content Too Large"),
            Refusal::CompressedBody => (415, "Unsupported Media Type"),
            Refusal::UnknownExpectation => (417, "Expectation Failed"),
            Refusal::UnknownHost => (421, "Misdirected Request"),
            Refusal::HeadTooLarge => (431, "Request Header Fields Too Large"),
            Refusal::NotImplemented => (501, "Not Implemented"),
            Refusal::Busy => (503, "Service Unavailable"),
            Refusal::UnknownVersion => (505, "HTTP Version Not Supported"),
        }
    }

    /// Its name for programs.
    pub fn key(self) -> &'static str {
        match self {
            Refusal::Malformed(_) => "REQUEST_INVALID",
            Refusal::NotEncrypted => "HTTPS_REQUIRED",
            Refusal::TooSlow => "REQUEST_TOO_SLOW",
            Refusal::LengthRequired => "LENGTH_REQUIRED",
            Refusal::BodyTooLarge => "BODY_TOO_LONG",
            Refusal::CompressedBody => "CONTENT_ENCODING_UNSUPPORTED",
            Refusal::UnknownExpectation => "EXPECTATION_UNKNOWN",
            Refusal::UnknownHost => "HOST_UNKNOWN",
            Refusal::HeadTooLarge => "HEAD_TOO_LONG",
            Refusal::NotImplemented => "NOT_IMPLEMENTED",
            Refusal::Busy => "BUSY",
            Refusal::UnknownVersion => "HTTP_VERSION_UNKNOWN",
        }
    }

    /// One sentence for the person who looks at the answer. Never repeats what was sent.
    pub fn sentence(self) -> &'static str {
        match self {
            Refusal::Malformed(rule) => rule,
            Refusal::NotEncrypted => "this port speaks HTTPS: use https:// in the address",
            Refusal::TooSlow => "the request did not arrive in time",
            Refusal::LengthRequired => "send a Content-Length instead of a chunked body",
            Refusal::BodyTooLarge => "the body is larger than accepted here",
            Refusal::CompressedBody => "send the body without Content-Encoding",
            Refusal::UnknownExpectation => "the only expectation known is 100-continue",
            Refusal::UnknownHost => "nothing is served under this host name",
            Refusal::HeadTooLarge => "the head of the request is too large",
            Refusal::NotImplemented => "this method or transfer coding is not served",
            Refusal::Busy => "too many connections, try again later",
            Refusal::UnknownVersion => "send HTTP/1.1",
        }
    }
}

/// What the head of a well-formed request says about its own extent and addressee.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Framing<'head> {
    /// The method, as sent.
    pub method: &'head str,
    /// The target's path without query, not decoded; `*` for `OPTIONS *`.
    pub path: &'head str,
    /// Bytes of body that follow the head; 0 without a Content-Length.
    pub content_length: u64,
    /// The client waits for `100 Continue` before it sends the body.
    pub expect_continue: bool,
    /// Host name without port, in the case it was sent in; IPv6 in its brackets.
    /// `None` only for HTTP/1.0.
    pub host: Option<&'head str>,
}

/// Where the head that starts at the beginning of `received` ends, if it is all there: the index
/// after the empty line. Bytes before `scanned` were looked at by an earlier call.
///
/// Refuses as early as it can: a byte that no head may contain need not wait for the rest.
pub fn head_end(received: &[u8], scanned: usize) -> Result<Option<usize>, Refusal> {
    let mut index = scanned;
    // Most bytes are none of these, and are not looked at twice.
    let is_control = |byte: &u8| *byte < 0x20 || *byte == 0x7f;
    let after_return = |index: usize| index > 0 && received[index - 1] == b'\r';
    while let Some(&byte) = received.get(index) {
        match byte {
            b'\n' if !after_return(index) => {
                return Err(Refusal::Malformed("a line ends in a bare LF"));
            }
            b'\n' if received[..=index].ends_with(b"\r\n\r\n") => return Ok(Some(index + 1)),
            b'\n' => {}
            _ if after_return(index) => return Err(Refusal::Malformed("a CR without its LF")),
            b'\r' | b'\t' => {}
            _ if is_control(&byte) => {
                return Err(Refusal::Malformed("a control character in the head"));
            }
            _ => {}
        }
        index += 1;
        if byte != b'\r' {
            let plain = received[index..].iter().position(is_control);
            index = plain.map_or(received.len(), |plain| index + plain);
        }
    }
    Ok(None)
}

/// Checks one whole head, empty line included and nothing after it.
///
/// # Errors
///
/// The [`Refusal`] to answer with. Of several faults the most telling is not sought: the first
/// found is given.
pub fn check(head: &[u8]) -> Result<Framing<'_>, Refusal> {
    if head.len() > HEAD_BYTES_MAX {
        return Err(Refusal::HeadTooLarge);
    }
    if head_end(head, 0)? != Some(head.len()) {
        return Err(Refusal::Malformed("the head does not end in an empty line"));
    }
    // Without the empty line: the request line and the fields, each ended by CRLF.
    let mut lines = split_lines(&head[..head.len() - 2]);
    let line = lines.next().unwrap_or_default();
    let (method, target, version) = request_line(line)?;

    let mut host = None;
    let mut content_length = None;
    let mut transfer_encoding: Option<&[u8]> = None;
    let mut expect_continue = false;
    let mut compressed = false;
    for (index, line) in lines.enumerate() {
        if index >= FIELDS_MAX {
            return Err(Refusal::HeadTooLarge);
        }
        let (name, value) = field(line)?;
        if name.eq_ignore_ascii_case(b"host") {
            if host.replace(host_name(value)?).is_some() {
                return Err(Refusal::Malformed("more than one Host"));
            }
        } else if name.eq_ignore_ascii_case(b"content-length") {
            if content_length.replace(length(value)?).is_some() {
                return Err(Refusal::Malformed("more than one Content-Length"));
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if transfer_encoding.replace(value).is_some() {
                return Err(Refusal::Malformed("more than one Transfer-Encoding"));
            }
        } else if name.eq_ignore_ascii_case(b"expect") {
            if !value.eq_ignore_ascii_case(b"100-continue") {
                return Err(Refusal::UnknownExpectation);
            }
            expect_continue = true;
        } else if name.eq_ignore_ascii_case(b"content-encoding") {
            compressed |= !value.eq_ignore_ascii_case(b"identity");
        }
    }

    match (transfer_encoding, content_length, version) {
        (None, _, _) => {}
        (Some(_), Some(_), _) => {
            return Err(Refusal::Malformed(
                "both Content-Length and Transfer-Encoding",
            ));
        }
        (Some(_), None, Version::Http10) => {
            return Err(Refusal::Malformed("Transfer-Encoding in HTTP/1.0"));
        }
        (Some(coding), None, Version::Http11) if coding.eq_ignore_ascii_case(b"chunked") => {
            return Err(Refusal::LengthRequired);
        }
        (Some(_), None, Version::Http11) => return Err(Refusal::NotImplemented),
    }
    let content_length = content_length.unwrap_or(0);
    if compressed && content_length > 0 {
        return Err(Refusal::CompressedBody);
    }
    if host.is_none() && version == Version::Http11 {
        return Err(Refusal::Malformed("no Host"));
    }
    Ok(Framing {
        method,
        path: path(method, target, host)?,
        content_length,
        expect_continue: expect_continue && version == Version::Http11,
        host,
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    Http10,
    Http11,
}

/// The lines of a head without their CRLF. The bytes were checked: every LF follows a CR.
fn split_lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    head.split_inclusive(|&byte| byte == b'\n')
        .map(|line| line.strip_suffix(b"\r\n").unwrap_or(line))
}

fn request_line(line: &[u8]) -> Result<(&str, &str, Version), Refusal> {
    const NOT_A_REQUEST: Refusal = Refusal::Malformed("the first line is not a request");
    let line = str::from_utf8(line).map_err(|_| NOT_A_REQUEST)?;
    let mut parts = line.split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(NOT_A_REQUEST);
    };
    if !is_token(method.as_bytes()) {
        return Err(NOT_A_REQUEST);
    }
    // A fragment is the browser's own affair; one that is sent is a trick on whoever strips it.
    let visible = |byte: u8| matches!(byte, 0x21..=0x7e) && byte != b'#';
    if target.is_empty() || !target.bytes().all(visible) {
        return Err(Refusal::Malformed(
            "a character in the target that no URL has",
        ));
    }
    match version.as_bytes() {
        b"HTTP/1.1" => Ok((method, target, Version::Http11)),
        b"HTTP/1.0" => Ok((method, target, Version::Http10)),
        [b'H', b'T', b'T', b'P', b'/', rest @ ..]
            if !rest.is_empty() && rest.iter().all(|b| b.is_ascii_digit() || *b == b'.') =>
        {
            Err(Refusal::UnknownVersion)
        }
        _ => Err(NOT_A_REQUEST),
    }
}

fn field(line: &[u8]) -> Result<(&[u8], &[u8]), Refusal> {
    if line.starts_with(b" ") || line.starts_with(b"\t") {
        return Err(Refusal::Malformed("a field continued on the next line"));
    }
    let Some(colon) = line.iter().position(|&byte| byte == b':') else {
        return Err(Refusal::Malformed("a field without a colon"));
    };
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if !is_token(name) {
        return Err(Refusal::Malformed(
            "a character in a field name that no name has",
        ));
    }
    Ok((name, trim(value)))
}

/// Digits only, no sign, no list, no leading zero: `5`, never `+5`, `5, 5`, `0x5` or `05`.
fn length(value: &[u8]) -> Result<u64, Refusal> {
    const ODD: Refusal = Refusal::Malformed("a Content-Length that is not a plain number");
    let plain = !value.is_empty()
        && value.len() <= CONTENT_LENGTH_DIGITS_MAX
        && value.iter().all(u8::is_ascii_digit)
        && (value == b"0" || !value.starts_with(b"0"));
    if !plain {
        return Err(ODD);
    }
    let digits = str::from_utf8(value).map_err(|_| ODD)?;
    digits.parse().map_err(|_| ODD)
}

/// The name in a `Host` field without its port. Only what DNS names and IP addresses are made of;
/// a comma, a user or an escape is how one field is made to name two hosts.
fn host_name(value: &[u8]) -> Result<&str, Refusal> {
    const ODD: Refusal = Refusal::Malformed("a Host that is not a name or address");
    let value = str::from_utf8(value).map_err(|_| ODD)?;
    let end = if value.starts_with('[') {
        let end = value.find(']').ok_or(ODD)? + 1;
        let address: Result<std::net::Ipv6Addr, _> = value[1..end - 1].parse();
        address.map_err(|_| ODD)?;
        end
    } else {
        let end = value.find(':').unwrap_or(value.len());
        let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        if end == 0 || !value[..end].bytes().all(known) {
            return Err(ODD);
        }
        end
    };
    let (name, port) = value.split_at(end);
    let port_is_plain = match port.strip_prefix(':') {
        None => port.is_empty(),
        Some(digits) => digits.parse::<u16>().is_ok() && !digits.starts_with('+'),
    };
    if port_is_plain { Ok(name) } else { Err(ODD) }
}

/// The path of the target. A proxy's form of it (`GET http://host/path`) must name the same host
/// as the `Host` field does, else one of two readers would be misled. (S-39)
fn path<'head>(
    method: &str,
    target: &'head str,
    host: Option<&str>,
) -> Result<&'head str, Refusal> {
    if method == "CONNECT" {
        return Err(Refusal::NotImplemented);
    }
    if target == "*" && method == "OPTIONS" {
        return Ok(target);
    }
    let local = if target.starts_with('/') {
        target
    } else {
        const FOREIGN: Refusal = Refusal::Malformed("the target and Host name different hosts");
        let rest = ["http://", "https://"].iter().find_map(|scheme| {
            let (start, rest) = target.split_at_checked(scheme.len())?;
            start.eq_ignore_ascii_case(scheme).then_some(rest)
        });
        let rest = rest.ok_or(Refusal::Malformed("a target that is not a path"))?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, local) = rest.split_at(end);
        let named = host_name(authority.as_bytes())?;
        if !host.is_some_and(|host| host.eq_ignore_ascii_case(named)) {
            return Err(FOREIGN);
        }
        if local.starts_with('/') { local } else { "/" }
    };
    Ok(local.split('?').next().unwrap_or(local))
}

/// RFC 9110 section 5.6.2.
fn is_token(bytes: &[u8]) -> bool {
    let tchar = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !bytes.is_empty() && bytes.iter().all(tchar)
}

/// Without the optional white space around a value, which is space and tab and nothing else.
fn trim(value: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value.iter().position(|b| !blank(b)).unwrap_or(value.len());
    let end = value
        .iter()
        .rposition(|b| !blank(b))
        .map_or(start, |last| last + 1);
    &value[start..end]
}

#[cfg(test)]
mod tests;
