//! What Portero says, per language: sentences of the domain become messages and mails.

mod words;

use crate::domain::binding::{Binding, ReleaseReason};
use crate::domain::conversation::{ButtonAction, Opening, OurButton, Sentence};
use crate::domain::delivery::{Button, ChatMessage, Link, LinkTarget, Mail};
use crate::domain::id::{EmailAddress, ServiceName};
use crate::domain::language::Language;
use crate::domain::policy::{Methods, Policy};
use crate::domain::secret::{OtpCode, ReturnCode};
use crate::domain::time::{DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, Timestamp};
use std::collections::HashMap;

pub use words::Key;

/// One sentence that an operator wants to say differently.
#[derive(Clone, Debug)]
pub struct Override {
    /// In which language.
    pub language: Language,
    /// Which sentence, by its key.
    pub key: String,
    /// The new words, with the placeholders of the original.
    pub words: String,
}

/// Every sentence in every language, with the operator's own over them.
#[derive(Clone, Debug, Default)]
pub struct Texts {
    overrides: HashMap<(Language, Key), String>,
}

/// What sentences speak about besides the person.
#[derive(Clone, Debug)]
pub struct Voice {
    /// The business, as people know it.
    pub business: String,
    /// The services and what people call them, in the order of the configuration.
    pub services: Vec<(ServiceName, String)>,
    /// Digits of a code.
    pub code_digits: usize,
    /// Minutes for which a code is good.
    pub code_minutes: u64,
    /// The ways in that are offered.
    pub methods: Methods,
    /// Minutes for which a link is good.
    pub link_minutes: u64,
}

impl Voice {
    /// What people call a service.
    pub fn title_of<'a>(&'a self, service: &'a ServiceName) -> &'a str {
        let known = self.services.iter().find(|(name, _)| name == service);
        known.map_or(service.as_str(), |(_, title)| title)
    }
}

/// What a mail about a new binding tells.
#[derive(Clone, Copy, Debug)]
pub struct BoundAccount<'a> {
    /// As whom.
    pub bindings: &'a [Binding],
    /// The end of the number of the chat, when it is shown.
    pub chat_ending: Option<&'a str>,
    /// When.
    pub proved_at: Timestamp,
}

/// Characters that an operator's own words may have: with names filled in they must still fit
/// beside buttons (Meta's contract, section 3.3).
const WORDS_CHARS_MAX: usize = 700;

/// Accounts named in one sentence; the rest are counted.
const ACCOUNTS_NAMED_MAX: usize = 4;

impl Texts {
    /// The built-in sentences with `overrides` laid over them; every problem at once, each with the
    /// index of the override it belongs to.
    pub fn with_overrides(overrides: &[Override]) -> Result<Texts, Vec<(usize, String)>> {
        let mut texts = Texts::default();
        let mut problems = Vec::new();
        for (
            index,
            Override {
                language,
                key,
                words,
            },
        ) in overrides.iter().enumerate()
        {
            let Some(known) = Key::ALL.iter().copied().find(|known| known.name() == key) else {
                let near = Key::ALL
                    .iter()
                    .map(|known| (strsim::damerau_levenshtein(known.name(), key), known.name()))
                    .min()
                    .filter(|(distance, _)| *distance <= 3)
                    .map_or(String::new(), |(_, name)| format!("; did you mean {name}?"));
                problems.push((index, format!("there is no sentence called {key}{near}")));
                continue;
            };
            match check_words(known, words) {
                Ok(()) => {
                    texts.overrides.insert((*language, known), words.clone());
                }
                Err(problem) => problems.push((index, problem)),
            }
        }
        if problems.is_empty() {
            Ok(texts)
        } else {
            Err(problems)
        }
    }

