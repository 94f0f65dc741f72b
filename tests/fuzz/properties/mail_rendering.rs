//! F-11. Mails with whatever names and texts: an independent reader of MIME finds the header fields
//! that every mail has and no other, one text part and one HTML part, and in them what was written.

use mail_parser::{MessageParser, MimeHeaders, PartType};
use portero::domain::account::{Account, Company};
use portero::domain::binding::{Binding, Proof};
use portero::domain::clean;
use portero::domain::delivery::Mail;
use portero::domain::id::{EmailAddress, ProofId, ServiceName};
use portero::domain::language::Language;
use portero::domain::policy::Methods;
use portero::domain::secret::{OtpCode, Secret};
use portero::domain::time::Timestamp;
use portero::mail::{Mailer, Security, Settings};
use portero::text::{BoundAccount, Texts, Voice};

const FROM: &str = "no-reply@portero.example";
const TO: &str = "ana@example.com";

/// Names of the header fields of every mail, in this order.
const FIELDS: [&str; 10] = [
    "From",
    "To",
    "Subject",
    "Message-ID",
    "Date",
    "Content-Language",
    "Auto-Submitted",
    "X-Auto-Response-Suppress",
    "MIME-Version",
    "Content-Type",
];

/// Texts, each to its zero byte: the business, the subject, the text, a name, and the HTML.
pub fn holds(input: &[u8]) {
    let texts: Vec<String> = (input.splitn(5, |byte| *byte == 0))
        .map(|text| String::from_utf8_lossy(text).into_owned())
        .collect();
    let text = |at: usize| texts.get(at).map_or("", String::as_str);
    let mailer = mailer(text(0));
    let raw = Mail {
        to: EmailAddress::parse(TO).unwrap(),
        subject: text(1).to_owned(),
        text: text(2).to_owned(),
        html: text(4).to_owned(),
        id: "0a1b-mail".to_owned(),
        language: "es",
    };
    is_read_as_it_was_written(&mailer, &raw, text(0));
    let language = Language::ALL[input.len() % 3];
    for mail in ours(text(0), text(3), text(2), language) {
        is_read_as_it_was_written(&mailer, &mail, text(0));
        only_tags_of_ours(&mail.html);
    }
}

fn mailer(from_name: &str) -> Mailer {
    let settings = Settings {
        server: "127.0.0.1".to_owned(),
        port: 25,
        security: Security::Plain,
        credentials: Some(("portero".to_owned(), Secret::new("romero"))),
        from_name: from_name.to_owned(),
        from: EmailAddress::parse(FROM).unwrap(),
        reply_to: None,
        ca_pem: None,
        connections: 1,
    };
    Mailer::new(&settings).expect("any name will do")
}

/// Every mail that Portero writes, for a business, an account and a service with these names.
fn ours(business: &str, name: &str, title: &str, language: Language) -> Vec<Mail> {
    let service = ServiceName::parse("erp").unwrap();
    let voice = Voice {
        business: business.to_owned(),
        services: vec![(service.clone(), title.to_owned())],
        code_digits: 8,
        code_minutes: 10,
        methods: Methods {
            mail: true,
            web: true,
        },
        link_minutes: 10,
    };
    let to = EmailAddress::parse(TO).unwrap();
    let account = Account {
        service,
        user_id: "u1".to_owned(),
        name: name.to_owned(),
        email: to.clone(),
        phone: None,
        company: Company {
            id: "c1".to_owned(),
            name: name.to_owned(),
        },
    };
    let at = Timestamp(1_800_000_000_000);
    let bindings = [Binding::new(account, Proof::ALL[0], ProofId([1; 16]), at)];
    let about = BoundAccount {
        chat_ending: Some("67"),
        bindings: &bindings,
        proved_at: at,
    };
    let (texts, id) = (Texts::default(), || "0a1b-mail".to_owned());
    let code = OtpCode::parse("40718293").unwrap();
    let undo = "https://portero.example/undo/?token=0123456789abcdef";
    let mails = vec![
        texts.code_mail(language, &to, &code, Some("67"), id(), &voice),
        texts.bound_mail(language, &to, &about, undo, id(), &voice),
        texts.refused_mail(language, &to, None, id(), &voice),
    ];
    assert!(mails[0].subject.contains("40718293") && mails[0].text.contains("40718293"));
    assert!(mails[0].subject.contains(business) && mails[0].text.contains(business));
    assert!(mails[1].text.contains(name) && mails[1].text.contains(title));
    assert!(mails[1].text.ends_with(&format!("\n\n{undo}\n")));
    mails
}

