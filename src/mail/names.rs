//! What the name system says about the domain that mails come from: one TXT query at a time to the
//! resolver of this machine, with every limit set (RFC 1035; RFC 6891 for the larger answers).
//!
//! It decides nothing but what an operator is told, so that an answer need not be proved; it must
//! only not be read wrongly, whatever bytes come.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

/// Longest wait for one answer, and tries in all: what a resolver on the same network needs.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(3);
const TRIES_MAX: usize = 3;

/// Name servers of the file that are asked, as resolv.conf(5) has it.
const SERVERS_MAX: usize = 3;

/// Size of an answer that passes every network in one piece (RFC 9715, section 3.1).
const UDP_BYTES_MAX: u16 = 1232;

/// Larger answers by TCP; nobody has more about one name.
const TCP_BYTES_MAX: usize = 16 * 1024;

/// Records of one answer that are read.
const RECORDS_MAX: u16 = 200;

/// Bytes of `/etc/resolv.conf` that are read.
const FILE_BYTES_MAX: u64 = 64 * 1024;

const TXT: u16 = 16;
const INTERNET: u16 = 1;
const OPT: u16 = 41;

/// What a name has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Records {
    /// Its texts, each in one piece; perhaps none.
    Texts(Vec<String>),
    /// There is no such name.
    NoSuchName,
    /// Nobody could say.
    Unknown(&'static str),
}

/// The name servers of this machine; none when its file names none.
pub fn system_servers(file: &Path) -> Vec<SocketAddr> {
    let mut text = String::new();
    let read = std::fs::File::open(file)
        .and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text));
    if read.is_err() {
        return Vec::new();
    }
    servers_in(&text)
}

fn servers_in(text: &str) -> Vec<SocketAddr> {
    let addresses = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next())?
    });
    addresses
        // A zone such as `%eth0` is left out: a link-local server is rarely the only one.
        .filter_map(|address| address.parse::<IpAddr>().ok())
        .map(|address| SocketAddr::new(address, 53))
        .take(SERVERS_MAX)
        .collect()
}

/// The texts of a name.
pub fn texts(name: &str, servers: &[SocketAddr]) -> Records {
    let mut id = [0; 2];
    if getrandom::fill(&mut id).is_err() {
        return Records::Unknown("there is no randomness");
    }
    let Some(query) = query(u16::from_be_bytes(id), name) else {
        return Records::Unknown("the name is not one that can be asked for");
    };
    if servers.is_empty() {
        return Records::Unknown("this machine names no name server");
    }
    let mut why = "no name server answered";
    for server in servers.iter().cycle().take(TRIES_MAX) {
        match ask(&query, *server) {
            Some(Records::Unknown(reason)) => why = reason,
            Some(records) => return records,
            None => {}
        }
    }
    Records::Unknown(why)
}

/// `None` when nothing usable came.
fn ask(query: &[u8], server: SocketAddr) -> Option<Records> {
    match read(query, &by_udp(query, server)?)? {
        Reading::Whole(records) => Some(records),
        Reading::CutShort => match read(query, &by_tcp(query, server)?)? {
            Reading::Whole(records) => Some(records),
            Reading::CutShort => None,
        },
    }
}

fn by_udp(query: &[u8], server: SocketAddr) -> Option<Vec<u8>> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    // From then on nobody else's datagrams arrive.
    socket.connect(server).ok()?;
    socket.send(query).ok()?;
    let deadline = Instant::now() + ANSWER_TIME_MAX;
    let mut buffer = [0; UDP_BYTES_MAX as usize];
    loop {
        let left = deadline.checked_duration_since(Instant::now())?;
        socket
            .set_read_timeout(Some(left.max(Duration::from_millis(1))))
            .ok()?;
        let count = socket.recv(&mut buffer).ok()?;
        let answer = &buffer[..count];
        // A late answer to another question is passed over.
        if answer.len() >= 12 && answer[..2] == query[..2] {
            return Some(answer.to_vec());
        }
    }
}

fn by_tcp(query: &[u8], server: SocketAddr) -> Option<Vec<u8>> {
    let deadline = Instant::now() + ANSWER_TIME_MAX;
    let mut stream = TcpStream::connect_timeout(&server, ANSWER_TIME_MAX).ok()?;
    stream.set_write_timeout(Some(ANSWER_TIME_MAX)).ok()?;
    let length = u16::try_from(query.len()).ok()?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(query);
    stream.write_all(&framed).ok()?;
    let mut length = [0; 2];
    read_until(&mut stream, &mut length, deadline)?;
    let length = usize::from(u16::from_be_bytes(length));
    if length > TCP_BYTES_MAX {
        return None;
    }
    let mut answer = vec![0; length];
    read_until(&mut stream, &mut answer, deadline)?;
    Some(answer)
}

