//! What is sent to a service: addresses and bodies with places for what the question is about.
//!
//! What people type is put in as a value and never as text (S-80): in an address every character
//! but letters, digits and `-._~` is percent-encoded (RFC 3986, section 2.3), in a body it is
//! written by the rules of the body. So no value can become another path, host, query or member.

use crate::domain::secret::Secret;
use crate::http::Endpoint;
use serde_json::Value;
use std::fmt;
use zeroize::Zeroizing;

/// Longest address with its placeholders, in bytes.
const URL_BYTES_MAX: usize = 2_048;

/// Stands for what must not be seen.
pub const HIDDEN: &str = "…";

/// The calls to a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Who has this address?
    FindUser,
    /// A token for this user.
    IssueToken,
    /// Whose name and password are these?
    CheckPassword,
}

impl Call {
    /// As the configuration and `webhook-id` name it.
    pub fn name(self) -> &'static str {
        match self {
            Call::FindUser => "find_user",
            Call::IssueToken => "issue_token",
            Call::CheckPassword => "check_password",
        }
    }

    /// What may be put into it.
    pub fn placeholders(self) -> &'static [Placeholder] {
        match self {
            Call::FindUser => &[Placeholder::Email],
            Call::IssueToken => &[
                Placeholder::UserId,
                Placeholder::CompanyId,
                Placeholder::UserUuid,
                Placeholder::Scope,
            ],
            Call::CheckPassword => &[Placeholder::User, Placeholder::Password],
        }
    }

    /// What must be in it, or the answer would be the same for everybody.
    fn needs(self) -> &'static [Placeholder] {
        match self {
            Call::FindUser => &[Placeholder::Email],
            Call::IssueToken => &[Placeholder::UserId],
            Call::CheckPassword => &[Placeholder::User, Placeholder::Password],
        }
    }

    /// The body of the documented contract.
    fn body(self) -> Body {
        let member = |name: &str, placeholder| {
            let text = Template(vec![Piece::Place(placeholder)]);
            (name.to_owned(), Body::Text(text))
        };
        Body::Object(match self {
            Call::FindUser => vec![member("email", Placeholder::Email)],
            Call::IssueToken => vec![
                member("companyId", Placeholder::CompanyId),
                member("scope", Placeholder::Scope),
                member("userId", Placeholder::UserId),
                member("userUuid", Placeholder::UserUuid),
            ],
            Call::CheckPassword => vec![
                member("user", Placeholder::User),
                member("password", Placeholder::Password),
            ],
        })
    }
}

/// A place for a value of the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placeholder {
    /// The address that was typed.
    Email,
    /// The service's own id of a user.
    UserId,
    /// The service's own id of the user's company.
    CompanyId,
    /// Our id of the contact.
    UserUuid,
    /// What the token shall be good for, if anything was said about it.
    Scope,
    /// The name that was typed on the sign-in page.
    User,
    /// The password beside it; only ever in a body.
    Password,
}

impl Placeholder {
    /// As it is written between braces.
    pub fn name(self) -> &'static str {
        match self {
            Placeholder::Email => "email",
            Placeholder::UserId => "userId",
            Placeholder::CompanyId => "companyId",
            Placeholder::UserUuid => "userUuid",
            Placeholder::Scope => "scope",
            Placeholder::User => "user",
            Placeholder::Password => "password",
        }
    }

    fn all() -> impl Iterator<Item = Placeholder> {
        [Call::FindUser, Call::IssueToken, Call::CheckPassword]
            .into_iter()
            .flat_map(|call| call.placeholders().iter().copied())
    }
}

