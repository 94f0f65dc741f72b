//! Reading what a person typed: a command, an address, a code. Forgiving in form, never in kind.

use super::id::{EmailAddress, is_atom_byte};
use super::message::{Content, Inbound};
use super::secret::{OtpCode, ReturnCode};

/// What a text says, as far as a sign-in is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Exactly the words of a command, in any of the languages.
    Command(Command),
    /// At least one address; more than one is a question back.
    Addresses(Vec<EmailAddress>),
    /// Digits that could be a code.
    Codes(Codes),
    /// Anything else.
    Words,
}

/// The words that are Portero's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Send another code.
    Resend,
    /// Let me write another address.
    OtherAddress,
    /// Stop this.
    Cancel,
    /// Yes, to a question of ours.
    Yes,
    /// No, to a question of ours.
    No,
    /// End the binding.
    LogOut,
    /// As whom am I signed in?
    WhoAmI,
    /// Let me sign in on the web.
    Web,
    /// Delete what you keep about me.
    ForgetMe,
    /// Yes, delete it.
    ForgetMeIndeed,
}

/// Digits found in a text.
#[derive(Clone, Debug)]
pub enum Codes {
    /// One run of exactly the right length.
    One(OtpCode),
    /// Several: one failed try, not several free ones (S-18).
    Several,
    /// Digits, but not as many as a code has: not a try.
    WrongLength,
}

impl PartialEq for Codes {
    fn eq(&self, other: &Codes) -> bool {
        match (self, other) {
            (Codes::One(a), Codes::One(b)) => a.matches(b),
            (Codes::Several, Codes::Several) | (Codes::WrongLength, Codes::WrongLength) => true,
            _ => false,
        }
    }
}

impl Eq for Codes {}

/// Addresses looked for in one text; a second one is enough to know that there is not just one.
const ADDRESSES_MAX: usize = 2;

/// Text beyond this many characters is neither a command nor a code.
const CODE_TEXT_CHARS_MAX: usize = 500;

/// Reads a text: a command first, then an address, then a code of `code_digits` digits.
pub fn read(text: &str, code_digits: usize) -> Reading {
    if let Some(command) = command(text) {
        return Reading::Command(command);
    }
    let addresses = addresses(text);
    if !addresses.is_empty() {
        return Reading::Addresses(addresses);
    }
    match codes(text, code_digits) {
        Some(codes) => Reading::Codes(codes),
        None => Reading::Words,
    }
}

/// Digits more or less than a code has, with which a number may be one that was mistyped.
const DIGITS_OFF_MAX: usize = 2;

/// Whether a text of any length may hold a code that was mistyped, or that was written as [`read`]
/// does not understand: about as many digits in a row as a code has, or as many in all, in any
/// script. It depends on no code, so that nobody learns from it what one is.
pub fn may_hold_a_code(text: &str, code_digits: usize) -> bool {
    // Stands between the digits of one number, or turns a digit into a picture of a key.
    let is_between = |c: char| {
        c.is_whitespace()
            || matches!(
                c,
                '-' | '.' | '*' | '_' | '\u{ad}' | '\u{fe0f}' | '\u{20e3}'
            )
            || ('\u{200b}'..='\u{2015}').contains(&c)
    };
    let (mut all, mut run, mut has_such_a_run) = (0, 0_usize, false);
    for c in text.chars().filter(|c| !is_between(*c)) {
        if decimal_digit(c).is_some() {
            (all, run) = (all + 1, run + 1);
        } else {
            has_such_a_run |= run.abs_diff(code_digits) <= DIGITS_OFF_MAX;
            run = 0;
        }
    }
    all >= code_digits || has_such_a_run || run.abs_diff(code_digits) <= DIGITS_OFF_MAX
}

/// The return code that a message carries, from wherever it came.
pub fn return_code_of(message: &Inbound) -> Option<ReturnCode> {
    match &message.content {
        Content::Text(text) => return_code(text),
        Content::Button { .. } | Content::Other(_) => None,
    }
}

/// The return code in a text, whatever people added around it. Not for a code that is in the
/// middle of a longer word.
pub fn return_code(text: &str) -> Option<ReturnCode> {
    text.split(|c: char| !c.is_alphanumeric())
        .find_map(|word| ReturnCode::parse(word).ok())
}

