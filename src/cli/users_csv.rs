//! A file of users as people and spreadsheets write it.
//!
//! The first line names the columns, in any order: `email`, `name` and `company`, and if wanted
//! `phone` and `password_hash`. Commas or semicolons, with or without a byte order mark.

use crate::app::admin::USERS_MAX;
use crate::app::user::HashedPassword;
use crate::control::{Hidden, UserText};
use crate::domain::id::EmailAddress;
use crate::domain::secret::Secret;
use csv::{ByteRecord, ReaderBuilder};
use std::collections::HashMap;

/// Bytes of a file at most: [`USERS_MAX`] users with long names and hashes.
pub(super) const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

const COLUMNS: [&str; 5] = ["email", "name", "company", "phone", "password_hash"];

/// How many of them must be there, from the first on.
const COLUMNS_REQUIRED: usize = 3;

/// What a file says.
#[derive(Debug)]
pub(super) struct Sheet {
    /// Users without anything wrong, in the order of the file, with the hash of their password.
    pub(super) users: Vec<(UserText, Option<Hidden>)>,
    /// What is wrong with the other lines.
    pub(super) problems: Vec<Problem>,
}

/// Something wrong in a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// Counts from 1.
    pub(super) line: u64,
    /// A sentence without what was written there.
    pub(super) words: String,
}

/// Reads a whole file.
///
/// # Errors
/// What is wrong with the first line, without which no other can be read.
pub(super) fn read(bytes: &[u8]) -> Result<Sheet, Vec<Problem>> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let first_line = bytes.split(|byte| *byte == b'\n').next().unwrap_or(bytes);
    let semicolons = first_line.contains(&b';') && !first_line.contains(&b',');
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(if semicolons { b';' } else { b',' })
        .from_reader(bytes);
    let mut records = reader.byte_records();
    let header = match records.next() {
        Some(Ok(header)) => Header::read(&header)?,
        _ => return Err(vec![missing_header()]),
    };
    let mut sheet = Sheet {
        users: Vec::new(),
        problems: Vec::new(),
    };
    let mut first_lines = HashMap::new();
    let mut lines = Lines {
        bytes,
        offset: 0,
        line: 1,
    };
    // Reading from memory does not fail.
    for record in records.map_while(Result::ok) {
        let line = lines.of(&record);
        if record.iter().all(|field| field.trim_ascii().is_empty()) {
            continue;
        }
        if sheet.users.len() == USERS_MAX {
            let words = format!("is one user too many; {USERS_MAX} in one file are the most");
            sheet.problems.push(Problem { line, words });
            break;
        }
        match header.user(&record) {
            Ok((email, user, hash)) => match first_lines.insert(email.key(), line) {
                None => sheet.users.push((user, hash)),
                Some(first) => {
                    first_lines.insert(email.key(), first);
                    let words = format!("email: line {first} has this address already");
                    sheet.problems.push(Problem { line, words });
                }
            },
            Err(found) => {
                let problems = found.into_iter().map(|words| Problem { line, words });
                sheet.problems.extend(problems);
            }
        }
    }
    Ok(sheet)
}

/// Counts the lines of a file up to one record after the other. The parser's own count is that of
/// the end of the record before, which blank lines may follow.
struct Lines<'a> {
    bytes: &'a [u8],
    offset: usize,
    line: u64,
}

impl Lines<'_> {
    fn of(&mut self, record: &ByteRecord) -> u64 {
        let start = record.position().map_or(0, csv::Position::byte);
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        while let Some(byte) = self.bytes.get(self.offset)
            && (self.offset < start || matches!(byte, b'\r' | b'\n'))
        {
            self.offset += 1;
            let ends = match byte {
                b'\n' => true,
                b'\r' => self.bytes.get(self.offset) != Some(&b'\n'),
                _ => false,
            };
            self.line += u64::from(ends);
        }
        self.line
    }
}

fn missing_header() -> Problem {
    Problem {
        line: 1,
        words: format!("the first line names the columns: {}", COLUMNS.join(",")),
    }
}

/// Where each column is.
struct Header {
    places: [Option<usize>; COLUMNS.len()],
    fields: usize,
}