/// What stands in place of the placeholders. One without a value is written as nothing in a text,
/// and left out where it is all of a member.
#[derive(Clone, Copy)]
pub(super) struct Values<'a>(pub &'a [(Placeholder, &'a str)]);

impl<'a> Values<'a> {
    fn of(&self, wanted: Placeholder) -> Option<&'a str> {
        let found = self
            .0
            .iter()
            .find(|(placeholder, _)| *placeholder == wanted);
        found.map(|(_, value)| *value)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Place(Placeholder),
}

/// Text with placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Template(Vec<Piece>);

impl Template {
    /// A word in braces is a placeholder; braces around anything else are text.
    fn parse(text: &str, call: Call) -> Result<Template, String> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('{') {
            let (before, from) = rest.split_at(at);
            literal.push_str(before);
            let word = from[1..].split('}').next().unwrap_or_default();
            let closed = from.len() > word.len() + 1;
            let is_word = !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric());
            if !(closed && is_word) {
                literal.push('{');
                rest = &from[1..];
                continue;
            }
            let placeholders = call.placeholders();
            let known = placeholders.iter().find(|known| known.name() == word);
            let Some(known) = known else {
                return Err(unknown_placeholder(word, call));
            };
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
            }
            pieces.push(Piece::Place(*known));
            rest = &from[word.len() + 2..];
        }
        literal.push_str(rest);
        if !literal.is_empty() || pieces.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Ok(Template(pieces))
    }

    fn places(&self) -> impl Iterator<Item = Placeholder> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Place(placeholder) => Some(*placeholder),
            Piece::Literal(_) => None,
        })
    }

    fn literals(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Literal(literal) => Some(literal.as_str()),
            Piece::Place(_) => None,
        })
    }

    /// The one placeholder that it is, if nothing stands around it.
    fn only(&self) -> Option<Placeholder> {
        match self.0.as_slice() {
            [Piece::Place(placeholder)] => Some(*placeholder),
            _ => None,
        }
    }

    /// What follows one another when the values are in place.
    fn parts<'t>(&'t self, values: Values<'t>) -> impl Iterator<Item = (bool, &'t str)> {
        self.0.iter().map(move |piece| match piece {
            Piece::Literal(literal) => (false, literal.as_str()),
            Piece::Place(placeholder) => (true, values.of(*placeholder).unwrap_or_default()),
        })
    }
}

fn unknown_placeholder(word: &str, call: Call) -> String {
    let names: Vec<_> = call
        .placeholders()
        .iter()
        .map(|known| format!("{{{}}}", known.name()))
        .collect();
    let names = names.join(", ");
    // The word may be a piece of a secret, so that only known ones are repeated.
    match Placeholder::all().find(|known| known.name().eq_ignore_ascii_case(word)) {
        Some(known) => format!("{{{}}} has no value here; there are {names}", known.name()),
        None => format!(
            "a word in braces is no placeholder of this call; there are {names}. Braces that are text need a space inside: {{ … }}"
        ),
    }
}

/// Whether a text has a placeholder of any call.
pub fn has_placeholder(text: &str) -> bool {
    Placeholder::all().any(|known| text.contains(&format!("{{{}}}", known.name())))
}

/// A value that must not be put into the path of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UnfitForPath;

/// An address with placeholders after its host. `Debug` shows the host only.
#[derive(Clone, PartialEq, Eq)]
pub struct UrlTemplate {
    path: Template,
    query: Option<Template>,
    host: String,
    encrypted: bool,
}

impl UrlTemplate {
    /// The refusal is words that follow the name of what was read and do not repeat it.
    pub fn parse(text: &str, call: Call) -> Result<UrlTemplate, String> {
        if text.len() > URL_BYTES_MAX {
            return Err(format!("must be at most {URL_BYTES_MAX} bytes long"));
        }
        let (before, query) = match text.split_once('?') {
            Some((before, query)) => (before, Some(query)),
            None => (text, None),
        };
        let after_scheme = before.find("://").map_or(0, |at| at + 3);
        let authority_end = before[after_scheme..]
            .find('/')
            .map_or(before.len(), |at| after_scheme + at);
        if before[..authority_end].contains(['{', '}']) {
            return Err("must have its placeholders after the host".to_owned());
        }
        let path = Template::parse(before, call)?;
        let query = query
            .map(|query| Template::parse(query, call))
            .transpose()?;
        let parts = || [Some(&path), query.as_ref()].into_iter().flatten();
        if parts()
            .flat_map(Template::places)
            .any(|place| place == Placeholder::Password)
        {
            return Err("must be without {password}, which addresses would carry into logs; it goes into the body".to_owned());
        }
        let braces = |literal: &str| literal.contains(['{', '}']);
        if parts().flat_map(Template::literals).any(braces) {
            return Err("must be without braces but for placeholders".to_owned());
        }
        let mut url = UrlTemplate {
            path,
            query,
            host: String::new(),
            encrypted: false,
        };
        let sample: Vec<_> = call
            .placeholders()
            .iter()
            .map(|place| (*place, "x"))
            .collect();
        let sample = url.text(Values(&sample)).unwrap_or_default();
        let endpoint = Endpoint::parse(&sample)?;
        url.host = endpoint.host();
        url.encrypted = endpoint.is_encrypted();
        Ok(url)
    }

