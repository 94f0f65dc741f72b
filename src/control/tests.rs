//! Tests of `control`.

#![allow(clippy::unwrap_used)]
use super::*;
use crate::app::admin::IMPORT_USERS_MAX;
use crate::app::user;
use crate::app::{Settings, SystemClock, SystemRandom};
use crate::domain::account::Account;
use crate::domain::id::EmailAddress;
use crate::domain::id::{PhoneNumberId, ServiceName};
use crate::domain::language::Language;
use crate::domain::policy::Policy;
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::store::StoreError;
use crate::store::record::Keys;
use crate::store::{MasterKey, Memory, Sealed};
use crate::text::{Texts, Voice};
use std::io::BufRead;
use std::net::Shutdown;

fn app_on(engine: Arc<Memory>) -> Arc<App> {
    let master = MasterKey::generate().unwrap();
    let settings = Settings {
        policy: Policy::default(),
        phone_number_id: PhoneNumberId::parse("106540352242922").unwrap(),
        language: Language::Spanish,
        texts: Texts::default(),
        voice: Voice {
            business: "La Espiga".to_owned(),
            services: Vec::new(),
            code_digits: 8,
            code_minutes: 10,
            methods: Policy::default().methods,
            link_minutes: 10,
        },
        directory: Some(ServiceName::parse("directory").unwrap()),
        places: crate::app::Places::default(),
        hands_on: false,
        tells_events: false,
        identity: crate::app::IdentitySettings::default(),
    };
    let app = App::new(
        Sealed::open(engine, &master).unwrap(),
        Keys::new(master),
        settings,
        Arc::new(SystemClock::new(Timestamp(0))),
        Arc::new(SystemRandom),
    );
    Arc::new(app.unwrap())
}

fn app() -> Arc<App> {
    app_on(Arc::new(Memory::new()))
}

/// A server that was started from no file.
struct Bare(Arc<App>);

impl Server for Bare {
    fn app(&self) -> Arc<App> {
        Arc::clone(&self.0)
    }

    fn certificate(&self) -> Option<Watch> {
        None
    }

    fn reload(&self) -> Answer {
        Answer::NotReloaded {
            problems: "there is no file".to_owned(),
        }
    }
}

fn attend(app: Arc<App>, path: &Path) -> Result<Control, ControlError> {
    start(Arc::new(Bare(app)), path)
}

struct Here {
    folder: tempfile::TempDir,
}