impl Header {
    fn read(record: &ByteRecord) -> Result<Header, Vec<Problem>> {
        let mut places = [None; COLUMNS.len()];
        let mut problems = Vec::new();
        let mut problem = |words: String| problems.push(Problem { line: 1, words });
        for (place, name) in record.iter().enumerate() {
            let name = String::from_utf8_lossy(name).trim().to_ascii_lowercase();
            match COLUMNS.iter().position(|column| *column == name) {
                Some(column) if places[column].is_none() => places[column] = Some(place),
                Some(column) => problem(format!("{}: this column is there twice", COLUMNS[column])),
                None if name.contains('@') => return Err(vec![missing_header()]),
                None if name == "password" => problem(
                    "password: plain passwords are not accepted in a file; `portero user passwd` sets them, and the column password_hash takes argon2id hashes"
                        .to_owned(),
                ),
                None => problem(unknown_column(&name, place)),
            }
        }
        for column in 0..COLUMNS_REQUIRED {
            if places[column].is_none() {
                problem(format!("{}: this column is missing", COLUMNS[column]));
            }
        }
        match problems.is_empty() {
            true => Ok(Header {
                places,
                fields: record.len(),
            }),
            false => Err(problems),
        }
    }

    fn user(
        &self,
        record: &ByteRecord,
    ) -> Result<(EmailAddress, UserText, Option<Hidden>), Vec<String>> {
        if record.len() != self.fields {
            let mut words = format!("has {} fields, not {}", record.len(), self.fields);
            if record.len() > self.fields {
                words.push_str("; a field with commas, such as a hash, stands in quotation marks");
            }
            return Err(vec![words]);
        }
        let field = |column: usize| {
            let bytes = self.places[column].and_then(|place| record.get(place));
            std::str::from_utf8(bytes.unwrap_or_default()).map(str::trim)
        };
        let [Ok(email), Ok(name), Ok(company), Ok(phone), Ok(hash)] = [0, 1, 2, 3, 4].map(field)
        else {
            return Err(vec!["is not UTF-8; save the file as CSV UTF-8".to_owned()]);
        };
        let text = UserText {
            email: email.to_owned(),
            name: name.to_owned(),
            company: company.to_owned(),
            phone: phone.to_owned(),
        };
        let user = text.parse();
        let wrong_hash = match hash {
            "" => None,
            hash => HashedPassword::parse(hash).err(),
        };
        match (user, wrong_hash) {
            (Ok(user), None) => {
                let hash = (!hash.is_empty()).then(|| Hidden::new(Secret::new(hash)));
                Ok((user.email, text, hash))
            }
            (user, wrong_hash) => {
                let fields = user.err().into_iter().flatten();
                let hash = wrong_hash.map(|words| format!("password_hash: {words}"));
                Err(fields
                    .map(|problem| problem.to_string())
                    .chain(hash)
                    .collect())
            }
        }
    }
}