    /// Key, placeholders and words of every sentence in a language, in the order of the documentation.
    pub fn catalogue(
        &self,
        language: Language,
    ) -> Vec<(&'static str, &'static [&'static str], String)> {
        Key::ALL
            .iter()
            .map(|key| {
                (
                    key.name(),
                    key.placeholders(),
                    self.words(language, *key).to_owned(),
                )
            })
            .collect()
    }

    fn words(&self, language: Language, key: Key) -> &str {
        match self.overrides.get(&(language, key)) {
            Some(words) => words,
            None => key.words(language),
        }
    }

    fn fill(&self, language: Language, key: Key, values: &[(&str, &str)]) -> String {
        fill(self.words(language, key), values)
    }

    /// A sentence as text, with its placeholders filled in: for pages, which are no messages.
    pub fn say(&self, language: Language, key: Key, values: &[(&str, &str)]) -> String {
        self.fill(language, key, values)
    }

    /// How long ago something was, in words: `hace 2 minutos`. Rounded down.
    pub fn ago(&self, language: Language, ms: u64) -> String {
        let (one, more, unit_ms) = match ms {
            0..MINUTE_MS => return self.fill(language, Key::AgoMoment, &[]),
            MINUTE_MS..HOUR_MS => (Key::AgoMinute, Key::AgoMinutes, MINUTE_MS),
            HOUR_MS..DAY_MS => (Key::AgoHour, Key::AgoHours, HOUR_MS),
            _ => (Key::AgoDay, Key::AgoDays, DAY_MS),
        };
        match ms / unit_ms {
            1 => self.fill(language, one, &[]),
            number => self.fill(language, more, &[("number", &number.to_string())]),
        }
    }

    /// How often something may still be tried: `2 veces más`.
    pub fn tries_left(&self, language: Language, left: u32) -> String {
        match left {
            1 => self.fill(language, Key::Once, &[]),
            more => self.fill(language, Key::Times, &[("number", &more.to_string())]),
        }
    }

    /// A sentence as a message, with the buttons that belong to it.
    pub fn chat(
        &self,
        language: Language,
        sentence: &Sentence,
        voice: &Voice,
        now: Timestamp,
    ) -> ChatMessage {
        let services = self.one_of(language, voice);
        let digits = voice.code_digits.to_string();
        let minutes = voice.code_minutes.to_string();
        let say = |key, values: &[(&str, &str)]| self.fill(language, key, values);
        let asking = |key| {
            say(
                key,
                &[("business", &voice.business), ("services", &services)],
            )
        };
        let wait = |until: &Timestamp| self.wait(language, until.since_ms(now));
        let Methods { mail, web } = voice.methods;
        let buttons = |tag: &str, actions: &[ButtonAction]| {
            let offered: Vec<ButtonAction> = (actions.iter().copied())
                .filter(|action| match action {
                    ButtonAction::OtherAddress => mail,
                    ButtonAction::Web => web,
                    _ => true,
                })
                .collect();
            self.buttons(language, tag, &offered)
        };
        let code_buttons = |tag: &str| {
            buttons(
                tag,
                &[
                    ButtonAction::Resend,
                    ButtonAction::OtherAddress,
                    ButtonAction::Cancel,
                ],
            )
        };
        let web_button = || buttons("", &[ButtonAction::Web]);
        let link_buttons = |tag: &str| {
            buttons(
                tag,
                &[
                    ButtonAction::NewLink,
                    ButtonAction::OtherAddress,
                    ButtonAction::Cancel,
                ],
            )
        };
        let mut link = None;
        let (body, buttons) = match sentence {
            Sentence::Welcome => (asking(Key::Welcome), web_button()),
            Sentence::WelcomeAgain(reason) => {
                let key = match reason {
                    ReleaseReason::IdentityKeyChanged
                    | ReleaseReason::NumberChanged
                    | ReleaseReason::Conflict => Key::AgainChanged,
                    ReleaseReason::Idle | ReleaseReason::Aged => Key::AgainExpired,
                    ReleaseReason::LoggedOut
                    | ReleaseReason::Operator
                    | ReleaseReason::Undone
                    | ReleaseReason::Replaced
                    | ReleaseReason::Bot
                    | ReleaseReason::Forgotten => Key::Welcome,
                };
                (asking(key), web_button())
            }
            Sentence::AskAddress => (asking(Key::AskAddress), web_button()),
            Sentence::AddressNotUnderstood => (asking(Key::AddressNotUnderstood), web_button()),
            Sentence::OneAddressOnly => (say(Key::OneAddressOnly, &[]), Vec::new()),
            Sentence::DidYouMean {
                typed,
                suggested,
                tag,
            } => (
                say(
                    Key::DidYouMean,
                    &[("typed", typed.as_str()), ("suggested", suggested.as_str())],
                ),
                self.buttons(
                    language,
                    tag,
                    &[
                        ButtonAction::Yes,
                        ButtonAction::No,
                        ButtonAction::OtherAddress,
                    ],
                ),
            ),
            Sentence::CodeOnItsWay { address, tag } => (
                say(
                    Key::CodeOnItsWay,
                    &[
                        ("address", &address.masked()),
                        ("digits", &digits),
                        ("minutes", &minutes),
                    ],
                ),
                code_buttons(tag),
            ),
            Sentence::CodeWrong { left: 0, tag } => (say(Key::CodeDead, &[]), code_buttons(tag)),
            Sentence::CodeWrong { left, tag } => {
                let left = self.tries_left(language, *left);
                (say(Key::CodeWrong, &[("left", &left)]), code_buttons(tag))
            }
            Sentence::CodeExpired { tag } => (
                say(Key::CodeExpired, &[("minutes", &minutes)]),
                code_buttons(tag),
            ),
            Sentence::CodeLength { tag } => (
                say(Key::CodeLength, &[("digits", &digits)]),
                code_buttons(tag),
            ),
            Sentence::TypeTheCode { tag } => (
                say(Key::TypeTheCode, &[("digits", &digits)]),
                code_buttons(tag),
            ),
            Sentence::WaitForNextCode { until } => (
                say(Key::WaitForNextCode, &[("wait", &wait(until))]),
                Vec::new(),
            ),
            Sentence::TooManyCodes { until } => (
                say(Key::TooManyCodes, &[("wait", &wait(until))]),
                Vec::new(),
            ),
            Sentence::TooManyFailures { until } => (
                say(Key::TooManyFailures, &[("wait", &wait(until))]),
                Vec::new(),
            ),
            Sentence::SignInPaused => (say(Key::SignInPaused, &[]), Vec::new()),
            Sentence::NotForwarded => (say(Key::NotForwarded, &[]), Vec::new()),
            Sentence::TextOnly => (say(Key::TextOnly, &[]), Vec::new()),
            Sentence::TooLate => (say(Key::TooLate, &[]), Vec::new()),
            Sentence::OldButton => (say(Key::OldButton, &[]), Vec::new()),
            Sentence::Cancelled => (say(Key::Cancelled, &[]), Vec::new()),
            Sentence::SignedIn(bindings) => (
                say(
                    Key::SignedIn,
                    &[("accounts", &self.accounts(language, bindings, voice))],
                ),
                Vec::new(),
            ),
            Sentence::WhoYouAre(bindings) => (
                say(
                    Key::WhoYouAre,
                    &[("accounts", &self.accounts(language, bindings, voice))],
                ),
                self.buttons(language, "", &[ButtonAction::LogOut]),
            ),
            Sentence::NotSignedIn => (asking(Key::NotSignedIn), web_button()),
            Sentence::LoggedOut => (say(Key::LoggedOut, &[]), Vec::new()),
            Sentence::LookUpFailed => (say(Key::LookUpFailed, &[]), Vec::new()),
            Sentence::LookUpIncomplete { tag } => {
                (say(Key::LookUpIncomplete, &[]), code_buttons(tag))
            }
            Sentence::MailFailed => (say(Key::MailFailed, &[]), Vec::new()),
            Sentence::Link { mapping, opening } => {
                let key = match opening {
                    Opening::Asked => Key::Link,
                    Opening::Confirm => Key::LinkConfirm,
                    Opening::First => Key::LinkFirst,
                    Opening::Again(reason) => match reason {
                        ReleaseReason::IdentityKeyChanged
                        | ReleaseReason::NumberChanged
                        | ReleaseReason::Conflict => Key::LinkAgainChanged,
                        ReleaseReason::Idle | ReleaseReason::Aged => Key::LinkAgainExpired,
                        ReleaseReason::LoggedOut
                        | ReleaseReason::Operator
                        | ReleaseReason::Undone
                        | ReleaseReason::Replaced
                        | ReleaseReason::Bot
                        | ReleaseReason::Forgotten => Key::LinkFirst,
                    },
                };
                link = Some(Link {
                    title: say(Key::LinkTitle, &[]),
                    to: LinkTarget::SignIn(*mapping),
                });
                let values = [
                    ("business", voice.business.as_str()),
                    ("services", &services),
                    ("minutes", &voice.link_minutes.to_string()),
                ];
                (say(key, &values), Vec::new())
            }
            Sentence::UseTheLink { tag } => (say(Key::UseTheLink, &[]), link_buttons(tag)),
            Sentence::LinkExpired { tag } => (say(Key::LinkExpired, &[]), link_buttons(tag)),
            Sentence::TooManyLinks { until } => (
                say(Key::TooManyLinks, &[("wait", &wait(until))]),
                Vec::new(),
            ),
            Sentence::LinkBurned { tag } => (say(Key::LinkBurned, &[]), link_buttons(tag)),
            Sentence::LinkDeclined => (say(Key::LinkDeclined, &[]), Vec::new()),
            Sentence::SignInNotCompleted { tag } => {
                (say(Key::SignInNotCompleted, &[]), link_buttons(tag))
            }
            Sentence::NotYourSignIn => (say(Key::NotYourSignIn, &[]), Vec::new()),
            Sentence::AccountRefused => (
                say(Key::AccountRefused, &[("business", &voice.business)]),
                Vec::new(),
            ),
            Sentence::StepUp { address, tag } => (
                say(
                    Key::StepUp,
                    &[
                        ("address", &address.masked()),
                        ("digits", &digits),
                        ("minutes", &minutes),
                    ],
                ),
                code_buttons(tag),
            ),
            Sentence::StepUpFailed { tag } => (say(Key::StepUpFailed, &[]), link_buttons(tag)),
            Sentence::Undone => (say(Key::Undone, &[]), Vec::new()),
            Sentence::Confirm { address, tag } => (
                say(
                    Key::Confirm,
                    &[
                        ("address", &address.masked()),
                        ("digits", &digits),
                        ("minutes", &minutes),
                    ],
                ),
                self.buttons(language, tag, &[ButtonAction::Resend, ButtonAction::Cancel]),
            ),
            Sentence::ConfirmAddress => (asking(Key::ConfirmAddress), Vec::new()),
            Sentence::ConfirmFailed => (say(Key::ConfirmFailed, &[]), Vec::new()),
            Sentence::NeverYourPassword => (
                say(Key::NeverYourPassword, &[("business", &voice.business)]),
                Vec::new(),
            ),
            Sentence::ForgetYou { tag } => (
                say(Key::ForgetYou, &[("business", &voice.business)]),
                self.buttons(
                    language,
                    tag,
                    &[ButtonAction::ForgetMe, ButtonAction::KeepMe],
                ),
            ),
            Sentence::Forgotten => (say(Key::Forgotten, &[]), Vec::new()),
            Sentence::NotForgotten => (say(Key::NotForgotten, &[]), Vec::new()),
        };
        let chars_max = if buttons.is_empty() && link.is_none() {
            ChatMessage::BODY_CHARS_MAX
        } else {
            ChatMessage::BODY_WITH_BUTTONS_CHARS_MAX
        };
        ChatMessage {
            body: cap(body, chars_max),
            buttons,
            link,
        }
    }

    /// A sentence without buttons, for a bot that says it itself.
    pub fn plain(
        &self,
        language: Language,
        sentence: &Sentence,
        voice: &Voice,
        now: Timestamp,
    ) -> String {
        self.chat(language, sentence, voice, now).body
    }

    /// The mail that carries a code. `chat_ending` is the end of the number that asked for it.
    pub fn code_mail(
        &self,
        language: Language,
        to: &EmailAddress,
        code: &OtpCode,
        chat_ending: Option<&str>,
        id: String,
        voice: &Voice,
    ) -> Mail {
        let say = |key, values: &[(&str, &str)]| self.fill(language, key, values);
        let business = voice.business.as_str();
        let chat = self.chat_named(language, chat_ending);
        let code = code.reveal();
        let first = say(Key::MailCode, &[("code", code), ("business", business)]);
        let how = say(
            Key::MailHow,
            &[("minutes", &voice.code_minutes.to_string())],
        );
        let asked_by = say(Key::MailAskedBy, &[("chat", &chat)]);
        let not_you = say(Key::MailNotYou, &[("business", business)]);
        Mail {
            to: to.clone(),
            subject: say(Key::MailSubject, &[("code", code), ("business", business)]),
            text: format!("{first}\n\n{how}\n\n{asked_by} {not_you}\n"),
            html: code_mail_html(
                language,
                business,
                code,
                [&first, &how, &asked_by, &not_you],
            ),
            id,
            language: language.code(),
        }
    }

    /// What a browser makes ready to be sent in the chat.
    pub fn return_text(&self, language: Language, code: &ReturnCode, voice: &Voice) -> String {
        let values = [
            ("business", voice.business.as_str()),
            ("code", code.reveal()),
        ];
        self.fill(language, Key::ReturnText, &values)
    }

    /// The mail that tells the owner of an account that a chat was bound to it, with the address of
    /// the page where that can be undone.
    pub fn bound_mail(
        &self,
        language: Language,
        to: &EmailAddress,
        about: &BoundAccount<'_>,
        undo_url: &str,
        id: String,
        voice: &Voice,
    ) -> Mail {
        let say = |key, values: &[(&str, &str)]| self.fill(language, key, values);
        let chat = self.chat_named(language, about.chat_ending);
        let accounts = self.accounts(language, about.bindings, voice);
        let time = date(language, about.proved_at);
        let what = [
            ("chat", chat.as_str()),
            ("accounts", &accounts),
            ("time", &time),
        ];
        let days = (Policy::UNDO_MS / DAY_MS).to_string();
        let lines = [
            say(Key::BoundWhat, &what),
            say(Key::BoundFine, &[]),
            say(Key::BoundUndo, &[("days", &days)]),
        ];
        let subject = say(Key::BoundSubject, &[("business", &voice.business)]);
        let button = (say(Key::BoundButton, &[]), undo_url);
        let html = notice_html(language, &voice.business, &lines, Some(&button));
        Mail {
            to: to.clone(),
            subject,
            text: format!("{}\n\n{undo_url}\n", lines.join("\n\n")),
            html,
            id,
            language: language.code(),
        }
    }

    /// The mail that tells the owner of an account that somebody signed in with their password
    /// through the link of a chat that is not theirs, and was refused.
    pub fn refused_mail(
        &self,
        language: Language,
        to: &EmailAddress,
        chat_ending: Option<&str>,
        id: String,
        voice: &Voice,
    ) -> Mail {
        let chat = self.chat_named(language, chat_ending);
        let business = ("business", voice.business.as_str());
        let say = |key, values: &[(&str, &str)]| self.fill(language, key, values);
        let lines = [
            say(Key::RefusedWhat, &[("chat", &chat), business]),
            say(Key::RefusedAdvice, &[business]),
        ];
        Mail {
            to: to.clone(),
            subject: say(Key::RefusedSubject, &[business]),
            text: format!("{}\n", lines.join("\n\n")),
            html: notice_html(language, &voice.business, &lines, None),
            id,
            language: language.code(),
        }
    }

    /// `the WhatsApp number that ends in 34`.
    fn chat_named(&self, language: Language, ending: Option<&str>) -> String {
        match ending {
            Some(ending) => self.fill(language, Key::ChatNumber, &[("ending", ending)]),
            None => self.fill(language, Key::ChatHidden, &[]),
        }
    }

    /// `Kutamma o woku`.
    fn one_of(&self, language: Language, voice: &Voice) -> String {
        let titles: Vec<String> = voice
            .services
            .iter()
            .map(|(_, title)| title.clone())
            .collect();
        self.join(language, &titles, Key::Or)
    }

    /// `Ana (La Espiga, Kutamma) y Ana (La Espiga, woku)`.
    pub fn accounts(&self, language: Language, bindings: &[Binding], voice: &Voice) -> String {
        let mut named: Vec<String> = bindings
            .iter()
            .take(ACCOUNTS_NAMED_MAX)
            .map(|binding| {
                let values = [
                    ("name", binding.name.as_str()),
                    ("company", &binding.company.name),
                    ("service", voice.title_of(&binding.service)),
                ];
                let key = match (binding.name.as_str(), binding.company.name.as_str()) {
                    ("", _) => Key::AccountUnnamed,
                    (_, "") => Key::AccountAlone,
                    _ => Key::AccountName,
                };
                self.fill(language, key, &values)
            })
            .collect();
        if bindings.len() > named.len() {
            named.push(format!("+{}", bindings.len() - named.len()));
        }
        self.join(language, &named, Key::And)
    }

    fn join(&self, language: Language, parts: &[String], last_joint: Key) -> String {
        match parts {
            [] => String::new(),
            [one] => one.clone(),
            [rest @ .., last] => {
                let joint = euphonic(self.words(language, last_joint), language, last);
                format!("{} {joint} {last}", rest.join(", "))
            }
        }
    }

    /// A wait, rounded up so that it is never said too short.
    pub fn wait(&self, language: Language, ms: u64) -> String {
        let (key, unit_ms) = match ms {
            0..=120_000 => (Key::Seconds, SECOND_MS),
            120_001..=7_200_000 => (Key::Minutes, MINUTE_MS),
            _ => (Key::Hours, HOUR_MS),
        };
        // At least 2, so that the plural is right in every language.
        let number = ms.div_ceil(unit_ms).max(2);
        self.fill(language, key, &[("number", &number.to_string())])
    }

    fn buttons(&self, language: Language, tag: &str, actions: &[ButtonAction]) -> Vec<Button> {
        actions
            .iter()
            .map(|action| {
                let key = match action {
                    ButtonAction::Resend => Key::ButtonResend,
                    ButtonAction::OtherAddress => Key::ButtonOtherAddress,
                    ButtonAction::Cancel => Key::ButtonCancel,
                    ButtonAction::Yes => Key::ButtonYes,
                    ButtonAction::No => Key::ButtonNo,
                    ButtonAction::LogOut => Key::ButtonLogOut,
                    ButtonAction::Web => Key::ButtonWeb,
                    ButtonAction::NewLink => Key::ButtonNewLink,
                    ButtonAction::ForgetMe => Key::ButtonForgetMe,
                    ButtonAction::KeepMe => Key::ButtonKeepMe,
                };
                let title = self.words(language, key).to_owned();
                Button {
                    id: OurButton {
                        action: *action,
                        tag,
                    }
                    .id(),
                    title,
                }
            })
            .collect()
    }
}

/// A moment as people write it, to the minute, in UTC: `21 de noviembre de 2026, 14:05 UTC`.
pub fn date(language: Language, at: Timestamp) -> String {
    const SPANISH: [&str; 12] = [
        "enero",
        "febrero",
        "marzo",
        "abril",
        "mayo",
        "junio",
        "julio",
        "agosto",
        "septiembre",
        "octubre",
        "noviembre",
        "diciembre",
    ];
    const ENGLISH: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    const PORTUGUESE: [&str; 12] = [
        "janeiro",
        "fevereiro",
        "março",
        "abril",
        "maio",
        "junho",
        "julho",
        "agosto",
        "setembro",
        "outubro",
        "novembro",
        "dezembro",
    ];
    let (months, of) = match language {
        Language::Spanish => (SPANISH, " de "),
        Language::English => (ENGLISH, " "),
        Language::Portuguese => (PORTUGUESE, " de "),
    };
    let seconds = i64::try_from(at.0 / SECOND_MS).unwrap_or(i64::MAX);
    // A moment after the year 9999 is nobody's.
    let moment = time::OffsetDateTime::from_unix_timestamp(seconds)
        .unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    let month = months[usize::from(u8::from(moment.month()) - 1)];
    format!(
        "{}{of}{month}{of}{}, {:02}:{:02} UTC",
        moment.day(),
        moment.year(),
        moment.hour(),
        moment.minute()
    )
}

/// Spanish *y* and *o* become *e* and *u* before a word that begins with their sound.
fn euphonic<'w>(joint: &'w str, language: Language, next: &str) -> &'w str {
    let next = next.to_lowercase();
    let sound = next.strip_prefix('h').unwrap_or(&next);
    let begins_with = |vowels: &[char]| sound.starts_with(vowels);
    match (language, joint) {
        // "Hielo" and "hiato" begin with a consonant's sound.
        (Language::Spanish, "y") if next.starts_with("hie") || next.starts_with("hia") => joint,
        (Language::Spanish, "y") if begins_with(&['i', 'í']) => "e",
        (Language::Spanish, "o") if begins_with(&['o', 'ó']) => "u",
        _ => joint,
    }
}

