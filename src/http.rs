//! Calls to other people's HTTP servers: one agent with every limit set.
//!
//! An outside server may hang, drip, redirect, answer without end or answer nonsense; none of that
//! may hold a thread for longer than the deadline or cost more memory than the cap. What the
//! answers mean is known to the adapters that call.

mod names;
pub mod standard_webhooks;

use names::Names;
use std::fmt;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of an answer that are read; real answers have a few hundred.
pub const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// Longest body of an answer that does not count and is read all the same.
const UNREAD_BYTES_MAX: u64 = 16 * 1024;
/// Bytes of the head of an answer, status line and headers.
const ANSWER_HEAD_BYTES_MAX: usize = 32 * 1024;
/// Bytes that ureq reserves per connection and direction: our requests are a few kilobytes.
const BUFFER_BYTES: usize = 16 * 1024;
/// Longest pause that `Retry-After` may ask for: beyond that the caller's own plan is better.
pub const RETRY_AFTER_MS_MAX: u64 = 60 * 60 * 1_000;
/// Idle connections are given up after this long: Node closes after 5 seconds, and a request that
/// meets the closing is lost.
const IDLE_MAX: Duration = Duration::from_secs(4);

/// How an agent calls.
#[derive(Clone, Copy, Debug)]
pub struct AgentSettings<'a> {
    /// Longest time for one call, from the name look-up to the last byte of the answer.
    pub timeout: Duration,
    /// Idle connections kept per host: one per calling thread.
    pub connections: usize,
    /// PEM certificates to trust instead of the public ones.
    pub ca_pem: Option<&'a [u8]>,
}

/// The one rule for addresses that are called, by us or by others: `https`, or `http` to loopback.
/// `Debug` shows the host only.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint(ureq::http::Uri);

impl Endpoint {
    /// Reads an absolute URL without user name and fragment. The refusal is words that follow the
    /// name of what was read; they do not repeat it, because addresses may carry keys.
    pub fn parse(url: &str) -> Result<Endpoint, String> {
        let malformed = || "must be an address such as https://example.com/path".to_owned();
        if url.contains('#') {
            return Err("must be without `#` and what follows".to_owned());
        }
        let uri: ureq::http::Uri = url.parse().map_err(|_| malformed())?;
        let authority = uri.authority().ok_or_else(malformed)?.as_str();
        if authority.contains('@') {
            return Err("must be without user name and password".to_owned());
        }
        let host = host_name(uri.host().unwrap_or(""))?;
        let port_written = authority.len() > host.len();
        if port_written && uri.port_u16().is_none_or(|port| port == 0) {
            return Err(malformed());
        }
        match uri.scheme_str() {
            Some("https") => Ok(Endpoint(uri)),
            Some("http") if is_loopback(&host) => Ok(Endpoint(uri)),
            _ => Err("must begin with https:// (http:// is for this machine only)".to_owned()),
        }
    }

    /// The whole address, as it is called.
    pub fn text(&self) -> String {
        self.0.to_string()
    }

    /// Lower case, without port, IPv6 in brackets.
    pub fn host(&self) -> String {
        self.0.host().unwrap_or("").to_ascii_lowercase()
    }

    /// Whether it is `https`.
    pub fn is_encrypted(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({})", self.0.host().unwrap_or(""))
    }
}

/// A name or an address of a host, without port, IPv6 in brackets; lower-cased. The refusal is
/// words that follow the name of what was read.
pub fn host_name(text: &str) -> Result<String, String> {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    let good = match unbracketed(text) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => text.len() <= 253 && text.split('.').all(label),
    };
    if good {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(
            "must be the name of a host such as example.com, without https:// and without port"
                .to_owned(),
        )
    }
}

/// Whether a host, as [`host_name`] gives it, leads nowhere but to this machine (RFC 6761, section
/// 6.3, for the name).
pub fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || unbracketed(host)
            .unwrap_or(host)
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

fn unbracketed(host: &str) -> Option<&str> {
    host.strip_prefix('[')?.strip_suffix(']')
}

/// How something is asked for (RFC 9110, section 9.3, and RFC 5789).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Without a body.
    Get,
    /// The usual one.
    Post,
    /// With a body or an empty one.
    Put,
    /// With a body or an empty one.
    Patch,
}

impl Method {
    /// As it stands in a request.
    pub fn name(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Patch => "PATCH",
        }
    }
}

