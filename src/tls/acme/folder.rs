//! What is kept of an authority: the key of the account, the certificate with its key, and when it
//! was asked. A folder of its own for each, so that what a test authority gave is never served for
//! the real one's.

use super::super::{Certificate, files};
use super::plan::Plan;
use crate::http::Endpoint;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The key of the account, in PEM.
const ACCOUNT: &str = "account.pem";
/// The key of the certificate, and the certificate with its chain, in PEM.
const CERTIFICATE: &str = "certificate.pem";
/// Moments at which the authority was asked, in seconds since 1970, one a line.
const TRIES: &str = "tries";

/// Characters of a line of PEM (RFC 7468, section 2).
const PEM_LINE: usize = 64;

pub(super) struct Folder(PathBuf);

impl Folder {
    /// The folder for this authority in `base`, which is made if it is not there.
    pub(super) fn open(base: &Path, authority: &Endpoint) -> Result<Folder, String> {
        let address = authority.text();
        let name = address.split_once("://").map_or("", |(_, rest)| rest);
        let name: String = name
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || c == '.' {
                    c.to_ascii_lowercase()
                } else {
                    '-'
                }
            })
            .collect();
        let path = base.join(name.trim_matches(['-', '.']));
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.map_err(|error| format!("the folder {} cannot be made: {error}", path.display()))?;
        Ok(Folder(path))
    }

    /// The key with which everything is signed that the authority is asked; made at first.
    pub(super) fn account_key(&self) -> Result<EcdsaKeyPair, String> {
        let path = self.0.join(ACCOUNT);
        let random = SystemRandom::new();
        let bytes = match files::private_contents(&path) {
            Ok(bytes) => bytes,
            Err(_) if !path.exists() => {
                let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random);
                let made = made.map_err(|_| "no key could be made for the account".to_owned())?;
                let text = zeroize::Zeroizing::new(pem("PRIVATE KEY", made.as_ref()));
                self.write(ACCOUNT, &text)?;
                text.as_bytes().to_vec().into()
            }
            Err(sentence) => return Err(sentence),
        };
        let unusable = || {
            format!(
                "{} holds no key; remove it, so that another account is made",
                path.display()
            )
        };
        let key = PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| unusable())?;
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.secret_der(), &random)
            .map_err(|_| unusable())
    }

    /// Nothing when there is none, or none that can be used: another one is asked for.
    pub(super) fn certificate(&self) -> Option<Certificate> {
        let path = self.0.join(CERTIFICATE);
        if !path.exists() {
            return None;
        }
        let read = files::private_contents(&path);
        match read.and_then(|both| Certificate::parse(&both, &both)) {
            Ok(certificate) => Some(certificate),
            Err(words) => {
                let path = path.display();
                tracing::warn!("{path} cannot be used, another certificate is asked for: {words}");
                None
            }
        }
    }

    pub(super) fn keep_certificate(&self, both: &str) -> Result<(), String> {
        self.write(CERTIFICATE, both)
    }

    /// Those of the last hour, oldest first.
    pub(super) fn tries(&self, now_s: u64) -> Vec<u64> {
        let text = fs::read_to_string(self.0.join(TRIES)).unwrap_or_default();
        let lines = text.lines().filter_map(|line| line.parse().ok());
        lines.filter(|at_s| Plan::counts(*at_s, now_s)).collect()
    }

    pub(super) fn note_try(&self, now_s: u64) -> Result<(), String> {
        let mut tries = self.tries(now_s);
        tries.push(now_s);
        let lines: Vec<String> = tries.iter().map(|at_s| format!("{at_s}\n")).collect();
        self.write(TRIES, &lines.concat())
    }

    /// Writes a file that only its owner can read, whole or not at all.
    fn write(&self, name: &str, text: &str) -> Result<(), String> {
        let path = self.0.join(name);
        let draft = self.0.join(format!("{name}.new"));
        let write = || {
            match fs::remove_file(&draft) {
                // A leftover of a process that was killed at this point.
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut options = OpenOptions::new();
            let mut file = options
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&draft)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&draft, &path)?;
            File::open(&self.0)?.sync_all()
        };
        write().map_err(|error| format!("{} cannot be written: {error}", path.display()))
    }
}

/// As RFC 7468 has it.
pub(super) fn pem(label: &str, der: &[u8]) -> String {
    let text = zeroize::Zeroizing::new(STANDARD.encode(der));
    let mut pem = String::with_capacity(text.len() + text.len() / PEM_LINE + 2 * label.len() + 40);
    pem.push_str(&format!("-----BEGIN {label}-----\n"));
    for (place, c) in text.chars().enumerate() {
        if place > 0 && place % PEM_LINE == 0 {
            pem.push('\n');
        }
        pem.push(c);
    }
    pem.push_str(&format!("\n-----END {label}-----\n"));
    pem
}