/// Fills `{placeholders}` once, from left to right: what was filled in is not looked at again.
fn fill(words: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(words.len() + 64);
    let mut rest = words;
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        let value = after.split_once('}').and_then(|(name, tail)| {
            values
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| (value, tail))
        });
        match value {
            Some((value, tail)) => {
                filled.push_str(value);
                rest = tail;
            }
            None => {
                filled.push('{');
                rest = after;
            }
        }
    }
    filled.push_str(rest);
    filled
}

/// Why an operator's own words cannot be used, as a sentence.
fn check_words(key: Key, words: &str) -> Result<(), String> {
    /// Without these a sentence does not do what it is for.
    const NEEDED: [(Key, &str); 7] = [
        (Key::ReturnText, "code"),
        (Key::MailCode, "code"),
        (Key::SignedIn, "accounts"),
        (Key::MailAskedBy, "chat"),
        (Key::PageAskedBy, "chat"),
        (Key::PageMailSentHow, "address"),
        (Key::PageUndoWho, "chat"),
    ];
    let name = key.name();
    if words.trim().is_empty() {
        return Err(format!(
            "{name} is empty; leave the key out to keep the built-in words"
        ));
    }
    let is_button = name.starts_with("button_");
    let chars_max = if is_button {
        Button::TITLE_CHARS_MAX
    } else {
        WORDS_CHARS_MAX
    };
    let chars = words.chars().count();
    if chars > chars_max {
        return Err(format!(
            "{name} has {chars} characters; at most {chars_max} fit"
        ));
    }
    if words
        .chars()
        .any(|c| c.is_control() && (c != '\n' || is_button || key == Key::MailSubject))
    {
        return Err(format!("{name} contains a control character"));
    }
    let mut rest = words;
    while let Some((_, after)) = rest.split_once('{') {
        let Some((placeholder, tail)) = after.split_once('}') else {
            return Err(format!("{name} has a {{ without its }}"));
        };
        if !key.placeholders().contains(&placeholder) {
            let known: Vec<String> = key
                .placeholders()
                .iter()
                .map(|known| format!("{{{known}}}"))
                .collect();
            let known = if known.is_empty() {
                "none".to_owned()
            } else {
                known.join(", ")
            };
            return Err(format!(
                "{name} knows no {{{placeholder}}}; its placeholders are: {known}"
            ));
        }
        rest = tail;
    }
    for (needing, placeholder) in NEEDED {
        if needing == key && !words.contains(&format!("{{{placeholder}}}")) {
            return Err(format!("{name} must contain {{{placeholder}}}"));
        }
    }
    Ok(())
}