/// Fills the buffer, however slowly the bytes come, but not later than this.
fn read_until(stream: &mut TcpStream, mut buffer: &mut [u8], deadline: Instant) -> Option<()> {
    while !buffer.is_empty() {
        let left = deadline.checked_duration_since(Instant::now())?;
        stream
            .set_read_timeout(Some(left.max(Duration::from_millis(1))))
            .ok()?;
        match stream.read(buffer).ok()? {
            0 => return None,
            count => buffer = &mut std::mem::take(&mut buffer)[count..],
        }
    }
    Some(())
}

/// A question for the texts of a name, by somebody who can take [`UDP_BYTES_MAX`] at a time.
fn query(id: u16, name: &str) -> Option<Vec<u8>> {
    let mut bytes = id.to_be_bytes().to_vec();
    // Recursion desired; one question, and one record that tells our size.
    bytes.extend([0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 1]);
    if name.len() > 253 {
        return None;
    }
    for label in name.trim_end_matches('.').split('.') {
        if !(1..=63).contains(&label.len()) || !label.is_ascii() {
            return None;
        }
        bytes.push(u8::try_from(label.len()).ok()?);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend(TXT.to_be_bytes());
    bytes.extend(INTERNET.to_be_bytes());
    bytes.push(0);
    bytes.extend(OPT.to_be_bytes());
    bytes.extend(UDP_BYTES_MAX.to_be_bytes());
    bytes.extend([0, 0, 0, 0, 0, 0]);
    Some(bytes)
}

enum Reading {
    Whole(Records),
    CutShort,
}

/// Reads an answer to this query; `None` when it is none.
fn read(query: &[u8], answer: &[u8]) -> Option<Reading> {
    let word = |at: usize| Some(u16::from_be_bytes([*answer.get(at)?, *answer.get(at + 1)?]));
    let flags = word(2)?;
    let is_answer = flags & 0x8000 != 0;
    if word(0)? != u16::from_be_bytes([query[0], query[1]]) || !is_answer {
        return None;
    }
    if flags & 0x0200 != 0 {
        return Some(Reading::CutShort);
    }
    match flags & 0x000f {
        0 => {}
        3 => return Some(Reading::Whole(Records::NoSuchName)),
        _ => {
            let why = "the name server refused or failed";
            return Some(Reading::Whole(Records::Unknown(why)));
        }
    }
    let mut at = 12;
    for _ in 0..word(4)?.min(1) {
        at = after_name(answer, at)? + 4;
    }
    let mut texts = Vec::new();
    for _ in 0..word(6)?.min(RECORDS_MAX) {
        at = after_name(answer, at)?;
        let kind = word(at)?;
        let length = usize::from(word(at + 8)?);
        let data = answer.get(at + 10..at + 10 + length)?;
        if kind == TXT {
            texts.push(text(data)?);
        }
        at += 10 + length;
    }
    Some(Reading::Whole(Records::Texts(texts)))
}

/// Where a name ends that begins here; what a pointer leads to is not followed.
fn after_name(answer: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *answer.get(at)? {
            0 => return Some(at + 1),
            length if length & 0xc0 == 0xc0 => return Some(at + 2),
            length if length & 0xc0 == 0 => at += 1 + usize::from(length),
            _ => return None,
        }
    }
}

