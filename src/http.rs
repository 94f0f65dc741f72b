//! Calls to other people's HTTP servers: one agent with every limit set.
//!
//! An outside server may hang, drip, redirect, answer without end or answer nonsense; none of that
//! may hold a thread for longer than the deadline or cost more memory than the cap. What the
//! answers mean is known to the adapters that call.

use std::fmt;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of an answer that are read; real answers have a few hundred.
pub const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of the head of an answer, status line and headers.
const ANSWER_HEAD_BYTES_MAX: usize = 32 * 1024;
/// Bytes that ureq reserves per connection and direction: our requests are a few kilobytes.
const BUFFER_BYTES: usize = 16 * 1024;
/// Longest pause that `Retry-After` may ask for: beyond that the caller's own plan is better.
pub const RETRY_AFTER_MS_MAX: u64 = 60 * 60 * 1_000;
/// Idle connections are given up after this long: below the idle limit of usual servers, so that
/// a request rarely meets a connection that is being closed.
const IDLE_MAX: Duration = Duration::from_secs(15);

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

/// A URL that may be called: `https`, or `http` to loopback. `Debug` shows the host only.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint(ureq::http::Uri);

impl Endpoint {
    /// Reads an absolute URL without user name and fragment; says in words why it was refused,
    /// without the URL.
    pub fn parse(url: &str) -> Result<Endpoint, String> {
        if url.contains('#') {
            return Err("the URL may not have a fragment (#…)".to_owned());
        }
        let uri: ureq::http::Uri = url
            .parse()
            .map_err(|_| "this is not a URL such as https://example.com/path".to_owned())?;
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        if authority.contains('@') {
            return Err("the URL may not carry a user name or password".to_owned());
        }
        let host = uri.host().unwrap_or("");
        match uri.scheme_str() {
            Some("https") if !host.is_empty() => Ok(Endpoint(uri)),
            Some("http") if is_loopback(host) => Ok(Endpoint(uri)),
            Some("http") => Err(
                "plain http is allowed to this machine only (127.0.0.1, [::1], localhost); use https"
                    .to_owned(),
            ),
            _ => Err("the URL must begin with https://".to_owned()),
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({})", self.0.host().unwrap_or(""))
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    bare.eq_ignore_ascii_case("localhost")
        || bare
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// An answer of any status. `Debug` shows no body.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status; redirects are not followed and arrive here too.
    pub status: u16,
    /// `Retry-After`, at most [`RETRY_AFTER_MS_MAX`].
    pub retry_after_ms: Option<u64>,
    /// The body, whole, at most [`ANSWER_BYTES_MAX`].
    pub body: Vec<u8>,
}

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
    /// What happened, for the operator: no URL, no header, no body.
    pub reason: String,
}

/// The one way out over HTTP. Shared between threads; keeps connections open.
#[derive(Clone, Debug)]
pub struct Agent(ureq::Agent);

impl Agent {
    /// Fails when a given certificate cannot be used.
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
        Ok(Agent(config.new_agent()))
    }

