//! The sealing layer: every record is unreadable without the master key, and an altered or
//! misplaced one fails to open.
//!
//! A record is sealed with XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03) under a key derived from
//! the master key: ChaCha20-Poly1305 under a key that HChaCha20 makes of that key and the first 16
//! bytes of the nonce. Its table, its key and the version of the layout are authenticated with it,
//! so a record cannot be moved to another place. What this does not notice is a whole store set back
//! to an earlier moment: that is what a restore does.
//!
//! Layout of a sealed value: version (1 byte), nonce (24), ciphertext, tag (16).
//!
//! Nonces: each run of an update draws 128 random bits, which are also those that its key is made
//! of, and counts its records in the other 64. Two runs share a nonce only if they draw the same 128
//! bits, which 2^40 updates do with a probability below 2^-48. Drawing per run, and not once per process, keeps this true for a virtual machine
//! that is resumed twice from one image; drawing per run, and not per record, is one system call
//! where there would be several.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chacha20::{R20, hchacha};
use hmac::{Hmac, Mac};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::engine::{Engine, KeyRange, Order, Reader, Table, Visitor, Writer};
use super::{OpenError, StoreError, file, migrate};

/// Version of the layout of a sealed value.
const SEAL_VERSION: u8 = 1;
const NONCE_BYTES: usize = 24;
/// Bytes of a nonce that are drawn once for each run of an update.
const RUN_BYTES: usize = 16;
const TAG_BYTES: usize = 16;
const HEAD_BYTES: usize = 1 + NONCE_BYTES;
/// What sealing adds to a value.
pub const SEAL_BYTES: usize = HEAD_BYTES + TAG_BYTES;

/// Where the format stands, in clear: four bytes, big-endian.
const FORMAT_KEY: &[u8] = b"version";
/// A sealed value that is always the same, so that a wrong key is told apart from damage.
const CHECK_KEY: &[u8] = b"check";
const CHECK_VALUE: &[u8] = b"portero";

const KEY_BYTES: usize = 32;
const KEY_DIGITS: usize = 2 * KEY_BYTES;
/// A key file holds 64 digits and perhaps an end of line; reading more tells that it is another.
const KEY_FILE_BYTES_MAX: u64 = 128;

/// First byte of what is authenticated, so that a derived key is never a digest as well.
const DERIVE: u8 = 1;
const DIGEST: u8 = 2;

/// The one secret of a store, from which all others come. Kept outside the store.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct MasterKey([u8; KEY_BYTES]);

/// Why there is no master key: what is the matter, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The text is not 64 hexadecimal digits.
    #[error(
        "A master key is 64 hexadecimal digits. Make one with: openssl rand -hex 32; a store that exists needs the key it was made with."
    )]
    Malformed,
    /// The file is not 64 hexadecimal digits.
    #[error(
        "{} is not a key file: it must hold 64 hexadecimal digits and nothing else. Put back the key the store was made with.", .0.display()
    )]
    MalformedFile(PathBuf),
    /// There is no such file.
    #[error("The key file {} does not exist. Put back the key the store was made with.", .0.display())]
    Missing(PathBuf),
    /// Group or others may access the file.
    #[error("{} can be accessed by other users (mode {mode:04o}). Run: chmod 600 {}", path.display(), path.display())]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Something the operating system said.
    #[error("The key file {} cannot be used: {source}.", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The operating system gives no random numbers.
    #[error("The operating system gives no random numbers. Start Portero once /dev/urandom works.")]
    NoRandomness,
}

impl MasterKey {
    /// A new key from the operating system's random numbers.
    pub fn generate() -> Result<MasterKey, KeyError> {
        let mut key = MasterKey([0; KEY_BYTES]);
        getrandom::fill(&mut key.0).map_err(|_| KeyError::NoRandomness)?;
        Ok(key)
    }

