//! The listener as a client meets it: raw bytes over loopback sockets.

#![allow(clippy::unwrap_used)]

use super::*;
use rouille::{Request, Response, ResponseBody};
use std::io::{BufRead, BufReader};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Mutex, PoisonError};

/// Ends a test that waits for something that never comes; nothing is measured with it.
const STUCK: Duration = Duration::from_secs(60);

const SMALL_BODY_MAX: usize = 10;
const BODY_MAX: usize = 1024 * 1024;
const SIZED: usize = 100_000;
/// More than all buffers between a handler and a client that does not read.
const ENDLESS: u64 = 1 << 30;

/// One route per behaviour.
struct Door {
    calls: AtomicUsize,
    /// `/hold` sends here that it runs, and then waits for a word from there.
    entered: Mutex<Sender<()>>,
    released: Mutex<Receiver<()>>,
}

impl Handler for Door {
    fn body_max_bytes(&self, _: &str, path: &str) -> usize {
        if path == "/small room" {
            SMALL_BODY_MAX
        } else {
            BODY_MAX
        }
    }

    fn handle(&self, request: &Request) -> Response {
        self.calls.fetch_add(1, Ordering::SeqCst);
        match request.url().as_str() {
            "/panic" => panic!("on purpose"),
            "/hold" => {
                self.entered.lock().unwrap().send(()).unwrap();
                let released = self.released.lock().unwrap_or_else(PoisonError::into_inner);
                let _ = released.recv();
                Response::text("held")
            }
            "/stream" => {
                let parts = io::Cursor::new("one ").chain(io::Cursor::new("two"));
                body(ResponseBody::from_reader(parts))
            }
            "/sized" => body(ResponseBody::from_data(vec![b'x'; SIZED])),
            "/short" => body(ResponseBody::from_reader_and_size(
                io::Cursor::new("short"),
                SIZED,
            )),
            "/long" => body(ResponseBody::from_reader_and_size(
                io::Cursor::new("longer"),
                4,
            )),
            "/endless" => body(ResponseBody::from_reader(io::repeat(b'x').take(ENDLESS))),
            "/split" => Response::text("").with_additional_header("X-A", "b\r\nX-Evil: c"),
            "/interim" => Response::text("").with_status_code(100),
            "/nothing" => Response::text("unseen").with_status_code(204),
            "/meddling" => Response::text("ok")
                .with_additional_header("Content-Length", "999")
                .with_additional_header("Transfer-Encoding", "chunked")
                .with_additional_header("X-A", "b"),
            _ => {
                let mut received = String::new();
                request
                    .data()
                    .unwrap()
                    .read_to_string(&mut received)
                    .unwrap();
                let (method, url) = (request.method(), request.raw_url());
                let address = request.remote_addr().ip();
                Response::text(format!("{method} {url} {address} {received}"))
            }
        }
    }
}

fn body(data: ResponseBody) -> Response {
    Response {
        data,
        ..Response::text("")
    }
}

/// A listener with a [`Door`], and the two ends of `/hold`.
struct House {
    listener: Option<Listener>,
    door: Arc<Door>,
    entered: Receiver<()>,
    release: Sender<()>,
    address: SocketAddr,
}

fn house(limits: Limits, trust: Trust) -> House {
    let (entered_here, entered) = mpsc::channel();
    let (release, released) = mpsc::channel();
    let door = Arc::new(Door {
        calls: AtomicUsize::new(0),
        entered: Mutex::new(entered_here),
        released: Mutex::new(released),
    });
    let any = "127.0.0.1:0".parse().unwrap();
    let handler: Arc<dyn Handler> = Arc::clone(&door) as _;
    let listener = Listener::bind(any, limits, trust, handler).unwrap();
    let address = listener.local_addr();
    House {
        listener: Some(listener),
        door,
        entered,
        release,
        address,
    }
}

impl House {
    fn connect(&self) -> Client {
        let socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(STUCK)).unwrap();
        socket.set_nodelay(true).unwrap();
        Client(BufReader::new(socket))
    }

    /// All that comes back for `bytes`, after which the client sends no more.
    fn talk(&self, bytes: &[u8]) -> String {
        let mut client = self.connect();
        client.send(bytes);
        // Fails if the server has refused and closed already.
        let _ = client.0.get_ref().shutdown(Shutdown::Write);
        client.rest()
    }

    fn registry(&self) -> &Registry {
        &self.listener.as_ref().unwrap().registry
    }

    fn stop(&mut self, within: Duration) -> Stopped {
        self.listener.take().unwrap().stop(within)
    }

    fn is_alive(&self) -> bool {
        self.talk(&get("/alive")).ends_with("GET /alive 127.0.0.1 ")
    }
}

