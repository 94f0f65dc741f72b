//! F-1. The head and the body of a request, as the listener takes them apart: the check of a head
//! agrees with a reference that knows nothing of it, wherever the bytes are cut, and the handler
//! gets exactly the requests that the reference finds in them.

use portero::web::listener::framing::{self, FIELDS_MAX, HEAD_BYTES_MAX};
use portero::web::listener::{Handler, Limits, Listener, Trust};
use rouille::{Request, Response};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

/// A deadline that does not come.
const NEVER: Duration = Duration::from_secs(3_600);

/// The cap on every body at the listener of this property.
const BODY_BYTES_MAX: usize = 64;

/// Longer inputs say nothing more, and cutting them everywhere costs the square of their length.
const BYTES_MAX: usize = 4 * 1024;

pub fn holds(input: &[u8]) {
    if input.len() > BYTES_MAX {
        return;
    }
    the_end_of_a_head_is_found_wherever_the_bytes_are_cut(input);
    for head in [input, &input[..end_of_head(input).unwrap_or(0)]] {
        the_check_agrees_with_the_reference(head);
    }
    the_handler_gets_what_the_reference_finds(input);
}

// --- the end of a head ----------------------------------------------------------------------------

fn the_end_of_a_head_is_found_wherever_the_bytes_are_cut(input: &[u8]) {
    let event = first_event(input);
    // What is known once so many bytes are here: nothing before the event, and the same ever after.
    let expected = |count: usize| match event {
        Some((at, end)) if at < count => Some(end),
        _ => None,
    };
    let found = |bytes: &[u8], scanned| match framing::head_end(bytes, scanned) {
        Ok(None) => None,
        Ok(Some(end)) => Some(Some(end)),
        Err(refusal) => {
            assert_eq!(refusal.status().0, 400);
            Some(None)
        }
    };
    for cut in 0..=input.len() {
        let first = found(&input[..cut], 0);
        assert_eq!(first, expected(cut), "the first {cut} bytes");
        if first.is_none() {
            assert_eq!(found(input, cut), expected(input.len()), "cut at {cut}");
        }
    }
}

/// The byte at which something is known, and where the head ends, if that is what is known.
fn first_event(input: &[u8]) -> Option<(usize, Option<usize>)> {
    let mut before = [0_u8; 3];
    for (at, byte) in input.iter().copied().enumerate() {
        let bad = match (before[2], byte) {
            (b'\r', b'\n') => false,
            (b'\r', _) | (_, b'\n' | 0x7f) => true,
            (_, byte) => byte < b' ' && byte != b'\t' && byte != b'\r',
        };
        if bad {
            return Some((at, None));
        }
        if [before[0], before[1], before[2], byte] == *b"\r\n\r\n" {
            return Some((at, Some(at + 1)));
        }
        before = [before[1], before[2], byte];
    }
    None
}

fn end_of_head(input: &[u8]) -> Option<usize> {
    first_event(input)?.1
}

// --- one head -------------------------------------------------------------------------------------

/// What a head says, in words of this file.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    method: String,
    target: String,
    path: String,
    body: u64,
    continues: bool,
    host: Option<String>,
    /// Whether the connection may carry another request.
    lasts: bool,
}

fn the_check_agrees_with_the_reference(head: &[u8]) {
    let (found, reference) = (framing::check(head), read_head(head));
    match (&found, &reference) {
        (Ok(framing), Ok(head)) => {
            assert_eq!(framing.method, head.method);
            assert_eq!(framing.path, head.path);
            assert_eq!(framing.content_length, head.body);
            assert_eq!(framing.expect_continue, head.continues);
            assert_eq!(framing.host, head.host.as_deref());
        }
        (Err(refusal), Err(faults)) => {
            let status = refusal.status().0;
            assert!(faults.contains(&status), "{status}, not one of {faults:?}");
        }
        _ => panic!("{found:?}, and the reference says {reference:?}"),
    }
}