    /// Whether it is `https`.
    pub fn is_encrypted(&self) -> bool {
        self.encrypted
    }

    fn has_places(&self) -> bool {
        self.places().next().is_some()
    }

    fn places(&self) -> impl Iterator<Item = Placeholder> {
        let templates = [Some(&self.path), self.query.as_ref()];
        templates.into_iter().flatten().flat_map(Template::places)
    }

    /// The address for these values, at the same host.
    pub(super) fn fill(&self, values: Values<'_>) -> Result<Endpoint, UnfitForPath> {
        let endpoint = Endpoint::parse(&self.text(values)?).map_err(|_| UnfitForPath)?;
        // Encoded as they are, values cannot reach the host; this would be a mistake of ours.
        if endpoint.host() == self.host {
            Ok(endpoint)
        } else {
            Err(UnfitForPath)
        }
    }

    fn text(&self, values: Values<'_>) -> Result<String, UnfitForPath> {
        let mut text = String::new();
        for (is_value, part) in self.path.parts(values) {
            match is_value {
                true if unfit_for_path(part) => return Err(UnfitForPath),
                true => encode(part, |encoded| text.push(char::from(encoded))),
                false => text.push_str(part),
            }
        }
        for (index, (is_value, part)) in self.query.iter().flat_map(|q| q.parts(values)).enumerate()
        {
            if index == 0 {
                text.push('?');
            }
            match is_value {
                true => encode(part, |encoded| text.push(char::from(encoded))),
                false => text.push_str(part),
            }
        }
        Ok(text)
    }

    /// What the operator wrote behind each `=` of the query.
    pub(super) fn constants(&self) -> impl Iterator<Item = &str> {
        let literals = self.query.iter().flat_map(Template::literals);
        let pairs = literals.flat_map(|literal| literal.split('&'));
        pairs.filter_map(|pair| pair.split_once('=').map(|(_, value)| value))
    }

    /// The address for people: what the operator wrote behind a `=` may be a key of the service.
    pub(super) fn shown(&self, values: Values<'_>) -> String {
        let Some(query) = &self.query else {
            return self.text(values).unwrap_or_default();
        };
        let path = UrlTemplate {
            query: None,
            ..self.clone()
        };
        let mut text = path.text(values).unwrap_or_default();
        text.push('?');
        let mut in_value = false;
        let mut shown_hidden = false;
        for piece in &query.0 {
            match piece {
                Piece::Place(placeholder) => {
                    let value = values.of(*placeholder).unwrap_or_default();
                    encode(value, |encoded| text.push(char::from(encoded)));
                }
                Piece::Literal(literal) => {
                    for c in literal.chars() {
                        match c {
                            '&' => (in_value, shown_hidden) = (false, false),
                            '=' if !in_value => in_value = true,
                            _ if in_value => {
                                if !shown_hidden {
                                    text.push_str(HIDDEN);
                                }
                                shown_hidden = true;
                                continue;
                            }
                            _ => {}
                        }
                        text.push(c);
                    }
                }
            }
        }
        text
    }
}

impl fmt::Debug for UrlTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UrlTemplate({})", self.host)
    }
}

/// Servers in front of a service may decode a path and resolve its dots before anybody looks at
/// it, so that an encoded slash is not safe there (S-80). What has one, or is nothing, is not sent.
fn unfit_for_path(value: &str) -> bool {
    value.is_empty()
        || value.bytes().all(|b| b == b'.')
        || value.contains(|c: char| matches!(c, '/' | '\\' | '%') || c.is_control())
}

/// The same as a text of its own.
pub(super) fn encoded(value: &str) -> String {
    let mut text = String::new();
    encode(value, |byte| text.push(char::from(byte)));
    text
}

/// RFC 3986, section 2.1: everything but the unreserved characters.
fn encode(value: &str, mut put: impl FnMut(u8)) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            put(byte);
        } else {
            put(b'%');
            put(DIGITS[usize::from(byte >> 4)]);
            put(DIGITS[usize::from(byte & 15)]);
        }
    }
}

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// `application/json`
    Json,
    /// `application/x-www-form-urlencoded`
    Form,
}

impl Encoding {
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Encoding::Json => "application/json",
            Encoding::Form => "application/x-www-form-urlencoded",
        }
    }
}

