//! What must hold of everything that others write, held against the corpora of the fuzz targets
//! (F-1 to F-12 of the threat model): what a fuzzer found interesting once is looked at in every
//! usual run, without a fuzzer. `.ci/fuzz` looks for more.

use crate::house;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// The files of a corpus are small and few: they are read in every run.
const FILES_MAX: usize = 200;
const BYTES_MAX: u64 = 300 * 1024;

/// Holds every file of a corpus against its property, and names the one that breaks it.
fn every_input_of(target: &str, holds: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    let (mut files, mut bytes) = (0, 0);
    for entry in fs::read_dir(folder.join(target)).unwrap() {
        let path = entry.unwrap().path();
        let input = fs::read(&path).unwrap();
        let held = catch_unwind(AssertUnwindSafe(|| holds(&input)));
        assert!(held.is_ok(), "{} breaks what must hold", path.display());
        files += 1;
        bytes += input.len() as u64;
    }
    assert!((5..=FILES_MAX).contains(&files), "{files} files");
    assert!(bytes <= BYTES_MAX, "{bytes} bytes");
}

#[path = "../fuzz/properties/hall.rs"]
#[allow(dead_code)]
mod hall;

#[path = "../fuzz/properties/head_and_body.rs"]
mod head_and_body;

/// F-1.
#[test]
fn the_listener_takes_every_input_apart_as_the_reference_does() {
    every_input_of("head_and_body", head_and_body::holds);
}

#[path = "../fuzz/properties/signature_header.rs"]
mod signature_header;

/// F-2.
#[test]
fn every_signature_is_judged_as_the_reference_judges_it() {
    every_input_of("signature_header", signature_header::holds);
}

#[path = "../fuzz/properties/webhook_json.rs"]
mod webhook_json;

/// F-3.
#[test]
fn every_webhook_is_read_to_its_end_and_nothing_odd_spoils_what_is_beside_it() {
    every_input_of("webhook_json", webhook_json::holds);
}

#[path = "../fuzz/properties/forms_and_cookies.rs"]
mod forms_and_cookies;

/// F-4.
#[test]
fn every_form_query_and_cookie_is_read_in_one_way() {
    every_input_of("forms_and_cookies", forms_and_cookies::holds);
}

#[path = "../fuzz/properties/email_address.rs"]
mod email_address;

/// F-5.
#[test]
fn every_address_that_is_accepted_is_accepted_by_the_mailer() {
    every_input_of("email_address", email_address::holds);
}

#[path = "../fuzz/properties/phone_and_bsuid.rs"]
mod phone_and_bsuid;

/// F-6.
#[test]
fn every_number_and_bsuid_is_compared_fairly() {
    every_input_of("phone_and_bsuid", phone_and_bsuid::holds);
}

#[path = "../fuzz/properties/config_toml.rs"]
mod config_toml;

/// F-7.
#[test]
fn every_configuration_is_refused_or_shown_as_it_is() {
    every_input_of("config_toml", config_toml::holds);
}

#[path = "../fuzz/properties/code_in_text.rs"]
mod code_in_text;

/// F-8.
#[test]
fn every_text_holds_one_code_at_most_and_none_that_was_forwarded() {
    every_input_of("code_in_text", code_in_text::holds);
}

#[path = "../fuzz/properties/record_envelope.rs"]
mod record_envelope;

/// F-9.
#[test]
fn every_record_that_was_altered_is_damage() {
    every_input_of("record_envelope", record_envelope::holds);
}

#[path = "../fuzz/properties/answers.rs"]
mod answers;

/// F-10.
#[test]
fn every_answer_of_others_is_read_within_bounds() {
    every_input_of("answers", answers::holds);
}

#[path = "../fuzz/properties/mail_rendering.rs"]
mod mail_rendering;

/// F-11.
#[test]
fn every_mail_is_read_as_it_was_written() {
    every_input_of("mail_rendering", mail_rendering::holds);
}

#[path = "../fuzz/properties/whole_handler.rs"]
mod whole_handler;

/// F-12.
#[test]
fn every_sequence_of_requests_is_answered_as_documented() {
    every_input_of("whole_handler", whole_handler::holds);
}

