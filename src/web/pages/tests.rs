//! Tests of the pages.

#![allow(clippy::unwrap_used)]
use super::*;
use crate::domain::time::HOUR_MS;

const CHAT_URL: &str = "https://api.whatsapp.com/send/?phone=573001234567&text=Hola%20M4RKED";

fn look() -> Look {
    Look {
        business: "Café Río".into(),
        color: None,
        logo: false,
    }
}

fn model() -> SignIn<'static> {
    SignIn {
        hash: "0123456789abcdef0123456789abcdef01234567",
        form_token: "form-token",
        asked_minutes: Some(2),
        number_ending: Some("34"),
        ..SignIn::default()
    }
}

fn undo_model() -> Undo<'static> {
    Undo {
        token: "undo-token",
        form_token: "form-token",
        account: "Ana Gómez (Café Río)",
        number_ending: Some("34"),
        signed_in_at: Timestamp(1_795_269_947_000),
        now: Timestamp(1_795_269_947_000 + 3 * HOUR_MS),
    }
}

const PROBLEMS: [Option<Problem>; 9] = [
    None,
    Some(Problem::MissingNumber),
    Some(Problem::MissingUser),
    Some(Problem::MissingPassword),
    Some(Problem::WrongNumber { left: 1 }),
    Some(Problem::WrongPassword { left: 4 }),
    Some(Problem::Unavailable),
    Some(Problem::Busy),
    Some(Problem::TooManyTries { minutes: 12 }),
];

/// Every page, with one text in every place where something from outside can stand.
fn all_with(setting: &Setting<'_>, outside: &str) -> Vec<(String, Page)> {
    let mut pages = Vec::new();
    for ask_number in [false, true] {
        for problem in PROBLEMS {
            let model = SignIn {
                hash: outside,
                form_token: outside,
                ask_number,
                typed_number: outside,
                typed_user: outside,
                problem,
                number_ending: Some(outside),
                ..model()
            };
            let name = format!("sign_in {problem:?} {ask_number}");
            pages.push((name, sign_in(setting, &model)));
        }
    }
    let undo_model = Undo {
        token: outside,
        form_token: outside,
        account: outside,
        number_ending: Some(outside),
        ..undo_model()
    };
    let others = [
        ("gone", gone(setting, 10)),
        ("no_link", no_link(setting)),
        ("declined", declined(setting)),
        ("burned", burned(setting)),
        ("back", back(setting, CHAT_URL)),
        ("finished", finished(setting)),
        ("mail_sent", mail_sent(setting, outside)),
        ("refused", refused(setting)),
        ("undo", undo(setting, &undo_model)),
        ("undone", undone(setting)),
        ("undo_gone", undo_gone(setting, 7)),
        ("failure", failure(setting)),
    ];
    pages.extend(others.map(|(name, page)| (name.to_owned(), page)));
    pages
}