    /// Sends `body` as JSON and reads the whole answer.
    pub fn post_json(
        &self,
        to: &Endpoint,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer, Broken> {
        let mut body = Watched {
            rest: body,
            touched: false,
        };
        let mut request = ureq::http::Request::post(to.0.clone())
            .header("content-type", "application/json")
            .header("content-length", body.rest.len());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let result = request
            .body(ureq::SendBody::from_reader(&mut body))
            .map_err(ureq::Error::from)
            .and_then(|request| self.0.run(request))
            .and_then(read_whole);
        result.map_err(|error| Broken {
            may_have_arrived: body.touched,
            reason: words(&error),
        })
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
            .and_then(|request| self.0.run(request))
            .and_then(read_whole);
        result.map_err(|error| Broken {
            may_have_arrived: false,
            reason: words(&error),
        })
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
    const WRONG: &str = "the CA file does not hold certificates in PEM form";
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
    let status = answer.status().as_u16();
    let header = |name: &str| answer.headers().get(name).and_then(|v| v.to_str().ok());
    let retry_after_ms =
        header("retry-after").and_then(|after| retry_after_ms(after, header("date")));
    let body = answer
        .body_mut()
        .with_config()
        .limit(ANSWER_BYTES_MAX as u64)
        .read_to_vec()?;
    Ok(Answer {
        status,
        retry_after_ms,
        body,
    })
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

/// Says what broke without quoting anything that may be secret or personal.
fn words(error: &ureq::Error) -> String {
    use ureq::Error;
    match error {
        Error::HostNotFound => "the host name was not found".to_owned(),
        Error::Timeout(ureq::Timeout::Resolve) => "no answer from the name server".to_owned(),
        Error::Timeout(ureq::Timeout::Connect) => "no connection within the deadline".to_owned(),
        Error::Timeout(_) => "no whole answer within the deadline".to_owned(),
        Error::BodyExceedsLimit(_) | Error::LargeResponseHeader(..) => {
            "the answer is too large".to_owned()
        }
        Error::Io(error) => match error.get_ref().and_then(|e| e.downcast_ref()) {
            Some(tls) => tls_words(tls),
            None => format!("connection failed: {}", error.kind()),
        },
        Error::Rustls(error) => tls_words(error),
        Error::Tls(_) | Error::TlsRequired => "TLS failed".to_owned(),
        Error::Protocol(_) | Error::BodyStalled => "the answer is not proper HTTP".to_owned(),
        Error::Http(_) => "the request could not be written: unfit header".to_owned(),
        _ => "the call failed".to_owned(),
    }
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
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::stand_in::{answer, serve, serve_bytes};
    use super::*;
    use std::io::Write;

    fn agent(timeout_ms: u64) -> Agent {
        Agent::new(AgentSettings {
            timeout: Duration::from_millis(timeout_ms),
            connections: 2,
            ca_pem: None,
        })
        .unwrap()
    }

    fn post(url: &str, timeout_ms: u64) -> Result<Answer, Broken> {
        agent(timeout_ms).post_json(
            &Endpoint::parse(url).unwrap(),
            &[("x-a", "b")],
            b"{\"a\":1}",
        )
    }

    const LONG_MS: u64 = 10_000;
    const SHORT_MS: u64 = 200;

    #[test]
    fn plain_http_leads_to_this_machine_only() {
        for url in [
            "https://graph.facebook.com",
            "https://example.com:8443/a?b=c",
            "http://127.0.0.1:8080/x",
            "http://127.9.9.9",
            "http://[::1]:9/",
            "http://LocalHost/",
        ] {
            assert!(Endpoint::parse(url).is_ok(), "{url}");
        }
        for url in [
            "http://example.com/",
            "http://127.0.0.1.example.com/",
            "http://0.0.0.0/",
            "http://10.0.0.1/",
            "http://[::2]/",
            "http://localhost.example.com/",
            "https://user:secret@example.com/",
            "http://user@127.0.0.1/",
            "https://example.com/#a",
            "ftp://example.com/",
            "/relative",
            "example.com",
            "https://",
            "",
        ] {
            assert!(Endpoint::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_request_carries_our_name_headers_and_length() {
        let (url, requests) = serve_bytes(answer("200 OK", "application/json", "{}"));
        let got = post(&format!("{url}/a/b"), LONG_MS).unwrap();
        assert_eq!((got.status, got.body.as_slice()), (200, &b"{}"[..]));
        let request = requests.recv().unwrap().to_ascii_lowercase();
        assert!(request.starts_with("post /a/b http/1.1\r\n"), "{request}");
        for line in [
            "user-agent: portero/",
            "x-a: b\r\n",
            "content-length: 7\r\n",
            "content-type: application/json\r\n",
        ] {
            assert!(request.contains(line), "{line} in {request}");
        }
        assert!(!request.contains("transfer-encoding"), "{request}");
        assert!(request.ends_with("{\"a\":1}"));
    }

    #[test]
    fn a_connection_is_used_again() {
        let (url, _requests) = serve_bytes(answer("200 OK", "application/json", "{}"));
        let agent = agent(LONG_MS);
        let endpoint = Endpoint::parse(&url).unwrap();
        // The stand-in serves one connection at a time, so a second one would wait for ever.
        for _ in 0..3 {
            assert_eq!(agent.post_json(&endpoint, &[], b"{}").unwrap().status, 200);
            assert_eq!(agent.get(&endpoint, &[]).unwrap().status, 200);
        }
    }

    #[test]
    fn redirects_are_answers_and_are_not_followed() {
        for status in [
            "301 Moved",
            "302 Found",
            "303 See Other",
            "307 Temporary",
            "308 Permanent",
        ] {
            let (other, other_requests) = serve_bytes(answer("200 OK", "text/plain", ""));
            let (url, _requests) = serve_bytes(format!(
                "HTTP/1.1 {status}\r\nlocation: {other}/\r\ncontent-length: 0\r\n\r\n"
            ));
            let got = post(&url, LONG_MS).unwrap();
            assert_eq!(got.status.to_string(), status[..3]);
            assert!(other_requests.try_recv().is_err(), "{status} was followed");
        }
    }

    #[test]
    fn an_endless_answer_is_cut_at_the_cap() {
        let (url, _requests) = serve(|_, stream| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 104857600\r\n\r\n");
            let chunk = [b'a'; 65_536];
            while stream.write_all(&chunk).is_ok() {}
        });
        let broken = post(&url, LONG_MS).unwrap_err();
        assert_eq!(broken.reason, "the answer is too large");
        assert!(broken.may_have_arrived);
    }

    #[test]
    fn a_dripping_answer_is_cut_at_the_deadline() {
        let (url, _requests) = serve(|_, stream| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n");
            while stream.write_all(b"a").is_ok() {
                std::thread::park_timeout(Duration::from_millis(20));
            }
        });
        let broken = post(&url, SHORT_MS).unwrap_err();
        assert_eq!(broken.reason, "no whole answer within the deadline");
        assert!(broken.may_have_arrived);
    }

    #[test]
    fn silence_and_a_closed_connection_may_hide_an_arrival() {
        let (silent, _requests) = serve(|_, _| std::thread::park());
        assert!(post(&silent, SHORT_MS).unwrap_err().may_have_arrived);
        let (closing, _requests) = serve(|_, stream| {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        });
        assert!(post(&closing, LONG_MS).unwrap_err().may_have_arrived);
        let (truncating, _requests) = serve(|_, stream| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{");
            let _ = stream.shutdown(std::net::Shutdown::Both);
        });
        assert!(post(&truncating, LONG_MS).unwrap_err().may_have_arrived);
    }

    #[test]
    fn without_a_connection_nothing_can_have_arrived() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let closed = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let broken = post(&closed, LONG_MS).unwrap_err();
        assert!(!broken.may_have_arrived, "{broken:?}");

        // TLS spoken to somebody who answers otherwise: the body never left.
        let (plain, _requests) = serve_bytes("");
        let broken = post(&plain.replace("http:", "https:"), SHORT_MS).unwrap_err();
        assert!(!broken.may_have_arrived, "{broken:?}");
    }

    #[test]
    fn an_unfit_header_is_refused_without_being_quoted() {
        let broken = agent(LONG_MS)
            .post_json(
                &Endpoint::parse("http://127.0.0.1:1/").unwrap(),
                &[("authorization", "Bearer geheim\r\nx: y")],
                b"",
            )
            .unwrap_err();
        assert!(!broken.may_have_arrived && !broken.reason.contains("geheim"));
    }

    #[test]
    fn a_file_without_certificates_is_refused() {
        for pem in [
            &b""[..],
            b"hello",
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ] {
            let settings = AgentSettings {
                timeout: Duration::from_secs(1),
                connections: 1,
                ca_pem: Some(pem),
            };
            assert!(Agent::new(settings).is_err());
        }
    }

    #[test]
    fn retry_after_is_read_in_both_forms_and_capped() {
        let date = Some("Wed, 21 Oct 2015 07:28:00 GMT");
        assert_eq!(retry_after_ms("7", None), Some(7_000));
        assert_eq!(
            retry_after_ms("Wed, 21 Oct 2015 07:30:00 GMT", date),
            Some(120_000)
        );
        assert_eq!(
            retry_after_ms("Wed, 21 Oct 2015 07:00:00 GMT", date),
            Some(0),
            "already over"
        );
        assert_eq!(
            retry_after_ms("99999999999999999999999", None),
            Some(RETRY_AFTER_MS_MAX)
        );
        assert_eq!(retry_after_ms("Wed, 21 Oct 2015 07:30:00 GMT", None), None);
        for odd in ["", "soon", "-1", "1.5"] {
            assert_eq!(retry_after_ms(odd, date), None, "{odd}");
        }
    }
}