impl Here {
    fn new() -> Here {
        Here {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self) -> PathBuf {
        socket_path(&self.folder.path().join("portero.redb"))
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn text(email: &str) -> UserText {
    UserText {
        email: email.to_owned(),
        name: "Ana".to_owned(),
        company: "Espiga".to_owned(),
        phone: String::new(),
    }
}

fn add(email: &str, password: Option<&str>) -> Request {
    Request::AddUser {
        user: text(email),
        password: password.map(|text| Hidden::new(Secret::new(text))),
    }
}

fn remove(email: &str) -> Request {
    Request::RemoveUser {
        email: email.to_owned(),
    }
}

/// What comes back for these bytes, after which nothing more is sent.
fn raw(path: &Path, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    // The server may have heard enough.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = String::new();
    // No further: behind it comes an error if the server had heard enough.
    io::BufReader::new(stream).read_line(&mut answer).unwrap();
    answer
}

#[test]
fn requests_are_carried_out_and_the_socket_is_the_owners_and_goes_at_the_end() {
    let here = Here::new();
    let app = app();
    let control = attend(Arc::clone(&app), &here.path()).unwrap();
    let metadata = fs::symlink_metadata(here.path()).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o600);
    assert_eq!(here.names(), ["portero.redb.sock"], "no draft is left");
    let ask = |request: &Request| ask(&here.path(), request).unwrap();
    let long = "doce perros verdes";
    assert_eq!(
        ask(&add("ana@example.com", Some(long))),
        Answer::UserAdded { changed: false }
    );
    assert_eq!(
        ask(&add("ana@example.com", None)),
        Answer::UserAdded { changed: true }
    );
    let signed_in = app.sign_in_to_directory("ana@example.com", &Secret::new(long));
    assert_eq!(signed_in.unwrap().len(), 1);
    let Answer::Users { users } = ask(&Request::ListUsers { after: None }) else {
        panic!("this is no list");
    };
    assert_eq!((users.len(), users[0].password), (1, true));
    let after = Some("ana@example.com".to_owned());
    assert_eq!(
        ask(&Request::ListUsers { after }),
        Answer::Users { users: vec![] }
    );
    assert_eq!(ask(&remove("ana@example.com")), Answer::UserRemoved);
    assert_eq!(ask(&remove("ana@example.com")), Answer::NoSuchUser);
    let refused = |request: &Request| match ask(request) {
        Answer::Refused { reason } => reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        refused(&remove("ana")),
        "email: a mail address looks like ana@example.com"
    );
    assert!(refused(&add("ana@example.com", Some("short"))).starts_with("password: "));
    let plain = Some(Hidden::new(Secret::new(long)));
    let users = vec![
        (text("bea@example.com"), None),
        (text("ana@example.com"), plain),
    ];
    assert!(refused(&Request::ImportUsers { users }).starts_with("password_hash: "));
    assert!(
        app.users().unwrap().is_empty(),
        "a refused request left something"
    );
    control.close().join().unwrap();
    assert_eq!(here.names(), [""; 0]);
    assert!(matches!(
        super::ask(&here.path(), &remove("ana@example.com")),
        Err(AskError::NoServer(_))
    ));
}

#[test]
fn garbage_is_answered_and_the_next_request_as_ever() {
    let here = Here::new();
    let control = attend(app(), &here.path()).unwrap();
    let unknown = "this is no request that this version of Portero knows";
    let deep = format!("{}\n", "[".repeat(100_000));
    let passwords =
        "{\"version\":1,\"request\":{\"set_password\":{\"email\":\"a@b.co\",\"password\":5}}}\n";
    for (bytes, words) in [
        (&b"\n"[..], unknown),
        (b"hello\n", unknown),
        (b"{}\n", unknown),
        (b"\xff\xfe\0\n", unknown),
        (deep.as_bytes(), unknown),
        (passwords.as_bytes(), unknown),
        (b"{\"version\":1,\"request\":{\"drop_all\":{}}}\n", unknown),
        (
            b"{\"version\":1,\"request\":{\"remove_user\":{\"email\":\"a@b.co\"}}",
            "the request ended before its line did",
        ),
        (
            b"{\"version\":7,\"wish\":3}\n",
            "the running server and this command are of different versions (1 and 7 of the control socket)",
        ),
        (
            &vec![b'x'; REQUEST_BYTES_MAX + 5],
            "the request is too long",
        ),
    ] {
        let answer = raw(&here.path(), bytes);
        let expected =
            format!("{{\"version\":1,\"answer\":{{\"refused\":{{\"reason\":\"{words}\"}}}}}}\n");
        assert_eq!(
            answer,
            expected,
            "{}",
            String::from_utf8_lossy(&bytes[..bytes.len().min(80)])
        );
    }
    assert_eq!(raw(&here.path(), b""), "");
    // Hangs up without listening to the answer.
    let mut rude = UnixStream::connect(here.path()).unwrap();
    rude.write_all(b"{}\n").unwrap();
    drop(rude);
    assert_eq!(
        ask(&here.path(), &remove("a@b.co")).unwrap(),
        Answer::NoSuchUser
    );
    control.close().join().unwrap();
}

#[test]
fn a_dead_socket_is_replaced_a_living_one_and_a_file_are_not() {
    let here = Here::new();
    // A process that was killed.
    drop(UnixListener::bind(here.path()).unwrap());
    let control = attend(app(), &here.path()).unwrap();
    assert_eq!(
        ask(&here.path(), &remove("a@b.co")).unwrap(),
        Answer::NoSuchUser
    );
    assert!(matches!(
        attend(app(), &here.path()),
        Err(ControlError::InUse(_))
    ));
    assert_eq!(
        ask(&here.path(), &remove("a@b.co")).unwrap(),
        Answer::NoSuchUser
    );
    assert_eq!(here.names().len(), 1);
    // Somebody put something else there: it is not ours to remove.
    fs::remove_file(here.path()).unwrap();
    fs::write(here.path(), "letters").unwrap();
    control.close().join().unwrap();
    assert!(matches!(
        attend(app(), &here.path()),
        Err(ControlError::InTheWay(_))
    ));
    assert_eq!(fs::read_to_string(here.path()).unwrap(), "letters");
    let far = here.folder.path().join("x".repeat(PATH_BYTES_MAX));
    assert!(matches!(
        attend(app(), &far),
        Err(ControlError::TooLong { .. })
    ));
    assert!(matches!(
        attend(app(), &here.folder.path().join("none/portero.sock")),
        Err(ControlError::Io { .. })
    ));
}

/// Stopping must not take as long as somebody who says nothing.
#[test]
fn a_silent_connection_does_not_hold_up_the_end() {
    let here = Here::new();
    let control = attend(app(), &here.path()).unwrap();
    let mut silent = UnixStream::connect(here.path()).unwrap();
    silent.write_all(b"{").unwrap();
    control.close().join().unwrap();
    let mut rest = Vec::new();
    // Hung up on, with or without having been read from.
    assert!(silent.read_to_end(&mut rest).is_err() || rest.is_empty());
}

#[test]
fn a_store_that_fails_is_an_answer_too() {
    let here = Here::new();
    let engine = Arc::new(Memory::new());
    let control = attend(app_on(Arc::clone(&engine)), &here.path()).unwrap();
    engine.fail_operation(1, StoreError::Full);
    assert_eq!(
        ask(&here.path(), &remove("a@b.co")).unwrap(),
        Answer::Failed {
            reason: "the disk that holds the store is full".to_owned()
        }
    );
    control.close().join().unwrap();
}

#[test]
fn an_answer_of_another_version_is_told_from_none() {
    let here = Here::new();
    let listener = UnixListener::bind(here.path()).unwrap();
    let server = std::thread::spawn(move || {
        for answer in [
            &b"{\"version\":2,\"reply\":true}\n"[..],
            b"",
            b"{}\n",
            b"{\"version\":1",
        ] {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            assert!(stream.read(&mut request).unwrap() > 0);
            stream.write_all(answer).unwrap();
        }
    });
    let request = remove("a@b.co");
    assert!(matches!(
        ask(&here.path(), &request),
        Err(AskError::OtherVersion(2))
    ));
    for _ in 0..3 {
        assert!(matches!(
            ask(&here.path(), &request),
            Err(AskError::NoAnswer)
        ));
    }
    server.join().unwrap();
}

#[test]
fn the_largest_request_and_the_largest_answer_fit() {
    // A quotation mark takes two bytes in JSON, a character outside the first plane four.
    let widest = "\u{1f35e}".repeat(Account::TEXT_CHARS_MAX);
    let email = "a".repeat(EmailAddress::BYTES_MAX);
    let user = UserText {
        email: email.clone(),
        name: widest.clone(),
        company: widest.clone(),
        phone: "1".repeat(40),
    };
    let hash = Hidden::new(Secret::new("$".repeat(user::HASH_BYTES_MAX)));
    let users = (0..IMPORT_USERS_MAX)
        .map(|_| (user.clone(), Some(hash.clone())))
        .collect();
    let request = RequestLine {
        version: VERSION,
        request: Request::ImportUsers { users },
    };
    assert!(line(&request).unwrap().len() < REQUEST_BYTES_MAX);
    let one = UserLine {
        id: "u-00112233445566778899aabbccddeeff".to_owned(),
        email,
        name: widest.clone(),
        company: widest,
        phone: Some("1".repeat(15)),
        password: false,
    };
    let answer = AnswerLine {
        version: VERSION,
        answer: Answer::Users {
            users: vec![one; LIST_USERS_MAX],
        },
    };
    assert!(line(&answer).unwrap().len() < ANSWER_BYTES_MAX);
}

#[test]
fn a_password_is_not_in_what_is_printed() {
    let request = add("ana@example.com", Some("doce perros verdes"));
    let printed = format!("{request:?}");
    assert!(
        printed.contains("Hidden(..)") && !printed.contains("perros"),
        "{printed}"
    );
}