/// The targets have a lock file of their own, which is to be in step: `cargo update -w` in
/// `tests/fuzz` brings it there.
#[test]
fn what_is_fuzzed_is_built_of_what_the_program_is_built_of() {
    let read = |path: &str| -> toml::Table {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        fs::read_to_string(path).unwrap().parse().unwrap()
    };
    let packages = |lock: &toml::Table| -> Vec<(String, String)> {
        let packages = lock["package"].as_array().unwrap().iter();
        let text = |package: &toml::Value, key: &str| package[key].as_str().unwrap().to_owned();
        packages
            .map(|package| (text(package, "name"), text(package, "version")))
            .collect()
    };
    let program = packages(&read("Cargo.lock"));
    let fuzzed = packages(&read("tests/fuzz/Cargo.lock"));
    for (name, version) in &fuzzed {
        let is_known = program.iter().any(|(known, _)| known == name);
        let is_same = program.contains(&(name.clone(), version.clone()));
        assert!(!is_known || is_same, "{name} {version} is another one");
    }
    let manifest = read("Cargo.toml");
    for (key, wanted) in manifest["dependencies"].as_table().unwrap() {
        let name = wanted.get("package").and_then(toml::Value::as_str);
        let name = name.unwrap_or(key);
        assert!(
            fuzzed.iter().any(|(known, _)| known == name),
            "{name} is missing in tests/fuzz/Cargo.lock"
        );
    }
}

// --- what was found once --------------------------------------------------------------------------

/// A file that breaks what must hold is seen, and named.
#[test]
fn an_input_that_breaks_a_property_is_seen() {
    let seen = catch_unwind(|| {
        every_input_of("code_in_text", |input| {
            assert!(!input.is_empty());
            assert_ne!(input, b"\x01", "the right code and nothing else");
        });
    });
    let words = seen.unwrap_err();
    let words = words.downcast_ref::<String>().unwrap();
    assert!(words.contains("corpus/code_in_text/"), "{words}");
}

/// `?mappingHash=…&mappingHash=…` opened the page of the first one, whatever a proxy or a filter
/// before it took for the link; and `mapping%48ash=…` was none at all, though browsers mean the same
/// by both. A parameter is one that comes once, however it is written.
#[test]
fn a_parameter_that_comes_twice_is_none_and_one_in_escapes_is_one() {
    for query in [
        "mappingHash=\u{1}&mappingHash=\u{1}",
        "mapping%48ash=\u{1}",
        "mappingHash=\u{1}=",
        "hub.mode=subscribe&hub.verify_token=x&hub.verify_token=tomillo&hub.challenge=1",
    ] {
        forms_and_cookies::holds(format!("\u{1}{query}").as_bytes());
    }
}

/// Of two cookies of one name the first one counted, which is the one that a page beside this host
/// may have planted before the real one. Two are none.
#[test]
fn a_session_that_comes_twice_opens_nothing() {
    for cookies in [
        "__Host-portero_status=\u{3}; __Host-portero_status=\u{3}",
        "__Host-portero_status=\u{3}|__Host-portero_status=x",
        "@portero_status=x; portero_status=\u{3}",
        "x=y|__Host-portero_status=\u{3}",
    ] {
        forms_and_cookies::holds(format!("\u{2}{cookies}").as_bytes());
    }
}

/// Two spaces in the name of a business, at a place where its subject is encoded in two pieces, were
/// gone for whoever read the mail.
#[test]
fn spaces_in_a_name_are_not_lost_where_a_subject_is_encoded() {
    let name = format!(
        "{}{}ted\"  on{}",
        "\u{fffd}".repeat(42),
        "*".repeat(40),
        "*".repeat(30)
    );
    mail_rendering::holds(format!("{name}\0{name}\0x\0y\0z").as_bytes());
}

/// The cap on a body was asked for the root, and the handler then got a request for no path at all.
#[test]
fn an_address_without_a_path_is_the_root_for_everybody() {
    head_and_body::holds(b"GET http://a?x HTTP/1.1\r\nHost: a\r\n\r\n");
}

/// The reference took it for granted that whoever refuses an odd target waits for its body first.
#[test]
fn an_odd_target_is_refused_before_its_body_is_there() {
    head_and_body::holds(b"POST />c HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nhalf");
}
