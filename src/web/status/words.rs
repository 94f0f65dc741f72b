//! What happened, in words, and what helps: one sentence and one command for each.

/// Something that went wrong, as it is counted.
pub struct Trouble {
    /// Its name in the tally.
    pub event: &'static str,
    /// What it is, for several.
    pub what: &'static str,
    /// Why, and what helps.
    pub help: &'static str,
    /// What to run.
    pub command: Option<&'static str>,
}

const fn trouble(
    event: &'static str,
    what: &'static str,
    help: &'static str,
    command: &'static str,
) -> Trouble {
    Trouble {
        event,
        what,
        help,
        command: if command.is_empty() {
            None
        } else {
            Some(command)
        },
    }
}

/// Everything that is counted and means that somebody did not get further, the most urgent first.
pub const TROUBLES: &[Trouble] = &[
    trouble(
        "sign_in.paused",
        "Nobody could sign in: too many wrong codes in all",
        "Somebody may be guessing in many chats. It ends by itself within a day; limits.failures_per_day_in_all is the limit.",
        "portero audit list --since 24h",
    ),
    trouble(
        "given_up.whatsapp",
        "Replies that were given up",
        "Meta did not take them. The dead letters have Meta's code and what it means.",
        "portero doctor",
    ),
    trouble(
        "given_up.mail",
        "Mails that were given up",
        "The mail server refused them or gave no answer in time. The dead letters have its answer; the command tries the server.",
        "portero doctor",
    ),
    trouble(
        "given_up.services",
        "Look-ups that were given up",
        "A service did not say who has an address, so nobody got a code. The command shows what it answers.",
        "portero check --service NAME --email ADDRESS",
    ),
    trouble(
        "given_up.bot",
        "Messages that the bot did not take",
        "The bot refused them or gave no answer for a week. Look at its log, then retry the dead letters.",
        "portero outbox list --dead",
    ),
    trouble(
        "given_up.events",
        "Events that nobody took",
        "Whoever is told events refused them or gave no answer. Retry the dead letters once it does.",
        "portero outbox list --dead",
    ),
    trouble(
        "link.mismatch",
        "Sign-ins finished from another chat than the one that asked",
        "Somebody may have been sent another person's link. Nobody was bound, and both were told. If one chat does it often, ask who it is.",
        "portero audit list --since 7d",
    ),
    trouble(
        "link.declined",
        "Links whose reader said: it was not me",
        "Somebody got a link that they had not asked for. The chat that asked is in the log.",
        "portero audit list --since 7d",
    ),
    trouble(
        "contact.released.undone",
        "Sign-ins that the account's owner undid by mail",
        "Somebody else signed in as them: whoever has that chat may have their password. Tell the owner to change it; the chat is barred from the account for a while.",
        "portero audit list --since 7d",
    ),
    trouble(
        "number.wrong",
        "Numbers typed on the page that are not the chat's",
        "A slip, or somebody who was sent another person's link.",
        "",
    ),
    trouble(
        "account.refused",
        "Sign-ins refused for the account",
        "The phone on file is another one than the chat's, or the owner ended an earlier sign-in. Correct the phone in the service, or see sign_in.phone_on_file.",
        "portero config explain sign_in.phone_on_file",
    ),
    trouble(
        "address.unknown",
        "Codes asked for with an address that nobody has",
        "A slip, or an address that the service does not know. The person is not told. Ask the service about the address that they say they use.",
        "portero check --service NAME --email ADDRESS",
    ),
    trouble(
        "code.wrong",
        "Wrong codes",
        "People mistype, or type the code of an older mail. Many within an hour may be somebody guessing; the limits hold.",
        "portero audit list --since 24h",
    ),
    trouble(
        "password.wrong",
        "Wrong passwords on the sign-in page",
        "People forget them. Many within an hour may be somebody guessing; the limits per link, user and network hold.",
        "portero user passwd ADDRESS",
    ),
    trouble(
        "link.burned",
        "Links that died of too many tries",
        "After a few wrong passwords or numbers a link is dead. Asking for a new one in the chat helps.",
        "",
    ),
    trouble(
        "code.forwarded",
        "Codes in forwarded messages",
        "A forwarded code proves nothing and is refused. The person has to type it.",
        "",
    ),
    trouble(
        "sign_in.limited",
        "Stopped by a limit",
        "Too many codes, links or tries by one person or for one address. Waiting helps; the limits are in [limits].",
        "portero config explain limits",
    ),
    trouble(
        "status_page.password_wrong",
        "Wrong passwords for this page",
        "If it was not you, somebody is trying. The waits grow; a long password holds.",
        "portero audit list --since 7d",
    ),
];

/// Whether a line of the audit tells of something that went wrong.
pub fn is_trouble(event: &str) -> bool {
    TROUBLES.iter().any(|trouble| trouble.event == event)
}