/// Fewest characters of a word that may be a password.
const PASSWORD_CHARS_MIN: usize = 6;

/// Whether a text may be a password that somebody typed in the wrong place: one word with a digit
/// or a sign beside letters. A word of letters with a full stop or the like behind it is none.
pub fn looks_like_a_password(text: &str) -> bool {
    let word = text.trim();
    if word.contains(char::is_whitespace) || word.chars().count() < PASSWORD_CHARS_MIN {
        return false;
    }
    let plain = word
        .trim_start_matches(['¡', '¿'])
        .trim_end_matches(['.', ',', ';', ':', '!', '?', '…']);
    let is_ordinary = |c: char| c.is_alphabetic() || !(c.is_ascii() || c.is_alphanumeric());
    let is_a_name = |word: &str| word.chars().skip(1).all(|c| !c.is_uppercase());
    if plain.chars().all(is_ordinary) && (is_a_name(plain) || plain == word) {
        return false;
    }
    // An address of a page is no secret.
    let is_url = word.starts_with("https://") || word.starts_with("http://");
    word.chars().any(char::is_alphabetic) && !is_url
}

/// The command that the whole text is, without regard to case, accents, punctuation and emoji.
fn command(text: &str) -> Option<Command> {
    const WORDS_MAX: usize = 40;
    if text.chars().nth(WORDS_MAX).is_some() {
        return None;
    }
    let plain = plain_words(text);
    const COMMANDS: [(Command, &[&str]); 10] = [
        (
            Command::Resend,
            &[
                "reenviar",
                "reenviar codigo",
                "otro codigo",
                "nuevo codigo",
                "resend",
                "resend code",
                "send again",
                "new code",
                "another code",
                "reenviar o codigo",
                "outro codigo",
                "novo codigo",
            ],
        ),
        (
            Command::OtherAddress,
            &[
                "otro correo",
                "cambiar correo",
                "otro email",
                "other address",
                "another address",
                "change address",
                "other email",
                "outro email",
                "outro e mail",
                "trocar email",
                "trocar e mail",
            ],
        ),
        (Command::Cancel, &["cancelar", "cancela", "cancel", "stop"]),
        (Command::Yes, &["si", "yes", "sim", "ok", "claro"]),
        (Command::No, &["no", "nao", "nope"]),
        (
            Command::LogOut,
            &[
                "cerrar sesion",
                "salir",
                "desconectar",
                "log out",
                "logout",
                "sign out",
                "sair",
                "encerrar sessao",
                "desconectar me",
            ],
        ),
        (
            Command::WhoAmI,
            &[
                "quien soy",
                "quien soy yo",
                "who am i",
                "whoami",
                "quem sou",
                "quem sou eu",
            ],
        ),
        (
            Command::Web,
            &[
                "web",
                "enlace",
                "nuevo enlace",
                "otro enlace",
                "entrar en la web",
                "link",
                "new link",
                "another link",
                "sign in on the web",
                "novo link",
                "outro link",
                "entrar na web",
            ],
        ),
        (
            Command::ForgetMe,
            &[
                "olvidame",
                "borra mis datos",
                "borrar mis datos",
                "elimina mis datos",
                "eliminar mis datos",
                "forget me",
                "delete my data",
                "erase my data",
                "esqueca me",
                "me esqueca",
                "me esquece",
                "apague meus dados",
                "apagar meus dados",
                "exclua meus dados",
                "excluir meus dados",
            ],
        ),
        (
            Command::ForgetMeIndeed,
            &[
                "si olvidame",
                "yes forget me",
                "sim esqueca me",
                "sim me esqueca",
            ],
        ),
    ];
    COMMANDS
        .iter()
        .find(|(_, words)| words.contains(&plain.as_str()))
        .map(|(command, _)| *command)
}

/// Lower case, Latin accents removed, everything but letters and digits a single space.
fn plain_words(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars().flat_map(char::to_lowercase) {
        let c = match c {
            'á' | 'à' | 'â' | 'ã' | 'ä' => 'a',
            'é' | 'è' | 'ê' | 'ë' => 'e',
            'í' | 'ì' | 'î' | 'ï' => 'i',
            'ó' | 'ò' | 'ô' | 'õ' | 'ö' => 'o',
            'ú' | 'ù' | 'û' | 'ü' => 'u',
            'ç' => 'c',
            'ñ' => 'n',
            // A combining accent belongs to the letter before it.
            '\u{300}'..='\u{36f}' => continue,
            c if c.is_alphanumeric() => c,
            _ => ' ',
        };
        if c != ' ' || !(plain.is_empty() || plain.ends_with(' ')) {
            plain.push(c);
        }
    }
    plain.truncate(plain.trim_end().len());
    plain
}