    /// The key written as 64 hexadecimal digits; white space around them does not matter.
    pub fn from_hex(digits: &str) -> Result<MasterKey, KeyError> {
        let digits = digits.trim_ascii().as_bytes();
        if digits.len() != KEY_DIGITS {
            return Err(KeyError::Malformed);
        }
        let mut key = MasterKey([0; KEY_BYTES]);
        for (byte, pair) in key.0.iter_mut().zip(digits.chunks_exact(2)) {
            let (Some(high), Some(low)) = (nibble(pair[0]), nibble(pair[1])) else {
                return Err(KeyError::Malformed);
            };
            *byte = high << 4 | low;
        }
        Ok(key)
    }

    /// Reads a key file, which only its owner may access.
    pub fn load(path: &Path) -> Result<MasterKey, KeyError> {
        let io = |source| KeyError::Io {
            path: path.into(),
            source,
        };
        let key_file = File::open(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => KeyError::Missing(path.into()),
            _ => io(error),
        })?;
        if let Some(mode) = file::mode_if_too_open(&key_file).map_err(io)? {
            return Err(KeyError::TooOpen {
                path: path.into(),
                mode,
            });
        }
        // Room for all of it, so that no copy is left behind by growing.
        let mut text = Zeroizing::new(Vec::with_capacity(2 * KEY_FILE_BYTES_MAX as usize));
        key_file
            .take(KEY_FILE_BYTES_MAX)
            .read_to_end(&mut text)
            .map_err(io)?;
        std::str::from_utf8(&text)
            .ok()
            .and_then(|digits| MasterKey::from_hex(digits).ok())
            .ok_or_else(|| KeyError::MalformedFile(path.into()))
    }

    /// Writes the key to a file that does not exist yet: mode 0600, durable before this returns.
    pub fn save(&self, path: &Path) -> Result<(), KeyError> {
        let mut digits = Zeroizing::new([0; KEY_DIGITS + 1]);
        for (pair, byte) in digits.chunks_exact_mut(2).zip(&self.0) {
            pair[0] = digit(byte >> 4);
            pair[1] = digit(byte & 15);
        }
        digits[KEY_DIGITS] = b'\n';
        let write = || {
            let (draft, mut key_file) = file::Draft::beside(path)?;
            key_file.write_all(&*digits)?;
            key_file.sync_all()?;
            draft.publish(path)
        };
        write().map_err(|source| KeyError::Io {
            path: path.into(),
            source,
        })
    }

    /// Reads the key file, or makes a new key and its file when there is none.
    ///
    /// Call it only when there is no store yet, or none is known: a new key opens no old store
    /// ([`OpenError::WrongKey`]).
    pub fn load_or_create(path: &Path) -> Result<MasterKey, KeyError> {
        match MasterKey::load(path) {
            Err(KeyError::Missing(_)) => {}
            loaded => return loaded,
        }
        let key = MasterKey::generate()?;
        match key.save(path) {
            // Another process was faster: there is one key, and it is the other's.
            Err(KeyError::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {
                MasterKey::load(path)
            }
            saved => saved.map(|()| key),
        }
    }

    /// A key of its own for the use that `label` names (RFC 5869's expand step, one block).
    pub fn derive(&self, label: &str) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.authenticate(DERIVE, label, &[]))
    }

    /// HMAC-SHA256 over `parts`, keyed for the use that `label` names. Each part is preceded by its
    /// length, so `["ab", "c"]` and `["a", "bc"]` have different digests.
    pub fn keyed_digest(&self, label: &str, parts: &[&[u8]]) -> [u8; 32] {
        self.authenticate(DIGEST, label, parts)
    }

    fn authenticate(&self, purpose: u8, label: &str, parts: &[&[u8]]) -> [u8; 32] {
        // HMAC takes keys of every length.
        let mut mac = <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(&self.0)
            .expect("HMAC takes keys of every length");
        mac.update(&[purpose]);
        for part in std::iter::once(&label.as_bytes()).chain(parts) {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("MasterKey(..)")
    }
}