/// A line of the audit as a sentence about somebody.
pub fn sentence(event: &str) -> &'static str {
    match event {
        "code.asked" => "asked for a code by mail",
        "code.wrong" => "typed a wrong code",
        "code.forwarded" => "forwarded a code, which was refused",
        "sign_in.limited" => "was stopped by a limit",
        "link.sent" => "got a link to the sign-in page",
        "link.burned" => "lost a link after too many tries",
        "link.declined" => "asked for a link whose reader said that it was not them",
        "link.mismatch" => "had a sign-in finished from another chat, which was refused",
        "password.wrong" => "typed a wrong password on the page",
        "password.right" => "typed the right password on the page",
        "account.refused" => "was refused an account",
        "contact.bound" => "signed in",
        "proof.asked" => "was asked by the bot to sign in",
        "contact.released.logged_out" => "logged out",
        "contact.released.idle" => "was signed out after a long silence",
        "contact.released.aged" => "was signed out because the sign-in was too old",
        "contact.released.identity_key_changed" => {
            "was signed out because WhatsApp's identity key changed"
        }
        "contact.released.number_changed" => "was signed out because the number changed",
        "contact.released.conflict" => "was signed out because two names belonged to two people",
        "contact.released.operator" => "was signed out by an operator",
        "contact.released.undone" => "was signed out by the account's owner, by mail",
        "contact.released.replaced" => "signed in as somebody else",
        "contact.released.bot" => "was signed out by the bot",
        "contact.released.forgotten" => "was signed out and wished to be forgotten",
        // By an operator, or because they wished it in the chat.
        "contact.forgotten" => "somebody was forgotten",
        "configuration.reloaded" => "the configuration was reloaded",
        "user.added" => "a user was added to the directory",
        "user.changed" => "a user of the directory was described anew",
        "user.password_set" => "a password was set for a user of the directory",
        "user.imported" => "users were imported into the directory",
        "user.removed" => "a user was removed from the directory",
        "key.rotated" => "a new signing key was made",
        "key.revoked" => "a signing key was revoked",
        "contact.exported" => "had all that is kept about them exported by an operator",
        "contact.shown" => "was looked up by an operator",
        "events.replayed" => "events were told once more",
        "store.backed_up" => "a copy of the store was made",
        "store.restored" => "a copy took the place of the store",
        "letter.retried" => "had a dead letter tried again by an operator",
        "letter.dropped" => "had a letter dropped by an operator",
        "status_page.signed_in" => "somebody signed in to this page",
        "status_page.password_wrong" => "a wrong password was typed for this page",
        "status_page.signed_out" => "somebody signed out of this page",
        "status_page.contact_released" => "was signed out on this page",
        "status_page.letter_retried" => "had a dead letter tried again on this page",
        "status_page.letter_dropped" => "had a dead letter dropped on this page",
        _ => "",
    }
}

/// Whether the sentence about an event says what somebody did or had done, and not only that
/// something was done.
pub fn is_about_somebody(event: &str) -> bool {
    match event.split_once('.') {
        Some(("configuration" | "user" | "key" | "store" | "events", _)) => false,
        Some(("status_page", act)) => act.starts_with("letter_") || act == "contact_released",
        _ => event != "contact.forgotten",
    }
}

/// What a lane is to people.
pub fn lane(name: &str) -> &'static str {
    match name {
        "whatsapp" => "Replies to WhatsApp",
        "mail" => "Mail",
        "services" => "Look-ups at services",
        "bot" => "Messages to the bot",
        "events" => "Events",
        _ => "Other",
    }
}

/// What helps about something that was given up, by its lane and the reason that was kept.
pub fn advice(lane: &str, reason: &str) -> &'static str {
    // As it was refused at once, or as Meta said later that it failed.
    let later = reason.split_once("(code ").map(|(_, rest)| rest);
    let code = later.unwrap_or(reason).split([' ', ')']).next();
    let code = code.and_then(|code| code.parse().ok());
    match (lane, code) {
        ("whatsapp", Some(code)) => crate::whatsapp::failure_of_code(code)
            .advice
            .unwrap_or("Meta says no more than that; an answer to a person is worth no second try after ten minutes"),
        _ if reason.starts_with("its time was over") => {
            "It waited too long. Look at what is paused, and at what it waited for."
        }
        ("whatsapp", None) => "Meta gave no answer, or an unknown one; `portero doctor` tries the connection.",
        ("mail", _) => "`portero doctor` tries the mail server and says what it answers.",
        ("services", _) => "`portero check --service NAME --email ADDRESS` shows what the service answers.",
        ("bot", _) => "Look at the bot's log, then retry.",
        ("events", _) => "Look at the log of whoever is told events, then retry.",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::{OperatorAct, StatusAct};
    use crate::domain::binding::ReleaseReason;
    use crate::domain::delivery::Lane;
    use crate::domain::tally::Tally;

    #[test]
    fn whatever_is_written_down_has_its_sentence() {
        let acts = StatusAct::ALL.map(StatusAct::event);
        let operator = OperatorAct::ALL.map(OperatorAct::event);
        let reasons = ReleaseReason::ALL.map(ReleaseReason::event);
        let counted = crate::app::Counted::default();
        let counted: Vec<&str> = counted.sign_ins.all().map(|(name, _)| name).collect();
        for event in acts.iter().chain(&operator).chain(&reasons).chain(&counted) {
            // Never written down, only counted.
            let only_counted = *event == "sign_in.paused";
            assert!(only_counted || !sentence(event).is_empty(), "{event}");
        }
    }

    #[test]
    fn whatever_is_given_up_has_what_helps() {
        for of in Lane::ALL {
            assert!(is_trouble(Tally::given_up(of)), "{}", of.name());
            assert_ne!(lane(of.name()), "Other");
            assert!(!advice(of.name(), "500 something").is_empty());
        }
        assert!(is_trouble(Tally::UNKNOWN_ADDRESS) && !is_trouble(Tally::REPLIES));
        for reason in [
            "190 access token expired",
            "Meta reported the message as failed (code 190)",
        ] {
            assert!(
                advice("whatsapp", reason).contains("access_token"),
                "{reason}"
            );
        }
    }
}