/// An answer of any status. `Debug` shows no body.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status; redirects are not followed and arrive here too.
    pub status: u16,
    /// `Retry-After`, at most [`RETRY_AFTER_MS_MAX`].
    pub retry_after_ms: Option<u64>,
    /// `Date`, in seconds since the Unix epoch: what the other side's clock says.
    pub date: Option<u64>,
    /// `Replay-Nonce`, with which the next request to an authority is signed (RFC 8555, section 6.5).
    pub nonce: Option<String>,
    /// Whether `Content-Type` says `application/json` or a type made of it (RFC 6839, `+json`).
    pub is_json: bool,
    /// The fields of its head that help to understand it: [`TELLING`], in that order.
    pub telling: Vec<(&'static str, String)>,
    /// The body, whole, at most [`ANSWER_BYTES_MAX`].
    pub body: Vec<u8>,
}

/// Fields of an answer's head that an operator who looks for a mistake wants to see; the others
/// may be cookies.
pub const TELLING: [&str; 4] = [
    "content-type",
    "location",
    "retry-after",
    "www-authenticate",
];

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Answer({}, {} bytes)", self.status, self.body.len())
    }
}

/// No whole answer came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Whether the other side may have got the request: false only when no byte of the body left.
    pub may_have_arrived: bool,
    /// Whether the other side's certificate was refused, which somebody must put right.
    pub certificate_refused: bool,
    /// What happened, for the operator: no URL, no header, no body.
    pub reason: String,
}

/// The one way out over HTTP. Shared between threads; keeps connections open.
#[derive(Clone, Debug)]
pub struct Agent {
    agent: ureq::Agent,
    names: Names,
}

impl Agent {
    /// Fails when the given certificates cannot be used, in words that follow the name of their
    /// file or key.
    pub fn new(settings: AgentSettings<'_>) -> Result<Agent, String> {
        let timeout = Some(settings.timeout);
        let roots = match settings.ca_pem {
            Some(pem) => roots_of(pem)?,
            None => ureq::tls::RootCerts::WebPki,
        };
        let tls = ureq::tls::TlsConfig::builder()
            .provider(ureq::tls::TlsProvider::Rustls)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .root_certs(roots)
            .build();
        let config = ureq::Agent::config_builder()
            // `Endpoint` has decided about plain http, and nothing else is ever called.
            .https_only(false)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            // A proxy that happens to be in the environment must not see tokens.
            .proxy(None)
            .tls_config(tls)
            .user_agent(concat!("Portero/", env!("CARGO_PKG_VERSION")))
            .accept("application/json")
            .accept_encoding("identity")
            .timeout_global(timeout)
            .timeout_resolve(timeout)
            .timeout_connect(timeout)
            .timeout_send_request(timeout)
            .timeout_send_body(timeout)
            .timeout_recv_response(timeout)
            .timeout_recv_body(timeout)
            .max_response_header_size(ANSWER_HEAD_BYTES_MAX)
            .input_buffer_size(BUFFER_BYTES)
            .output_buffer_size(BUFFER_BYTES)
            .max_idle_connections(settings.connections)
            .max_idle_connections_per_host(settings.connections)
            .max_idle_age(IDLE_MAX)
            .build();
        let names = Names::default();
        let connector = ureq::unversioned::transport::DefaultConnector::default();
        let agent = ureq::Agent::with_parts(config, connector, names.clone());
        Ok(Agent { agent, names })
    }