/// Most members and elements of a body's template, and how deep they may lie.
const NODES_MAX: usize = 256;
const DEPTH_MAX: usize = 16;

/// Says which texts of a body stand for a secret.
pub trait Custody {
    /// The secret for which `text` stands as the member `name`; nothing when it is only a text.
    /// `Err` is words that follow the name of the body.
    fn of(&mut self, name: &str, text: &str) -> Result<Option<Secret>, String>;
}

impl<F: FnMut(&str, &str) -> Result<Option<Secret>, String>> Custody for F {
    fn of(&mut self, name: &str, text: &str) -> Result<Option<Secret>, String> {
        self(name, text)
    }
}

/// A body with places for values.
#[derive(Clone, Debug)]
pub struct BodyTemplate(Body);

#[derive(Clone, Debug)]
enum Body {
    Text(Template),
    Secret(Secret),
    /// A number, a switch or nothing.
    Plain(Value),
    List(Vec<Body>),
    Object(Vec<(String, Body)>),
}

impl BodyTemplate {
    /// Reads a body in which texts may have placeholders.
    pub fn parse(
        value: &Value,
        call: Call,
        secret: &mut dyn Custody,
    ) -> Result<BodyTemplate, String> {
        let mut nodes = 0;
        Ok(BodyTemplate(Body::parse(
            "", value, call, secret, 0, &mut nodes,
        )?))
    }

    /// The body as JSON with its placeholders, and with every secret hidden.
    pub fn outline(&self, call: Call) -> Value {
        let names: Vec<_> = call
            .placeholders()
            .iter()
            .map(|place| (*place, format!("{{{}}}", place.name())))
            .collect();
        let values: Vec<_> = names
            .iter()
            .map(|(place, name)| (*place, name.as_str()))
            .collect();
        self.0.shown(Values(&values))
    }

    fn places(&self) -> Vec<Placeholder> {
        let mut places = Vec::new();
        self.0.each(&mut |body| {
            if let Body::Text(template) = body {
                places.extend(template.places());
            }
        });
        places
    }

    fn has_secret(&self) -> bool {
        let mut found = false;
        self.0
            .each(&mut |body| found |= matches!(body, Body::Secret(_)));
        found
    }

    pub(super) fn secrets(&self) -> Vec<&Secret> {
        let mut found = Vec::new();
        self.0.each(&mut |body| {
            if let Body::Secret(secret) = body {
                found.push(secret);
            }
        });
        found
    }

    /// Whether a form can carry it: members that are texts, numbers or switches.
    fn fits_a_form(&self) -> bool {
        let flat = |body: &Body| !matches!(body, Body::List(_) | Body::Object(_));
        matches!(&self.0, Body::Object(members) if members.iter().all(|(_, body)| flat(body)))
    }

    /// The body for these values, wiped when dropped. It never grows: a buffer that had to would
    /// leave its beginning, perhaps with a password, behind.
    pub(super) fn fill(&self, encoding: Encoding, values: Values<'_>) -> Zeroizing<Vec<u8>> {
        let mut count = Count(0);
        self.write(encoding, values, &mut count);
        let mut body = Zeroizing::new(Vec::with_capacity(count.0));
        self.write(encoding, values, &mut *body);
        body
    }

    /// The body as JSON for people, with every secret hidden.
    pub(super) fn shown(&self, values: Values<'_>) -> Value {
        self.0.shown(values)
    }

    fn write(&self, encoding: Encoding, values: Values<'_>, into: &mut dyn Sink) {
        match encoding {
            Encoding::Json => self.0.write_json(values, into),
            Encoding::Form => self.0.write_form(values, into),
        }
    }
}

/// Where a body is written: counted first, then for good.
trait Sink {
    fn put(&mut self, byte: u8);
}

struct Count(usize);

impl Sink for Count {
    fn put(&mut self, _: u8) {
        self.0 += 1;
    }
}

impl Sink for Vec<u8> {
    fn put(&mut self, byte: u8) {
        self.push(byte);
    }
}

