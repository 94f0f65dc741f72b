//! What is read of a request in the same way wherever it comes.

use super::error;
use rouille::{Request, Response};
use std::io::Read;
use zeroize::Zeroizing;

/// The values of a header, as often as it came.
pub(super) fn values<'r>(request: &'r Request, name: &'r str) -> impl Iterator<Item = &'r str> {
    (request.headers())
        .filter(move |(known, _)| known.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}

/// What came as `Authorization: Bearer`; two of them are none.
pub(super) fn bearer(request: &Request) -> Option<&str> {
    let mut values = values(request, "Authorization");
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let (scheme, token) = value.trim().split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("Bearer")
        .then_some(token.trim_start())
}

/// A parameter of the address. One that comes twice is none: what one reader takes for the value
/// another one would not (F-4).
pub(super) fn parameter(request: &Request, name: &str) -> Option<String> {
    let query = request.raw_query_string().as_bytes();
    let mut values = form_urlencoded::parse(query).filter(|(known, _)| known == name);
    match (values.next(), values.next()) {
        (Some((_, value)), None) => Some(value.into_owned()),
        _ => None,
    }
}

/// The value of a cookie, in whichever `Cookie` it comes. One that comes twice is none: somebody
/// beside the page may have set the other (RFC 6265, section 8.6; F-4).
pub(super) fn cookie<'r>(request: &'r Request, name: &str) -> Option<&'r str> {
    let pairs = values(request, "Cookie").flat_map(|cookies| cookies.split(';'));
    let mut values = pairs
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(known, _)| *known == name);
    match (values.next(), values.next()) {
        (Some((_, value)), None) => Some(value),
        _ => None,
    }
}

/// A body that says it is JSON, as it came; `unread` answers one that cannot be read.
pub(super) fn json_body(
    request: &Request,
    unread: impl FnOnce() -> Response,
) -> Result<Zeroizing<Vec<u8>>, Response> {
    if !is_json(request) {
        return Err(error(
            415,
            "CONTENT_TYPE_UNSUPPORTED",
            "The content type has to be application/json, in UTF-8",
        ));
    }
    let mut body = Zeroizing::new(Vec::new());
    let is_read = request
        .data()
        .is_some_and(|mut data| data.read_to_end(&mut body).is_ok());
    is_read.then_some(body).ok_or_else(unread)
}

fn is_json(request: &Request) -> bool {
    let mut parts = request.header("Content-Type").unwrap_or("").split(';');
    let is_json = parts
        .next()
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"));
    // A character set is all that is ever added; JSON is UTF-8 in any case (RFC 8259, section 8.1).
    is_json
        && parts.all(|part| match part.trim().split_once('=') {
            Some((name, value)) => {
                let value = value.trim_matches('"');
                !name.eq_ignore_ascii_case("charset") || value.eq_ignore_ascii_case("utf-8")
            }
            None => part.trim().is_empty(),
        })
}