fn nibble(digit: u8) -> Option<u8> {
    // A digit to the base 16 is below 16.
    char::from(digit).to_digit(16).map(|value| value as u8)
}

fn digit(nibble: u8) -> u8 {
    b"0123456789abcdef"[usize::from(nibble & 15)]
}

/// An engine whose records are sealed: its callers read and write plain bytes. Cheap to clone.
#[derive(Clone)]
pub struct Sealed {
    engine: Arc<dyn Engine>,
    sealer: Arc<Sealer>,
}

impl Sealed {
    /// Opens a store with its key. An empty one is marked with the format and sealed with this key
    /// from now on; one of an older format is brought to ours ([`migrate::open`] makes a snapshot
    /// first).
    ///
    /// # Errors
    /// [`OpenError::NewerFormat`], [`OpenError::WrongKey`], [`OpenError::Unmarked`], or what the
    /// engine says, as [`OpenError::Store`].
    pub fn open(engine: Arc<dyn Engine>, key: &MasterKey) -> Result<Sealed, OpenError> {
        migrate::open_for(engine, key, migrate::STEPS)
    }

    /// Opens a store of the format `supported` or an older one, and changes no format.
    pub(super) fn open_before(
        engine: Arc<dyn Engine>,
        key: &MasterKey,
        supported: u32,
    ) -> Result<Sealed, OpenError> {
        let sealer = Arc::new(Sealer::new(key));
        let (version, check) = engine.view(|reader| {
            Ok((
                reader.get(Table::Format, FORMAT_KEY)?,
                reader.get(Table::Format, CHECK_KEY)?,
            ))
        })?;
        match (version, check) {
            (Some(version), Some(check)) => {
                let version = version.try_into().map_err(|_| OpenError::Unmarked)?;
                let found = u32::from_be_bytes(version);
                if found == 0 {
                    return Err(OpenError::Unmarked);
                }
                if found > supported {
                    return Err(OpenError::NewerFormat { found, supported });
                }
                match sealer.open(Table::Format, CHECK_KEY, check) {
                    Ok(value) if value == CHECK_VALUE => {}
                    // The engine vouches for the bytes, so it is the key that does not fit.
                    _ => return Err(OpenError::WrongKey),
                }
            }
            (None, None) => {
                if !engine.view(|reader| is_empty(reader))? {
                    return Err(OpenError::Unmarked);
                }
                let marker = Arc::clone(&sealer);
                engine.update(move |writer| {
                    let check =
                        Nonces::default().seal(&marker, Table::Format, CHECK_KEY, CHECK_VALUE)?;
                    writer.put(Table::Format, FORMAT_KEY, &supported.to_be_bytes())?;
                    writer.put(Table::Format, CHECK_KEY, &check)
                })?;
            }
            _ => return Err(OpenError::Unmarked),
        }
        Ok(Sealed { engine, sealer })
    }

    /// Runs `body` on this thread against one moment of the store; see [`Engine::view_with`].
    pub fn view<T>(
        &self,
        mut body: impl FnMut(&dyn Reader) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.engine.view(|reader| {
            body(&SealedReader {
                inner: reader,
                sealer: &self.sealer,
            })
        })
    }

