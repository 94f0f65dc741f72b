//! What is read of a request in the same way wherever it comes.

use rouille::Request;

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