impl Body {
    fn parse(
        name: &str,
        value: &Value,
        call: Call,
        secret: &mut dyn Custody,
        depth: usize,
        nodes: &mut usize,
    ) -> Result<Body, String> {
        *nodes += 1;
        if *nodes > NODES_MAX || depth > DEPTH_MAX {
            return Err(format!(
                "must have at most {NODES_MAX} members, {DEPTH_MAX} deep"
            ));
        }
        Ok(match value {
            Value::String(text) => match secret.of(name, text)? {
                Some(secret) => Body::Secret(secret),
                None => Body::Text(Template::parse(text, call)?),
            },
            Value::Array(items) => Body::List(
                items
                    .iter()
                    .map(|item| Body::parse(name, item, call, secret, depth + 1, nodes))
                    .collect::<Result<_, _>>()?,
            ),
            Value::Object(members) => Body::Object(
                members
                    .iter()
                    .map(|(name, member)| {
                        let body = Body::parse(name, member, call, secret, depth + 1, nodes)?;
                        Ok((name.clone(), body))
                    })
                    .collect::<Result<_, String>>()?,
            ),
            plain => Body::Plain(plain.clone()),
        })
    }

    fn each<'b>(&'b self, visit: &mut dyn FnMut(&'b Body)) {
        visit(self);
        match self {
            Body::List(items) => items.iter().for_each(|item| item.each(visit)),
            Body::Object(members) => members.iter().for_each(|(_, body)| body.each(visit)),
            Body::Text(_) | Body::Secret(_) | Body::Plain(_) => {}
        }
    }

    /// Whether there is nothing to be said: a placeholder alone, and no value for it.
    fn is_absent(&self, values: Values<'_>) -> bool {
        let only = match self {
            Body::Text(template) => template.only(),
            _ => None,
        };
        only.is_some_and(|placeholder| values.of(placeholder).is_none())
    }

    fn present<'b>(
        members: &'b [(String, Body)],
        values: Values<'b>,
    ) -> impl Iterator<Item = &'b (String, Body)> {
        members
            .iter()
            .filter(move |(_, body)| !body.is_absent(values))
    }

    fn write_json(&self, values: Values<'_>, into: &mut dyn Sink) {
        match self {
            Body::Text(template) => {
                into.put(b'"');
                for (_, part) in template.parts(values) {
                    json_text(part, into);
                }
                into.put(b'"');
            }
            Body::Secret(secret) => {
                into.put(b'"');
                json_text(secret.reveal(), into);
                into.put(b'"');
            }
            Body::Plain(value) => value.to_string().bytes().for_each(|b| into.put(b)),
            Body::List(items) => {
                into.put(b'[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        into.put(b',');
                    }
                    item.write_json(values, into);
                }
                into.put(b']');
            }
            Body::Object(members) => {
                into.put(b'{');
                for (index, (name, body)) in Body::present(members, values).enumerate() {
                    if index > 0 {
                        into.put(b',');
                    }
                    into.put(b'"');
                    json_text(name, into);
                    into.put(b'"');
                    into.put(b':');
                    body.write_json(values, into);
                }
                into.put(b'}');
            }
        }
    }

    /// URL Standard, section 5.2, with `%20` for a space, which every reader of forms takes.
    fn write_form(&self, values: Values<'_>, into: &mut dyn Sink) {
        let Body::Object(members) = self else {
            return;
        };
        for (index, (name, body)) in Body::present(members, values).enumerate() {
            if index > 0 {
                into.put(b'&');
            }
            encode(name, |byte| into.put(byte));
            into.put(b'=');
            match body {
                Body::Text(template) => {
                    for (_, part) in template.parts(values) {
                        encode(part, |byte| into.put(byte));
                    }
                }
                Body::Secret(secret) => encode(secret.reveal(), |byte| into.put(byte)),
                Body::Plain(Value::Null) | Body::List(_) | Body::Object(_) => {}
                Body::Plain(value) => encode(&value.to_string(), |byte| into.put(byte)),
            }
        }
    }

    fn shown(&self, values: Values<'_>) -> Value {
        match self {
            Body::Text(template) => {
                let mut text = String::new();
                for piece in &template.0 {
                    text.push_str(match piece {
                        Piece::Literal(literal) => literal,
                        Piece::Place(Placeholder::Password) => HIDDEN,
                        Piece::Place(place) => values.of(*place).unwrap_or_default(),
                    });
                }
                Value::String(text)
            }
            Body::Secret(_) => Value::String(HIDDEN.to_owned()),
            Body::Plain(value) => value.clone(),
            Body::List(items) => items.iter().map(|item| item.shown(values)).collect(),
            Body::Object(members) => Body::present(members, values)
                .map(|(name, body)| (name.clone(), body.shown(values)))
                .collect(),
        }
    }
}