struct Client(BufReader<TcpStream>);

#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Client {
    /// Errors are the server's right to hang up; what it said is what counts.
    fn send(&mut self, bytes: &[u8]) -> bool {
        self.0.get_mut().write_all(bytes).is_ok()
    }

    /// All up to the end of the connection.
    fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            match self.0.read(&mut chunk) {
                Ok(0) => break,
                Ok(count) => bytes.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
                Err(error) => panic!("the server neither answered nor hung up: {error}"),
            }
        }
        String::from_utf8(bytes).unwrap()
    }

    /// The next response, if it has a Content-Length and a body.
    fn reply(&mut self) -> Reply {
        let reply = self.reply_head();
        let mut body = vec![
            0;
            header(&reply.head, "content-length")
                .unwrap()
                .parse()
                .unwrap()
        ];
        self.0.read_exact(&mut body).unwrap();
        Reply {
            body: String::from_utf8(body).unwrap(),
            ..reply
        }
    }

    fn reply_head(&mut self) -> Reply {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(
                self.0.read_line(&mut head).unwrap(),
                0,
                "ended after {head:?}"
            );
        }
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Reply {
            status,
            head,
            body: String::new(),
        }
    }

    /// Sends `byte` again and again, a little apart, until the server hangs up; gives all that it
    /// said. The pause is the wait for the server's word.
    fn drip(&mut self, byte: &[u8]) -> String {
        let pause = Some(Duration::from_millis(5));
        self.0.get_ref().set_read_timeout(pause).unwrap();
        let mut said = Vec::new();
        let mut chunk = [0; 4096];
        let started = Instant::now();
        loop {
            match self.0.read(&mut chunk) {
                Ok(0) => break,
                Ok(count) => said.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    assert!(started.elapsed() < STUCK, "the server goes on listening");
                    self.send(byte);
                }
                Err(_) => break,
            }
        }
        String::from_utf8(said).unwrap()
    }
}

fn get(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes()
}

fn header<'head>(head: &'head str, name: &str) -> Option<&'head str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

fn status(answer: &str) -> u16 {
    let code = answer
        .split(' ')
        .nth(1)
        .unwrap_or_else(|| panic!("no answer: {answer:?}"));
    code.parse().unwrap()
}

fn responses(answer: &str) -> usize {
    answer.matches("HTTP/1.1 ").count()
}

/// No deadline ends anything in a test that is not about deadlines.
fn patient() -> Limits {
    let deadline = 10 * STUCK;
    Limits {
        head_deadline: deadline,
        body_deadline: deadline,
        write_deadline: deadline,
        idle_deadline: deadline,
        ..Limits::default()
    }
}

fn plain() -> House {
    house(patient(), Trust::default())
}

/// The tests' own address, which is everybody's here, without a cap.
fn through_proxy() -> Trust {
    Trust {
        proxies: vec!["127.0.0.1".parse().unwrap()],
        ..Trust::default()
    }
}

// Requests and answers.