/// The pieces of a TXT record, put together (RFC 7208, section 3.3).
fn text(mut data: &[u8]) -> Option<String> {
    let mut whole = Vec::new();
    while let Some((length, rest)) = data.split_first() {
        let length = usize::from(*length);
        whole.extend_from_slice(rest.get(..length)?);
        data = &rest[length..];
    }
    Some(String::from_utf8_lossy(&whole).into_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use std::net::TcpListener;

    /// An answer to a query with these records: kind and data.
    fn answer(query: &[u8], flags: u16, records: &[(u16, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = query[..2].to_vec();
        bytes.extend(flags.to_be_bytes());
        bytes.extend([0, 1]);
        bytes.extend(u16::try_from(records.len()).unwrap().to_be_bytes());
        bytes.extend([0, 0, 0, 0]);
        // The question without the record about our size.
        bytes.extend_from_slice(&query[12..query.len() - 11]);
        for (kind, data) in records {
            bytes.extend([0xc0, 12]);
            bytes.extend(kind.to_be_bytes());
            bytes.extend([0, 1, 0, 0, 1, 0]);
            bytes.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
            bytes.extend(data);
        }
        bytes
    }

    fn pieces(pieces: &[&str]) -> Vec<u8> {
        let piece = |text: &&str| {
            let mut bytes = vec![u8::try_from(text.len()).unwrap()];
            bytes.extend(text.as_bytes());
            bytes
        };
        pieces.iter().flat_map(piece).collect()
    }

    /// A name server that gives these answers to the questions that come.
    fn server(answers: impl Fn(&[u8]) -> Vec<u8> + Send + 'static) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok((count, from)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(&answers(&buffer[..count]), from);
            }
        });
        address
    }

    #[test]
    fn the_texts_of_a_name_are_put_together() {
        let at = server(|query| {
            assert_eq!(&query[12..20], b"\x06espiga\x07");
            let spf = pieces(&["v=spf1 include:", "_spf.example -all"]);
            answer(query, 0x8180, &[(5, vec![0]), (16, spf), (16, pieces(&[]))])
        });
        let found = texts("espiga.example", &[at]);
        let expected = ["v=spf1 include:_spf.example -all", ""].map(str::to_owned);
        assert_eq!(found, Records::Texts(expected.into()));
    }

    #[test]
    fn what_is_not_there_is_told_from_what_nobody_knows() {
        let no_name = server(|query| answer(query, 0x8183, &[]));
        assert_eq!(texts("a.example", &[no_name]), Records::NoSuchName);
        let nothing = server(|query| answer(query, 0x8180, &[]));
        assert_eq!(texts("a.example", &[nothing]), Records::Texts(Vec::new()));
        let failing = server(|query| answer(query, 0x8182, &[]));
        assert!(matches!(
            texts("a.example", &[failing]),
            Records::Unknown(_)
        ));
        assert!(matches!(texts("a.example", &[]), Records::Unknown(_)));
        // The next one is asked when one fails.
        assert_eq!(texts("a.example", &[failing, no_name]), Records::NoSuchName);
    }

    #[test]
    fn an_answer_that_is_too_long_is_asked_for_again_by_tcp() {
        // Whoever has the port for TCP has it for UDP, or the next one is tried.
        let (listener, socket) = loop {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            if let Ok(socket) = UdpSocket::bind(listener.local_addr().unwrap()) {
                break (listener, socket);
            }
        };
        let at = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 512];
            let (count, from) = socket.recv_from(&mut buffer).unwrap();
            let cut = answer(&buffer[..count], 0x8380, &[]);
            socket.send_to(&cut, from).unwrap();
            let (mut stream, _) = listener.accept().unwrap();
            let mut query = vec![0; count + 2];
            stream.read_exact(&mut query).unwrap();
            let many = vec![(16, pieces(&[&"a".repeat(200)])); 20];
            let whole = answer(&query[2..], 0x8180, &many);
            let length = u16::try_from(whole.len()).unwrap();
            stream.write_all(&length.to_be_bytes()).unwrap();
            stream.write_all(&whole).unwrap();
        });
        let Records::Texts(found) = texts("long.example", &[at]) else {
            panic!("not read");
        };
        assert_eq!(found.len(), 20);
    }

    #[test]
    fn no_bytes_make_it_fall() {
        let query = query(7, "espiga.example").unwrap();
        let good = answer(&query, 0x8180, &[(16, pieces(&["v=spf1 -all"]))]);
        for end in 0..good.len() {
            // Cut anywhere, it is either no answer or one without the record that was cut.
            let _ = read(&query, &good[..end]);
        }
        for at in 12..good.len() {
            for byte in [0, 0x3f, 0xc0, 0xff] {
                let mut odd = good.clone();
                odd[at] = byte;
                let _ = read(&query, &odd);
            }
        }
        let mut other = good.clone();
        other[0] ^= 1;
        assert!(
            read(&query, &other).is_none(),
            "the answer to another query"
        );
        assert!(read(&query, &query).is_none(), "a question");
        assert!(super::query(7, "a..b").is_none());
        assert!(super::query(7, &"a.".repeat(200)).is_none());
    }

    #[test]
    fn the_name_servers_of_the_machine_are_read() {
        let text = "# made by hand\nsearch example\nnameserver 10.0.0.2\nnameserver ::1 # here\noptions edns0\nnameserver what\n nameserver 10.0.0.3\nnameserver 10.0.0.4\n";
        let servers = servers_in(text);
        let expected = ["10.0.0.2:53", "[::1]:53", "10.0.0.3:53"].map(|a| a.parse().unwrap());
        assert_eq!(servers, expected);
    }
}