fn unknown_column(name: &str, place: usize) -> String {
    let near = COLUMNS
        .iter()
        .map(|column| (strsim::damerau_levenshtein(name, column), column))
        .min()
        .filter(|(distance, _)| *distance <= 2);
    let place = place + 1;
    match near {
        Some((_, column)) => format!("column {place} is unknown; did you mean {column}?"),
        None => format!(
            "column {place} is unknown; the columns are {}",
            COLUMNS.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn lines(problems: &[Problem]) -> Vec<String> {
        let line = |problem: &Problem| format!("{}: {}", problem.line, problem.words);
        problems.iter().map(line).collect()
    }

    /// The addresses and the problems of a file.
    fn check(text: impl AsRef<[u8]>) -> (Vec<String>, Vec<String>) {
        match read(text.as_ref()) {
            Ok(sheet) => (
                sheet
                    .users
                    .into_iter()
                    .map(|(user, _)| user.email)
                    .collect(),
                lines(&sheet.problems),
            ),
            Err(problems) => (Vec::new(), lines(&problems)),
        }
    }

    const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGhhcyB0aGlz$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    #[test]
    fn a_good_file_is_read_in_the_forms_that_spreadsheets_write() {
        let ana = ["ana@example.com"];
        for text in [
            "email,name,company\nana@example.com,Ana,Espiga\n",
            "\u{feff}Email, NAME ,Company,Phone\r\nana@example.com,Ana,Espiga,+34 600 111 222\r\n",
            "company;name;email\nEspiga;\"Ana, la de siempre\";ana@example.com",
            "email,name,company\n\n,,\nana@example.com, Ana ,\"La \"\"Espiga\"\"\"\n\n",
        ] {
            let (users, problems) = check(text);
            assert_eq!(
                (users.as_slice(), problems.as_slice()),
                (&ana.map(String::from)[..], &[][..]),
                "{text}"
            );
        }
        let text = format!(
            "password_hash,email,name,company\n\"{HASH}\",ana@example.com,Ana,Espiga\n,bea@example.com,Bea,Espiga\n"
        );
        let sheet = read(text.as_bytes()).unwrap();
        let has_hash: Vec<bool> = sheet.users.iter().map(|(_, hash)| hash.is_some()).collect();
        assert_eq!(has_hash, [true, false]);
    }

    #[test]
    fn a_wrong_first_line_is_explained_and_nothing_else_is_read() {
        let columns = "1: the first line names the columns: email,name,company,phone,password_hash";
        for (text, words) in [
            ("", vec![columns]),
            ("ana@example.com,Ana,Espiga\n", vec![columns]),
            (
                "emial,name,company\nx\n",
                vec![
                    "1: column 1 is unknown; did you mean email?",
                    "1: email: this column is missing",
                ],
            ),
            (
                "email,name,company,colour,name\n",
                vec![
                    "1: column 4 is unknown; the columns are email, name, company, phone, password_hash",
                    "1: name: this column is there twice",
                ],
            ),
            (
                "email,name,company,password\nana@example.com,Ana,Espiga,tomillo y romero\n",
                vec![
                    "1: password: plain passwords are not accepted in a file; `portero user passwd` sets them, and the column password_hash takes argon2id hashes",
                ],
            ),
        ] {
            assert_eq!(
                check(text),
                (vec![], words.into_iter().map(String::from).collect()),
                "{text}"
            );
        }
    }

    #[test]
    fn every_wrong_line_is_named_with_its_number_and_the_others_are_kept() {
        let text = format!(
            "email,name,company,phone,password_hash\n\
             ana@example.com,Ana,Espiga,,\n\
             \n\
             nobody,,Espiga,12,\n\
             ana@EXAMPLE.com,Ana,Espiga,,\n\
             bea@example.com,Bea\n\
             \"cid@example.com\",\"Cid\nCampeador\",Espiga,,\n\
             dan@example.com,Dan,Espiga,,{HASH}\n\
             eva@example.com,Eva,Espiga,,tomillo y romero\n\
             fin@example.com,Fin,Espiga,600111222,\"{HASH}\"\n\
             ANA@example.com,Ana,Espiga,,\n"
        );
        let (users, problems) = check(text);
        assert_eq!(users, ["ana@example.com", "fin@example.com"]);
        assert_eq!(
            problems,
            [
                "4: email: a mail address looks like ana@example.com",
                "4: name: is missing",
                "4: phone: a phone is written in digits with the country code first, such as 34600111222",
                "5: email: line 2 has this address already",
                "6: has 2 fields, not 5",
                "7: name: has a line break; is a quotation mark missing?",
                "9: has 7 fields, not 5; a field with commas, such as a hash, stands in quotation marks",
                "10: password_hash: must be an argon2id hash such as $argon2id$v=19$m=19456,t=2,p=1$SALT$HASH; plain passwords are not accepted here",
                "12: email: line 2 has this address already",
            ]
        );
    }

    #[test]
    fn lines_are_counted_however_they_end() {
        for end in ["\n", "\r\n", "\r"] {
            let lines = [
                "email,name,company",
                "ana,A,B",
                "",
                "",
                "bea,\"B\nC\",C",
                "cid,C,D",
            ];
            let (_, problems) = check(lines.join(end));
            let numbers: Vec<&str> = problems.iter().map(|words| &words[..2]).collect();
            assert_eq!(numbers, ["2:", "5:", "5:", "7:"], "{end:?}");
        }
    }

    #[test]
    fn what_is_not_utf_8_is_said_so() {
        let text = b"email,name,company\nana@example.com,Mar\xeda,Espiga\n";
        assert_eq!(
            check(text).1,
            ["2: is not UTF-8; save the file as CSV UTF-8"]
        );
    }

    #[test]
    fn a_file_holds_a_bounded_number_of_users() {
        let mut text = "email,name,company\n".to_owned();
        for n in 0..=USERS_MAX {
            text.push_str(&format!("u{n}@example.com,A,B\n"));
        }
        let (users, problems) = check(text);
        assert_eq!(users.len(), USERS_MAX);
        assert_eq!(
            problems,
            ["100002: is one user too many; 100000 in one file are the most"]
        );
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in "(email|name|company|[,;\"\n]|a@b.co| ){0,40}") {
            let _ = read(&bytes);
            let _ = read(text.as_bytes());
            let mut file = b"email,name,company\n".to_vec();
            file.extend_from_slice(&bytes);
            if let Ok(sheet) = read(&file) {
                let last = u64::try_from(file.iter().filter(|byte| matches!(**byte, b'\n' | b'\r')).count()).unwrap() + 1;
                prop_assert!(sheet.problems.iter().all(|problem| (2..=last).contains(&problem.line)));
            }
        }
    }
}