#[test]
fn a_connection_serves_one_request_after_another() {
    let house = plain();
    let mut client = house.connect();
    client.send(&get("/a?b=c%20d"));
    let first = client.reply();
    assert_eq!(
        (first.status, first.body.as_str()),
        (200, "GET /a?b=c%20d 127.0.0.1 ")
    );
    assert!(header(&first.head, "connection").is_none() && header(&first.head, "date").is_some());
    client.send(b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(client.reply().body, "POST /p 127.0.0.1 hello");
    client.send(b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert!(client.rest().ends_with("GET /last 127.0.0.1 "));
}

#[test]
fn a_socket_that_listens_already_is_served() {
    let mut house = plain();
    house.stop(STUCK);
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let handler: Arc<dyn Handler> = Arc::clone(&house.door) as _;
    let started = Listener::start(socket, Limits::default(), Trust::default(), handler).unwrap();
    house.address = started.local_addr();
    assert!(house.is_alive());
}

#[test]
fn a_request_in_the_form_for_proxies_is_answered_like_any_other() {
    let answer = plain().talk(b"GET http://a/x?y HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(answer.ends_with("GET /x?y 127.0.0.1 "), "{answer}");
}

#[test]
fn http_1_0_is_answered_and_closed_unless_it_asks_to_stay() {
    let house = plain();
    let mut client = house.connect();
    client.send(b"GET /old HTTP/1.0\r\n\r\n");
    let answer = client.rest();
    assert_eq!((status(&answer), responses(&answer) <= 1), (200, true));
    assert!(answer.ends_with("GET /old 127.0.0.1 "), "{answer}");
    let mut client = house.connect();
    client.send(b"GET /1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(client.reply().body, "GET /1 127.0.0.1 ");
    client.send(b"GET /stream HTTP/1.0\r\n\r\n");
    let answer = client.rest();
    assert!(answer.ends_with("\r\n\r\none two"), "{answer}");
}

#[test]
fn an_answer_to_head_has_its_length_and_no_body() {
    let house = plain();
    let mut client = house.connect();
    client.send(b"HEAD /sized HTTP/1.1\r\nHost: a\r\n\r\nHEAD /stream HTTP/1.1\r\nHost: a\r\n\r\n");
    client.send(&get("/next"));
    let head = client.reply_head();
    assert_eq!(
        (head.status, header(&head.head, "content-length")),
        (200, Some("100000"))
    );
    assert_eq!(client.reply_head().status, 200);
    assert_eq!(client.reply().body, "GET /next 127.0.0.1 ");
}

#[test]
fn a_body_of_known_size_has_a_content_length_and_one_of_unknown_size_is_chunked() {
    let house = plain();
    let mut client = house.connect();
    client.send(&get("/sized"));
    assert_eq!(client.reply().body, "x".repeat(SIZED));
    let answer = house.talk(&get("/stream"));
    assert!(
        header(&answer, "transfer-encoding") == Some("chunked"),
        "{answer}"
    );
    assert!(
        answer.ends_with("4\r\none \r\n3\r\ntwo\r\n0\r\n\r\n"),
        "{answer}"
    );
}

#[test]
fn an_answer_that_ends_before_its_promised_size_is_cut_and_one_that_goes_on_is_not_sent_on() {
    let house = plain();
    let mut client = house.connect();
    client.send(&get("/short"));
    let answer = client.rest();
    assert!(answer.len() < SIZED && responses(&answer) <= 1, "{answer}");
    client = house.connect();
    client.send(&[get("/long"), get("/next")].concat());
    assert_eq!(client.reply().body, "long");
    assert_eq!(client.reply().body, "GET /next 127.0.0.1 ");
}

#[test]
fn a_handler_does_not_decide_on_framing() {
    let house = plain();
    let mut client = house.connect();
    client.send(&[get("/meddling"), get("/nothing"), get("/next")].concat());
    let reply = client.reply();
    assert_eq!(reply.body, "ok");
    assert_eq!(header(&reply.head, "transfer-encoding"), None);
    assert_eq!(header(&reply.head, "x-a"), Some("b"));
    let nothing = client.reply_head();
    assert_eq!(
        (nothing.status, header(&nothing.head, "content-length")),
        (204, None)
    );
    assert_eq!(client.reply().body, "GET /next 127.0.0.1 ");
}

#[test]
fn an_answer_that_cannot_be_sent_becomes_500() {
    let house = plain();
    for target in ["/split", "/interim"] {
        let answer = house.talk(&get(target));
        assert_eq!(status(&answer), 500);
        assert!(!answer.contains("Evil") && answer.ends_with("\r\n\r\ninternal error\n"));
    }
}

#[test]
fn a_panic_is_answered_500_and_harms_no_other_request() {
    let house = plain();
    let mut other = house.connect();
    other.send(&get("/1"));
    assert_eq!(other.reply().status, 200);
    let mut client = house.connect();
    client.send(&get("/panic"));
    let answer = client.rest();
    assert_eq!(status(&answer), 500);
    assert_eq!(header(&answer, "connection"), Some("close"));
    assert!(!answer.contains("on purpose"));
    other.send(&get("/2"));
    assert_eq!(other.reply().status, 200);
}

#[test]
fn a_quarter_of_the_stack_is_enough() {
    let thread_stack_bytes = THREAD_STACK_BYTES / 4;
    let house = house(
        Limits {
            thread_stack_bytes,
            ..patient()
        },
        Trust::default(),
    );
    assert!(house.is_alive());
    let mut client = house.connect();
    let many: String = (1..64).map(|n| format!("X-{n}: y\r\n")).collect();
    let head = format!("POST /p HTTP/1.1\r\nHost: a\r\n{many}\r\n");
    let head = head.replace("X-1: y", "Content-Length: 100000");
    client.send(&[head.as_bytes(), &[b'x'; 100_000]].concat());
    assert_eq!(
        client.reply().body.len(),
        "POST /p 127.0.0.1 ".len() + 100_000
    );
    assert_eq!(status(&house.talk(&get("/panic"))), 500);
}

// What is refused.

#[test]
fn a_hostile_request_gets_one_refusal_and_the_connection_closes() {
    let hosts = vec!["a".to_owned()];
    let house = house(
        patient(),
        Trust {
            hosts,
            ..Trust::default()
        },
    );
    let table: &[(u16, &str)] = &[
        (
            411,
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            501,
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
        ),
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc",
        ),
        (
            400,
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 50\r\n\r\nhello",
        ),
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nhello",
        ),
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello",
        ),
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\nhello",
        ),
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\nhello",
        ),
        (
            413,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 40000000000\r\n\r\nabc",
        ),
        (
            413,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000000000\r\n\r\nabc",
        ),
        (
            413,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775807\r\n\r\nabc",
        ),
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551615\r\n\r\nabc",
        ),
        (
            413,
            "POST /small%20room HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n",
        ),
        (
            415,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
        ),
        (
            417,
            "POST / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\nContent-Length: 3\r\n\r\nabc",
        ),
        (400, "GET / HTTP/1.1\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
        (421, "GET / HTTP/1.1\r\nHost: evil\r\n\r\n"),
        (421, "GET / HTTP/1.0\r\n\r\n"),
        (421, "GET http://evil/ HTTP/1.1\r\nHost: evil\r\n\r\n"),
        (400, "GET http://evil/ HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET / HTTP/1.1\nHost: a\n\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nX: a\nb\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nX : a\r\n\r\n"),
        (400, "\u{16}\u{3}\u{1}\u{2}"),
        (505, "GET / HTTP/3.0\r\nHost: a\r\n\r\n"),
        (501, "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n"),
    ];
    for (expected, request) in table {
        // What follows would be the smuggled request.
        let bytes = [
            request.as_bytes(),
            b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        ]
        .concat();
        let answer = house.talk(&bytes);
        assert_eq!(status(&answer), *expected, "{request:?}");
        assert_eq!(header(&answer, "connection"), Some("close"), "{request:?}");
        assert_eq!(responses(&answer), 1, "{request:?} gives {answer}");
    }
    assert_eq!(house.door.calls.load(Ordering::SeqCst), 0);
    assert!(house.is_alive());
}