    /// Runs `body`, perhaps on another thread and more than once, and returns its value once its
    /// writes are durable; see [`Engine::update_with`].
    pub fn update<T: Send + 'static>(
        &self,
        body: impl Fn(&mut dyn Writer) -> Result<T, StoreError> + Send + Sync + 'static,
    ) -> Result<T, StoreError> {
        let sealer = Arc::clone(&self.sealer);
        self.engine.update(move |writer| {
            body(&mut SealedWriter {
                inner: writer,
                sealer: &sealer,
                nonces: Nonces::default(),
            })
        })
    }

    /// As [`Sealed::update`]. If `body` returns a format with its value, the store is marked as one
    /// of that format in the same commit.
    pub(super) fn update_format<T: Send + 'static>(
        &self,
        body: impl Fn(&mut dyn Writer) -> Result<(T, Option<u32>), StoreError> + Send + Sync + 'static,
    ) -> Result<T, StoreError> {
        let sealer = Arc::clone(&self.sealer);
        self.engine.update(move |writer| {
            let (value, format) = body(&mut SealedWriter {
                inner: writer,
                sealer: &sealer,
                nonces: Nonces::default(),
            })?;
            if let Some(format) = format {
                writer.put(Table::Format, FORMAT_KEY, &format.to_be_bytes())?;
            }
            Ok(value)
        })
    }

    /// The engine beneath, whose records are sealed bytes: for copies that need no key.
    pub fn engine(&self) -> &Arc<dyn Engine> {
        &self.engine
    }
}

/// The format that a store says it is in; nothing for one that is empty.
///
/// # Errors
/// [`OpenError::Unmarked`], or what the engine says.
pub fn format_of(engine: &dyn Engine) -> Result<Option<u32>, OpenError> {
    let version = engine.view(|reader| reader.get(Table::Format, FORMAT_KEY))?;
    let version = version.map(|bytes| bytes.try_into().map(u32::from_be_bytes));
    version.transpose().map_err(|_| OpenError::Unmarked)
}

fn is_empty(reader: &dyn Reader) -> Result<bool, StoreError> {
    let mut empty = true;
    for table in Table::ALL {
        reader.scan(table, KeyRange::all(), Order::Forward, &mut |_, _| {
            empty = false;
            std::ops::ControlFlow::Break(())
        })?;
    }
    Ok(empty)
}

struct SealedReader<'r> {
    inner: &'r dyn Reader,
    sealer: &'r Sealer,
}

impl Reader for SealedReader<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        get(self.inner, self.sealer, table, key)
    }

    fn scan(
        &self,
        table: Table,
        range: KeyRange<'_>,
        order: Order,
        visit: &mut Visitor<'_>,
    ) -> Result<(), StoreError> {
        scan(self.inner, self.sealer, table, range, order, visit)
    }
}

struct SealedWriter<'w> {
    inner: &'w mut dyn Writer,
    sealer: &'w Sealer,
    nonces: Nonces,
}

impl Reader for SealedWriter<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        get(self.inner, self.sealer, table, key)
    }

    fn scan(
        &self,
        table: Table,
        range: KeyRange<'_>,
        order: Order,
        visit: &mut Visitor<'_>,
    ) -> Result<(), StoreError> {
        scan(self.inner, self.sealer, table, range, order, visit)
    }
}

impl Writer for SealedWriter<'_> {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let sealed = self.nonces.seal(self.sealer, table, key, value)?;
        self.inner.put(table, key, &sealed)
    }

    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        self.inner.delete(table, key)
    }
}

fn get(
    inner: &(impl Reader + ?Sized),
    sealer: &Sealer,
    table: Table,
    key: &[u8],
) -> Result<Option<Vec<u8>>, StoreError> {
    inner
        .get(table, key)?
        .map(|value| sealer.open(table, key, value))
        .transpose()
}

fn scan(
    inner: &(impl Reader + ?Sized),
    sealer: &Sealer,
    table: Table,
    range: KeyRange<'_>,
    order: Order,
    visit: &mut Visitor<'_>,
) -> Result<(), StoreError> {
    let mut opened = Ok(());
    inner.scan(
        table,
        range,
        order,
        &mut |key, value| match sealer.open(table, key, value.to_vec()) {
            Ok(value) => visit(key, &value),
            Err(error) => {
                opened = Err(error);
                std::ops::ControlFlow::Break(())
            }
        },
    )?;
    opened
}

/// Makes the keys that seal and open values.
struct Sealer(chacha20::Key);

