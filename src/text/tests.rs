//! Tests of `text`.

#![allow(clippy::unwrap_used)]
use super::*;
use crate::domain::account::{Account, Company};
use crate::domain::binding::Proof;
use crate::domain::id::{MappingId, ProofId};

fn voice() -> Voice {
    let service = |name: &str| {
        (
            ServiceName::parse(&name.to_lowercase()).unwrap(),
            name.to_owned(),
        )
    };
    Voice {
        business: "Café Río".into(),
        services: vec![service("Kutamma"), service("woku")],
        code_digits: 8,
        code_minutes: 10,
        methods: Methods {
            mail: true,
            web: true,
        },
        link_minutes: 10,
    }
}

#[test]
fn built_in_words_pass_the_checks_that_an_operators_words_must_pass() {
    for key in Key::ALL {
        for language in Language::ALL {
            let words = key.words(language);
            assert_eq!(
                check_words(*key, words),
                Ok(()),
                "{} in {}",
                key.name(),
                language.code()
            );
            for placeholder in key.placeholders() {
                let used = Language::ALL
                    .iter()
                    .any(|l| key.words(*l).contains(&format!("{{{placeholder}}}")));
                assert!(
                    used || *placeholder == "business",
                    "{} promises {{{placeholder}}}",
                    key.name()
                );
            }
        }
    }
}

#[test]
fn an_operators_words_are_checked_one_by_one() {
    let try_one = |key: &str, words: &str| {
        let texts = Texts::with_overrides(&[Override {
            language: Language::Spanish,
            key: key.into(),
            words: words.into(),
        }]);
        texts.map(|_| ()).map_err(|problems| problems[0].1.clone())
    };
    assert_eq!(try_one("welcome", "Soy {business}"), Ok(()));
    assert_eq!(
        try_one("welcom", "Hola").unwrap_err(),
        "there is no sentence called welcom; did you mean welcome?"
    );
    assert_eq!(
        try_one("welcome", "Hola {nombre}").unwrap_err(),
        "welcome knows no {nombre}; its placeholders are: {business}, {services}"
    );
    assert_eq!(
        try_one("mail_code", "Tu código").unwrap_err(),
        "mail_code must contain {code}"
    );
    assert_eq!(
        try_one("button_cancel", "Cancelar todo esto ya").unwrap_err(),
        "button_cancel has 21 characters; at most 20 fit"
    );
    assert_eq!(
        try_one("welcome", "Hola {").unwrap_err(),
        "welcome has a { without its }"
    );
    assert!(try_one("cancelled", " ").is_err());
    assert!(try_one("mail_subject", "{code}\r\nBcc: x@example.com").is_err());
}

#[test]
fn what_is_filled_in_is_not_filled_again() {
    assert_eq!(fill("{a} y {b}", &[("a", "{b}"), ("b", "2")]), "{b} y 2");
    assert_eq!(fill("{unknown} {a}", &[("a", "1")]), "{unknown} 1");
}

#[test]
fn lists_and_waits_read_well() {
    let texts = Texts::default();
    assert_eq!(texts.one_of(Language::Spanish, &voice()), "Kutamma o woku");
    let names = |joint, names: [&str; 2]| {
        let names = names.map(str::to_owned);
        texts.join(Language::Spanish, &names, joint)
    };
    assert_eq!(names(Key::Or, ["Kutamma", "Orión"]), "Kutamma u Orión");
    assert_eq!(names(Key::And, ["Ana", "Inés"]), "Ana e Inés");
    assert_eq!(names(Key::And, ["Ana", "Hielo S.A."]), "Ana y Hielo S.A.");
    assert_eq!(texts.wait(Language::English, 59_001), "60 seconds");
    assert_eq!(
        texts.wait(Language::Spanish, 3 * MINUTE_MS - 1),
        "3 minutos"
    );
    assert_eq!(
        texts.wait(Language::Portuguese, 23 * HOUR_MS + 1),
        "24 horas"
    );
    assert_eq!(texts.wait(Language::English, 1), "2 seconds");
}

#[test]
fn the_mail_shows_the_code_first_and_fetches_nothing() {
    let to = EmailAddress::parse("ana@example.com").unwrap();
    let code = OtpCode::parse("00412345").unwrap();
    for language in Language::ALL {
        let mail =
            Texts::default().code_mail(language, &to, &code, Some("34"), "id".into(), &voice());
        assert!(mail.text.starts_with("00412345 "), "{}", mail.text);
        assert!(mail.subject.starts_with("00412345 "));
        assert!(mail.text.contains("34") && mail.text.contains("Café Río"));
        for remote in [
            "http:", "https:", "src=", "url(", "<script", "<img", "<link",
        ] {
            assert!(!mail.html.contains(remote), "{remote}");
        }
    }
    let mut hostile = voice();
    hostile.business = "<b>\"&'".into();
    let mail =
        Texts::default().code_mail(Language::English, &to, &code, None, "id".into(), &hostile);
    assert!(!mail.html.contains("<b>") && mail.html.contains("&lt;b&gt;&quot;&amp;&#39;"));
}