/// Reads one whole head; all that is wrong with it, as statuses.
fn read_head(head: &[u8]) -> Result<Head, Vec<u16>> {
    if head.len() > HEAD_BYTES_MAX {
        return Err(vec![431]);
    }
    if end_of_head(head) != Some(head.len()) {
        return Err(vec![400]);
    }
    // One character for each byte, so that the rest can be said in characters.
    let text: String = head.iter().map(|byte| char::from(*byte)).collect();
    let mut lines: Vec<&str> = text.split("\r\n").collect();
    assert_eq!(lines.split_off(lines.len() - 2), ["", ""]);
    let mut faults = Vec::new();
    let mut fault = |status: u16| faults.push(status);

    let words: Vec<&str> = lines.first().copied().unwrap_or("").split(' ').collect();
    let (method, target, version) = match words[..] {
        [method, target, version] => (method, target, version),
        _ => {
            fault(400);
            ("", "/", "HTTP/1.1")
        }
    };
    let is_token = |text: &str| {
        let sign = |c: char| "!#$%&'*+-.^_`|~".contains(c);
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || sign(c))
    };
    if !is_token(method) || target.is_empty() {
        fault(400);
    }
    if target.chars().any(|c| !c.is_ascii_graphic() || c == '#') {
        fault(400);
    }
    match version {
        "HTTP/1.1" | "HTTP/1.0" => {}
        _ if version.len() > 5
            && version.starts_with("HTTP/")
            && version[5..].chars().all(|c| c.is_ascii_digit() || c == '.') =>
        {
            fault(505);
        }
        _ => fault(400),
    }

    let mut fields: Vec<(String, String)> = Vec::new();
    for line in lines.iter().skip(1) {
        match line.split_once(':') {
            Some((name, value)) if is_token(name) => {
                let value = value.trim_matches([' ', '\t']);
                fields.push((name.to_ascii_lowercase(), value.to_owned()));
            }
            _ => fault(400),
        }
    }
    if lines.len() - 1 > FIELDS_MAX {
        fault(431);
    }
    let all = |name: &str| -> Vec<&str> {
        let named = fields.iter().filter(|(known, _)| known == name);
        named.map(|(_, value)| value.as_str()).collect()
    };
    for name in ["host", "content-length", "transfer-encoding"] {
        if all(name).len() > 1 {
            fault(400);
        }
    }
    let host = match all("host").first() {
        None if version != "HTTP/1.0" => {
            fault(400);
            None
        }
        None => None,
        Some(host) => {
            if host_of(host).is_none() {
                fault(400);
            }
            host_of(host)
        }
    };
    // More lengths than one were noted; each must be one for itself.
    let mut body = 0;
    for length in all("content-length") {
        match length.parse::<u64>() {
            Ok(number) if number.to_string() == length && length.len() <= 19 => body = number,
            _ => fault(400),
        }
    }
    for coding in all("transfer-encoding") {
        if !all("content-length").is_empty() || version == "HTTP/1.0" {
            fault(400);
        }
        fault(if coding.eq_ignore_ascii_case("chunked") {
            411
        } else {
            501
        });
    }
    let expects = all("expect");
    if (expects.iter()).any(|expected| !expected.eq_ignore_ascii_case("100-continue")) {
        fault(417);
    }
    let packed = |coding: &&str| !coding.eq_ignore_ascii_case("identity");
    if body > 0 && all("content-encoding").iter().any(packed) {
        fault(415);
    }
    if method == "CONNECT" {
        fault(501);
    }
    let path = match path_of(method, target, host.as_deref()) {
        Some(path) => path,
        None => {
            fault(400);
            String::new()
        }
    };
    let said = all("connection").join(",").to_ascii_lowercase();
    let says = |word: &str| {
        said.split(',')
            .any(|said| said.trim_matches([' ', '\t']) == word)
    };
    let head = Head {
        method: method.to_owned(),
        target: target.to_owned(),
        path,
        body,
        continues: !expects.is_empty() && version == "HTTP/1.1",
        host,
        lasts: match version {
            "HTTP/1.0" => says("keep-alive") && !says("close"),
            _ => !says("close"),
        },
    };
    if faults.is_empty() {
        Ok(head)
    } else {
        Err(faults)
    }
}