    /// Sends `body` as JSON and reads the whole answer. A `content-type` among the headers stands in
    /// place of `application/json`, for receivers that were promised other words for the same.
    pub fn post_json(
        &self,
        to: &Endpoint,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer, Broken> {
        self.send(Method::Post, to, headers, body)
    }

    /// Sends `body` as JSON to a receiver whose status is all that counts. What follows the head is
    /// read as far as it keeps the connection usable, and does not change the answer: its body is
    /// always empty here.
    pub fn post_for_status(
        &self,
        to: &Endpoint,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer, Broken> {
        self.post(Method::Post, to, headers, body, read_head)
    }

    /// The same with another method than `POST`; an empty body is said to be nothing.
    pub fn send(
        &self,
        method: Method,
        to: &Endpoint,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer, Broken> {
        if method == Method::Get {
            return self.get(to, headers);
        }
        self.post(method, to, headers, body, read_whole)
    }

    fn post(
        &self,
        method: Method,
        to: &Endpoint,
        headers: &[(&str, &str)],
        body: &[u8],
        read: fn(ureq::http::Response<ureq::Body>) -> Result<Answer, ureq::Error>,
    ) -> Result<Answer, Broken> {
        let mut body = Watched {
            rest: body,
            touched: false,
        };
        let mut request = ureq::http::Request::builder()
            .method(method.name())
            .uri(to.0.clone())
            .header("content-length", body.rest.len());
        let is_type = |(name, _): &(&str, &str)| name.eq_ignore_ascii_case("content-type");
        if !body.rest.is_empty() && !headers.iter().any(is_type) {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let result = request
            .body(ureq::SendBody::from_reader(&mut body))
            .map_err(ureq::Error::from)
            .and_then(|request| self.agent.run(request))
            .and_then(read);
        result.map_err(|error| self.broken(&error, body.touched))
    }

    /// Asks and reads the whole answer. Asking twice is harmless, so a failure never counts as
    /// having arrived.
    pub fn get(&self, from: &Endpoint, headers: &[(&str, &str)]) -> Result<Answer, Broken> {
        let mut request = ureq::http::Request::get(from.0.clone());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let result = request
            .body(())
            .map_err(ureq::Error::from)
            .and_then(|request| self.agent.run(request))
            .and_then(read_whole);
        result.map_err(|error| self.broken(&error, false))
    }

    fn broken(&self, error: &ureq::Error, may_have_arrived: bool) -> Broken {
        self.names.forget();
        broken(error, may_have_arrived)
    }
}

/// A request body that knows whether anybody began to send it. ureq reads the body only after the
/// head has left, so an untouched body means that the request cannot have been acted upon.
struct Watched<'a> {
    rest: &'a [u8],
    touched: bool,
}

impl Read for Watched<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        self.touched = true;
        self.rest.read(into)
    }
}

fn roots_of(pem: &[u8]) -> Result<ureq::tls::RootCerts, String> {
    const WRONG: &str = "must hold certificates in PEM form";
    let mut certificates = Vec::new();
    let mut usable = rustls::RootCertStore::empty();
    for item in ureq::tls::parse_pem(pem) {
        if let ureq::tls::PemItem::Certificate(certificate) = item.map_err(|_| WRONG)? {
            usable
                .add(certificate.der().to_vec().into())
                .map_err(|_| WRONG)?;
            certificates.push(certificate);
        }
    }
    if certificates.is_empty() {
        return Err(WRONG.to_owned());
    }
    Ok(ureq::tls::RootCerts::new_with_certs(&certificates))
}

fn read_whole(mut answer: ureq::http::Response<ureq::Body>) -> Result<Answer, ureq::Error> {
    let head = head_of(&answer);
    let body = answer
        .body_mut()
        .with_config()
        .limit(ANSWER_BYTES_MAX as u64)
        .read_to_vec()?;
    Ok(Answer { body, ..head })
}

/// Only the head counts. A short body is read, so that its connection can be used again.
fn read_head(mut answer: ureq::http::Response<ureq::Body>) -> Result<Answer, ureq::Error> {
    let head = head_of(&answer);
    let length = answer.body().content_length();
    if length.is_some_and(|length| length <= UNREAD_BYTES_MAX) {
        // What breaks here breaks a connection, and no answer.
        let _ = answer.body_mut().read_to_vec();
    }
    Ok(head)
}

fn head_of(answer: &ureq::http::Response<ureq::Body>) -> Answer {
    let header = |name: &str| answer.headers().get(name).and_then(|v| v.to_str().ok());
    Answer {
        status: answer.status().as_u16(),
        retry_after_ms: header("retry-after")
            .and_then(|after| retry_after_ms(after, header("date"))),
        date: header("date").and_then(unix_seconds),
        nonce: header("replay-nonce").map(str::to_owned),
        is_json: header("content-type").is_some_and(is_json),
        telling: TELLING
            .into_iter()
            .filter_map(|name| Some((name, header(name)?.to_owned())))
            .collect(),
        body: Vec::new(),
    }
}

fn is_json(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    let kind = kind.to_ascii_lowercase();
    kind == "application/json" || kind.starts_with("application/") && kind.ends_with("+json")
}

/// RFC 9110, section 5.6.7: the form that everybody sends.
fn unix_seconds(date: &str) -> Option<u64> {
    use time::format_description::well_known::Rfc2822;
    let date = time::OffsetDateTime::parse(date.trim(), &Rfc2822).ok()?;
    u64::try_from(date.unix_timestamp()).ok()
}

/// RFC 9110, section 10.2.3: seconds, or a date. The date is taken relative to the `Date` of the
/// same answer, so that no clock of ours is involved.
fn retry_after_ms(after: &str, date: Option<&str>) -> Option<u64> {
    use time::format_description::well_known::Rfc2822;
    let after = after.trim();
    let seconds = if !after.is_empty() && after.bytes().all(|b| b.is_ascii_digit()) {
        // More digits than fit are a long time too.
        after.parse().unwrap_or(u64::MAX)
    } else {
        let until = time::OffsetDateTime::parse(after, &Rfc2822).ok()?;
        let now = time::OffsetDateTime::parse(date?.trim(), &Rfc2822).ok()?;
        u64::try_from((until - now).whole_seconds()).unwrap_or(0)
    };
    Some(seconds.saturating_mul(1_000).min(RETRY_AFTER_MS_MAX))
}

fn broken(error: &ureq::Error, may_have_arrived: bool) -> Broken {
    Broken {
        may_have_arrived,
        certificate_refused: matches!(tls_error(error), Some(rustls::Error::InvalidCertificate(_))),
        reason: words(error),
    }
}

fn tls_error(error: &ureq::Error) -> Option<&rustls::Error> {
    match error {
        ureq::Error::Rustls(error) => Some(error),
        ureq::Error::Io(error) => error.get_ref()?.downcast_ref(),
        _ => None,
    }
}

/// Says what broke without quoting anything that may be secret or personal.
fn words(error: &ureq::Error) -> String {
    use ureq::Error;
    if let Some(error) = tls_error(error) {
        return tls_words(error);
    }
    match error {
        Error::HostNotFound => "the host name was not found".to_owned(),
        Error::Timeout(ureq::Timeout::Resolve) => "no answer from the name server".to_owned(),
        Error::Timeout(ureq::Timeout::Connect) => "no connection within the deadline".to_owned(),
        Error::Timeout(_) => "no whole answer within the deadline".to_owned(),
        Error::BodyExceedsLimit(_) | Error::LargeResponseHeader(..) => {
            "the answer is too large".to_owned()
        }
        Error::Io(error) => match unresolved(error) {
            Some(words) => words.to_owned(),
            None => format!("connection failed: {}", error.kind()),
        },
        Error::Tls(_) | Error::TlsRequired => "TLS failed".to_owned(),
        Error::Protocol(_) | Error::BodyStalled => "the answer is not proper HTTP".to_owned(),
        Error::Http(_) => "the request could not be written: unfit header".to_owned(),
        _ => "the call failed".to_owned(),
    }
}

/// Whether the name of the host was looked up in vain. The standard library has no kind of error
/// for that, only its words.
fn unresolved(error: &std::io::Error) -> Option<&'static str> {
    let words = error.to_string();
    if !words.starts_with("failed to lookup address information") {
        return None;
    }
    // getaddrinfo(3), EAI_AGAIN.
    Some(if words.contains("Temporary failure") {
        "no answer from the name server"
    } else {
        "the host name was not found"
    })
}