/// Every different address in a text, up to [`ADDRESSES_MAX`]: inside a sentence, in angle
/// brackets, after `mailto:`, before a full stop. Only ASCII counts (S-21).
fn addresses(text: &str) -> Vec<EmailAddress> {
    let mut found: Vec<EmailAddress> = Vec::new();
    for (at, _) in text.match_indices('@') {
        let before = &text[..at];
        let after = &text[at + 1..];
        let local_len = before
            .bytes()
            .rev()
            .take_while(|b| is_atom_byte(*b) || *b == b'.')
            .count();
        let domain_len = after
            .bytes()
            .take_while(|b| b.is_ascii_alphanumeric() || *b == b'-' || *b == b'.')
            .count();
        let local_start = before.len() - local_len;
        // A letter beyond ASCII, or a second @, right beside the candidate makes it another,
        // unacceptable address: reading only its ASCII part would write to somebody else.
        let foreign =
            |c: char| !c.is_ascii() && c.is_alphanumeric() || c == '@' || c == '＠' || c == '"';
        if before[..local_start]
            .chars()
            .next_back()
            .is_some_and(foreign)
            || after[domain_len..].chars().next().is_some_and(foreign)
        {
            continue;
        }
        let local = before[local_start..].trim_start_matches(['\'', '*', '_', '`', '~', '.']);
        let local = local.strip_prefix("mailto:").unwrap_or(local);
        let domain = after[..domain_len].trim_end_matches(['.', '-']);
        if let Ok(address) = EmailAddress::parse(&format!("{local}@{domain}"))
            && !found.contains(&address)
        {
            found.push(address);
            if found.len() == ADDRESSES_MAX {
                break;
            }
        }
    }
    found
}

/// The codes in a text: digits of any script, in groups set apart by one space, dot or dash.
fn codes(text: &str, code_digits: usize) -> Option<Codes> {
    if text.chars().nth(CODE_TEXT_CHARS_MAX).is_some() {
        return None;
    }
    let mut runs: Vec<String> = Vec::new();
    let mut run = String::new();
    let mut separator = false;
    let mut refused = false;
    let mut previous = ' ';
    for c in text.chars() {
        if let Some(digit) = decimal_digit(c) {
            if run.is_empty() {
                // +57300… is a number, abc123 a word.
                refused = previous == '+' || previous.is_alphabetic();
            }
            run.push(digit);
            separator = false;
        } else if !run.is_empty() {
            let groups = matches!(
                c,
                ' ' | '-' | '.' | '\u{a0}' | '\u{2010}'..='\u{2014}' | '\u{202f}'
            );
            if groups && !separator {
                separator = true;
            } else {
                if !refused && (separator || !c.is_alphabetic()) {
                    runs.push(std::mem::take(&mut run));
                }
                run.clear();
                separator = false;
            }
        }
        previous = c;
    }
    if !run.is_empty() && !refused {
        runs.push(run);
    }
    let mut exact = runs.iter().filter(|run| run.len() == code_digits);
    match (exact.next(), exact.next()) {
        (Some(one), None) => OtpCode::parse(one).ok().map(Codes::One),
        (Some(_), Some(_)) => Some(Codes::Several),
        // Two codes joined by one space read as one long run.
        (None, _) if runs.iter().any(|run| run.len() >= 2 * code_digits) => Some(Codes::Several),
        (None, _) if runs.iter().any(|run| run.len() >= 4) => Some(Codes::WrongLength),
        (None, _) => None,
    }
}

/// The value of a decimal digit as ASCII: full-width, Arabic-Indic, Persian, Devanagari, Bengali, Thai.
fn decimal_digit(c: char) -> Option<char> {
    // Nearly everything is ASCII.
    if c.is_ascii() {
        return c.is_ascii_digit().then_some(c);
    }
    const ZEROS: [u32; 6] = [0x660, 0x6f0, 0x966, 0x9e6, 0xe50, 0xff10];
    ZEROS.iter().find_map(|zero| {
        let value = (c as u32).checked_sub(*zero).filter(|value| *value < 10)?;
        char::from_digit(value, 10)
    })
}