/// `name`, `name:port`, `[address]` or `[address]:port`: the name or the address in its brackets.
fn host_of(value: &str) -> Option<String> {
    let (name, port) = match value.rfind(']') {
        Some(end) => (&value[..=end], &value[end + 1..]),
        None => value.split_at(value.find(':').unwrap_or(value.len())),
    };
    let port_is_good = match port.strip_prefix(':') {
        None => port.is_empty(),
        Some(digits) => {
            let plain = !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit());
            plain && digits.trim_start_matches('0').len() <= 5 && {
                let number: u32 = digits.trim_start_matches('0').parse().unwrap_or(0);
                number <= 65_535
            }
        }
    };
    let name_is_good = match name.strip_prefix('[') {
        Some(rest) => {
            let address = rest.strip_suffix(']')?;
            address.parse::<std::net::Ipv6Addr>().is_ok()
        }
        None => {
            let known = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
            !name.is_empty() && name.chars().all(known)
        }
    };
    (port_is_good && name_is_good).then(|| name.to_owned())
}

fn path_of(method: &str, target: &str, host: Option<&str>) -> Option<String> {
    let without_query = |text: &str| text.split('?').next().unwrap_or("").to_owned();
    if target.starts_with('/') {
        return Some(without_query(target));
    }
    if target == "*" {
        return (method == "OPTIONS").then(|| "*".to_owned());
    }
    let (scheme, rest) = target.split_once("://")?;
    if !["http", "https"]
        .iter()
        .any(|known| known.eq_ignore_ascii_case(scheme))
    {
        return None;
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let named = host_of(&rest[..end])?;
    if !host?.eq_ignore_ascii_case(&named) {
        return None;
    }
    Some(match &rest[end..] {
        path if path.starts_with('/') => without_query(path),
        _ => "/".to_owned(),
    })
}

// --- the listener ---------------------------------------------------------------------------------

/// Writes down what it gets, by the port of whoever sent it.
#[derive(Default)]
struct Recorder(Mutex<Vec<Got>>);

/// Who sent it, method, target and body.
type Got = (SocketAddr, String, String, Vec<u8>);

impl Handler for Recorder {
    fn body_max_bytes(&self, _: &str, _: &str) -> usize {
        BODY_BYTES_MAX
    }

    fn handle(&self, request: &Request) -> Response {
        let mut body = Vec::new();
        let read = request.data().map(|mut data| data.read_to_end(&mut body));
        assert!(matches!(read, Some(Ok(_))), "a body that cannot be read");
        let got = (
            *request.remote_addr(),
            request.method().to_owned(),
            request.raw_url().to_owned(),
            body,
        );
        self.0.lock().unwrap().push(got);
        Response::text("got")
    }
}

fn server() -> (SocketAddr, Arc<Recorder>) {
    static SERVER: OnceLock<(Listener, Arc<Recorder>)> = OnceLock::new();
    let (listener, recorder) = SERVER.get_or_init(|| {
        let recorder = Arc::new(Recorder::default());
        let handler = Arc::clone(&recorder) as Arc<dyn Handler>;
        let anywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        // What is sent ends; how long it may take is no matter here, for a fuzzer may have to wait.
        let limits = Limits {
            head_deadline: NEVER,
            body_deadline: NEVER,
            write_deadline: NEVER,
            idle_deadline: NEVER,
            ..Limits::default()
        };
        let listener = Listener::bind(anywhere, limits, Trust::default(), handler);
        (listener.unwrap(), recorder)
    });
    (listener.local_addr(), Arc::clone(recorder))
}

/// What the reference finds in all the bytes that one client sends.
#[derive(Default)]
struct Sent {
    requests: Vec<(Head, Vec<u8>)>,
    /// The statuses one of which ends it, if it ends in a refusal.
    faults: Vec<u16>,
    /// The head of a last request whose body did not come to its end.
    unfinished: Option<Head>,
}

fn read_all(mut rest: &[u8]) -> Sent {
    let mut sent = Sent::default();
    loop {
        let end = match first_event(rest) {
            Some((_, Some(end))) => end,
            Some((_, None)) => {
                sent.faults = vec![400];
                return sent;
            }
            None => return sent,
        };
        let head = match read_head(&rest[..end]) {
            Ok(head) => head,
            Err(faults) => {
                sent.faults = faults;
                return sent;
            }
        };
        if head.body > BODY_BYTES_MAX as u64 {
            sent.faults = vec![413];
            return sent;
        }
        let body = usize::try_from(head.body).unwrap();
        rest = &rest[end..];
        if rest.len() < body {
            sent.unfinished = Some(head);
            return sent;
        }
        let lasts = head.lasts;
        sent.requests.push((head, rest[..body].to_vec()));
        rest = &rest[body..];
        if !lasts {
            return sent;
        }
    }
}

fn the_handler_gets_what_the_reference_finds(input: &[u8]) {
    let (address, recorder) = server();
    // Elsewhere each time, so that ports that wait to be free are not in the way.
    let turn = u8::try_from(input.len() % 250).unwrap() + 1;
    let to = SocketAddr::from((Ipv4Addr::new(127, 0, 0, turn), address.port()));
    let mut client = TcpStream::connect(to).expect("the listener is there");
    client.set_nodelay(true).unwrap();
    let from = client.local_addr().unwrap();
    // In pieces of a size that the input chooses. Whoever was refused may be gone by then.
    let size = 1 + input.iter().map(|byte| usize::from(*byte)).sum::<usize>() % 97;
    let mut sent = true;
    for piece in input.chunks(size) {
        sent &= client.write_all(piece).is_ok();
        std::thread::yield_now();
    }
    let _ = client.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let whole = client.read_to_end(&mut answer).is_ok() && sent;
    drop(client);

    let mut got = Vec::new();
    recorder.0.lock().unwrap().retain(|entry| {
        let is_mine = entry.0.port() == from.port();
        if is_mine {
            got.push((entry.1.clone(), entry.2.clone(), entry.3.clone()));
        }
        !is_mine
    });
    let Sent {
        requests,
        faults,
        unfinished,
    } = read_all(input);
    let mut ends_in_a_refusal = !faults.is_empty();
    for (at, (head, body)) in requests.iter().enumerate() {
        match got.get(at) {
            Some((method, target, received)) => {
                assert_eq!(*method, head.method);
                let local = local_of(&head.target);
                assert_eq!(*target, local, "request {at}");
                assert_eq!(received, body, "request {at}");
            }
            // Targets that no browser sends are refused by whoever parses the head after the check.
            None => {
                assert!(is_odd(head), "{head:?} did not arrive");
                assert_eq!(got.len(), at);
                ends_in_a_refusal = true;
                break;
            }
        }
    }
    assert!(
        got.len() <= requests.len(),
        "a request that nobody sent: {got:?}"
    );
    if whole {
        let text = String::from_utf8_lossy(&answer);
        // Each answer begins at the beginning, or behind an answer or the body of one.
        let begins = |at: usize| {
            let before = &text[..at];
            before.is_empty() || before.ends_with('\n') || before.ends_with("got")
        };
        let statuses: Vec<&str> = (text.match_indices("HTTP/1."))
            .filter(|(at, _)| begins(*at))
            .map(|(at, _)| text.get(at + 9..at + 12).unwrap_or(""))
            .filter(|status| *status != "100")
            .collect();
        let mut refused = usize::from(ends_in_a_refusal);
        if got.len() == requests.len()
            && statuses.len() == got.len() + 1
            && unfinished.as_ref().is_some_and(is_odd)
        {
            // An odd target is refused before its body is waited for.
            assert_eq!(statuses.last(), Some(&"400"), "{text}");
            refused = 1;
        }
        assert_eq!(statuses.len(), got.len() + refused, "{text}");
        for status in &statuses[..got.len()] {
            assert_eq!(*status, "200", "{text}");
        }
        if got.len() == requests.len() && !faults.is_empty() {
            let status = statuses.last().unwrap().parse().unwrap();
            assert!(faults.contains(&status), "{status}, not one of {faults:?}");
        }
    }
}

/// What of a target reaches the handler: path and query.
fn local_of(target: &str) -> String {
    match target.split_once("://") {
        Some((_, rest)) if !target.starts_with('/') => {
            let local = rest.find(['/', '?']).map_or("", |at| &rest[at..]);
            match local.strip_prefix('?') {
                Some(query) => format!("/?{query}"),
                None if local.is_empty() => "/".to_owned(),
                None => local.to_owned(),
            }
        }
        _ => target.to_owned(),
    }
}

/// Whether a target has a sign that stands for itself in no URL (RFC 3986, section 2).
fn is_odd(head: &Head) -> bool {
    head.target
        .contains(['<', '>', '"', '\\', '^', '`', '{', '|', '}'])
}