fn tls_words(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer) => {
            "TLS failed: the certificate's issuer is not trusted".to_owned()
        }
        rustls::Error::InvalidCertificate(
            rustls::CertificateError::Expired | rustls::CertificateError::ExpiredContext { .. },
        ) => "TLS failed: the certificate has expired".to_owned(),
        rustls::Error::InvalidCertificate(
            rustls::CertificateError::NotValidForName
            | rustls::CertificateError::NotValidForNameContext { .. },
        ) => "TLS failed: the certificate is for another name".to_owned(),
        rustls::Error::InvalidCertificate(_) => "TLS failed: unfit certificate".to_owned(),
        _ => "TLS failed".to_owned(),
    }
}

/// A server on loopback that does exactly what a test tells it to, bytes and silences included.
#[cfg(test)]
pub(crate) mod stand_in {
    #![allow(clippy::unwrap_used)]

    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::sync::mpsc::{Receiver, channel};

    /// Serves connections one after another with `answer`, which gets each request (head and
    /// body, read whole) and the connection. Requests come out of the receiver.
    pub(crate) fn serve(
        mut answer: impl FnMut(&str, &mut TcpStream) + Send + 'static,
    ) -> (String, Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sender, requests) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                while let Some(request) = read_request(&mut stream) {
                    let _ = sender.send(request.clone());
                    answer(&request, &mut stream);
                }
            }
        });
        (url, requests)
    }

    /// Serves the same bytes again and again.
    pub(crate) fn serve_bytes(bytes: impl Into<Vec<u8>>) -> (String, Receiver<String>) {
        let bytes = bytes.into();
        serve(move |_, stream| {
            let _ = stream.write_all(&bytes);
        })
    }

    /// A complete answer with a body.
    pub(crate) fn answer(status: &str, content_type: &str, body: &str) -> String {
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    fn read_request(stream: &mut TcpStream) -> Option<String> {
        let mut bytes = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head
                    .lines()
                    .filter_map(|line| line.split_once(':'))
                    .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                    .map_or(0, |(_, value)| value.trim().parse().unwrap());
                if body.len() >= length {
                    return Some(text);
                }
            }
            match stream.read(&mut chunk) {
                Ok(0) | Err(_) => return None,
                Ok(n) => bytes.extend_from_slice(&chunk[..n]),
            }
        }
    }
}

#[cfg(test)]
mod tests;