fn is_read_as_it_was_written(mailer: &Mailer, mail: &Mail, business: &str) {
    let (_, content) = mailer.written(mail).expect("a mail that can be sent");
    assert!(content.is_ascii());
    let message = MessageParser::default()
        .parse(content.as_bytes())
        .expect("a mail");
    let fields: Vec<&str> = message.headers().iter().map(|field| field.name()).collect();
    assert_eq!(sorted(&fields), sorted(&FIELDS), "{}", content);
    let only = |address: Option<&mail_parser::Address<'_>>| {
        let all: Vec<(Option<String>, Option<String>)> = (address.into_iter())
            .flat_map(|address| address.iter())
            .map(|one| {
                (
                    one.name().map(str::to_owned),
                    one.address().map(str::to_owned),
                )
            })
            .collect();
        assert_eq!(all.len(), 1, "{all:?}");
        all.into_iter().next().expect("one")
    };
    let (name, from) = only(message.from());
    assert_eq!(from.as_deref(), Some(FROM));
    assert_eq!(spaced(&name.unwrap_or_default()), spaced(&shown(business)));
    assert_eq!(only(message.to()).1.as_deref(), Some(TO));
    let subject = message.subject().unwrap_or_default();
    assert_eq!(spaced(subject), spaced(&shown(&mail.subject)));
    assert_eq!(message.message_id(), Some("0a1b-mail@portero.example"));
    assert_eq!(message.content_language().as_text(), Some(mail.language));
    let kind = message.content_type().expect("a type");
    assert_eq!(
        (kind.ctype(), kind.subtype()),
        ("multipart", Some("alternative"))
    );

    assert_eq!(message.parts.len(), 3, "an envelope and its two parts");
    let PartType::Text(text) = &message.parts[1].body else {
        panic!("the first part is no text");
    };
    let PartType::Html(html) = &message.parts[2].body else {
        panic!("the second part is no HTML");
    };
    for part in &message.parts[1..] {
        assert!(!part.is_encoding_problem, "an encoding that cannot be read");
        assert_eq!(part.headers.len(), 2, "{:?}", part.headers);
    }
    assert_eq!(lines(text), lines(&mail.text));
    assert_eq!(lines(html), lines(&mail.html));
}

fn sorted<'n>(names: &[&'n str]) -> Vec<&'n str> {
    let mut names = names.to_vec();
    names.sort_unstable();
    names
}

/// What of a text may stand in a header field.
fn shown(text: &str) -> String {
    clean::one_line(text, 200).replace("=?", "= ?")
}

/// Words with one space between: how long a space is, is nobody's business in a header field.
fn spaced(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// With one kind of line end.
fn lines(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}

/// A name must not become a tag, an attribute, or anything that is fetched.
fn only_tags_of_ours(html: &str) {
    const TAGS: [&str; 10] = [
        "!doctype", "html", "head", "meta", "title", "body", "div", "p", "a", "span",
    ];
    for part in html.split('<').skip(1) {
        let name: String = (part.trim_start_matches('/').chars())
            .take_while(|c| !c.is_whitespace() && *c != '>')
            .collect();
        assert!(TAGS.contains(&name.as_str()), "<{part}");
        assert_eq!(part.matches('>').count(), 1, "<{part}");
        let tag = part.split('>').next().unwrap_or("");
        assert!(!tag.contains("src=") && !tag.contains(" on"), "<{tag}>");
        if let Some((_, link)) = tag.split_once("href=") {
            assert!(
                link.starts_with("\"https://portero.example/undo/?token="),
                "<{tag}>"
            );
        }
    }
}