#[test]
fn every_answer_of_the_listeners_own_tells_the_browser_to_be_careful() {
    let house = plain();
    for request in [
        b"GET / HTTP/9.9\r\n\r\n".to_vec(),
        get("/panic"),
        get("/split"),
    ] {
        let answer = house.talk(&request);
        for (name, value) in SAFE_HEADERS {
            assert_eq!(header(&answer, name), Some(value), "{answer}");
        }
    }
}

#[test]
fn a_target_that_only_hyper_refuses_ends_the_connection_too() {
    let house = plain();
    let answer = house.talk(&[get("/<"), get("/smuggled")].concat());
    assert_eq!((status(&answer), responses(&answer)), (400, 1), "{answer}");
    assert_eq!(header(&answer, "connection"), Some("close"));
    assert_eq!(house.door.calls.load(Ordering::SeqCst), 0);
}

#[test]
fn a_host_is_known_in_any_case_and_with_any_port() {
    let hosts = vec!["door.example".to_owned(), "[::1]".to_owned()];
    let house = house(
        patient(),
        Trust {
            hosts,
            ..Trust::default()
        },
    );
    for (expected, host) in [
        (200, "door.example"),
        (200, "Door.Example:8080"),
        (200, "[::1]:80"),
        (421, "door.example."),
        (421, "xdoor.example"),
        (421, "127.0.0.1"),
    ] {
        let answer = house.talk(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
        assert_eq!(status(&answer), expected, "{host}");
    }
}

#[test]
fn a_body_over_the_cap_is_refused_before_it_is_sent() {
    let house = plain();
    let mut client = house.connect();
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1048577\r\n\r\n");
    assert_eq!(status(&client.rest()), 413);
    let mut client = house.connect();
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {BODY_MAX}\r\n\r\n");
    client.send(&[head.as_bytes(), &vec![b'x'; BODY_MAX]].concat());
    assert_eq!(
        client.reply().body.len(),
        "POST / 127.0.0.1 ".len() + BODY_MAX
    );
}

#[test]
fn an_endless_head_is_cut_within_64_kibibytes() {
    let house = plain();
    let mut client = house.connect();
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\nX: ");
    client.send(&[b'x'; HEAD_TOO_LARGE]);
    // The answer is there although the head never ends.
    assert_eq!(client.reply_head().status, 431);
    // Far more than the buffers of both sides hold: it can be sent only if it is read.
    let taken = (0..64 * 1024)
        .take_while(|_| client.send(&[b'x'; 1024]))
        .count();
    assert!(taken < 64 * 1024, "all of it was read");
    assert!(house.is_alive());
}

const HEAD_TOO_LARGE: usize = framing::HEAD_BYTES_MAX;

#[test]
fn a_client_that_still_sends_when_it_is_refused_is_not_reset() {
    let house = plain();
    let mut client = house.connect();
    client.send(b"POST / HTTP/9.9\r\nHost: a\r\n\r\n");
    assert_eq!(status(&client.rest()), 505);
    // What a closed socket is sent is answered with a reset, and the next sending fails.
    assert!((0..16).all(|_| client.send(&[b'x'; 1024])));
}

#[test]
fn more_fields_than_64_are_refused() {
    let fields: String = (0..64).map(|n| format!("X-{n}: y\r\n")).collect();
    let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    assert_eq!(status(&plain().talk(request.as_bytes())), 431);
}

// Bytes in pieces, and many at once.

#[test]
fn a_request_is_the_same_at_whichever_byte_it_is_split() {
    let house = plain();
    let requests: [&[u8]; 3] = [
        b"POST /p?q HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n",
    ];
    let undated = |answer: String| -> String {
        answer
            .lines()
            .filter(|line| !line.starts_with("date:"))
            .collect()
    };
    for request in requests {
        let whole = undated(house.talk(request));
        for position in 1..request.len() {
            let mut client = house.connect();
            client.send(&request[..position]);
            // Gives the server the time to read the first piece by itself.
            thread::yield_now();
            client.send(&request[position..]);
            let _ = client.0.get_ref().shutdown(Shutdown::Write);
            assert_eq!(undated(client.rest()), whole, "split at {position}");
        }
    }
}

#[test]
fn pipelined_requests_are_answered_in_order_one_at_a_time_on_one_thread() {
    const PIPELINED: usize = 2000;
    let house = plain();
    let mut client = house.connect();
    let socket = client.0.get_ref().try_clone().unwrap();
    let writer = thread::spawn(move || {
        let all: Vec<u8> = (0..PIPELINED).flat_map(|n| get(&format!("/{n}"))).collect();
        (&socket).write_all(&all).unwrap();
    });
    for n in 0..PIPELINED {
        assert_eq!(client.reply().body, format!("GET /{n} 127.0.0.1 "));
    }
    writer.join().unwrap();
    assert_eq!(house.registry().open(), 1);
}

#[test]
fn a_client_that_expects_100_continue_gets_it_before_it_sends_the_body() {
    let house = plain();
    let mut client = house.connect();
    for _ in 0..2 {
        let head =
            "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
        client.send(head.as_bytes());
        assert_eq!(client.reply_head().head, "HTTP/1.1 100 Continue\r\n\r\n");
        client.send(b"hello");
        assert_eq!(client.reply().body, "POST /p 127.0.0.1 hello");
    }
    let over =
        "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\nExpect: 100-continue\r\n\r\n";
    client.send(over.as_bytes());
    assert_eq!(status(&client.rest()), 413);
}

// Slow clients.

const SHORT: Duration = Duration::from_millis(150);

#[test]
fn a_head_that_drips_is_cut_at_its_deadline() {
    let house = house(
        Limits {
            head_deadline: SHORT,
            ..patient()
        },
        Trust::default(),
    );
    let mut client = house.connect();
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\nX: ");
    assert_eq!(status(&client.drip(b"x")), 408);
    // One that never says a word is closed without one.
    assert_eq!(house.connect().rest(), "");
    // And so on a connection that has been of use.
    let mut client = house.connect();
    client.send(&get("/"));
    assert_eq!(client.reply().status, 200);
    client.send(b"GET /");
    assert_eq!(status(&client.drip(b"x")), 408);
}

#[test]
fn a_body_that_drips_is_cut_at_its_deadline() {
    let house = house(
        Limits {
            body_deadline: SHORT,
            ..patient()
        },
        Trust::default(),
    );
    let mut client = house.connect();
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nx");
    let answer = client.drip(b"x");
    assert_eq!((status(&answer), responses(&answer)), (408, 1));
    assert_eq!(house.door.calls.load(Ordering::SeqCst), 0);
}

#[test]
fn a_body_that_ends_too_early_reaches_no_handler() {
    let house = plain();
    let answer = house.talk(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nx");
    assert_eq!(answer, "");
    assert_eq!(house.door.calls.load(Ordering::SeqCst), 0);
}

#[test]
fn a_client_that_does_not_take_its_answer_is_cut_at_the_deadline() {
    let house = house(
        Limits {
            write_deadline: SHORT,
            ..patient()
        },
        Trust::default(),
    );
    let mut client = house.connect();
    client.send(&get("/endless"));
    let mut taken = [0; 1];
    client.0.read_exact(&mut taken).unwrap();
    assert!(
        house.registry().wait_for_all(Instant::now() + STUCK),
        "still open"
    );
}

#[test]
fn a_client_that_takes_its_answer_drop_by_drop_is_cut_at_the_deadline() {
    let house = house(
        Limits {
            write_deadline: SHORT,
            ..patient()
        },
        Trust::default(),
    );
    let client = house.connect();
    let mut socket = client.0.get_ref();
    socket.write_all(&get("/endless")).unwrap();
    // Ends when the connection does: long before all could be taken at this pace.
    let mut taken: u64 = 0;
    let mut drop = vec![0; 4096];
    let started = Instant::now();
    while house.registry().open() == 1 || taken == 0 {
        assert!(started.elapsed() < STUCK, "the server goes on sending");
        taken += socket.read(&mut drop).unwrap() as u64;
        thread::yield_now();
    }
    assert!(taken < ENDLESS);
}

#[test]
fn the_deadline_of_an_answer_does_not_run_while_the_body_arrives() {
    let house = house(
        Limits {
            write_deadline: SHORT,
            ..patient()
        },
        Trust::default(),
    );
    let mut client = house.connect();
    client
        .send(b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.reply_head().status, 100);
    client
        .0
        .get_ref()
        .set_read_timeout(Some(2 * SHORT))
        .unwrap();
    assert_eq!(
        client.0.read(&mut [0]).unwrap_err().kind(),
        io::ErrorKind::WouldBlock
    );
    client.0.get_ref().set_read_timeout(Some(STUCK)).unwrap();
    client.send(b"hello");
    assert_eq!(client.reply().body, "POST /p 127.0.0.1 hello");
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let house = house(
        Limits {
            idle_deadline: SHORT,
            ..patient()
        },
        Trust::default(),
    );
    let mut client = house.connect();
    client.send(&get("/"));
    assert_eq!(client.reply().status, 200);
    assert_eq!(client.rest(), "");
}

// Crowds.

#[test]
fn at_the_cap_the_connection_that_waited_longest_without_a_request_goes() {
    let house = house(
        Limits {
            connections_max: 3,
            ..patient()
        },
        Trust::default(),
    );
    let mut running = house.connect();
    running.send(&get("/hold"));
    house.entered.recv_timeout(STUCK).unwrap();
    let mut silent = house.connect();
    let mut slow = house.connect();
    slow.send(b"GET / HTTP/1.1\r\nHost: a\r\n");

    let mut honest = house.connect();
    honest.send(&get("/1"));
    assert_eq!(honest.reply().status, 200);
    assert_eq!(silent.rest(), "");

    let mut another = house.connect();
    another.send(&get("/2"));
    assert_eq!(another.reply().status, 200);
    assert_eq!(slow.rest(), "");

    honest.send(&get("/3"));
    assert_eq!(honest.reply().status, 200);
    house.release.send(()).unwrap();
    assert_eq!(running.reply().body, "held");
}

#[test]
fn when_all_are_being_answered_a_new_connection_gets_503() {
    let house = house(
        Limits {
            connections_max: 1,
            ..patient()
        },
        Trust::default(),
    );
    let mut running = house.connect();
    running.send(&get("/hold"));
    house.entered.recv_timeout(STUCK).unwrap();
    let answer = house.connect().rest();
    assert_eq!(
        (status(&answer), header(&answer, "connection")),
        (503, Some("close"))
    );
    house.release.send(()).unwrap();
    assert_eq!(running.reply().body, "held");
    drop(running);
    assert!(house.registry().wait_for_all(Instant::now() + STUCK));
    assert!(house.is_alive());
}

#[test]
fn one_address_gets_no_more_than_its_share_unless_it_is_a_trusted_proxy() {
    let limits = Limits {
        connections_per_address_max: 2,
        ..patient()
    };
    for (trust, expected) in [(Trust::default(), 503), (through_proxy(), 200)] {
        let house = house(limits.clone(), trust);
        let (mut one, mut two) = (house.connect(), house.connect());
        for client in [&mut one, &mut two] {
            client.send(&get("/"));
            assert_eq!(client.reply().status, 200);
        }
        let mut three = house.connect();
        three.send(&get("/"));
        assert_eq!(three.reply_head().status, expected);
    }
}

#[test]
fn honest_requests_get_through_a_crowd_of_slow_clients() {
    let house = house(
        Limits {
            connections_max: 8,
            ..patient()
        },
        through_proxy(),
    );
    let mut crowd = Vec::new();
    for n in 0..200 {
        let mut slow = house.connect();
        slow.send(b"GET / HTTP/1.1\r\nX: ");
        crowd.push(slow);
        if n % 10 == 0 {
            assert!(house.is_alive());
        }
        assert!(house.registry().open() <= 8);
    }
}

#[test]
fn clients_that_reset_at_once_do_not_end_the_loop() {
    let house = house(patient(), through_proxy());
    for _ in 0..200 {
        let socket = TcpStream::connect(house.address).unwrap();
        let socket = socket2::Socket::from(socket);
        socket.set_linger(Some(Duration::ZERO)).unwrap();
    }
    assert!(house.is_alive());
}

#[test]
fn a_connection_for_which_no_thread_starts_gets_503_and_the_loop_lives() {
    // No address space is that large.
    let limits = Limits {
        thread_stack_bytes: 1 << 50,
        ..patient()
    };
    let house = house(limits, Trust::default());
    for _ in 0..3 {
        assert_eq!(status(&house.connect().rest()), 503);
    }
    assert!(house.registry().wait_for_all(Instant::now() + STUCK));
}

/// Set in the process that the test below starts; the limit must not harm other tests.
const WITHOUT_DESCRIPTORS: &str = "PORTERO_TEST_WITHOUT_DESCRIPTORS";

#[test]
fn without_descriptors_the_longest_waiting_connection_gives_its_own() {
    if std::env::var_os(WITHOUT_DESCRIPTORS).is_none() {
        let name = "web::listener::tests::without_descriptors_the_longest_waiting_connection_gives_its_own";
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(WITHOUT_DESCRIPTORS, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout);
        let complained = String::from_utf8_lossy(&child.stderr);
        assert!(
            child.status.success() && said.contains("1 passed"),
            "{said}{complained}"
        );
        return;
    }
    let limit = Rlimit {
        current: Some(64),
        maximum: Some(64),
    };
    setrlimit(Resource::Nofile, limit).unwrap();
    let house = plain();
    let max = house.listener.as_ref().unwrap().connections_max();
    assert!(
        (1..64 - DESCRIPTORS_RESERVED as usize).contains(&max),
        "{max}"
    );
    let mut waiting = house.connect();
    waiting.send(b"GET / HT");
    let honest = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    // Only once that one has its descriptor are all others taken.
    let mut served = house.connect();
    served.send(&get("/"));
    assert_eq!(served.reply().status, 200);
    let mut files = Vec::new();
    let full = loop {
        match std::fs::File::open("/dev/null") {
            Ok(file) => files.push(file),
            Err(error) => break error,
        }
    };
    assert_eq!(Errno::from_io_error(&full), Some(Errno::MFILE));

    honest.connect(&house.address.into()).unwrap();
    let mut honest = Client(BufReader::new(honest.into()));
    honest.send(&get("/alive"));
    assert_eq!(honest.reply().status, 200);
    assert_eq!(waiting.rest(), "");
    served.send(&get("/again"));
    assert_eq!(served.reply().status, 200);
    drop((files, honest, served));
    assert!(house.is_alive());
}

#[test]
fn the_reserve_of_descriptors_lowers_the_number_of_connections() {
    assert_eq!(connections_within(512, 1024, 10), 512);
    assert_eq!(connections_within(512, 256, 10), 256 - 10 - 33);
    assert_eq!(connections_within(512, 64, 10), 21);
    assert_eq!(connections_within(512, 16, 10), 1);
    assert_eq!(connections_within(512, u64::MAX, 10), 512);
}

// Who is asking.

#[test]
fn the_client_behind_trusted_proxies_is_the_last_hop_that_is_not_one() {
    let addresses = |list: &[&str]| list.iter().map(|one| one.parse().unwrap()).collect();
    let ours = Trust {
        proxies: addresses(&["127.0.0.1", "10.0.0.1"]),
        ..Trust::default()
    };
    let nobody = Trust::default();
    let table: &[(&Trust, &str, &str)] = &[
        (&ours, "X-A: b", "127.0.0.1"),
        (&ours, "X-Forwarded-For: 192.0.2.1", "192.0.2.1"),
        (
            &ours,
            "X-Forwarded-For: 203.0.113.9, 192.0.2.1",
            "192.0.2.1",
        ),
        (
            &ours,
            "X-Forwarded-For: 203.0.113.9, 192.0.2.1 , 10.0.0.1",
            "192.0.2.1",
        ),
        (
            &ours,
            "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 10.0.0.1",
            "192.0.2.1",
        ),
        (
            &ours,
            "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-For: 192.0.2.1",
            "192.0.2.1",
        ),
        (&ours, "X-Forwarded-For: 192.0.2.1:4711", "192.0.2.1"),
        (&ours, "X-Forwarded-For: [2001:db8::1]:4711", "2001:db8::1"),
        (&ours, "X-Forwarded-For: 2001:db8::1", "2001:db8::1"),
        (&ours, "X-Forwarded-For: ::ffff:192.0.2.1", "192.0.2.1"),
        (
            &ours,
            "X-Forwarded-For: 192.0.2.1, ::ffff:10.0.0.1",
            "192.0.2.1",
        ),
        (&ours, "X-Forwarded-For: 192.0.2.1, unknown", "127.0.0.1"),
        (&ours, "X-Forwarded-For: unknown, 10.0.0.1", "10.0.0.1"),
        (&nobody, "X-Forwarded-For: 192.0.2.1", "127.0.0.1"),
    ];
    for (trust, fields, expected) in table {
        let house = house(patient(), (*trust).clone());
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
        let answer = house.talk(request.as_bytes());
        assert!(
            answer.ends_with(&format!("GET / {expected} ")),
            "{fields} gives {answer}"
        );
    }
}

#[test]
fn a_client_that_came_over_a_socket_for_both_families_has_its_ipv4_address() {
    let mapped: SocketAddr = "[::ffff:192.0.2.1]:80".parse().unwrap();
    let client = Trust::default().client(mapped, &[]);
    assert_eq!(client, "192.0.2.1:80".parse().unwrap());
}

// Stopping.

#[test]
fn stopping_lets_a_request_finish_that_is_still_arriving() {
    let mut house = plain();
    let mut client = house.connect();
    client
        .send(b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.reply_head().status, 100);
    let listener = house.listener.take().unwrap();
    let stopping = thread::spawn(move || listener.stop(STUCK));
    // Refused once the listening socket is closed, after which nothing more is told to end.
    while TcpStream::connect(house.address).is_ok() {
        thread::yield_now();
    }
    client.send(b"hello");
    let reply = client.reply();
    assert_eq!(reply.body, "POST /p 127.0.0.1 hello");
    assert_eq!(header(&reply.head, "connection"), Some("close"));
    assert_eq!(stopping.join().unwrap(), Stopped { cut: 0 });
}

#[test]
fn stopping_closes_what_is_idle_and_lets_a_running_request_finish() {
    let mut house = plain();
    let mut idle = house.connect();
    idle.send(&get("/"));
    assert_eq!(idle.reply().status, 200);
    let mut silent = house.connect();
    let mut running = house.connect();
    running.send(&get("/hold"));
    house.entered.recv_timeout(STUCK).unwrap();

    let listener = house.listener.take().unwrap();
    let stopping = thread::spawn(move || listener.stop(STUCK));
    assert_eq!((idle.rest(), silent.rest()), (String::new(), String::new()));
    house.release.send(()).unwrap();
    let reply = running.reply();
    assert_eq!(
        (reply.body.as_str(), header(&reply.head, "connection")),
        ("held", Some("close"))
    );
    assert_eq!(running.rest(), "");
    assert_eq!(stopping.join().unwrap(), Stopped { cut: 0 });
    assert!(TcpStream::connect(house.address).is_err());
    assert_eq!(Arc::strong_count(&house.door), 1);
}

#[test]
fn stopping_cuts_what_is_not_finished_in_time() {
    let mut house = plain();
    let mut slow = house.connect();
    slow.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(slow.reply_head().status, 100);
    assert_eq!(house.stop(SHORT), Stopped { cut: 1 });
    assert_eq!(slow.rest(), "");
    assert_eq!(house.door.calls.load(Ordering::SeqCst), 0);
}

#[test]
fn a_listener_that_is_dropped_no_longer_listens() {
    let mut house = plain();
    drop(house.listener.take());
    assert!(TcpStream::connect(house.address).is_err());
    assert_eq!(Arc::strong_count(&house.door), 1);
}
