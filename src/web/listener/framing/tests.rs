//! Tests of `framing`.

#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;

fn status(head: &str) -> u16 {
    match check(head.as_bytes()) {
        Ok(_) => 200,
        Err(refusal) => refusal.status().0,
    }
}

#[test]
fn only_what_can_be_read_in_one_way_passes() {
    let table: &[(u16, &str)] = &[
        (200, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (200, "GET / HTTP/1.1\r\nhOsT:a\r\n\r\n"),
        (200, "GET / HTTP/1.1\r\nHost: \t a:8080 \t\r\n\r\n"),
        (200, "GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n"),
        (200, "GET /a?b=c&d HTTP/1.1\r\nHost: a\r\nX:\r\n\r\n"),
        (200, "GET http://a/x HTTP/1.1\r\nHost: A:80\r\n\r\n"),
        (200, "GET HTTPS://a?x HTTP/1.1\r\nHost: a\r\n\r\n"),
        (200, "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"),
        (200, "GET / HTTP/1.0\r\n\r\n"),
        (200, "GET / HTTP/1.1\r\nHost: a\r\nX: caf\u{e9}\r\n\r\n"),
        (
            200,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        ),
        (
            200,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n",
        ),
        (
            200,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775807\r\n\r\n",
        ),
        (
            200,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Encoding: identity\r\n\r\n",
        ),
        (
            200,
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\n\r\n",
        ),
        // The length of the body.
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n",
        ),
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        ),
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\n",
        ),
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n",
        ),
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5 5\r\n\r\n",
        ),
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 05\r\n\r\n",
        ),
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n",
        ),
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5.0\r\n\r\n",
        ),
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551615\r\n\r\n",
        ),
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        ),
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 50\r\n\r\n",
        ),
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\ncontent-length: 5\r\n\r\n",
        ),
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
        (
            400,
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n",
        ),
        (
            411,
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
        (
            411,
            "POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding:\tChunked \r\n\r\n",
        ),
        (
            501,
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
        ),
        (
            501,
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        ),
        (
            501,
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n",
        ),
        (
            415,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Encoding: gzip\r\n\r\n",
        ),
        (
            417,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: wonders\r\n\r\n",
        ),
        // The addressee.
        (400, "GET / HTTP/1.1\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost:\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a,b\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a:\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a:+80\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: [a]\r\n\r\n"),
        (400, "GET http://evil/ HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET http://x@a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET http://a/ HTTP/1.0\r\n\r\n"),
        (400, "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET * HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET a HTTP/1.1\r\nHost: a\r\n\r\n"),
        (501, "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n"),
        // The lines.
        (400, "GET / HTTP/1.1\nHost: a\n\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nX: 1\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nX: 1\rY: 2\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nX: \u{7f}\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost : a\r\n\r\n"),
        (
            400,
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\n",
        ),
        (400, "GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nX(y): z\r\n\r\n"),
        (400, "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "\r\n\r\n"),
        (400, "GET /\r\n\r\n"),
        (400, "GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET /\t HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET / x HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET /#x HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "G@T / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET / http/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET / HTTP/1.1 \r\nHost: a\r\n\r\n"),
        (400, "GET / HTTP/\r\nHost: a\r\n\r\n"),
        (505, "GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
        (505, "GET / HTTP/0.9\r\nHost: a\r\n\r\n"),
        (505, "GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
        (505, "PRI * HTTP/2.0\r\n\r\n"),
        // Not one whole head.
        (400, "GET / HTTP/1.1\r\nHost: a\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\n\r\nx"),
        (400, ""),
    ];
    for (expected, head) in table {
        assert_eq!(
            status(head),
            *expected,
            "{head:?} gives {:?}",
            check(head.as_bytes())
        );
    }
}

#[test]
fn a_good_head_says_where_its_body_ends_and_whom_it_is_for() {
    let head = b"POST http://Door.example:80/webhook/?a=b HTTP/1.1\r\nHost: door.example:80\r\n\
        Content-Length: 17\r\nExpect: 100-Continue\r\n\r\n";
    let expected = Framing {
        method: "POST",
        path: "/webhook/",
        content_length: 17,
        expect_continue: true,
        host: Some("door.example"),
    };
    assert_eq!(check(head), Ok(expected));
}

#[test]
fn sixty_four_fields_pass_and_one_more_does_not() {
    let with = |count: usize| {
        let fields: String = (1..count).map(|n| format!("X-{n}: y\r\n")).collect();
        status(&format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"))
    };
    assert_eq!((with(FIELDS_MAX), with(FIELDS_MAX + 1)), (200, 431));
}

#[test]
fn a_head_of_sixteen_kibibytes_passes_and_one_byte_more_does_not() {
    let with = |bytes: usize| {
        let frame = "GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n".len();
        let filling = "y".repeat(bytes - frame);
        status(&format!(
            "GET / HTTP/1.1\r\nHost: a\r\nX: {filling}\r\n\r\n"
        ))
    };
    assert_eq!((with(HEAD_BYTES_MAX), with(HEAD_BYTES_MAX + 1)), (200, 431));
}

/// Bytes that look like a request often enough to get past the first line.
fn near_heads() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just("GET / HTTP/1.1\r\n".to_owned()),
        Just("POST /x HTTP/1.0\r\n".to_owned()),
        Just("Host: a\r\n".to_owned()),
        Just("Host: [::1]:80\r\n".to_owned()),
        Just("Host: [".to_owned()),
        Just("Content-Length: ".to_owned()),
        Just("Transfer-Encoding: chunked\r\n".to_owned()),
        Just("http://".to_owned()),
        Just("\r\n".to_owned()),
        Just("\r".to_owned()),
        Just("\n".to_owned()),
        Just("\0".to_owned()),
        Just(" ".to_owned()),
        Just(":".to_owned()),
        "[0-9]{1,21}",
        "\\PC{0,8}",
    ];
    prop::collection::vec(piece, 0..16).prop_map(|pieces| pieces.concat().into_bytes())
}

proptest! {
    #[test]
    fn no_bytes_make_the_check_panic(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        let _ = check(&bytes);
        let _ = head_end(&bytes, 0);
    }

    #[test]
    fn no_near_head_makes_the_check_panic_and_what_passes_ends_in_an_empty_line(
        bytes in near_heads()
    ) {
        if check(&bytes).is_ok() {
            prop_assert!(bytes.ends_with(b"\r\n\r\n"));
            prop_assert_eq!(head_end(&bytes, 0), Ok(Some(bytes.len())));
        }
    }

    #[test]
    fn the_end_is_found_alike_however_the_bytes_arrive(
        bytes in near_heads(),
        step in 1_usize..40,
    ) {
        let whole = head_end(&bytes, 0);
        let mut scanned = 0;
        let mut by_steps = Ok(None);
        while scanned < bytes.len() && by_steps == Ok(None) {
            let received = (scanned + step).min(bytes.len());
            by_steps = head_end(&bytes[..received], scanned);
            scanned = received;
        }
        prop_assert_eq!(by_steps, whole);
    }
}