fn cap(text: String, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        None => text,
        Some(_) => text.chars().take(chars_max - 1).chain(['…']).collect(),
    }
}

/// The HTML part of a notice, in the manner of the mail with the code.
fn notice_html(
    language: Language,
    business: &str,
    lines: &[String],
    button: Option<&(String, &str)>,
) -> String {
    let (language, business) = (language.code(), escape(business));
    let mut body: String = (lines.iter())
        .map(|line| format!("<p style=\"margin:0 0 16px\">{}</p>", escape(line)))
        .collect();
    if let Some((title, url)) = button {
        let (title, url) = (escape(title), escape(url));
        body.push_str(&format!(
            "<p style=\"margin:0 0 16px\"><a href=\"{url}\" style=\"display:inline-block;padding:12px 20px;\
border:2px solid currentColor;border-radius:12px;color:inherit;font-weight:700;text-decoration:none\">{title}</a></p>"
        ));
    }
    format!(
        "<!doctype html><html lang=\"{language}\"><head><meta charset=\"utf-8\">\
<meta name=\"viewport\" content=\"width=device-width\"><meta name=\"color-scheme\" content=\"light dark\">\
<title>{business}</title></head>\
<body style=\"margin:0;padding:24px;font:16px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif\">\
<div style=\"max-width:480px;margin:0 auto\">{body}</div></body></html>"
    )
}

/// The HTML part: one column, system fonts, nothing fetched from anywhere, legible in dark mode.
fn code_mail_html(language: Language, business: &str, code: &str, lines: [&str; 4]) -> String {
    let [first, how, asked_by, not_you] = lines.map(escape);
    let (language, business, code) = (language.code(), escape(business), escape(code));
    format!(
        "<!doctype html><html lang=\"{language}\"><head><meta charset=\"utf-8\">\
<meta name=\"viewport\" content=\"width=device-width\"><meta name=\"color-scheme\" content=\"light dark\">\
<title>{business}</title></head>\
<body style=\"margin:0;padding:24px;font:16px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif\">\
<div style=\"max-width:480px;margin:0 auto\">\
<p style=\"margin:0 0 16px\">{first}</p>\
<p style=\"margin:0 0 16px;padding:16px;border:1px solid #9aa7a0;border-radius:12px;text-align:center;\
font:700 32px/1.2 ui-monospace,Menlo,Consolas,monospace;letter-spacing:4px\">{code}</p>\
<p style=\"margin:0 0 16px\">{how}</p>\
<p style=\"margin:0;font-size:14px\">{asked_by} {not_you}</p>\
</div></body></html>"
    )
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