fn each_language(check: impl Fn(&Setting<'_>)) {
    let (texts, look) = (Texts::default(), look());
    for language in Language::ALL {
        check(&Setting {
            texts: &texts,
            language,
            look: &look,
            base: "",
            chat_url: Some(CHAT_URL),
        });
    }
}

fn in_english<T>(check: impl FnOnce(&Setting<'_>) -> T) -> T {
    check(&Setting {
        texts: &Texts::default(),
        language: Language::English,
        look: &look(),
        base: "",
        chat_url: Some(CHAT_URL),
    })
}

// ---- reading HTML back ----

/// A tag and its attributes, unescaped; an end tag has a name that begins with a slash.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Tag {
    name: String,
    attributes: Vec<(String, String)>,
}

impl Tag {
    fn get(&self, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// A document as a browser reads it (HTML, section 13.2.5), for as much as maud writes: tags,
/// quoted or bare attributes, text. Anything else is refused.
struct Document {
    tags: Vec<Tag>,
    /// What is between the tags, style and script left out.
    text: String,
}

fn unescape(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&amp;", "&")
}

fn read(html: &str) -> Document {
    let mut rest = html.strip_prefix("<!DOCTYPE html>").unwrap();
    let (mut tags, mut text) = (Vec::new(), String::new());
    while let Some((before, after)) = rest.split_once('<') {
        text.push_str(&unescape(before));
        let end = after.find(['>', ' ']).unwrap();
        let name = after[..end].to_owned();
        let of_a_name = |c: char| c.is_ascii_alphanumeric() || c == '/';
        assert!(!name.is_empty() && name.chars().all(of_a_name), "<{name}");
        let mut attributes = Vec::new();
        rest = after[end..].trim_start();
        while !rest.starts_with('>') {
            let end = rest.find(['=', '>', ' ']).unwrap();
            let attribute = rest[..end].to_owned();
            assert!(!attribute.is_empty(), "<{name} … {rest}");
            rest = &rest[end..];
            let mut value = "";
            if let Some(quoted) = rest.strip_prefix("=\"") {
                (value, rest) = quoted.split_once('"').unwrap();
            }
            attributes.push((attribute, unescape(value)));
            rest = rest.trim_start();
        }
        rest = &rest[1..];
        if name == "style" || name == "script" {
            let (_, after) = rest.split_once(&format!("</{name}>")).unwrap();
            rest = after;
            text.push('\n');
        }
        tags.push(Tag { name, attributes });
    }
    text.push_str(&unescape(rest));
    Document { tags, text }
}

impl Document {
    fn all(&self, name: &str) -> Vec<&Tag> {
        self.tags.iter().filter(|tag| tag.name == name).collect()
    }

    fn by_id(&self, id: &str) -> Option<&Tag> {
        self.tags.iter().find(|tag| tag.get("id") == Some(id))
    }
}

fn inner<'h>(html: &'h str, element: &str) -> Option<&'h str> {
    let (_, rest) = html.split_once(&format!("<{element}>"))?;
    Some(rest.split_once(&format!("</{element}>")).unwrap().0)
}

// ---- S-43 ----

#[test]
fn what_comes_from_outside_never_becomes_an_element() {
    let texts = Texts::default();
    let harmless = look();
    let shape = |look: &Look, outside: &str| -> Vec<(String, Vec<Tag>)> {
        let setting = Setting {
            texts: &texts,
            language: Language::English,
            look,
            base: "",
            chat_url: Some(CHAT_URL),
        };
        let mut pages = Vec::new();
        for (name, page) in all_with(&setting, outside) {
            let tags = read(&page.html).tags.into_iter().map(|mut tag| {
                // Values differ; which attributes there are does not.
                tag.attributes
                    .iter_mut()
                    .for_each(|(_, value)| value.clear());
                tag
            });
            pages.push((name, tags.collect()));
        }
        pages
    };
    let expected = shape(&harmless, "harmless");
    for hostile in [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "' onfocus='alert(1)' autofocus='",
        "\" autofocus onfocus=\"alert(1)",
        "</title></style></script><svg onload=alert(1)>",
        "<!--",
        "&lt;b&gt;{business}{left}",
        "javascript:alert(1)",
    ] {
        let mut look = harmless.clone();
        look.business = hostile.to_owned();
        assert_eq!(shape(&look, hostile), expected, "{hostile}");
    }
}

#[test]
fn what_comes_from_outside_is_shown_as_it_is() {
    let hostile = "O'Neil & \"Söhne\" <b>";
    let business = "Bar & <Grill>";
    let look = Look {
        business: business.into(),
        ..look()
    };
    in_english(|setting| {
        let setting = Setting {
            look: &look,
            ..*setting
        };
        let model = SignIn {
            typed_user: hostile,
            ..model()
        };
        let page = read(&sign_in(&setting, &model).html);
        assert_eq!(page.by_id("user").unwrap().get("value"), Some(hostile));
        assert!(page.text.contains(business));
        let model = Undo {
            account: hostile,
            ..undo_model()
        };
        assert!(read(&undo(&setting, &model).html).text.contains(hostile));
    });
}

// ---- every page ----

#[test]
fn every_page_in_every_language_is_whole() {
    each_language(|setting| {
        for (name, page) in all_with(setting, "outside") {
            let document = read(&page.html);
            let name = format!("{name} in {}", setting.language.code());
            assert!(
                !document.text.contains(['{', '}']),
                "{name}: {}",
                document.text
            );
            let html = document.all("html")[0];
            assert!(
                html.get("lang")
                    .unwrap()
                    .starts_with(setting.language.code()),
                "{name}"
            );
            let title = inner(&page.html, "title").unwrap();
            assert!(title.contains("Café Río"), "{name}: {title}");
            assert_eq!(document.all("h1").len(), 1, "{name}");
            assert_eq!(document.all("main").len(), 1, "{name}");
            let meta = |key: &str, wanted: &str| {
                let has = |tag: &&Tag| tag.get("name") == Some(key);
                let found = document.all("meta").into_iter().find(has).unwrap();
                assert!(found.get("content").unwrap().contains(wanted), "{name}");
            };
            meta("robots", "noindex");
            meta("referrer", "no-referrer");
            meta("viewport", "width=device-width");
            assert!(!page.html.contains("og:"), "{name}");
            // One way only: each opened element is closed, in order.
            let mut open: Vec<&str> = Vec::new();
            for tag in &document.tags {
                match tag.name.strip_prefix('/') {
                    Some(closed) => assert_eq!(open.pop(), Some(closed), "{name}"),
                    None if ["meta", "link", "img", "input"].contains(&tag.name.as_str()) => {}
                    // Style and script were read with their ends.
                    None if ["style", "script"].contains(&tag.name.as_str()) => {}
                    None => open.push(&tag.name),
                }
            }
            assert_eq!(open, Vec::<&str>::new(), "{name}");
        }
    });
}

#[test]
fn a_page_fetches_nothing_but_the_logo_of_its_own_server() {
    let look = Look {
        logo: true,
        ..look()
    };
    each_language(|setting| {
        let setting = Setting {
            look: &look,
            base: "/door",
            ..*setting
        };
        for (name, page) in all_with(&setting, "outside") {
            for tag in read(&page.html).tags {
                for (attribute, value) in &tag.attributes {
                    let fetched = match (tag.name.as_str(), attribute.as_str()) {
                        (_, "src" | "srcset" | "data" | "poster" | "background") => true,
                        ("link", "href") => true,
                        (_, "style") => panic!("{name}: the policy forbids inline styles"),
                        (_, event) if event.starts_with("on") => panic!("{name}: {event}"),
                        _ => false,
                    };
                    assert!(!fetched || value == "/door/sign-in/logo", "{name}: {value}");
                }
            }
            let style = inner(&page.html, "style").unwrap();
            for word in ["url(", "@import", "http", "\\"] {
                assert!(!style.contains(word), "{name}: {word}");
            }
        }
    });
}

#[test]
fn style_and_script_are_what_the_policy_allows() {
    // Maud would escape these four, and the browser would not read the escapes back.
    for source in [STYLE, SCRIPT] {
        assert!(!source.contains(['<', '>', '&', '"']));
    }
    each_language(|setting| {
        for (name, page) in all_with(setting, "outside") {
            let policy = page.policy(&CHAT_ORIGINS);
            let hash_of = |source: &str| {
                let digest = Sha256::digest(source.as_bytes());
                base64::engine::general_purpose::STANDARD.encode(digest)
            };
            let style = hash_of(inner(&page.html, "style").unwrap());
            assert!(
                policy.contains(&format!("style-src 'sha256-{style}'")),
                "{name}"
            );
            match inner(&page.html, "script") {
                Some(script) => {
                    let script = hash_of(script);
                    assert!(
                        policy.contains(&format!("script-src 'sha256-{script}'")),
                        "{name}"
                    );
                }
                None => assert!(!policy.contains("script-src"), "{name}"),
            }
            assert!(policy.starts_with("default-src 'none'; "), "{name}");
            assert!(policy.contains("frame-ancestors 'none'"), "{name}");
            assert!(!policy.contains("unsafe"), "{name}");
            let has_form = page.html.contains("<form");
            let expected = if has_form {
                "; form-action 'self' https://api.whatsapp.com https://wa.me"
            } else {
                "; form-action 'none'"
            };
            assert!(policy.ends_with(expected), "{name}: {policy}");
        }
    });
}

#[test]
fn only_a_page_with_a_secret_in_its_address_needs_the_script() {
    in_english(|setting| {
        for (name, page) in all_with(setting, "outside") {
            let expected = name.starts_with("sign_in") || name == "undo";
            assert_eq!(page.html.contains("<script>"), expected, "{name}");
        }
    });
    assert!(SCRIPT.contains("history.replaceState(null, '', location.pathname)"));
}

// ---- the form ----

#[test]
fn every_field_has_its_label_and_what_describes_it_is_there() {
    each_language(|setting| {
        for (name, page) in all_with(setting, "outside") {
            let document = read(&page.html);
            let mut ids = Vec::new();
            for tag in &document.tags {
                if let Some(id) = tag.get("id") {
                    assert!(!ids.contains(&id), "{name}: {id} twice");
                    ids.push(id);
                }
            }
            for input in document.all("input") {
                if input.get("type") == Some("hidden") {
                    continue;
                }
                let id = input.get("id").unwrap();
                let labels = document.all("label");
                assert!(
                    labels.iter().any(|l| l.get("for") == Some(id)),
                    "{name}: {id}"
                );
                assert!(input.get("autocomplete").is_some(), "{name}: {id}");
                for described in input
                    .get("aria-describedby")
                    .unwrap_or_default()
                    .split_whitespace()
                {
                    assert!(ids.contains(&described), "{name}: {described}");
                }
            }
        }
    });
}

#[test]
fn a_problem_is_told_where_it_is_and_the_cursor_waits_there() {
    in_english(|setting| {
        for problem in PROBLEMS {
            let model = SignIn {
                ask_number: true,
                typed_number: "300 123 4567",
                typed_user: "ana@example.com",
                problem,
                ..model()
            };
            let document = read(&sign_in(setting, &model).html);
            let focused: Vec<&str> = document
                .tags
                .iter()
                .filter(|tag| tag.get("autofocus").is_some())
                .map(|tag| tag.get("id").unwrap())
                .collect();
            let invalid: Vec<&str> = document
                .tags
                .iter()
                .filter(|tag| tag.get("aria-invalid").is_some())
                .map(|tag| tag.get("id").unwrap())
                .collect();
            let (cursor, wrong): (&[&str], &[&str]) = match problem {
                None => (&[], &[]),
                Some(Problem::MissingNumber | Problem::WrongNumber { .. }) => {
                    (&["number"], &["number"])
                }
                Some(Problem::MissingUser) => (&["user"], &["user"]),
                Some(Problem::MissingPassword | Problem::WrongPassword { .. }) => {
                    (&["password"], &["password"])
                }
                Some(_) => (&["password"], &[]),
            };
            assert_eq!(
                (focused.as_slice(), invalid.as_slice()),
                (cursor, wrong),
                "{problem:?}"
            );
            assert_eq!(
                document.by_id("problem").is_some(),
                problem.is_some(),
                "{problem:?}"
            );
            if let (Some(alert), [field]) = (document.by_id("problem"), cursor) {
                assert_eq!(alert.get("role"), Some("alert"));
                let described = document.by_id(field).unwrap().get("aria-describedby");
                assert!(
                    described.unwrap().split(' ').any(|id| id == "problem"),
                    "{problem:?}"
                );
            }
            // What was typed stays, the password never.
            let value = |id| document.by_id(id).unwrap().get("value");
            assert_eq!(value("user"), Some("ana@example.com"));
            assert_eq!(value("number"), Some("300 123 4567"));
            assert_eq!(value("password"), None);
        }
    });
}

#[test]
fn to_decline_is_a_form_of_its_own_and_as_large_a_button() {
    in_english(|setting| {
        let page = sign_in(setting, &model());
        let document = read(&page.html);
        assert_eq!(document.all("form").len(), 2);
        let forms: Vec<&str> = page.html.split("<form").skip(1).collect();
        assert!(forms[0].contains("type=\"password\"") && forms[0].contains("value=\"sign_in\""));
        assert!(!forms[1].contains("type=\"password\"") && forms[1].contains("value=\"not_me\""));
        for form in forms {
            assert!(form.contains("name=\"mappingHash\"") && form.contains("name=\"formToken\""));
            // To the page itself, without the query that holds the hash.
            assert!(form.starts_with(" method=\"post\" action=\"?\""));
        }
        for button in document.all("button") {
            assert!(
                button
                    .get("class")
                    .unwrap()
                    .split(' ')
                    .any(|class| class == "button")
            );
        }
    });
}

#[test]
fn the_page_says_who_asked_and_when() {
    let said = |model: &SignIn<'_>| in_english(|setting| read(&sign_in(setting, model).html).text);
    assert!(
        said(&model()).contains(
            "This link was asked for 2 minutes ago by the WhatsApp number that ends in 34."
        )
    );
    let hidden = SignIn {
        number_ending: None,
        asked_minutes: Some(0),
        ..model()
    };
    assert!(said(&hidden).contains(
        "This link was asked for a moment ago by a WhatsApp account that does not show its number."
    ));
}

#[test]
fn the_number_is_asked_for_only_when_the_operator_wants_it() {
    in_english(|setting| {
        let asks = |ask_number| {
            let page = sign_in(
                setting,
                &SignIn {
                    ask_number,
                    ..model()
                },
            );
            let document = read(&page.html);
            let field = document.by_id("number").cloned();
            field.map(|field| {
                (
                    field.get("type").unwrap().to_owned(),
                    field.get("autocomplete").unwrap().to_owned(),
                )
            })
        };
        assert_eq!(asks(false), None);
        assert_eq!(asks(true), Some(("tel".into(), "tel".into())));
    });
}

// ---- the way back ----

#[test]
fn the_return_code_is_in_the_button_and_never_to_be_read() {
    each_language(|setting| {
        let document = read(&back(setting, CHAT_URL).html);
        assert!(!document.text.contains("M4RKED"));
        let holders: Vec<&Tag> = document
            .tags
            .iter()
            .filter(|tag| {
                tag.attributes
                    .iter()
                    .any(|(_, value)| value.contains("M4RKED"))
            })
            .collect();
        let [link] = holders.as_slice() else {
            panic!("{holders:?}");
        };
        assert_eq!(
            (link.name.as_str(), link.get("href")),
            ("a", Some(CHAT_URL))
        );
        let picture = document
            .tags
            .iter()
            .find(|tag| tag.get("role") == Some("img"));
        assert!(picture.unwrap().get("aria-label").unwrap().contains("QR"));
    });
}

#[test]
fn the_picture_is_the_code_with_its_quiet_zone() {
    let url = CHAT_URL.as_bytes();
    let code = QrCode::with_error_correction_level(url, EcLevel::L).unwrap();
    let page = in_english(|setting| back(setting, CHAT_URL));
    let document = read(&page.html);
    let picture = document
        .tags
        .iter()
        .find(|tag| tag.get("role") == Some("img"))
        .unwrap();
    let side = code.width() + 8;
    assert_eq!(
        picture.get("viewBox"),
        Some(format!("0 0 {side} {side}").as_str())
    );
    // Painted back from the path, it is the same code.
    let path = document.all("path").into_iter().find_map(|tag| {
        let black = tag.get("fill") == Some("#000");
        tag.get("d").filter(|_| black)
    });
    let mut painted = vec![qrcode::Color::Light; code.width() * code.width()];
    for run in path.unwrap().split('M').skip(1) {
        let (at, rest) = run.split_once('h').unwrap();
        let (x, y) = at.split_once(' ').unwrap();
        let (long, _) = rest.split_once('v').unwrap();
        let number = |text: &str| text.parse::<usize>().unwrap();
        let start = (number(y) - 4) * code.width() + number(x) - 4;
        painted[start..start + number(long)].fill(qrcode::Color::Dark);
    }
    assert_eq!(painted, code.to_colors());
    // What no code can hold is left to the button.
    let long = format!("https://example.com/{}", "x".repeat(3_000));
    assert!(picture_free(
        &in_english(|setting| back(setting, &long)).html
    ));
}

fn picture_free(html: &str) -> bool {
    let document = read(html);
    document
        .tags
        .iter()
        .all(|tag| tag.get("role") != Some("img"))
        && document.all("a").len() == 1
}

#[test]
fn somebody_who_never_asked_is_not_led_into_the_chat() {
    in_english(|setting| {
        for (name, page) in all_with(setting, "outside") {
            let leads = page.html.contains("<a ");
            let expected = [
                "gone",
                "no_link",
                "burned",
                "back",
                "finished",
                "mail_sent",
                "refused",
                "failure",
            ];
            assert_eq!(leads, expected.contains(&name.as_str()), "{name}");
        }
    });
}

#[test]
fn a_sign_in_is_undone_by_its_button_only() {
    in_english(|setting| {
        let page = undo(setting, &undo_model());
        let document = read(&page.html);
        assert!(document.text.contains(
            "Your account Ana Gómez (Café Río) was signed in by the WhatsApp number that ends in 34, \
             3 hours ago (21 November 2026, 14:05 UTC)."
        ));
        assert_eq!(document.all("form")[0].get("method"), Some("post"));
        let fields: Vec<_> = document.all("input");
        let names: Vec<_> = fields
            .iter()
            .map(|field| field.get("name").unwrap())
            .collect();
        assert_eq!(names, ["token", "formToken"]);
        assert!(document.all("a").is_empty());
    });
    assert!(in_english(|setting| undo_gone(setting, 7).html).contains("7 days"));
}

// ---- colours and languages ----

#[test]
fn words_can_be_read_in_both_themes_whatever_the_colour() {
    let channels = [0, 51, 102, 153, 204, 255];
    for red in channels {
        for green in channels {
            for blue in channels {
                let brand = Color([red, green, blue]);
                let variables = Paint::of(brand).variables();
                let (light, dark) = variables.split_once('\n').unwrap();
                for (theme, sheet) in [(light, SHEET_LIGHT), (dark, SHEET_DARK)] {
                    let of = |name: &str| {
                        let (_, rest) = theme.split_once(&format!("--{name}:")).unwrap();
                        Color::parse(&rest[..7]).unwrap()
                    };
                    let reaches = |one: &str, other: Color, least: f64| {
                        let reached = paint::contrast(of(one), other);
                        assert!(reached >= least, "{brand}: --{one} {reached} in {theme}");
                    };
                    reaches("on-act", of("act"), TEXT_CONTRAST_MIN);
                    reaches("on-band", of("band"), TEXT_CONTRAST_MIN);
                    reaches("accent", sheet, TEXT_CONTRAST_MIN);
                    reaches("edge", sheet, EDGE_CONTRAST_MIN);
                }
            }
        }
    }
}

#[test]
fn the_style_sheet_has_the_colours_that_the_contrast_was_reckoned_with() {
    let (light, dark) = STYLE
        .split_once("@media (prefers-color-scheme: dark)")
        .unwrap();
    assert!(light.contains(&format!("--sheet: {SHEET_LIGHT};")));
    assert!(dark.contains(&format!("--sheet: {SHEET_DARK};")));
    for (theme, sheet) in [(light, SHEET_LIGHT), (dark, SHEET_DARK)] {
        let of = |name: &str| {
            let (_, rest) = theme.split_once(&format!("--{name}: ")).unwrap();
            Color::parse(&rest[..7]).unwrap()
        };
        for (ink, ground) in [
            (of("ink"), sheet),
            (of("soft"), sheet),
            (of("ink"), of("field")),
            (of("ink"), of("press")),
            (of("stop-ink"), of("stop")),
            (of("bad-ink"), of("bad")),
        ] {
            let reached = paint::contrast(ink, ground);
            assert!(reached >= TEXT_CONTRAST_MIN, "{ink} on {ground}: {reached}");
        }
        for edge in ["field-edge", "bad-edge"] {
            let reached = paint::contrast(of(edge), sheet);
            assert!(reached >= EDGE_CONTRAST_MIN, "{edge}: {reached}");
        }
    }
}

#[test]
fn a_business_has_its_colour_and_its_logo() {
    let look = Look {
        business: "Óptica Luz".into(),
        color: Some(Color([0xff, 0xd4, 0x00])),
        logo: true,
    };
    in_english(|setting| {
        let html = sign_in(
            &Setting {
                look: &look,
                ..*setting
            },
            &model(),
        )
        .html;
        assert!(html.contains("--act:#ffd400;--on-act:#000000;"));
        let document = read(&html);
        let image = document.all("img")[0].clone();
        assert_eq!(
            (image.get("src"), image.get("alt")),
            (Some("/sign-in/logo"), Some(""))
        );
        // Without a logo, its first letter.
        let look = Look {
            logo: false,
            ..look.clone()
        };
        let html = sign_in(
            &Setting {
                look: &look,
                ..*setting
            },
            &model(),
        )
        .html;
        assert!(!html.contains("<img") && html.contains(">Ó</span>"));
    });
}

#[test]
fn the_browser_says_which_language() {
    use Language::{English, Portuguese, Spanish};
    for (header, usual, expected) in [
        (None, Spanish, Spanish),
        (Some(""), Portuguese, Portuguese),
        (Some("es-CO,es;q=0.9,en;q=0.8"), English, Spanish),
        (Some("pt-BR"), Spanish, Portuguese),
        (Some("EN-us"), Spanish, English),
        (
            Some("de-DE,de;q=0.9,en;q=0.5,es;q=0.7"),
            Portuguese,
            Spanish,
        ),
        (Some("en;q=0.5, es;q=0.5"), Portuguese, English),
        (Some("es;q=0, en;q=0.1"), Spanish, English),
        (Some("de, *;q=0.5"), Portuguese, Portuguese),
        (Some("fr,de"), Spanish, Spanish),
        (Some("est,ptx,english"), Spanish, Spanish),
        (Some("en;q=NaN,pt;q=x,;;,=,q=1"), Spanish, Spanish),
        (Some("en;Q=0.5; q=0.9 , pt ; q=0.95"), Spanish, Portuguese),
    ] {
        assert_eq!(language_of(header, usual), expected, "{header:?}");
    }
}