impl Sealer {
    fn new(key: &MasterKey) -> Sealer {
        let key = key.derive("store seal");
        Sealer(chacha20::Key::from(*key))
    }

    /// What all nonces that begin with `run` are sealed and opened with.
    fn run_key(&self, run: &[u8; RUN_BYTES]) -> LessSafeKey {
        let mut key = hchacha::<R20>(&self.0, run.into());
        // ring takes every key of this length.
        let unbound = UnboundKey::new(&CHACHA20_POLY1305, &key).expect("a key of 32 bytes");
        key.zeroize();
        LessSafeKey::new(unbound)
    }

    /// The plain value.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when anything about the record is not as it was sealed.
    fn open(&self, table: Table, key: &[u8], mut sealed: Vec<u8>) -> Result<Vec<u8>, StoreError> {
        let damaged = StoreError::Damaged { table };
        let Some((head, body)) = sealed.split_first_chunk_mut::<HEAD_BYTES>() else {
            return Err(damaged);
        };
        let (run, count) = (first_chunk(&head[1..]), first_chunk(&head[1 + RUN_BYTES..]));
        if head[0] != SEAL_VERSION || body.len() < TAG_BYTES {
            return Err(damaged);
        }
        let place = place(head[0], table, key);
        let opened = self
            .run_key(&run)
            .open_in_place(nonce(count), Aad::from(place), body)
            .map(|plain| plain.len());
        let Ok(length) = opened else {
            return Err(damaged);
        };
        sealed.copy_within(HEAD_BYTES..HEAD_BYTES + length, 0);
        sealed.truncate(length);
        Ok(sealed)
    }
}

/// The first bytes of a slice that is long enough.
fn first_chunk<const N: usize>(bytes: &[u8]) -> [u8; N] {
    *bytes.first_chunk().expect("the head has room for a nonce")
}

/// The nonce of ChaCha20-Poly1305 for the last eight bytes of one of XChaCha20-Poly1305.
fn nonce(count: [u8; NONCE_BYTES - RUN_BYTES]) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&count);
    Nonce::assume_unique_for_key(nonce)
}

/// The nonces of one run of one update.
#[derive(Default)]
struct Nonces {
    run: Option<([u8; RUN_BYTES], LessSafeKey)>,
    count: u64,
}

impl Nonces {
    fn seal(
        &mut self,
        sealer: &Sealer,
        table: Table,
        key: &[u8],
        value: &[u8],
    ) -> Result<Vec<u8>, StoreError> {
        let (run, run_key) = match &self.run {
            Some(known) => known,
            None => {
                let mut run = [0; RUN_BYTES];
                getrandom::fill(&mut run)
                    .map_err(|_| StoreError::Unavailable("no random numbers".into()))?;
                self.run.insert((run, sealer.run_key(&run)))
            }
        };
        let count = self.count.to_be_bytes();
        self.count += 1;
        let mut sealed = Vec::with_capacity(value.len() + SEAL_BYTES);
        sealed.push(SEAL_VERSION);
        sealed.extend_from_slice(run);
        sealed.extend_from_slice(&count);
        sealed.extend_from_slice(value);
        let place = place(SEAL_VERSION, table, key);
        // The cipher refuses only values of 256 GiB and more.
        let tag = run_key
            .seal_in_place_separate_tag(nonce(count), Aad::from(place), &mut sealed[HEAD_BYTES..])
            .map_err(|_| StoreError::TooLarge { table })?;
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }
}

/// What is authenticated beside the value. The name of the table has no zero byte and the version
/// has one length, so no two places read the same.
fn place(version: u8, table: Table, key: &[u8]) -> Vec<u8> {
    let name = table.name().as_bytes();
    let mut place = Vec::with_capacity(name.len() + key.len() + 2);
    place.push(version);
    place.extend_from_slice(name);
    place.push(0);
    place.extend_from_slice(key);
    place
}

#[cfg(test)]
mod tests;