/// The inside of a JSON text (RFC 8259, section 7), without a copy of it elsewhere.
fn json_text(text: &str, into: &mut dyn Sink) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in text.bytes() {
        let short = match byte {
            b'"' | b'\\' => Some(byte),
            b'\n' => Some(b'n'),
            b'\r' => Some(b'r'),
            b'\t' => Some(b't'),
            0x08 => Some(b'b'),
            0x0c => Some(b'f'),
            _ => None,
        };
        match short {
            Some(short) => {
                into.put(b'\\');
                into.put(short);
            }
            None if byte < 0x20 => {
                b"\\u00".iter().for_each(|b| into.put(*b));
                into.put(DIGITS[usize::from(byte >> 4)]);
                into.put(DIGITS[usize::from(byte & 15)]);
            }
            None => into.put(byte),
        }
    }
}

/// What is sent, but for the values. Made by `Question::documented` or `Question::new`.
#[derive(Clone, Debug)]
pub struct Question {
    pub(super) call: Call,
    pub(super) method: crate::http::Method,
    pub(super) url: UrlTemplate,
    pub(super) headers: Vec<(String, Secret)>,
    pub(super) body: Option<BodyTemplate>,
    pub(super) encoding: Encoding,
}

/// What is wrong with a question as a whole, and in which part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// `url`, `body` or `encoding`.
    pub part: &'static str,
    /// Words that follow the name of the part.
    pub words: String,
}

impl Question {
    /// `POST` with the JSON of the documented contract.
    pub(super) fn documented(call: Call, url: &str) -> Result<Question, String> {
        if has_placeholder(url) {
            return Err(format!(
                "has a placeholder; write {} = {{ url = \"…\", method = \"GET\" }}, or its keys below [services.{}]",
                call.name(),
                call.name()
            ));
        }
        Ok(Question {
            call,
            method: crate::http::Method::Post,
            url: UrlTemplate::parse(url, call)?,
            headers: Vec::new(),
            body: Some(BodyTemplate(call.body())),
            encoding: Encoding::Json,
        })
    }

    /// A call in another shape. Without a body of its own it has that of the contract, unless it
    /// is a `GET` or says everything in its address.
    pub fn new(
        call: Call,
        method: crate::http::Method,
        url: UrlTemplate,
        headers: Vec<(String, Secret)>,
        body: Option<BodyTemplate>,
        encoding: Encoding,
    ) -> Result<Question, Misfit> {
        let misfit = |part, words: String| Err(Misfit { part, words });
        let is_get = method == crate::http::Method::Get;
        let body = match body {
            Some(_) if is_get => {
                return misfit("body", "must not be there with method = \"GET\"".to_owned());
            }
            None if !is_get && !url.has_places() => Some(BodyTemplate(call.body())),
            body => body,
        };
        if encoding == Encoding::Form && !body.as_ref().is_some_and(BodyTemplate::fits_a_form) {
            return misfit(
                "encoding",
                "form needs a body of names with texts, numbers or switches".to_owned(),
            );
        }
        let mut places: Vec<_> = url.places().collect();
        places.extend(body.iter().flat_map(BodyTemplate::places));
        for needed in call.needs() {
            if !places.contains(needed) {
                let (part, home) = match (needed, is_get) {
                    (Placeholder::Password, _) => ("body", "the body"),
                    (_, true) => ("url", "the address"),
                    (_, false) => ("url", "the address or the body"),
                };
                let name = needed.name();
                return misfit(
                    part,
                    format!("{{{name}}} must be in {home}, or every question would be the same"),
                );
            }
        }
        Ok(Question {
            call,
            method,
            url,
            headers,
            body,
            encoding,
        })
    }

    /// Whether this is told to the service.
    pub fn tells(&self, placeholder: Placeholder) -> bool {
        self.url.places().any(|place| place == placeholder)
            || (self.body.as_ref()).is_some_and(|body| body.places().contains(&placeholder))
    }

    /// Whether anything in it can show the service who asks.
    pub fn has_credentials(&self) -> bool {
        !self.headers.is_empty() || self.body.as_ref().is_some_and(BodyTemplate::has_secret)
    }

    /// Whether it is `https`.
    pub fn is_encrypted(&self) -> bool {
        self.url.is_encrypted()
    }
}

#[cfg(test)]
mod tests;