/// The well-known mail domain that this one is one slip away from, to be asked about, never assumed.
pub fn likely_meant(address: &EmailAddress) -> Option<EmailAddress> {
    const KNOWN: [&str; 20] = [
        "gmail.com",
        "hotmail.com",
        "outlook.com",
        "yahoo.com",
        "icloud.com",
        "live.com",
        "msn.com",
        "hotmail.es",
        "outlook.es",
        "yahoo.es",
        "yahoo.com.ar",
        "yahoo.com.br",
        "yahoo.com.mx",
        "uol.com.br",
        "bol.com.br",
        "terra.com.br",
        "proton.me",
        "protonmail.com",
        "googlemail.com",
        "me.com",
    ];
    /// Real domains that look like slips of others.
    const REAL: [&str; 4] = ["mail.com", "ymail.com", "email.com", "gmx.com"];
    let domain = address.domain();
    if KNOWN.contains(&domain) || REAL.contains(&domain) {
        return None;
    }
    KNOWN
        .iter()
        .filter(|known| known.len() > 6)
        .find(|known| is_one_slip(domain, known))
        .and_then(|known| address.at_domain(known).ok())
}

/// One letter more, less, different or swapped with its neighbour.
fn is_one_slip(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let same_start = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let (a, b) = (&a[same_start..], &b[same_start..]);
    let same_end = a
        .iter()
        .rev()
        .zip(b.iter().rev())
        .take_while(|(x, y)| x == y)
        .count();
    let (a, b) = (&a[..a.len() - same_end], &b[..b.len() - same_end]);
    match (a, b) {
        ([], [_]) | ([_], []) | ([_], [_]) => true,
        ([x, y], [u, v]) => x == v && y == u,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn code(digits: &str) -> Reading {
        Reading::Codes(Codes::One(OtpCode::parse(digits).unwrap()))
    }

    #[test]
    fn codes_are_found_as_people_write_them() {
        for text in [
            "12345678",
            " 12345678 ",
            "1234 5678",
            "1234-5678",
            "12 34 56 78",
            "12.34.56.78",
            "mi código es 1234-5678",
            "El código: 12345678.",
            "１２３４５６７８",
            "١٢٣٤٥٦٧٨",
            "es *12345678*",
            "12345678\n",
            "código(12345678)",
            "1234\u{2013}5678",
            "12345678!! gracias",
            "12345678 es el código",
        ] {
            assert_eq!(read(text, 8), code("12345678"), "{text:?}");
        }
        assert_eq!(
            read("00000000", 8),
            code("00000000"),
            "leading zeros are digits"
        );
    }

    #[test]
    fn what_only_looks_like_a_code_is_not_a_try() {
        for text in [
            "hola",
            "",
            "+12345678",
            "tengo 3 preguntas",
            "ref12345678x",
            "1",
            "x".repeat(10_000).as_str(),
            "el 12 de mayo",
        ] {
            assert_eq!(read(text, 8), Reading::Words, "{text:?}");
        }
        for text in ["1234567", "123456789", "mi teléfono es 3001234567"] {
            assert_eq!(
                read(text, 8),
                Reading::Codes(Codes::WrongLength),
                "{text:?}"
            );
        }
        for text in [
            "12345678 87654321",
            "12345678, 87654321",
            "12345678\n87654321",
            "12345678 o 87654321",
        ] {
            assert_eq!(read(text, 8), Reading::Codes(Codes::Several), "{text:?}");
        }
    }

    #[test]
    fn addresses_are_found_inside_sentences() {
        for text in [
            "ana@example.com",
            " Ana@Example.com ",
            "mi correo es ana@example.com.",
            "<ana@example.com>",
            "mailto:ana@example.com",
            "(ana@example.com)",
            "*ana@example.com*",
            "ana@example.com, gracias",
            "es ana@example.com y también ANA@example.com",
            "correo:ana@example.com?",
        ] {
            let Reading::Addresses(found) = read(text, 8) else {
                panic!("{text:?}")
            };
            assert_eq!(
                found,
                [EmailAddress::parse("ana@example.com").unwrap()],
                "{text:?}"
            );
        }
        let Reading::Addresses(found) =
            read("ana@example.com o bea@example.com o c@example.com", 8)
        else {
            panic!()
        };
        assert_eq!(found.len(), 2);
        for text in [
            "ana",
            "ana@",
            "@example.com",
            "ana＠example.com",
            "mıke@example.com",
            "ana@exámple.com",
            "ana@localhost",
            "ana@example.com@evil.example",
            "ñana@example.com",
            "ana@example.comñ",
        ] {
            assert!(!matches!(read(text, 8), Reading::Addresses(_)), "{text:?}");
        }
    }

    #[test]
    fn commands_are_exact_words_in_any_language() {
        for (text, command) in [
            ("Cerrar sesión", Command::LogOut),
            ("LOG OUT!", Command::LogOut),
            ("sair", Command::LogOut),
            ("¡Olvídame!", Command::ForgetMe),
            ("Forget me.", Command::ForgetMe),
            ("esqueça-me", Command::ForgetMe),
            ("Sí, olvídame", Command::ForgetMeIndeed),
            ("¿Quién soy?", Command::WhoAmI),
            ("Quem sou eu?", Command::WhoAmI),
            ("Reenviar", Command::Resend),
            ("otro correo", Command::OtherAddress),
            ("outro e-mail", Command::OtherAddress),
            ("cancelar 🙏", Command::Cancel),
            ("Sí", Command::Yes),
            ("Não", Command::No),
            ("SI\u{301}", Command::Yes),
        ] {
            assert_eq!(read(text, 8), Reading::Command(command), "{text:?}");
        }
        for text in [
            "quiero salir de viaje",
            "cancelar mi pedido",
            "yes please send it",
            "no sé",
        ] {
            assert_eq!(read(text, 8), Reading::Words, "{text:?}");
        }
    }

    #[test]
    fn a_word_that_may_be_a_password_is_told_from_ordinary_ones() {
        for secret in [
            "hunter2",
            "Contraseña1",
            "pan-y-vino",
            " s3creto ",
            "Passw0rd!",
            "SecreTo!",
            "abc_def",
            "p@ssword",
            "clave:1234",
        ] {
            assert!(looks_like_a_password(secret), "{secret:?}");
        }
        for word in [
            "",
            "hola",
            "gracias",
            "gracias!",
            "¿Entonces?",
            "Perfecto...",
            "a1b2",
            "12345678",
            "1234-5678",
            "mi clave es hunter2",
            "gracias🙏",
            "https://example.com/a1",
        ] {
            assert!(!looks_like_a_password(word), "{word:?}");
        }
    }

    #[test]
    fn a_slip_in_a_well_known_domain_is_noticed() {
        let meant = |text: &str| {
            likely_meant(&EmailAddress::parse(text).unwrap()).map(|a| a.as_str().to_owned())
        };
        for slip in [
            "gmial.com",
            "gmai.com",
            "gmail.co",
            "gmaill.com",
            "gmal.com",
            "gnail.com",
            "gmail.con",
        ] {
            assert_eq!(
                meant(&format!("Ana@{slip}")).as_deref(),
                Some("Ana@gmail.com"),
                "{slip}"
            );
        }
        assert_eq!(meant("ana@hotmial.com").as_deref(), Some("ana@hotmail.com"));
        for fine in [
            "gmail.com",
            "mail.com",
            "ymail.com",
            "example.com",
            "kutamma.example",
            "email.com",
            "hotmail.es",
        ] {
            assert_eq!(meant(&format!("ana@{fine}")), None, "{fine}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic_and_finds_at_most_one_code(text in "\\PC{0,80}", digits in 6usize..=10) {
            if let Reading::Codes(Codes::One(code)) = read(&text, digits) {
                prop_assert_eq!(code.reveal().len(), digits);
            }
        }

        #[test]
        fn a_code_in_any_sentence_without_other_digits_is_found(
            before in "([a-zA-Zñá¿ ]{0,20} )?", code in "[0-9]{8}", after in "( [a-zA-Zñá? ]{0,20})?",
        ) {
            let text = format!("{before}{code}{after}");
            let found = matches!(read(&text, 8), Reading::Codes(Codes::One(found)) if found.reveal() == code);
            prop_assert!(found, "{:?}", text);
        }
    }
}
