//! What is said about HTTPS of Portero's own.

use super::finding::Finding;
use crate::cli::serve::hint_about;
use crate::control::CertificateLine;
use crate::http::{Answer, Broken};
use crate::tls::day;
use std::io;
use std::net::SocketAddr;

const NAME: &str = "certificate";

/// A certificate that ends sooner should have been replaced: by an authority a third of its time
/// before, by people at the latest now.
const ENDS_SOON_MS: u64 = 7 * 24 * 60 * 60 * 1_000;

/// What became of the question to the running server.
pub(super) enum Seen {
    /// It has one, or wants one.
    Line(CertificateLine),
    /// It runs without.
    NotThere,
    /// Nobody answered; what is the matter, the store says.
    NobodyToAsk,
}

pub(super) fn certificate(seen: &Seen, now_ms: u64) -> Option<Finding> {
    let line = match seen {
        Seen::Line(line) => line,
        Seen::NotThere => {
            return Some(Finding::wrong(
                NAME,
                "the running server has no HTTPS, though the configuration has it now",
                "restart the server",
            ));
        }
        Seen::NobodyToAsk => return None,
    };
    let trouble = line.trouble.as_deref().unwrap_or("the log says why");
    Some(match (line.ends_at_ms, line.failures_in_a_row) {
        (None, 0) => Finding::wrong(
            NAME,
            "there is none yet",
            "it is asked for by itself: `portero tls show` says when, and then why it did not come",
        ),
        (None, _) => Finding::wrong(
            NAME,
            format!("there is none yet: {trouble}"),
            "put that right; then `portero tls renew` asks again at once",
        ),
        (Some(ends), _) if ends < now_ms => Finding::wrong(
            NAME,
            format!("it ended on {}: {trouble}", day_of(ends)),
            renew(line),
        ),
        (Some(ends), failures) if failures > 0 || ends - now_ms < ENDS_SOON_MS => Finding::look(
            NAME,
            match failures {
                0 => format!("it ends on {}", day_of(ends)),
                _ => format!(
                    "it ends on {}, and there is no new one: {trouble}",
                    day_of(ends)
                ),
            },
            renew(line),
        ),
        (Some(ends), _) => Finding::fine(
            NAME,
            match line.next_try_at_ms {
                Some(next) => format!(
                    "it ends on {}; the next one is asked for on {}",
                    day_of(ends),
                    day_of(next)
                ),
                None => format!("it ends on {}", day_of(ends)),
            },
        ),
    })
}

fn day_of(ms: u64) -> String {
    day(ms / 1_000)
}

fn renew(line: &CertificateLine) -> &'static str {
    match line.by_authority {
        true => "put right what hinders it; then `portero tls renew` asks again at once",
        false => {
            "renew it, and let whoever renews it write the files in tls.certificate and tls.key"
        }
    }
}

/// `bound` is what came of listening there for a moment, while no server runs.
pub(super) fn port(address: SocketAddr, bound: &io::Result<()>) -> Finding {
    let name = format!("port {}", address.port());
    match bound {
        Ok(()) => Finding::fine(&name, "it is free, and may be listened on"),
        // The service may be allowed what the user of this command is not.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Finding::look(
            &name,
            "this user may not listen on it",
            hint_about(address, error),
        ),
        Err(error) => Finding::wrong(
            &name,
            format!("it cannot be listened on: {error}"),
            hint_about(address, error),
        ),
    }
}

/// What the authority's directory answered.
pub(super) fn authority(host: &str, answer: &Result<Answer, Broken>) -> Finding {
    const AUTHORITY: &str = "authority";
    match answer {
        Ok(answer) if answer.status == 200 && answer.is_json => {
            Finding::fine(AUTHORITY, format!("{host} answers"))
        }
        Ok(answer) => Finding::wrong(
            AUTHORITY,
            format!(
                "{host} answers with status {}, and no directory",
                answer.status
            ),
            "look at tls.acme_directory",
        ),
        Err(broken) if broken.certificate_refused => Finding::wrong(
            AUTHORITY,
            format!("its certificate is refused: {}", broken.reason),
            "if it is an authority of your own, name its certificate in tls.acme_ca_file",
        ),
        Err(broken) => Finding::silence(
            AUTHORITY,
            format!("{host} gives no answer: {}", broken.reason),
            "look at the network of this machine, and whether it may connect to the outside",
        ),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::finding::Verdict;
    use super::*;

    const NOW: u64 = 1_800_000_000_000;
    const DAY: u64 = 24 * 60 * 60 * 1_000;

    fn line(ends_at_ms: Option<u64>, failures_in_a_row: u32) -> CertificateLine {
        CertificateLine {
            ends_at_ms,
            by_authority: true,
            next_try_at_ms: Some(NOW + 30 * DAY),
            failures_in_a_row,
            trouble: (failures_in_a_row > 0).then(|| "the port is closed".to_owned()),
        }
    }

    #[test]
    fn a_certificate_is_wrong_when_there_is_none_and_worth_a_look_before_it_ends() {
        let table = [
            (
                line(Some(NOW + 60 * DAY), 0),
                Verdict::Fine,
                "the next one is asked for on 2027-02-14",
            ),
            (
                line(Some(NOW + 6 * DAY), 0),
                Verdict::Look,
                "it ends on 2027-01-21",
            ),
            (
                line(Some(NOW + 25 * DAY), 3),
                Verdict::Look,
                "there is no new one: the port is closed",
            ),
            (
                line(Some(NOW - 1), 3),
                Verdict::Wrong,
                "it ended on 2027-01-15: the port is closed",
            ),
            (
                line(None, 1),
                Verdict::Wrong,
                "there is none yet: the port is closed",
            ),
            (line(None, 0), Verdict::Wrong, "there is none yet"),
        ];
        for (line, verdict, words) in table {
            let found = certificate(&Seen::Line(line), NOW).unwrap();
            assert_eq!(found.verdict, verdict, "{}", found.what);
            assert!(found.what.contains(words), "{}", found.what);
        }
        assert_eq!(
            certificate(&Seen::NotThere, NOW).unwrap().verdict,
            Verdict::Wrong
        );
        assert!(certificate(&Seen::NobodyToAsk, NOW).is_none());
    }

    #[test]
    fn a_port_that_cannot_be_had_is_told_with_what_to_do() {
        let at: SocketAddr = "[::]:443".parse().unwrap();
        let of = |kind: io::ErrorKind| port(at, &Err(kind.into()));
        assert_eq!(port(at, &Ok(())).verdict, Verdict::Fine);
        let denied = of(io::ErrorKind::PermissionDenied);
        assert_eq!(
            (denied.name.as_str(), denied.verdict),
            ("port 443", Verdict::Look)
        );
        let advice = denied.advice.unwrap();
        assert!(
            advice.contains("AmbientCapabilities=CAP_NET_BIND_SERVICE"),
            "{advice}"
        );
        let taken = of(io::ErrorKind::AddrInUse);
        assert_eq!(taken.verdict, Verdict::Wrong);
        assert!(taken.advice.unwrap().contains("ss -ltnp 'sport = :443'"));
    }
}