#[test]
fn a_mail_about_a_sign_in_says_who_and_undoes_it_with_the_one_link_it_has() {
    let to = EmailAddress::parse("ana@example.com").unwrap();
    let account = Account {
        service: ServiceName::parse("kutamma").unwrap(),
        user_id: "7".into(),
        name: "Ana <b>".into(),
        email: to.clone(),
        phone: None,
        company: Company {
            id: "1".into(),
            name: "La Espiga".into(),
        },
    };
    let at = Timestamp(1_800_000_000_000);
    let bindings = [Binding::new(account, Proof::Password, ProofId([1; 16]), at)];
    let about = BoundAccount {
        bindings: &bindings,
        chat_ending: Some("34"),
        proved_at: at,
    };
    let url = "https://portero.example.com/undo/?token=abc";
    for language in Language::ALL {
        let texts = Texts::default();
        let mail = texts.bound_mail(language, &to, &about, url, "id".into(), &voice());
        for part in [&mail.text, &mail.html] {
            assert!(part.contains("34") && part.contains("La Espiga"), "{part}");
            assert_eq!(part.matches("http").count(), 1, "{part}");
            assert!(part.contains(url) && part.contains("2027"), "{part}");
        }
        assert!(!mail.html.contains("<b>") && mail.html.contains("Ana &lt;b&gt;"));
        let mail = texts.refused_mail(language, &to, None, "id".into(), &voice());
        assert!(mail.text.contains("Café Río") && !mail.text.contains('{'));
        assert!(!mail.html.contains("http") && !mail.text.contains("http"));
    }
}

#[test]
fn every_message_fits_into_what_whatsapp_takes() {
    let mut long = voice();
    long.business = "ñ".repeat(300);
    long.services[0].1 = "ñ".repeat(300);
    let address = EmailAddress::parse(&format!("{}@example.com", "a".repeat(64))).unwrap();
    let tag = "0123456789ab".to_owned();
    let sentences = [
        Sentence::Welcome,
        Sentence::DidYouMean {
            typed: address.clone(),
            suggested: address.clone(),
            tag: tag.clone(),
        },
        Sentence::CodeOnItsWay {
            address,
            tag: tag.clone(),
        },
        Sentence::CodeWrong { left: 0, tag },
        Sentence::WhoYouAre(Vec::new()),
        Sentence::Link {
            mapping: MappingId([0; 16]),
            opening: Opening::First,
        },
        Sentence::UseTheLink { tag: "0".into() },
    ];
    for language in Language::ALL {
        for sentence in &sentences {
            let message = Texts::default().chat(language, sentence, &long, Timestamp(0));
            let max = if message.buttons.is_empty() && message.link.is_none() {
                4_096
            } else {
                1_024
            };
            assert!(message.body.chars().count() <= max);
            assert!(message.buttons.len() <= ChatMessage::BUTTONS_MAX);
            for button in &message.buttons {
                assert!(
                    button.title.chars().count() <= Button::TITLE_CHARS_MAX
                        && button.id.len() <= 256
                );
            }
        }
    }
}

#[test]
fn moments_read_as_people_say_them() {
    let texts = Texts::default();
    for (ms, spanish, english) in [
        (0, "hace un momento", "a moment ago"),
        (MINUTE_MS - 1, "hace un momento", "a moment ago"),
        (MINUTE_MS, "hace un minuto", "a minute ago"),
        (3 * MINUTE_MS - 1, "hace 2 minutos", "2 minutes ago"),
        (HOUR_MS, "hace una hora", "an hour ago"),
        (DAY_MS - 1, "hace 23 horas", "23 hours ago"),
        (DAY_MS, "hace un día", "a day ago"),
        (6 * DAY_MS, "hace 6 días", "6 days ago"),
    ] {
        assert_eq!(texts.ago(Language::Spanish, ms), spanish);
        assert_eq!(texts.ago(Language::English, ms), english);
    }
    let at = Timestamp(1_795_269_947_000);
    for (language, expected) in [
        (Language::Spanish, "21 de noviembre de 2026, 14:05 UTC"),
        (Language::English, "21 November 2026, 14:05 UTC"),
        (Language::Portuguese, "21 de novembro de 2026, 14:05 UTC"),
    ] {
        assert_eq!(date(language, at), expected);
    }
    date(Language::English, Timestamp(u64::MAX));
}
